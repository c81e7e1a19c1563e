"""The journeys: what a client of the API does, a stream or two at a time, each stream judged.

A journey is a function of a Traveller, which owns what a user has: a client, the target, the books. It
knows nothing of Locust, so it runs in a test as it runs under load.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping

import gevent

from harness.contract.exchange import Ending, Exchange
from harness.contract.finding import Finding
from harness.contract.judges import STREAM_JUDGES, judge_conflict, judge_resumed, judge_retry
from harness.load.collector import Collector, Stream
from harness.load.measure import CONFLICTING, CUT, ORIGINAL, RESUMED, RETRY, RUN, Step
from harness.load.turns import Turns
from harness.protocol.request import HttpRequest
from harness.target import Target, another_body
from harness.transport.gevent_client import GeventClient, LiveExchange
from harness.transport.receiver import Cut, CutHow

Judge = Callable[[Exchange], list[Finding]]

_FIRST_GUESS_EVENTS = 4


class Traveller:
    """What every journey of one process shares.

    stopping: says whether the test is being stopped. usual_events: how many events a run of an action has,
    by the action's name; learnt on the way. It and `turns` are shared by the travellers of a process.
    `refused` is set by a stream for which there was no connection.
    """

    def __init__(
        self,
        client: GeventClient,
        target: Target,
        collector: Collector,
        *,
        stopping: Callable[[], bool],
        rng: random.Random | None = None,
        usual_events: dict[str, int] | None = None,
        turns: Turns | None = None,
    ) -> None:
        self.target = target
        self.refused = False
        self.rng = rng or random.Random()  # noqa: S311 - it chooses cuts, not secrets
        self.collector = collector
        self._client = client
        self._stopping = stopping
        self._turns = turns or Turns()
        self._usual_events = {} if usual_events is None else usual_events

    def stream(
        self,
        journey: str,
        step: Step,
        request: HttpRequest,
        *,
        judge: Judge | None = None,
        intended_ns: int | None = None,
        cut: Cut | None = None,
    ) -> Exchange:
        """One stream from its entry in the books to its judgement.

        judge: what it is held to beside the rules for any one stream. intended_ns: when it was due, on the
        monotonic clock. Raises CollectorClosedError when the test is over.
        """
        stream, live = self.begin(journey, step, request, intended_ns=intended_ns, cut=cut)
        exchange = self.follow(stream, live)
        self.settle(stream, lambda run: self.judge_alone(run) + (judge(run) if judge else []))
        return exchange

    def begin(
        self,
        journey: str,
        step: Step,
        request: HttpRequest,
        *,
        intended_ns: int | None = None,
        cut: Cut | None = None,
    ) -> tuple[Stream, LiveExchange]:
        """Enter a stream in the books; `follow` sends it."""
        stream = self.collector.schedule(journey, step, intended_ns)
        return stream, self._client.open(request, f"{journey}: {step.name}", intended_ns=intended_ns, cut=cut)

    def follow(self, stream: Stream, live: LiveExchange) -> Exchange:
        """Send it, wait for its end, and cross it out; `settle` must follow.

        Whatever stops it, the books know: at the end of the test it is in flight, before it abandoned.
        """
        try:
            exchange = live.run()
        except (gevent.GreenletExit, KeyboardInterrupt, SystemExit):
            self.stopped(stream, live)
            raise
        except BaseException as problem:
            self.stopped(stream, live, fault=f"the harness broke: {problem!r}")
            raise
        try:
            self._turns.take()
        finally:  # it has ended, also for one who is stopped before its turn
            if self.collector.end(stream, exchange) == "refused":
                self.refused = True
        return exchange

    def stopped(self, stream: Stream, live: LiveExchange, *, fault: str | None = None) -> None:
        """Enter what there is of a stream whose greenlet was stopped; fault: what broke, if something did."""
        live.stop()
        stream.exchange = live.exchange()
        if not self._stopping() and not self.collector.closed:
            self.collector.give_up(stream, stream.exchange, fault)

    def settle(self, stream: Stream, judge: Judge) -> None:
        """Have it judged, and enter what was found."""
        if stream.exchange is None:
            raise RuntimeError("a stream is judged after its end")
        fault: str | None = "the harness failed to judge it"
        findings: list[Finding] = []
        try:
            self._turns.breathe()
            findings = judge(stream.exchange)
            fault = None
        finally:  # a judge that breaks is our fault, and raises on; its stream is no success for all that
            if not self.collector.closed:
                self.collector.settle(stream, findings, fault=fault)

    def judge_alone(self, exchange: Exchange) -> list[Finding]:
        """What any one stream can be held to; nothing where no stream began."""
        if exchange.status != 200:
            return []
        findings: list[Finding] = []
        for judge in STREAM_JUDGES:
            self._turns.breathe()
            findings.append(judge(exchange, expect=self.target.expectations))
        return findings

    def cut_somewhere(self, action_name: str) -> Cut:
        """A cut after a random event that is not the last, going by earlier runs of that action."""
        usual = self._usual_events.get(action_name, _FIRST_GUESS_EVENTS)
        how = self.rng.choice((CutHow.FIN, CutHow.RST))
        return Cut(self.rng.randint(1, max(1, usual - 1)), how)

    def learn_length(self, action_name: str, *parts: Exchange) -> None:
        """Remember how many events a run of that action has, from all that was seen of one."""
        if parts[-1].ending is Ending.COMPLETE and parts[-1].terminals:
            self._usual_events[action_name] = len({event for part in parts for event in part.sequence})


Journey = Callable[[Traveller, int | None], None]


def fresh(traveller: Traveller, intended_ns: int | None = None) -> None:
    """One run to its end."""
    traveller.stream("fresh", RUN, traveller.target.run("success"), intended_ns=intended_ns)


def replay(traveller: Traveller, intended_ns: int | None = None) -> None:
    """A run, and after its end the same request again: the same events come back."""
    request = traveller.target.run("success")
    original = traveller.stream("replay", ORIGINAL, request, intended_ns=intended_ns)
    if original.outcome is None:
        return

    def judge(retry: Exchange) -> list[Finding]:
        return judge_retry(original, retry, traveller.target.expectations)

    traveller.stream("replay", RETRY, request, judge=judge)


def resume(traveller: Traveller, intended_ns: int | None = None) -> None:
    """A run cut in mid-stream, and the same request again: together they are the whole run."""
    target = traveller.target
    action_name = "long" if target.action("long") is not None else "success"
    request = target.run(action_name)
    before = traveller.stream(
        "resume", CUT, request, intended_ns=intended_ns, cut=traveller.cut_somewhere(action_name)
    )
    was_cut = before.ending is Ending.CUT
    if not was_cut and before.outcome is None:
        return

    def judge(after: Exchange) -> list[Finding]:
        if was_cut:
            return judge_resumed(before, after, None, target.expectations)
        return judge_retry(before, after, target.expectations)

    after = traveller.stream("resume", RESUMED, _resuming(request, before, target), judge=judge)
    traveller.learn_length(action_name, before, after)


def _resuming(request: HttpRequest, before: Exchange, target: Target) -> HttpRequest:
    last_id = before.events[-1].frame.last_event_id if before.events else ""
    # After the terminal event there is nothing to resume: what is wanted then is the whole run again.
    if target.settings.last_event_id is not True or not last_id or before.terminals:
        return request
    return request.with_header("Last-Event-ID", last_id)


def conflict(traveller: Traveller, intended_ns: int | None = None) -> None:
    """Another body under the key of a run in flight: it is rejected, and the run goes on to its end."""
    target = traveller.target
    request = target.run("long" if target.action("long") is not None else "success")
    stream, live = traveller.begin("conflict", ORIGINAL, request, intended_ns=intended_ns)
    following = gevent.spawn(traveller.follow, stream, live)
    conflicting: Stream | None = None
    try:
        if live.wait_for_events(1):
            conflicting, other = traveller.begin("conflict", CONFLICTING, another_body(request))
            traveller.follow(conflicting, other)
        following.get()
    finally:
        following.kill()
        if stream.exchange is None:  # it was killed before it began
            traveller.stopped(stream, live)
        if conflicting is not None and conflicting.outcome not in {None, "abandoned"}:
            _settle_conflicting(traveller, conflicting, stream.exchange)
    traveller.settle(stream, traveller.judge_alone)


def _settle_conflicting(traveller: Traveller, conflicting: Stream, original: Exchange | None) -> None:
    if original is not None:
        traveller.settle(
            conflicting,
            lambda rejected: judge_conflict(original, rejected, traveller.target.expectations),
        )


#: By the names under which settings weight them and results keep them.
JOURNEYS: Mapping[str, Journey] = {"fresh": fresh, "replay": replay, "resume": resume, "conflict": conflict}
