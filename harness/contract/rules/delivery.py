"""Whether a run's events were delivered as they were made, from their times (harness.contract.rules.arrivals)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.contract.exchange import Exchange
from harness.contract.finding import Location, RuleResult, Verdict, failed, inconclusive, passed
from harness.contract.rules.arrivals import (
    Block,
    EventTimes,
    Holding,
    are_few_blocks,
    are_made_on_arrival,
    blocks_of,
    event_times,
    holding_of,
    regular_blocks,
)
from harness.formatting import counted

#: The long action must stream for a second or more.
_LONG_MS = 1000.0
#: Arrival spread divided by production spread: up to _BUNCHED the events arrived all at once, from _SPREAD on they
#: arrived as produced. In between, a busy machine here looks the same as a server that buffers.
_BUNCHED, _SPREAD = 0.2, 0.5
_SOON = 0.03  # of a run: a harness that was busy for all of it hardly reads so soon after its end by chance
_BUFFERED = ": the stream is buffered"
_COLLECTED = ": the server or a proxy collects them"
#: Of the time between two blocks: a harness that reads so late may have made the blocks itself. Of a run: if the
#: harness was late for so long, its machine has too little CPU time, for a server on the same machine, too.
_STARVED = 0.2


def delivered_live(runs: Sequence[Exchange]) -> RuleResult:
    """Whether the events of runs of the same action arrived as they were made. The first run is the one to judge.

    The others help where it shows only one pause: a pause at the same place in several runs is the server's. And a
    server that had no CPU time for a moment makes blocks of any size in one run, but hardly in most of them.
    """
    deliveries = [_delivery(run) for run in runs]
    results = [delivery.result for delivery in deliveries]
    live = next((result for result in results if result.verdict is Verdict.PASS), None)
    broken = [delivery for delivery in deliveries if delivery.result.verdict is Verdict.FAIL]
    most = 2 * len(broken) > len(deliveries)
    proven = next((one for one in broken if (most or one.is_certain if one.is_timed else live is None)), None)
    if proven is not None:
        return proven.result
    if broken:
        detail = broken[0].result.detail.removesuffix(_BUFFERED).removesuffix(_COLLECTED)
        others = f", since in another run of the same action {live.detail}" if live is not None else ""
        return inconclusive(
            f"{detail}: the server, the network or this machine paused{others}", *broken[0].result.places
        )
    paused = [(delivery.run, delivery.pause) for delivery in deliveries if delivery.pause is not None]
    for stream, pause in paused:
        same = sum(abs(other.first - pause.first) <= 1 for _, other in paused)
        if same >= 2 and same > len(deliveries) / 2:
            return failed(
                f"in {same} of {len(deliveries)} runs {counted(pause.count, 'event')}, made over "
                f"{pause.held_ms:.0f} ms, arrived together at the same place: the stream is buffered",
                Location(stream, stream.events[pause.first]),
            )
    return live or results[0]


def not_in_regular_blocks(runs: Sequence[Exchange]) -> RuleResult:
    """Whether the events of runs whose ids don't tell the time arrived without signs of a buffer.

    The first run is the one to judge, the next one where the first says nothing. Where ids tell the time, the result
    of `delivered_live` for the same runs decides, so a reader who is sent there finds no pass.
    """
    results = [_regular_result(run, runs) for run in runs]
    return next((result for result in results if result.verdict is not Verdict.INCONCLUSIVE), results[0])


def _regular_result(run: Exchange, runs: Sequence[Exchange]) -> RuleResult:
    if run.summary.events < 3:
        return inconclusive(
            f"only {counted(run.summary.events, 'event')}; configure a longer [target.actions.long]",
            Location(run),
        )
    times = event_times(run)
    if times.tell_time or are_made_on_arrival(run, times):
        delivered = delivered_live(runs)
        if delivered.verdict is Verdict.PASS:
            return passed("the ids tell when events were made: they arrived then")
        return inconclusive("the ids tell when events were made: see headers.incremental", *delivered.places)
    if times.spread_ms < _LONG_MS / 2:
        return inconclusive(
            f"the events arrived within {times.spread_ms:.0f} ms: see headers.incremental", Location(run)
        )
    blocks = blocks_of(times)
    sign = regular_blocks(run, times)
    if sign is None and are_few_blocks(times):
        return inconclusive(
            f"{_arrived(times)} in only {counted(len(blocks), 'block')}, of no regular size or distance: the server "
            "may make them so, or a buffer may collect them; configure a longer [target.actions.long]",
            Location(run, run.events[blocks[1].first]),
        )
    if sign is None:
        return passed(f"{_arrived(times)} in {counted(len(blocks), 'block')} of no regular size or distance")
    what = f"{len(times.arrived_ms)} events arrived in {counted(len(blocks), 'block')}, {sign}"
    place = Location(run, run.events[blocks[1].first])
    apart_ms = times.spread_ms / max(1, len(blocks) - 1)
    late = [
        block
        for block in blocks[:-1]
        if (block.lag_ms is not None and block.lag_ms > _STARVED * apart_ms)
        or block.may_have_waited(apart_ms)
    ]
    if len(late) > len(blocks) / 2:
        return inconclusive(f"{what}, but {_read_late(late[0])}", place)
    return failed(f"{what}: they look as if a buffer collects them", place)


@dataclass(frozen=True, slots=True)
class _RunDelivery:
    """How one run's events arrived. pause: the block of events after the only pause, if it was a long one.

    is_timed: whether the ids tell when the events were made. If not, events that came together may have been made
    together, by a server that had to wait, as long as other runs of the same action arrive as they are made.
    is_certain: whether this run alone shows a buffer; a machine without CPU time may look the same otherwise.
    """

    run: Exchange
    result: RuleResult
    pause: Block | None = None
    is_timed: bool = True
    is_certain: bool = True


def _delivery(run: Exchange) -> _RunDelivery:
    if run.summary.events < 3:
        few = counted(run.summary.events, "event")
        return _RunDelivery(
            run, inconclusive(f"only {few}; configure a longer [target.actions.long]", Location(run))
        )
    times = event_times(run)
    if times.tell_time:
        return _timed_delivery(run, times)
    return _RunDelivery(run, _untimed_delivery(run, times), is_timed=False)


def _untimed_delivery(run: Exchange, times: EventTimes) -> RuleResult:
    took_ms = times.arrived_ms[-1]
    if took_ms < _LONG_MS:
        return inconclusive(
            f"the long action ended within {took_ms:.0f} ms; configure one that streams for a second or more",
            Location(run),
        )
    if times.spread_ms < _SPREAD * _LONG_MS and are_made_on_arrival(run, times):
        return inconclusive(
            f"the long action made its events within {times.made_over_ms:.0f} ms; configure one that streams for a "
            "second or more",
            Location(run),
        )
    return _spread_result(run, times, _LONG_MS) or passed(_arrived(times))


def _timed_delivery(run: Exchange, times: EventTimes) -> _RunDelivery:
    expected_ms = times.made_over_ms
    if times.spread_ms / expected_ms <= _BUNCHED:
        largest = max(blocks_of(times), key=lambda block: block.held_ms)
        held_ms = largest.held_ms
        soon = largest.lag_ms is not None and largest.lag_ms <= _STARVED * held_ms
        soon = soon and not largest.may_have_waited(held_ms)
        result = _spread_result(run, times, expected_ms) or passed(_arrived(times))
        return _RunDelivery(
            run, result, largest if soon else None, is_certain=_own_share(run, times) < _STARVED
        )
    holding = holding_of(times)
    if holding.repeated:
        is_certain = holding.regular and _own_share(run, times) < _STARVED
        return _RunDelivery(run, _blocks_result(run, times, holding), is_certain=is_certain)
    pause = max(holding.late, key=lambda block: block.held_ms) if holding.once and holding.proven else None
    unclear = _spread_result(run, times, expected_ms)
    if unclear is None and holding.once:
        unclear = inconclusive(
            f"{counted(sum(block.count for block in holding.late), 'event')} of {len(times.arrived_ms)}, made over "
            f"{holding.share * expected_ms:.0f} ms, arrived together: the server, the network or this machine paused",
            Location(run, run.events[holding.late[0].first]),
        )
    return _RunDelivery(run, unclear or passed(_arrived(times)), pause)


def _arrived(times: EventTimes) -> str:
    return f"{len(times.arrived_ms)} events arrived over {times.spread_ms:.0f} ms"


def _spread_result(run: Exchange, times: EventTimes, expected_ms: float) -> RuleResult | None:
    """A result if the events arrived within less time than they were made in; else None."""
    share = times.spread_ms / expected_ms
    if share >= _SPREAD:
        return None
    what = f"{len(times.arrived_ms)} events produced over {expected_ms:.0f} ms arrived within {times.spread_ms:.0f} ms"
    place = Location(run, run.first_event)
    if share > _BUNCHED:
        return inconclusive(f"{what}: the server, the network or this machine delayed some of them", place)
    largest = max(blocks_of(times), key=lambda block: block.count)
    is_last = largest.first + largest.count == len(
        times.arrived_ms
    )  # no event came later, to be read with it
    prompt_ms = _SOON * expected_ms if is_last else 0.0
    is_prompt = largest.was_read_promptly(expected_ms / len(times.arrived_ms))
    if largest.may_have_waited(expected_ms) or (
        largest.count > 1 and not is_prompt and (largest.lag_ms is None or largest.lag_ms > prompt_ms)
    ):
        return inconclusive(f"{what}, but {_read_late(largest)}", place)
    return failed(what + _BUFFERED, place)


def _blocks_result(run: Exchange, times: EventTimes, holding: Holding) -> RuleResult:
    late = holding.late
    longest = max(late, key=lambda block: block.held_ms)
    what = (
        f"{counted(sum(block.count for block in late), 'event')} of {len(times.arrived_ms)} arrived in "
        f"{counted(len(late), 'block')}, up to {longest.held_ms:.0f} ms after they were made"
    )
    place = Location(run, run.events[longest.first])
    if not holding.proven:
        return inconclusive(
            f"{what}, but {_read_late(max(late, key=lambda block: block.lag_ms or 0.0))}", place
        )
    if not holding.regular and _own_share(run, times) >= _STARVED:
        return inconclusive(
            f"{what}, in blocks of no regular size, but the harness itself had no CPU time for "
            f"{_own_share(run, times):.0%} of that time: a server on the same machine may have had none",
            place,
        )
    return failed(what + _COLLECTED, place)


def _own_share(run: Exchange, times: EventTimes) -> float:
    """For which share of the time in which the events were made the harness itself was late."""
    return run.timing.late_ns / 1e6 / max(1.0, times.made_over_ms)


def _read_late(block: Block) -> str:
    """Why a block proves nothing: the harness read it late, or cannot know."""
    if block.may_have_waited(max(1.0, block.lag_ms or 0.0)):
        return f"the harness was busy and may have received some of them {block.error_ms:.0f} ms before"
    if block.lag_ms is None:
        return "without the kernel's timestamps a busy harness looks the same"
    return f"the harness was busy and read them {block.lag_ms:.0f} ms late"
