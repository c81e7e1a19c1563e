"""Moments at which a request meets a long run in flight: before its first event, and between its events."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from harness.contract.decoding.decoded_frame import DecodedFrame
from harness.contract.exchange import Exchange
from harness.contract.moments import event_arrivals_ns, gap_of_s
from harness.protocol.request import HttpRequest
from harness.suite.scenario import ScenarioContext
from harness.transport.asyncio_client import AsyncExchange

_BEFORE_END_S = 0.1  # what comes later races the terminal event, which is a different situation
_LONGEST_GAP_MS = 2000.0
_GOLDEN = 0.618034  # the fractional parts of its multiples are spread evenly, however many there are


@dataclass(frozen=True, slots=True)
class RunMoment:
    """`wait_s` seconds after event number `event`, counted from 1; 0 stands for the request."""

    event: int
    wait_s: float


def spread_moments(whole: Exchange, count: int) -> list[RunMoment]:
    """Moments in a run like `whole`: the first before the first event, the others at even phases of a gap."""
    first_ns, sent_ns = whole.summary.first_event_ns, whole.timing.sent_ns
    first_event_s = 0.0 if first_ns is None or sent_ns is None else max(0, first_ns - sent_ns) / 1e9
    gap_s = gap_of_s(event_arrivals_ns(whole)) or 0.0
    arrivals_ns = [event.arrival_ns for event in whole.events]
    until_ns = arrivals_ns[-1] - int((gap_s + _BEFORE_END_S) * 1e9) if arrivals_ns else 0
    last = max(1, sum(at_ns <= until_ns for at_ns in arrivals_ns))
    between = count - 1
    return [
        RunMoment(0, first_event_s / 2),
        *(
            RunMoment(1 + int(spread_evenly(number) * last), (number + 0.5) / between * gap_s)
            for number in range(between)
        ),
    ]


def between_ms(earlier: DecodedFrame, later: DecodedFrame) -> float:
    """The time between two events: between their arrivals, or between their ids if packets were merged."""
    arrived_ms = (later.arrival_ns - earlier.arrival_ns) / 1e6
    produced_ms = later.stream_id.ms - earlier.stream_id.ms if earlier.stream_id and later.stream_id else 0.0
    return max(arrived_ms, min(produced_ms, _LONGEST_GAP_MS))


def moment_before_end(whole: Exchange, before_ms: float) -> RunMoment:
    """The moment `before_ms` before the event that ends a run like `whole`; not before its first event.

    Counted from the last event before that moment, since runs do not all take as long. Raises ValueError if `whole` is
    not over.
    """
    if whole.over is None:
        raise ValueError(f"{whole.label} is not over")
    left_ms = [between_ms(event, whole.over) for event in whole.events]
    number = max((place for place, ms in enumerate(left_ms, 1) if ms >= before_ms), default=1)
    return RunMoment(number, max(0.0, left_ms[number - 1] - before_ms) / 1000)


def spread_evenly(number: int) -> float:
    """A share from 0 to 1, a different one for each number; those of successive numbers are spread evenly."""
    return number * _GOLDEN % 1


def phase_wait_s(whole: Exchange, number: int) -> float:
    """A wait of a part of the gap between events, a different part for each number."""
    return spread_evenly(number) * (gap_of_s(event_arrivals_ns(whole)) or 0.0)


async def sent_at(
    context: ScenarioContext,
    first: AsyncExchange,
    request: HttpRequest | None,
    label: str,
    moment: RunMoment,
) -> Exchange:
    """The response to a request that is sent at `moment` of the run that `first` reads; None: one that joins it."""
    await first.events(moment.event)
    await asyncio.sleep(moment.wait_s)
    return await context.open(request or await context.joining(first), label).result()
