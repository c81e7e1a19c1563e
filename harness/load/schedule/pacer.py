"""The open loop's pump: begins arrivals when they are due, whatever became of those before. No Locust here."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Self

import gevent
import gevent.pool
from gevent.event import Event

from harness.load.schedule.arrivals import Arrivals, arrivals_for
from harness.load.schedule.plan import JourneyMix, LoadPlan, WorkerShare
from harness.load.schedule.precise_timer import PreciseTimer

_SECOND_NS = 1_000_000_000
_PRECISE_NS = 20_000_000  # who waits for longer can be stopped meanwhile; the alarm can only be on time


@dataclass(frozen=True, slots=True)
class Schedule:
    """One process's part of an open loop.

    arrivals: of the whole test; those due before `duration_s` begin. start_ns: the schedule's zero on the
    monotonic clock. max_in_flight: how many may be on their way in this process.
    """

    arrivals: Arrivals
    share: WorkerShare
    seed: int
    start_ns: int
    duration_s: float
    max_in_flight: int | None = None

    @classmethod
    def of(cls, plan: LoadPlan) -> Self | None:
        """None in a closed loop, and where this process has no share. Raises SettingsError."""
        load, share, arrivals = plan.load, plan.share, arrivals_for(plan.load)
        if arrivals is None or share is None or load.seed is None:
            return None
        limit = None if load.max_in_flight is None else share.of(load.max_in_flight)
        start_ns = time.monotonic_ns() + plan.start_wall_ns - time.time_ns()
        return cls(arrivals, share, load.seed, start_ns, load.duration, limit)

    @property
    def end_ns(self) -> int:
        """The end of the duration on the monotonic clock."""
        return self.start_ns + round(self.duration_s * _SECOND_NS)

    def due(self, weights: Mapping[str, int]) -> Iterator[tuple[int, str]]:
        """Its arrivals: when on the monotonic clock, and which journey. weights: of the journeys."""
        mix = JourneyMix(weights, self.seed)
        for number in self.share.arrivals():
            due_s = self.arrivals.due_s(number)
            if due_s >= self.duration_s:
                return
            yield self.start_ns + round(due_s * _SECOND_NS), mix.journey(number)


@dataclass(frozen=True, slots=True)
class Pacer:
    """Follows a timetable, until its end or until `stopping` is set.

    begin: travels one journey that was due at that moment; it is called in a greenlet of its own. drop:
    told of each arrival that is not begun because too many are on their way.
    """

    timetable: Schedule
    stopping: Event
    begin: Callable[[str, int], None]
    drop: Callable[[str, int], None]

    def run(self, weights: Mapping[str, int]) -> None:
        """Begin the arrivals and wait for their ends. Killed, it kills those that are on their way."""
        arriving = gevent.pool.Group()
        alarm = PreciseTimer()
        try:
            self._begin_all(self.timetable.due(weights), arriving, alarm)
            arriving.join()
        finally:
            arriving.kill()
            alarm.close()

    def _begin_all(
        self, due: Iterator[tuple[int, str]], arriving: gevent.pool.Group, alarm: PreciseTimer
    ) -> None:
        limit = self.timetable.max_in_flight
        for due_ns, journey in due:
            if not self._wait_until(due_ns, alarm):
                return
            if limit is not None and len(arriving) >= limit:
                self.drop(journey, due_ns)
            else:
                arriving.spawn(self.begin, journey, due_ns)
        self._wait_until(self.timetable.end_ns, alarm)

    def _wait_until(self, due_ns: int, alarm: PreciseTimer) -> bool:
        """Wait for that moment of the monotonic clock; False when the test is stopped before or at it."""
        left_ns = due_ns - time.monotonic_ns()
        if left_ns <= 0:
            gevent.sleep(0)  # a pump that is behind lets the others read
        if left_ns > _PRECISE_NS:
            self.stopping.wait((left_ns - _PRECISE_NS / 2) / _SECOND_NS)
        if not self.stopping.is_set():
            alarm.sleep_until(due_ns)
        return not self.stopping.is_set()
