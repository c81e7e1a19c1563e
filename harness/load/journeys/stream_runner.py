"""What a journey travels with: streams that are entered in the books, read, crossed out and judged.

Every stream goes through the books exactly once, whatever stops it: it is entered before it is sent,
crossed out when it ends, and settled when it is judged. A journey with one stream at a time calls `stream`;
one whose streams are compared with each other opens them `together`, and they are judged when all are there.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from types import TracebackType
from typing import Self

import gevent

from harness.config.target import Target
from harness.contract.exchange import Ending, Exchange
from harness.contract.finding import Finding
from harness.contract.rules.stream import rules_for
from harness.load.journeys.cpu_yield import CpuYield
from harness.load.stats.collector import Collector, PendingStream
from harness.load.stats.stream_metrics import StreamStep
from harness.protocol.request import HttpRequest
from harness.transport.gevent_client import GeventClient, GeventExchange
from harness.transport.receiver import Cut, CutHow, Pace

Check = Callable[[Exchange], list[Finding]]

SLOW_READ_BYTES = 1024
_FIRST_GUESS_EVENTS = 4
_USUAL_EVENT_BYTES = 256  # with its framing, and rather too many than too few
_HELD_BACK_READS = 8  # how many such reads what waits in the kernel's buffers may make
_LONGEST_PAUSE_S = 0.25
_STOPS = (gevent.GreenletExit, KeyboardInterrupt, SystemExit)


class StreamHandle:
    """One stream on its way: its entry in the books, the reading of it, and what it will be held to.

    findings: what its judges said. fault: what of ours broke, so that it cannot be judged; None where nothing did.
    """

    __slots__ = ("_exchange", "checks", "fault", "findings", "greenlet", "live", "stream", "unfinished")

    def __init__(self, stream: PendingStream, live: GeventExchange, judge: Check) -> None:
        self.stream = stream
        self.live = live
        self.checks = [judge]
        self.greenlet: gevent.Greenlet | None = None
        self.unfinished = False
        self.findings: list[Finding] = []
        self.fault: str | None = None
        self._exchange: Exchange | None = None

    @property
    def exchange(self) -> Exchange:
        """What came of it; the same object whenever it is asked for. Raises RuntimeError before its end."""
        if self._exchange is None:
            self._exchange = self.live.exchange()
        return self._exchange


class StreamRunner:
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
        turns: CpuYield | None = None,
    ) -> None:
        self.target = target
        self.refused = False
        self.rng = rng or random.Random()  # noqa: S311 - it chooses cuts, not secrets
        self.collector = collector
        self._client = client
        self._stopping = stopping
        self._turns = turns or CpuYield()
        self._in_haste = False
        self._usual_events = {} if usual_events is None else usual_events

    def run(
        self,
        journey: str,
        step: StreamStep,
        request: HttpRequest,
        *,
        judge: Check | None = None,
        intended_ns: int | None = None,
        cut: Cut | None = None,
        pace: Pace | None = None,
    ) -> Exchange:
        """One stream from its entry in the books to its judgement.

        judge: what it is held to beside the rules for any one stream. intended_ns: when it was due, on the
        monotonic clock. cut: leave it after some events. pace: read slowly. Raises CollectorClosedError when
        the test is over.
        """
        reader = self.begin(journey, step, request, intended_ns=intended_ns, cut=cut, pace=pace)
        if judge is not None:
            reader.checks.append(judge)
        try:
            return self.execute(reader)
        finally:
            self.finalize(reader)

    def group(self, journey: str, intended_ns: int | None = None) -> StreamGroup:
        """Several streams of one journey, to be opened in a with-block. intended_ns: when the first is due."""
        return StreamGroup(self, journey, intended_ns)

    def begin(
        self,
        journey: str,
        step: StreamStep,
        request: HttpRequest,
        *,
        judge: Check | None = None,
        intended_ns: int | None = None,
        cut: Cut | None = None,
        pace: Pace | None = None,
    ) -> StreamHandle:
        """Enter a stream in the books; `follow` sends it. judge: in place of the rules for any one stream."""
        stream = self.collector.schedule(journey, step, intended_ns)
        label = f"{journey}: {step.name}"
        live = self._client.open(request, label, intended_ns=intended_ns, cut=cut, pace=pace)
        return StreamHandle(stream, live, judge or self.check_alone)

    def execute(self, reader: StreamHandle) -> Exchange:
        """Send it, wait for its end, and cross it out; `settle` must follow.

        Whatever stops it, the books know: at the end of the test it is in flight, before it abandoned.
        """
        try:
            reader.live.run()
        except _STOPS:
            self.stopped(reader)
            raise
        except BaseException as problem:
            self.stopped(reader, fault=f"while reading it: {problem!r}")
            raise
        try:
            self._turns.acquire()
        finally:  # it has ended, also for one who is stopped before its turn
            self._ended(reader)
        return reader.exchange

    def _ended(self, reader: StreamHandle) -> None:
        try:
            word = self.collector.end(reader.stream, reader.exchange)
        except Exception as problem:
            self.collector.give_up(reader.stream, reader.exchange, f"while measuring it: {problem!r}")
            raise
        reader.unfinished = word != "in flight"  # the books were closed before it: it stays that
        if word == "refused":
            self.refused = True

    def stopped(self, reader: StreamHandle, *, fault: str | None = None) -> None:
        """Enter what there is of a stream whose greenlet was stopped; fault: what broke, if something did.

        One that ended a moment before, of which its greenlet did not get to know, has ended.
        """
        if self._stopping():
            self._client.hold()
        reader.live.stop()
        if fault is None and reader.live.fault is not None:  # its greenlet was stopped before it heard of it
            fault = f"while reading it: {reader.live.fault!r}"
        if fault is None and reader.exchange.ending is not Ending.STOPPED:
            self._ended(reader)
            return
        reader.stream.exchange = reader.exchange
        if (fault is not None or not self._stopping()) and not self.collector.closed:
            self.collector.give_up(reader.stream, reader.exchange, fault)

    def finalize(self, reader: StreamHandle) -> None:
        """Have it judged, and enter what was found. A stream that did not come to its end is settled already.

        What a judge raises is our fault, and raises on; its stream is neither a success nor a failure.
        """
        if not reader.unfinished:
            return
        reader.unfinished = False
        try:
            if reader.fault is None:
                self._check(reader)
        except _STOPS:  # it was waiting for its turn; what it read is judged all the same, without turns
            self._in_haste = True
            self._check(reader)
            raise
        finally:
            if not self.collector.closed:
                self.collector.finalize(reader.stream, reader.findings, fault=reader.fault)

    def _check(self, reader: StreamHandle) -> None:
        """Hold it to its judges, all of them: one that was judged by some alone has a fault."""
        findings: list[Finding] = []
        reader.fault = "before it was judged"
        try:
            for judge in reader.checks:
                self._yield_if_due()
                findings += judge(reader.exchange)
        except _STOPS:
            raise
        except BaseException as problem:
            reader.fault = f"while judging it: {problem!r}"
            raise
        reader.findings, reader.fault = findings, None

    def _yield_if_due(self) -> None:
        if not self._in_haste:
            self._turns.yield_if_due()

    def check_alone(self, exchange: Exchange) -> list[Finding]:
        """What any one stream can be held to; nothing where no stream began."""
        if exchange.status != 200:
            return []
        findings: list[Finding] = []
        for judge in rules_for(exchange):
            self._yield_if_due()
            findings.append(judge(exchange, expect=self.target.expectations))
        return findings

    def random_cut(self, action_name: str, *, seen: int = 0) -> Cut:
        """A cut after a random event that is not the last, going by earlier runs of that action.

        seen: how many of the run's events will not come on this stream, because they came before it.
        """
        return Cut(self.random_event_index(action_name, seen=seen), self.rng.choice((CutHow.FIN, CutHow.RST)))

    def random_event_index(self, action_name: str, *, seen: int = 0) -> int:
        """The number, from 1, of a random event that is not the run's last, after the first `seen`."""
        usual = self._usual_events.get(action_name, _FIRST_GUESS_EVENTS)
        return self.rng.randint(1, max(1, usual - 1 - seen))

    def slow_pace(self, action_name: str) -> Pace:
        """So slow that the server has to wait for its reader, and quick enough for the budgets of its run.

        Going by earlier runs of that action, it takes a quarter of the time that a run may take at most. So
        does what the kernel holds back, the terminal event in it, of the time for closing after that.
        """
        budgets = self.target.expectations.budgets
        usual = self._usual_events.get(action_name, _FIRST_GUESS_EVENTS)
        reads = max(1.0, usual * _USUAL_EVENT_BYTES / SLOW_READ_BYTES)
        close_s = budgets.terminal_close_s / _HELD_BACK_READS
        pause_s = min(_LONGEST_PAUSE_S, budgets.run_s / 4 / reads, close_s / 4)
        return Pace(pause_s, SLOW_READ_BYTES)

    def record_length(self, action_name: str, *parts: Exchange) -> None:
        """Remember how many events a run of that action has, from all that was seen of one."""
        if parts[-1].ending is Ending.COMPLETE and parts[-1].outcome is not None:
            self._usual_events[action_name] = len({event for part in parts for event in part.sequence})


class StreamGroup:
    """Streams of one journey that are judged together, once all have ended: open them in a with-block.

    The block's end waits for those that are still read. When it is left by an exception, as when its user is
    stopped, they are stopped with it; the books have each of them once in either case.

    compare: called at the end, however that came, with the streams that have ended by themselves, to say what
    each is held to beside the others. Set it before waiting: a stream that ended is never left uncompared.
    """

    def __init__(self, traveller: StreamRunner, journey: str, intended_ns: int | None = None) -> None:
        self.readers: list[StreamHandle] = []
        self.compare: Callable[[list[StreamHandle]], None] | None = None
        self._traveller = traveller
        self._journey = journey
        self._intended_ns = intended_ns

    def start(
        self,
        step: StreamStep,
        request: HttpRequest,
        *,
        judge: Check | None = None,
        beside: Check | None = None,
        cut: Cut | None = None,
        pace: Pace | None = None,
    ) -> StreamHandle:
        """A stream that is read beside what follows here.

        judge: what it is held to in place of the rules for any one stream. beside: what it is held to with
        them. Raises CollectorClosedError when the test is over.
        """
        reader = self._begin(step, request, judge, beside, cut, pace)
        reader.greenlet = gevent.spawn(self._traveller.execute, reader)
        return reader

    def read(
        self,
        step: StreamStep,
        request: HttpRequest,
        *,
        judge: Check | None = None,
        beside: Check | None = None,
        cut: Cut | None = None,
        pace: Pace | None = None,
    ) -> StreamHandle:
        """A stream that is read to its end here and now. Arguments and errors are those of `start`."""
        reader = self._begin(step, request, judge, beside, cut, pace)
        self._traveller.execute(reader)
        return reader

    def wait(self) -> list[Exchange]:
        """Wait until every stream has ended; returns what came of them, in the order of their beginning."""
        for reader in self.readers:
            if reader.greenlet is not None:
                reader.greenlet.get()
        return [reader.exchange for reader in self.readers]

    def _begin(
        self,
        step: StreamStep,
        request: HttpRequest,
        judge: Check | None,
        beside: Check | None,
        cut: Cut | None,
        pace: Pace | None,
    ) -> StreamHandle:
        intended_ns, self._intended_ns = self._intended_ns, None
        reader = self._traveller.begin(
            self._journey, step, request, judge=judge, intended_ns=intended_ns, cut=cut, pace=pace
        )
        if beside is not None:
            reader.checks.append(beside)
        self.readers.append(reader)
        return reader

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self.wait()
        finally:
            self._stop_all()
            try:
                self._compare()
            finally:
                self._finalize_all()

    def _compare(self) -> None:
        ended = [reader for reader in self.readers if reader.unfinished]
        try:
            if self.compare is not None:
                self.compare(ended)
        except BaseException as problem:  # judged alone they would look as if they had been compared
            for reader in ended:
                reader.fault = f"while comparing it: {problem!r}"
            raise

    def _stop_all(self) -> None:
        gevent.killall([one.greenlet for one in self.readers if one.greenlet is not None])
        for reader in self.readers:
            if not reader.live.finished:  # its greenlet was stopped before it ran at all
                self._traveller.stopped(reader)

    def _finalize_all(self) -> None:
        """Judge all, also when the judging of one of them breaks or is stopped; what came first is raised."""
        broken: BaseException | None = None
        for reader in self.readers:
            try:
                self._traveller.finalize(reader)
            except BaseException as problem:  # noqa: BLE001 - raised below
                broken = broken or problem
        if broken is not None:
            raise broken
