"""Random moments at which a request meets a run in flight.

A request that is always sent right after an event meets the server in one phase only, just when it waits for the next
event. A defect that shows only at other moments, such as a hole between reading past events and subscribing to new
ones, would go unseen. So such requests wait for a random part of the gap to the next event.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import gevent

from harness.contract.exchange import Exchange
from harness.contract.moments import event_arrivals_ns, gap_of_s
from harness.contract.rules.cancel import UsualRun

_LONGEST_WAIT_S = 5.0


class Readable(Protocol):
    """A stream that is being read: a GeventExchange."""

    @property
    def event_arrivals_ns(self) -> Sequence[int]:
        """Arrival of each read since the first event, so far."""

    def wait_for_events(self, count: int) -> bool:
        """Wait until `count` events have arrived; False if the stream ended before that."""


@dataclass(slots=True)
class RunTimes:
    """Times of the last run of an action; None until known.

    gap_s: between two moments at which events arrived. first_event_s: from sending to the first event. usual: the least
    events and the least time of all runs that ended with success.
    """

    gap_s: float | None = None
    first_event_s: float | None = None
    usual: UsualRun | None = None


class RandomMoments:
    """Waits for random moments. times: of earlier runs by action, shared by all journeys of a process."""

    def __init__(
        self,
        rng: random.Random,
        times: dict[str, RunTimes] | None = None,
        sleep: Callable[[float], None] = gevent.sleep,
    ) -> None:
        self._rng = rng
        self._times = {} if times is None else times
        self._sleep = sleep

    def wait_for_events(self, live: Readable, count: int, action: str) -> bool:
        """Wait for `count` events, and then for a random part of the gap to the next one.

        Returns False if the stream ended before `count` events. If no gap is known yet, wait for one.
        """
        if not live.wait_for_events(count):
            return False
        gap_s = gap_of_s(live.event_arrivals_ns) or self._of(action).gap_s
        if gap_s is None:
            seen = count
            while gap_s is None:
                seen += 1
                if not live.wait_for_events(seen):
                    return True  # all events arrived at one moment: there is no gap
                gap_s = gap_of_s(live.event_arrivals_ns)
        self._wait_within(gap_s)
        return True

    def wait_after_cut(self, part: Exchange, action: str) -> None:
        """Wait for a random part of the gap between events before resuming a stream that was cut."""
        gap_s = gap_of_s(event_arrivals_ns(part)) or self._of(action).gap_s
        if gap_s is not None:
            self._wait_within(gap_s)

    def waits_before_first_event_s(self, count: int, action: str) -> list[float]:
        """The waits in seconds before each of `count` requests that follow another one, until its first event.

        Every second time all are 0: the requests are sent at once. So they are before a run of the action was seen.
        """
        first_event_s = self._of(action).first_event_s
        if first_event_s is None or self._rng.random() < 0.5:
            return [0.0] * count
        moments = sorted(self._rng.uniform(0.0, first_event_s) for _ in range(count))
        return [moment - before for before, moment in zip([0.0, *moments], moments, strict=False)]

    def record(self, action: str, run: Exchange) -> None:
        """Remember the times of a run of the action that was read from its start."""
        first_ns, sent_ns = run.summary.first_event_ns, run.timing.sent_ns
        if first_ns is None or sent_ns is None:
            return
        times = self._times.setdefault(action, RunTimes())
        times.first_event_s = min(max(0, first_ns - sent_ns) / 1e9, _LONGEST_WAIT_S)
        gap_s = gap_of_s(event_arrivals_ns(run))
        if gap_s is not None:
            times.gap_s = gap_s
        usual = UsualRun.of(run) if run.outcome == "done" else None
        if usual is not None:
            times.usual = usual if times.usual is None else UsualRun(*map(min, usual, times.usual))

    def whole_s(self, action: str) -> float | None:
        """How long the shortest run of the action took that ended with success; None if none was seen."""
        usual = self.usual(action)
        return None if usual is None else usual.took_ns / 1e9

    def usual(self, action: str) -> UsualRun | None:
        """The least that runs of the action had that ended with success; None if none was seen."""
        return self._of(action).usual

    def _of(self, action: str) -> RunTimes:
        return self._times.get(action, RunTimes())

    def _wait_within(self, gap_s: float) -> None:
        self._sleep(self._rng.uniform(0.0, gap_s))
