"""The open loop's pacer: starts each arrival when it is due, however earlier ones fare. Independent of Locust."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Self

import gevent
import gevent.pool
from gevent.event import Event

from harness.load.schedule.arrivals import Arrivals, arrivals_for
from harness.load.schedule.plan import JourneyMix, LoadPlan, WorkerShare
from harness.load.schedule.precise_timer import PreciseTimer
from harness.run_clock import RUN_CLOCK

_SECOND_NS = 1_000_000_000
_READY_NS = 2_000_000
_PRECISE_NS = (
    20_000_000  # the precise timer cannot be interrupted, so it covers only the last stretch of a wait
)


@dataclass(frozen=True, slots=True)
class Schedule:
    """One process's part of an open loop.

    arrivals: of the whole test; those due before `duration_s` start. start_ns: the schedule's zero, monotonic clock.
    max_in_flight: limit for this process.
    """

    arrivals: Arrivals
    share: WorkerShare
    seed: int
    start_ns: int
    duration_s: float
    max_in_flight: int | None = None

    @classmethod
    def of(cls, plan: LoadPlan) -> Self | None:
        """None in a closed loop, or if this process has no share. Raises SettingsError."""
        load, share, arrivals = plan.load, plan.share, arrivals_for(plan.load)
        if arrivals is None or share is None or load.seed is None:
            return None
        limit = None if load.max_in_flight is None else share.of(load.max_in_flight)
        start_ns = RUN_CLOCK.monotonic_ns(plan.start_wall_ns)
        return cls(arrivals, share, load.seed, start_ns, load.duration, limit)

    def when_ready(self) -> Self:
        """The schedule as it can begin from now on: its zero is later if the users were not ready in time.

        Otherwise the first arrivals would measure how long the harness needed to start.
        """
        earliest_ns = time.monotonic_ns() + _READY_NS
        return self if earliest_ns <= self.start_ns else replace(self, start_ns=earliest_ns)

    @property
    def end_ns(self) -> int:
        """The end of the duration, monotonic clock."""
        return self.start_ns + round(self.duration_s * _SECOND_NS)

    def due(self, weights: Mapping[str, int]) -> Iterator[tuple[int, str]]:
        """The process's arrivals: due time (monotonic clock) and journey. weights: of the journeys."""
        mix = JourneyMix(weights, self.seed)
        for number in self.share.arrivals():
            due_s = self.arrivals.due_s(number)
            if due_s >= self.duration_s:
                return
            yield self.start_ns + round(due_s * _SECOND_NS), mix.journey(number)


@dataclass(frozen=True, slots=True)
class Pacer:
    """Follows a schedule to its end, or until `stopping` is set. Its zero waits until the pacer is ready.

    begin: runs one journey that was due at the given time; called in its own greenlet. drop: called for each
    arrival that does not start because max_in_flight is reached. expect: called with the time at which the next
    arrival is due, and with None at the end: other work of this process yields by then.
    """

    schedule: Schedule
    stopping: Event
    begin: Callable[[str, int], None]
    drop: Callable[[str, int], None]
    expect: Callable[[int | None], None] = lambda _: None

    def run(self, weights: Mapping[str, int]) -> None:
        """Start the arrivals and wait until they end. If killed, kills those in flight."""
        in_flight = gevent.pool.Group()
        timer = PreciseTimer()
        try:
            self._begin_all(self.schedule.when_ready(), weights, in_flight, timer)
            self.expect(None)
            in_flight.join()
        finally:
            self.expect(None)
            in_flight.kill()
            timer.close()

    def _begin_all(
        self,
        schedule: Schedule,
        weights: Mapping[str, int],
        in_flight: gevent.pool.Group,
        timer: PreciseTimer,
    ) -> None:
        limit = schedule.max_in_flight
        for due_ns, journey in schedule.due(weights):
            self.expect(due_ns)
            if not self._wait_until(due_ns, timer):
                return
            if limit is not None and len(in_flight) >= limit:
                self.drop(journey, due_ns)
            else:
                _start(gevent.Greenlet(self.begin, journey, due_ns), in_flight)
        self.expect(None)
        self._wait_until(schedule.end_ns, timer)

    def _wait_until(self, due_ns: int, timer: PreciseTimer) -> bool:
        """Wait until this time of the monotonic clock. False if the test is being stopped."""
        left_ns = due_ns - time.monotonic_ns()
        if left_ns <= 0:
            gevent.sleep(0)  # when behind schedule, still let the streams read
        if left_ns > _PRECISE_NS:
            self.stopping.wait((left_ns - _PRECISE_NS / 2) / _SECOND_NS)
        if not self.stopping.is_set():
            timer.sleep_until(due_ns)
        return not self.stopping.is_set()


def _start(arrival: gevent.Greenlet, in_flight: gevent.pool.Group) -> None:
    """Run a greenlet until it first waits, before those that are ready: each would take its time from the arrival.

    Of many streams that end together, each is decoded and checked; `spawn` would queue the arrival behind them.
    """
    in_flight.add(arrival)
    goes_on = gevent.get_hub().loop.run_callback(gevent.getcurrent().switch)
    try:
        arrival.switch()
    finally:
        goes_on.stop()  # or it would end a later wait, if this greenlet was killed here
