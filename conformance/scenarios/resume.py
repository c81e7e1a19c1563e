"""Retries: after the end and in flight, without an id, with one of the run and with others."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from functools import partial
from typing import Any

from harness.contract.exchange import Exchange
from harness.contract.rules.cuts import CutRun
from harness.contract.rules.retries import races_terminal
from harness.contract.rules.text_order import OwnIds, misplaced, ordered_ids, places_to_resume
from harness.profiles.capability import Capability
from harness.profiles.workflow_actions.event_id import StreamId
from harness.suite.scenario import ScenarioContext, gather_some

from .cuts import needs_last_event_id, spread
from .moments import RunMoment, between_ms, moment_before_end, sent_at, spread_evenly, spread_moments
from .runs import cancelled_run, completed_run, echo_request, echoed_run, failing_run, long_run, silent_run

_AT_ONCE = 24
_JOINS = 19
_MALFORMED_IDS = ("none", "-", "$", "1-", "-1-0", "1-2-3", "9" * 40)
_FUTURE_IDS = ("99999999999999-0", f"{2**63}-0", f"{2**64 - 1}-{2**64 - 1}")
_FUTURE_COUNTERS = ("99999999", str(2**31), str(2**63))
#: Older than any run of today, and as text some are older than its ids and some are not.
_OLD_IDS = (StreamId(2, 0), StreamId(9, 0), StreamId(10, 0), StreamId(999_999_999_999, 0))
_MOST_BETWEEN = 4
_TWO_DIGITS = 10  # less than 2 as text
_BURST_TEXT = " ".join(
    str(number) for number in range(1, 201)
)  # many tokens, so some have the same millisecond
_RETENTION_SHARE = (
    0.9  # of the declared time, after which a key is tried: the clocks and the request need some too
)
_MOST_RETENTION_S = 60.0
_LAST_FIRST_RETRY_S = 8.0
_RACES = 12
_RACE_ROUNDS = 9
_RACE_FROM = 4


_Pair = tuple[Exchange, Exchange]


async def replayed_run(context: ScenarioContext) -> tuple[Exchange, Exchange]:
    """A completed run and its retry."""
    return await _with_retry(context, completed_run)


async def replayed_long_run(context: ScenarioContext) -> tuple[Exchange, Exchange]:
    """A long run and its retry."""
    return await _with_retry(context, long_run)


async def replayed_silent_run(context: ScenarioContext) -> tuple[Exchange, Exchange]:
    """A run without tokens and its retry."""
    return await _with_retry(context, silent_run)


async def replayed_cancelled_run(context: ScenarioContext) -> tuple[Exchange, Exchange]:
    """A cancelled run and its retry."""
    return await _with_retry(context, cancelled_run)


async def replayed_failure(context: ScenarioContext) -> tuple[Exchange, Exchange]:
    """A failed run and its retry."""
    return await _with_retry(context, failing_run)


async def _with_retry(
    context: ScenarioContext, scenario: Callable[[ScenarioContext], Coroutine[Any, Any, Exchange]]
) -> tuple[Exchange, Exchange]:
    original = await context.run_once(scenario)
    return original, await context.send(context.again(original), f"the retry of {original.label}")


async def undisturbed_run(context: ScenarioContext) -> _Pair | None:
    """A completed run and its retry; none where an API cannot read a run again."""
    return await context.run_once(replayed_run) if context.target.promises(Capability.REREAD) else None


async def undisturbed_long_run(context: ScenarioContext) -> _Pair | None:
    """A long run and its retry; none where an API cannot read a run again."""
    return await context.run_once(replayed_long_run) if context.target.promises(Capability.REREAD) else None


async def joined_run(context: ScenarioContext) -> tuple[Exchange, Exchange, Exchange]:
    """A long run, a second connection that joins it in flight, and the run read again after its end."""
    request = await context.request("long")
    async with context.connections(2):
        first = context.open(request, "a long run with a second reader")
        await first.events(3)
        joined = context.open(await context.joining(first), "a retry while the run is in flight")
        original, second = await asyncio.gather(first.result(), joined.result())
    later = await context.send(context.again(original), "the same run read again after its end")
    return original, second, later


async def run_joined_at_moments(context: ScenarioContext) -> list[Exchange]:
    """A long run, and connections that join it at moments spread over the gap between events."""
    whole = await context.run_once(long_run)
    joins = context.parties(_JOINS) if context.allows_connections(1 + _JOINS) else 1
    request = await context.request("long")
    async with context.connections(1 + joins):
        first = context.open(request, "a long run joined at several moments")
        joined = [
            sent_at(
                context,
                first,
                None,
                f"a join {moment.wait_s * 1000:.0f} ms after event {moment.event}",
                moment,
            )
            for moment in spread_moments(whole, _JOINS)[-joins:]
        ]
        return list(await asyncio.gather(first.result(), *joined))


async def resumed_after_each_id(context: ScenarioContext) -> tuple[Exchange, list[Exchange]]:
    """A finished long run, and its resumption after each event but the last."""
    original = await context.run_once(long_run)
    ids = _ids_in_order(original)
    named = [ids[place] for place in spread(0, len(ids) - 2)]
    return original, await gather_some(
        [
            context.send(context.resumption(original, event_id), f"a resumption after id {event_id}")
            for event_id in named
        ],
        _AT_ONCE,
    )


def _ids_in_order(run: Exchange) -> list[str]:
    """The ids of its events that have the form which its API documents."""
    return [
        event.id
        for event in run.events
        if event.id and (event.position or event.id_order == "opaque") is not None
    ]


async def cut_after_the_end(context: ScenarioContext) -> list[CutRun]:
    """A finished long run, and its resumption after each event, as if it had been cut there."""
    needs_last_event_id(context)
    original, resumed = await context.run_once(resumed_after_each_id)
    return [CutRun(original, stream, original) for stream in resumed]


async def resumed_after_terminal(context: ScenarioContext) -> list[tuple[Exchange, Exchange]]:
    """Finished runs, of each way to end, and their resumption after their terminal event."""

    async def resumed(scenario: Callable[[ScenarioContext], Coroutine[Any, Any, Exchange]]) -> _Pair | None:
        original = await context.run_once(scenario)
        if original.over is None or not original.over.id:
            return None
        request = context.resumption(original, original.over.id)
        return original, await context.send(request, f"{original.label}, resumed after its terminal event")

    scenarios = {
        "success": completed_run,
        "failure": failing_run,
        "cancelled": cancelled_run,
        "silent": silent_run,
        "long": long_run,
    }
    pairs = await gather_some(
        [resumed(scenario) for action, scenario in scenarios.items() if context.target.action(action)]
    )
    return [pair for pair in pairs if pair is not None]


async def resumed_between_ids(context: ScenarioContext) -> tuple[Exchange, Exchange, list[Exchange]]:
    """A finished run, and its resumption after ids that it does not have: older ones, ones between its own, later ones.

    The second exchange is the resumption after an id that is older than the run by one millisecond.
    """
    original = await context.run_once(long_run)
    own = [event.stream_id for event in original.events if event.stream_id]
    if not own or len(own) < len(original.events) or own[0].ms == 0:
        return original, original, []
    just_older = StreamId(own[0].ms - 1, 0)

    async def after(event_id: StreamId) -> Exchange:
        request = context.resumption(original, str(event_id))
        return await context.send(request, f"a resumption after id {event_id}")

    return original, await after(just_older), await gather_some([after(one) for one in _absent_ids(own)])


def _absent_ids(own: list[StreamId]) -> list[StreamId]:
    """Ids in the order of numbers but not in that of text, and the next ones after some of the run's own."""
    older = [one for one in _OLD_IDS if one < own[0]]
    between = [
        one
        for place in spread(0, len(own) - 2)[:: max(1, len(own) // _MOST_BETWEEN)]
        for one in (StreamId(own[place].ms, own[place].seq + 1), StreamId(own[place].ms, _TWO_DIGITS))
        if own[place] < one < own[place + 1]
    ]
    last = own[-1]
    return list(dict.fromkeys([*older, *between, StreamId(last.ms, last.seq + 1), StreamId(last.ms + 1, 0)]))


async def resumed_out_of_text_order(context: ScenarioContext) -> OwnIds | None:
    """A finished run whose ids have a different order as text, its retry, and its resumption after such ids.

    The first resumption is after an id that has the same place in both orders. None if no run of the target has such
    ids, nor one that echoes a long text.
    """
    original = await _run_out_of_text_order(context)
    if original is None:
        return None
    ids = ordered_ids(original)
    wrong = set(misplaced(ids))
    right = [place for place in range(len(ids) - 1) if place not in wrong]
    if not context.target.promises(Capability.REREAD):
        return None
    retry = await context.send(context.again(original), f"the retry of {original.label}")
    return (
        original,
        retry,
        await gather_some(
            [
                context.send(context.resumption(original, ids[place]), f"a resumption after id {ids[place]}")
                for place in [*right[:1], *places_to_resume(ids)]
            ]
        ),
    )


async def _run_out_of_text_order(context: ScenarioContext) -> Exchange | None:
    scenarios = {"success": completed_run, "echo": echoed_run, "long": long_run, "failure": failing_run}
    runs = [
        await context.run_once(scenario)
        for action, scenario in scenarios.items()
        if context.target.action(action)
    ]
    if context.target.action("echo") and not any(map(_is_out_of_text_order, runs)):
        runs.append(
            await context.send(await echo_request(context, _BURST_TEXT), "a run that echoes many short words")
        )
    return next(filter(_is_out_of_text_order, runs), None)


def _is_out_of_text_order(run: Exchange) -> bool:
    return bool(run.terminals and misplaced(ordered_ids(run)))


async def retries_with_bad_ids(context: ScenarioContext) -> list[tuple[Exchange, Exchange]]:
    """A finished run, and retries with a Last-Event-ID that none of its events has."""
    original = await context.run_once(long_run)
    first = original.summary.first_id
    near = [f"{first.ms - 1}-0", f"{first.ms}-{2**64 - 1}"] if first is not None and first.ms else []
    far = _FUTURE_COUNTERS if _has_counters(original) else _FUTURE_IDS
    bad = [*_MALFORMED_IDS, *far, "0-0", await _foreign_id(context, original), *near]
    retries = await gather_some(
        [
            context.send(context.resumption(original, value), f"a retry with Last-Event-ID {value}")
            for value in bad
        ]
    )
    return [(original, retry) for retry in retries]


async def retries_with_bad_ids_in_flight(context: ScenarioContext) -> list[tuple[Exchange, Exchange]]:
    """Long runs, each with a retry in flight whose Last-Event-ID none of its events has."""
    whole = await context.run_once(long_run)
    if not whole.started_run:
        return []

    async def retried(value: str) -> tuple[Exchange, Exchange]:
        request = await context.request("long")
        async with context.connections(2):
            first = context.open(request, f"a long run, retried with Last-Event-ID {value}")
            await first.events(2)
            await context.known(first, to_resume=True)
            resumption = context.target.resumption(request, first.run_id, value)
            second = context.open(resumption, f"a retry in flight with Last-Event-ID {value}")
            original, retry = await asyncio.gather(first.result(), second.result())
        return original, retry

    far = _FUTURE_COUNTERS if _has_counters(whole) else _FUTURE_IDS
    bad = ("none", "$", "0-0", "2-0", far[0], await _foreign_id(context, whole))
    return await gather_some([context.unrefused(partial(retried, value)) for value in bad])


def _has_counters(run: Exchange) -> bool:
    return run.profile.ids is not None and run.profile.ids.order == "counter"


async def _foreign_id(context: ScenarioContext, run: Exchange) -> str:
    """An id of another run that `run` does not have: runs that begin in one millisecond may have equal ids."""
    own = {event.id for event in run.events}
    other = await context.run_once(completed_run)
    foreign = (event.id for event in other.events if event.id and event.id not in own)
    return next(foreign, "1-1")


async def first_retries_at_several_ages(context: ScenarioContext) -> list[tuple[Exchange, Exchange]]:
    """Runs that end at about the same time, each with its only retry some time after that."""
    declared_s = context.expect.key_retention_s
    longest_s = _LAST_FIRST_RETRY_S
    if declared_s is not None:
        longest_s = min(_RETENTION_SHARE * declared_s, _MOST_RETENTION_S)

    async def retried(age_s: float) -> tuple[Exchange, Exchange]:
        run = await context.send(await context.request("success"), f"a run to be retried after {age_s:g} s")
        await asyncio.sleep(age_s)
        return run, await context.send(run.request, f"the first retry, {age_s:g} s after the end of its run")

    return await gather_some([retried(longest_s * share) for share in (1 / 8, 1 / 4, 1 / 2, 1)])


async def retained_key(context: ScenarioContext) -> tuple[Exchange, Exchange, Exchange]:
    """A completed run, its retry, and one more retry when every other scenario has ended."""
    original, early = await context.run_once(replayed_run)
    await context.others_ended()
    if context.expect.key_retention_s is not None:
        age_s = (time.monotonic_ns() - original.timing.ended_ns) / 1e9
        await asyncio.sleep(min(_RETENTION_SHARE * context.expect.key_retention_s, _MOST_RETENTION_S) - age_s)
    return original, early, await context.send(original.request, "the last retry of the suite")


async def retries_at_the_end(context: ScenarioContext) -> list[tuple[Exchange, Exchange]]:
    """Long runs, each with a retry that is sent around the time of its terminal event.

    The retries are spread over the time from the last event but three to the end. A busy machine sends late, and its
    server answers late: so there are several rounds, until enough retries raced the terminal event, and each sends
    earlier by the delays of the one before. The last rounds are only for runs that no retry has raced.
    """
    context.forbid_when_read_only("races")
    whole = await context.run_once(long_run)
    if len(whole.events) < _RACE_FROM or whole.over is None:
        return []
    span_ms = between_ms(whole.events[-_RACE_FROM], whole.over)

    async def race(moment: RunMoment) -> tuple[Exchange, Exchange]:
        request = await context.request("long")
        async with context.connections(2):
            first = context.open(request, "a run that a retry races")
            retry = sent_at(context, first, None, "a retry around the terminal event", moment)
            return await asyncio.gather(first.result(), retry)

    races: list[_Pair] = []
    delays_ms: list[float] = []
    for number in range(_RACE_ROUNDS):
        count = _RACES if number == 0 else _RACES // 2  # fewer at once, since they make a busy machine busier
        moments = [
            moment_before_end(whole, span_ms * (1 - step / count) + _one_of(delays_ms, step))
            for step in range(count)
        ]
        pairs = await gather_some([context.unrefused(partial(race, moment)) for moment in moments], count)
        races += pairs
        delays_ms = sorted(_answer_delays_ms(zip(moments, pairs, strict=True)))
        racing = sum(races_terminal(*pair) for pair in races)
        if racing >= (_RACES // 2 if number < _RACE_ROUNDS // 2 else 1):
            break
    return races


def _one_of(delays_ms: Sequence[float], number: int) -> float:
    """One of the sorted delays, from short to long ones evenly; 0 without any."""
    return delays_ms[int(spread_evenly(number) * len(delays_ms))] if delays_ms else 0.0


def _answer_delays_ms(races: Iterable[tuple[RunMoment, _Pair]]) -> Iterator[float]:
    """How long after the moment at which each retry was due its response head arrived."""
    for moment, (run, retry) in races:
        if retry.head_ns is not None and len(run.events) >= moment.event:
            due_ns = run.events[moment.event - 1].arrival_ns + moment.wait_s * 1e9
            yield max(0.0, (retry.head_ns - due_ns) / 1e6)
