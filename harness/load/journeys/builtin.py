"""The journeys: what clients of the API do, a stream at a time or several at once, each stream judged.

A journey is a function of a Traveller and of the moment at which it was due, on the monotonic clock (None
in a closed loop). It knows nothing of Locust, so it runs in a test as it runs under load. Those that share
a run between streams compare them event by event: what one lost, doubled or changed is a violation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from harness.config.target import Target, with_different_body
from harness.contract.exchange import Ending, Exchange
from harness.contract.expectations import Expectations
from harness.contract.finding import Finding
from harness.contract.rules import run_id
from harness.contract.rules.comparisons import (
    canonical_stream,
    check_abandoned,
    check_conflict,
    check_first_reader,
    check_joined,
    check_parts,
    check_race,
    check_retry,
)
from harness.load.journeys.stream_runner import StreamHandle, StreamRunner
from harness.load.stats.stream_metrics import (
    ABANDONED,
    CONFLICTING,
    CUT,
    JOINED,
    JOINED_AND_CUT,
    ORIGINAL,
    RACING,
    REREAD,
    RESUMED,
    RESUMED_AND_CUT,
    RETRY,
    RUN,
    SLOW,
)
from harness.protocol.request import HttpRequest

Journey = Callable[[StreamRunner, int | None], None]

_MOST_CUTS = 3
_MOST_JOINERS = 3
_RACERS = 3  # with two nobody could say which of them is wrong


def fresh(traveller: StreamRunner, intended_ns: int | None = None) -> None:
    """One run to its end."""
    traveller.run("fresh", RUN, traveller.target.run("success"), intended_ns=intended_ns)


def replay(traveller: StreamRunner, intended_ns: int | None = None) -> None:
    """A run, and after its end the same request again: the same events come back."""
    request = traveller.target.run("success")
    original = traveller.run("replay", ORIGINAL, request, intended_ns=intended_ns)
    if original.outcome is None:
        return

    def judge(retry: Exchange) -> list[Finding]:
        return check_retry(original, retry, traveller.target.expectations)

    traveller.run("replay", RETRY, request, judge=judge)


def resume(traveller: StreamRunner, intended_ns: int | None = None) -> None:
    """A run cut in mid-stream one to three times, each time asked for again: its parts are the whole run.

    What was lost between two parts shows only in the whole: where no part is that, the run is read once more.
    """
    target = traveller.target
    action_name = _long_action(target)
    request = target.run(action_name)
    with traveller.group("resume", intended_ns) as streams:
        parts = [streams.read(CUT, request, cut=traveller.random_cut(action_name)).exchange]
        if parts[0].ending is not Ending.CUT:
            if parts[0].outcome is not None:
                beside = partial(check_retry, parts[0], expect=target.expectations)
                again = streams.read(RESUMED, request, beside=beside)
                traveller.record_length(action_name, parts[0], again.exchange)
            return
        streams.compare = partial(_compare_parts, expect=target.expectations)
        for _ in range(_more_cuts(traveller)):
            cut = traveller.random_cut(action_name, seen=_not_sent_again(target, parts))
            parts.append(streams.read(RESUMED_AND_CUT, _resuming(request, parts, target), cut=cut).exchange)
            if parts[-1].ending is not Ending.CUT:
                break
        if parts[-1].ending is Ending.CUT:
            parts.append(streams.read(RESUMED, _resuming(request, parts, target)).exchange)
        if parts[-1].terminals and parts[-1].sequence[0] != parts[0].sequence[0]:
            streams.read(REREAD, request)  # no part is the whole run
        traveller.record_length(action_name, *parts)


def _compare_parts(readers: Sequence[StreamHandle], expect: Expectations) -> None:
    """The parts of one run, in their order, and the whole read after them where that was needed."""
    parts = [one.exchange for one in readers if one.stream.step is not REREAD]
    rereads = [one for one in readers if one.stream.step is REREAD]
    if (
        len(parts) < 2 or parts[-1].ending is Ending.CUT
    ):  # then its user was stopped before the last part came
        return
    whole = rereads[0].exchange if rereads else None
    last = parts[-1]
    place = [one.exchange for one in readers].index(last)
    readers[place].checks.append(lambda _: check_parts(parts, whole, expect))
    for reread in rereads:
        reread.checks.append(lambda again: [run_id.constant([last, again], expect=expect)])


def _more_cuts(traveller: StreamRunner) -> int:
    settings = traveller.target.settings
    # The tail of a tail cannot be told from a replay where no id says what the client has.
    if settings.resume_start == "tail" and settings.last_event_id is not True:
        return 0
    return traveller.rng.randint(1, _MOST_CUTS) - 1


def _resuming(request: HttpRequest, parts: Sequence[Exchange], target: Target) -> HttpRequest:
    """The request again, with Last-Event-ID where the target declares that it heeds it."""
    ids = [part.events[-1].frame.last_event_id for part in parts if part.events]
    # After the terminal event there is nothing to resume: what is wanted then is the whole run again.
    if target.settings.last_event_id is not True or not ids or not ids[-1] or parts[-1].terminals:
        return request
    return request.with_header("Last-Event-ID", ids[-1])


def _not_sent_again(target: Target, parts: Sequence[Exchange]) -> int:
    resumes_after = target.settings.last_event_id is True or target.settings.resume_start == "tail"
    return sum(len(part.events) for part in parts) if resumes_after else 0


def join(traveller: StreamRunner, intended_ns: int | None = None) -> None:
    """A run that others come to while it is in flight, each at a random event: all get the same events.

    In every other journey one of them leaves again, which is nothing to the rest.
    """
    target = traveller.target
    action_name = _long_action(target)
    request = target.run(action_name)
    joiners = traveller.rng.randint(1, _MOST_JOINERS)
    leaver = traveller.rng.choice((None, traveller.rng.randrange(joiners)))
    with traveller.group("join", intended_ns) as streams:
        streams.compare = partial(_compare_joined, expect=target.expectations)
        first = streams.start(ORIGINAL, request)
        for number, event in enumerate(
            sorted(traveller.random_event_index(action_name) for _ in range(joiners))
        ):
            if not first.live.wait_for_events(event):
                break
            if number == leaver:
                streams.start(JOINED_AND_CUT, request, cut=traveller.random_cut(action_name))
            else:
                streams.start(JOINED, request)
        streams.wait()
        traveller.record_length(action_name, first.exchange)


def _compare_joined(readers: Sequence[StreamHandle], expect: Expectations) -> None:
    stayed = [one.exchange for one in readers if one.exchange.ending is not Ending.CUT]
    if not stayed:
        return
    canonical = canonical_stream(stayed, expect)
    joined = [one for one in readers if one.stream.step is not ORIGINAL]
    for reader in _others(joined, canonical):
        judge = check_abandoned if reader.exchange.ending is Ending.CUT else check_joined
        reader.checks.append(partial(judge, canonical, expect=expect))
    for first in readers[:1] if joined and readers[0].stream.step is ORIGINAL else ():
        kept = partial(check_first_reader, joined=joined[0].exchange, canonical=canonical, expect=expect)
        first.checks.append(kept)


def race(traveller: StreamRunner, intended_ns: int | None = None) -> None:
    """Equal requests sent at once: one execution, and the same events for each."""
    request = traveller.target.run("success")
    expect = traveller.target.expectations
    with traveller.group("race", intended_ns) as streams:
        streams.compare = partial(_compare_racers, expect=expect)
        for step in (ORIGINAL, *[RACING] * (_RACERS - 1)):
            streams.start(step, request)


def _compare_racers(readers: Sequence[StreamHandle], expect: Expectations) -> None:
    if readers:
        canonical = canonical_stream([one.exchange for one in readers], expect)
        for reader in _others(readers, canonical):
            reader.checks.append(partial(check_race, canonical, expect=expect))


def _others(readers: Sequence[StreamHandle], canonical: Exchange) -> list[StreamHandle]:
    """All but the one that the others are compared with, and those for which there was no connection."""
    return [
        one for one in readers if one.exchange is not canonical and one.exchange.ending is not Ending.REFUSED
    ]


def conflict(traveller: StreamRunner, intended_ns: int | None = None) -> None:
    """Another body under the key of a run in flight: it is rejected, and the run goes on to its end."""
    target = traveller.target
    request = target.run(_long_action(target))
    with traveller.group("conflict", intended_ns) as streams:
        original = streams.start(ORIGINAL, request)

        def judge(rejected: Exchange) -> list[Finding]:
            return check_conflict(original.exchange, rejected, target.expectations)

        if original.live.wait_for_events(1):
            streams.read(CONFLICTING, with_different_body(request), judge=judge)


def abandon(traveller: StreamRunner, intended_ns: int | None = None) -> None:
    """A run whose reader leaves for good after some events, politely or not."""
    action_name = _long_action(traveller.target)
    traveller.run(
        "abandon",
        ABANDONED,
        traveller.target.run(action_name),
        intended_ns=intended_ns,
        cut=traveller.random_cut(action_name),
    )


def slow_reader(traveller: StreamRunner, intended_ns: int | None = None) -> None:
    """A run that is read slowly, so that the server has to wait: it neither breaks off nor loses anything."""
    target = traveller.target
    action_name = _long_action(target)
    request = target.run(action_name)
    with traveller.group("slow_reader", intended_ns) as streams:
        slow = streams.read(SLOW, request, pace=traveller.slow_pace(action_name)).exchange
        traveller.record_length(action_name, slow)
        if slow.outcome is not None:
            streams.read(RETRY, request, beside=partial(check_retry, slow, expect=target.expectations))


def _long_action(target: Target) -> str:
    return "long" if target.action("long") is not None else "success"


#: By the names under which settings weight them and results keep them.
JOURNEYS: Mapping[str, Journey] = {
    "fresh": fresh,
    "replay": replay,
    "resume": resume,
    "join": join,
    "conflict": conflict,
    "race": race,
    "abandon": abandon,
    "slow_reader": slow_reader,
}
