"""The pacer alone, without Locust and without a server."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import gevent
import psutil
import pytest
from gevent.event import Event

from harness.config.load_settings import LoadSettings
from harness.load.schedule.arrivals import Arrivals, Constant, Trace
from harness.load.schedule.pacer import Pacer, Schedule
from harness.load.schedule.plan import JourneyMix, LoadPlan, WorkerShare
from harness.load.schedule.precise_timer import PreciseTimer

MIX = {"fresh": 1, "resume": 1}
MS = 1_000_000
WHOLE = WorkerShare(0, 1)


def soon_ns() -> int:
    return time.monotonic_ns() + 50 * MS


class PacedRun:
    """A pacer whose journeys last `for_s`, and what it did."""

    def __init__(
        self,
        arrivals: Arrivals,
        *,
        duration_s: float,
        share: WorkerShare = WHOLE,
        start_ns: int | None = None,
        max_in_flight: int | None = None,
        for_s: float = 0.0,
        on_begin: Callable[[], None] = lambda: None,
    ) -> None:
        start_ns = soon_ns() if start_ns is None else start_ns
        self.schedule = Schedule(arrivals, share, 3, start_ns, duration_s, max_in_flight)
        self.stopping = Event()
        self.begun: list[tuple[str, int]] = []
        self.begun_ns: list[int] = []
        self.dropped: list[tuple[str, int]] = []
        self.ended = 0
        self.killed = 0
        self._for_s = for_s
        self._on_begin = on_begin
        self.pacer = Pacer(self.schedule, self.stopping, self._begin, self._drop)

    def run(self) -> PacedRun:
        self.pacer.run(MIX)
        return self

    def _begin(self, journey: str, due_ns: int) -> None:
        self.begun_ns.append(time.monotonic_ns())
        self.begun.append((journey, due_ns))
        self._on_begin()
        try:
            gevent.sleep(self._for_s)
            self.ended += 1
        except gevent.GreenletExit:
            self.killed += 1
            raise

    def _drop(self, journey: str, due_ns: int) -> None:
        self.dropped.append((journey, due_ns))

    def due(self, numbers: Sequence[int], rate: float) -> list[tuple[str, int]]:
        """What is right: each of these arrivals with its journey."""
        mix = JourneyMix(MIX, 3)
        start_ns = self.schedule.start_ns
        return [(mix.journey(number), start_ns + round(number / rate * 1e9)) for number in numbers]


def test_every_arrival_within_the_duration_begins_when_it_is_due() -> None:
    paced = PacedRun(Constant(500), duration_s=0.2).run()
    assert paced.begun == paced.due(range(100), 500)
    assert all(began_ns >= due_ns for began_ns, (_, due_ns) in zip(paced.begun_ns, paced.begun, strict=True))
    assert paced.ended == 100
    assert paced.dropped == []
    assert time.monotonic_ns() >= paced.schedule.end_ns


def test_a_worker_begins_its_share() -> None:
    paced = PacedRun(Constant(500), duration_s=0.2, share=WorkerShare(1, 3)).run()
    assert paced.begun == paced.due(range(1, 100, 3), 500)


def test_the_schedule_waits_until_the_pacer_is_ready() -> None:
    planned_ns = time.monotonic_ns() - 80 * MS
    paced = PacedRun(Constant(500), duration_s=0.1, start_ns=planned_ns)
    ready_ns = time.monotonic_ns()
    paced.run()
    due_ns = [due for _, due in paced.begun]
    late_ns = due_ns[0] - planned_ns
    assert due_ns[0] > ready_ns  # or it would count as 80 ms late
    assert [(journey, due - late_ns) for journey, due in paced.begun] == paced.due(range(50), 500)


def test_a_pacer_that_falls_behind_begins_all_of_them_with_their_due_times() -> None:
    paced = PacedRun(Constant(500), duration_s=0.1, on_begin=lambda: block_once(paced, 0.08))
    paced.run()
    assert paced.begun == paced.due(range(50), 500)


def block_once(paced: PacedRun, for_s: float) -> None:
    """Keep the event loop from running, in the first journey only."""
    until_s = time.monotonic() + for_s
    while len(paced.begun) == 1 and time.monotonic() < until_s:
        pass


def test_a_pacer_that_is_behind_lets_others_run() -> None:
    seen: list[int] = []
    paced = PacedRun(Constant(1000), duration_s=0.1, on_begin=lambda: block_once(paced, 0.2))

    def look() -> None:
        while True:
            seen.append(len(paced.begun))
            gevent.sleep(0)

    other = gevent.spawn(look)
    paced.run()
    other.kill()
    assert len(paced.begun) == 100
    assert len(set(seen)) > 50


def test_an_arrival_begins_before_what_was_ready_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    log: list[str] = []
    loop = gevent.get_hub().loop
    sleep_until = PreciseTimer.sleep_until

    def woken(timer: PreciseTimer, due_ns: int) -> None:
        sleep_until(timer, due_ns)
        loop.run_callback(log.append, "other")

    monkeypatch.setattr(PreciseTimer, "sleep_until", woken)
    paced = PacedRun(Constant(5.0), duration_s=0.45)
    begin = paced.pacer.begin

    def logged(journey: str, due_ns: int) -> None:
        log.append("begins")
        begin(journey, due_ns)
        gevent.sleep(0)
        log.append("ends")

    expected: list[int | None] = []
    paced.pacer = replace(paced.pacer, begin=logged, expect=expected.append)
    paced.run()
    assert log == ["begins", "other", "ends"] * 3
    assert expected == [*(due_ns for _, due_ns in paced.begun), None, None, None]


def test_an_arrival_that_raises_does_not_stop_the_pacer() -> None:
    paced = PacedRun(Constant(100.0), duration_s=0.035)
    begun: list[int] = []

    def raises(_: str, due_ns: int) -> None:
        begun.append(due_ns)
        raise gevent.GreenletExit

    paced.pacer = replace(paced.pacer, begin=raises)
    paced.run()
    assert len(begun) == 4


def test_slow_journeys_do_not_delay_arrivals() -> None:
    paced = PacedRun(Constant(200), duration_s=0.1, for_s=0.8).run()
    assert paced.begun == paced.due(range(20), 200)
    assert paced.begun_ns[-1] < paced.schedule.start_ns + 800 * MS  # none had ended
    assert paced.ended == 20


def test_the_pacer_waits_until_the_end_of_the_duration() -> None:
    paced = PacedRun(Trace([0, 0.01]), duration_s=0.1).run()
    assert len(paced.begun) == 2
    assert time.monotonic_ns() >= paced.schedule.end_ns


def test_an_arrival_due_at_the_end_does_not_start() -> None:
    assert len(PacedRun(Trace([0, 0.05, 0.1, 0.2]), duration_s=0.1).run().begun) == 2


def test_arrivals_beyond_the_limit_are_dropped_and_reported() -> None:
    paced = PacedRun(Constant(200), duration_s=0.1, for_s=30, max_in_flight=3)
    running = gevent.spawn(paced.run)
    while time.monotonic_ns() < paced.schedule.end_ns:
        gevent.sleep(0.01)
    gevent.sleep(0.01)
    assert paced.begun == paced.due(range(3), 200)
    assert paced.dropped == paced.due(range(3, 20), 200)
    running.kill()
    assert paced.killed == 3


def test_ended_journeys_make_room() -> None:
    paced = PacedRun(Trace([0, 0.001, 0.5, 0.501]), duration_s=0.6, for_s=0.05, max_in_flight=1).run()
    numbers = [round((due_ns - paced.schedule.start_ns) / MS) for _, due_ns in paced.begun]
    assert numbers == [0, 500]
    assert [round((due_ns - paced.schedule.start_ns) / MS) for _, due_ns in paced.dropped] == [1, 501]


def test_no_room_for_a_share_of_nothing() -> None:
    paced = PacedRun(Constant(100), duration_s=0.05, max_in_flight=0).run()
    assert (paced.begun, len(paced.dropped)) == ([], 5)


@pytest.mark.parametrize("rate", [1000, 1])
def test_a_test_that_is_stopped_begins_nothing_more(rate: float) -> None:
    paced = PacedRun(Constant(rate), duration_s=600, for_s=0.05)
    running = gevent.spawn(paced.run)
    while not paced.begun:
        gevent.sleep(0.001)
    begun = len(paced.begun)
    paced.stopping.set()
    running.join(timeout=10)
    assert running.successful()  # it did not wait for the next, a second away
    assert len(paced.begun) <= begun + 1
    assert paced.ended == len(paced.begun)


def test_a_test_that_is_stopped_before_it_begins() -> None:
    paced = PacedRun(Constant(10), duration_s=1, start_ns=time.monotonic_ns() + 10**12)
    paced.stopping.set()
    assert paced.run().begun == []


def test_a_pacer_that_is_killed_kills_those_in_flight() -> None:
    paced = PacedRun(Constant(100), duration_s=600, for_s=600)
    running = gevent.spawn(paced.run)
    while len(paced.begun) < 3:
        gevent.sleep(0.01)
    running.kill()
    assert paced.killed == len(paced.begun)
    gevent.sleep(0.05)
    assert paced.killed == len(paced.begun)


# Schedules


def plan(share: WorkerShare | None, **load: object) -> LoadPlan:
    return LoadPlan("t", time.time_ns() + 10**9, LoadSettings.model_validate(load), share)


def test_the_schedule_of_a_plan() -> None:
    schedule = Schedule.of(plan(WorkerShare(1, 3), rate=10, duration=2, seed=4, max_in_flight=8))
    assert schedule is not None
    assert (schedule.share, schedule.seed, schedule.duration_s, schedule.max_in_flight) == (
        WorkerShare(1, 3),
        4,
        2.0,
        3,
    )
    assert schedule.start_ns == pytest.approx(time.monotonic_ns() + 10**9, abs=10**8)
    assert schedule.end_ns - schedule.start_ns == 2 * 10**9
    assert len(list(schedule.due({"fresh": 1}))) == 7  # 1, 4, 7 … 19


def test_no_schedule_without_a_share_or_in_a_closed_loop() -> None:
    assert Schedule.of(plan(None, rate=10)) is None
    assert Schedule.of(plan(WorkerShare(0, 1), users=10)) is None


# The timer


def test_a_timer_is_not_early_and_wakes_again_and_again() -> None:
    timer = PreciseTimer()
    for wait_ns in (3 * MS, 0, -MS, MS // 10, 20 * MS):
        due_ns = time.monotonic_ns() + wait_ns
        timer.sleep_until(due_ns)
        assert time.monotonic_ns() >= due_ns
    timer.close()
    timer.close()


def test_a_timer_lets_others_run() -> None:
    timer, seen = PreciseTimer(), []
    other = gevent.spawn_later(0.001, lambda: seen.append(True))
    timer.sleep_until(time.monotonic_ns() + 100 * MS)
    assert seen
    other.join()
    timer.close()


def test_a_timer_that_was_interrupted_can_be_set_again() -> None:
    timer = PreciseTimer()
    sleeper = gevent.spawn(timer.sleep_until, time.monotonic_ns() + 10 * MS)
    gevent.sleep(0)
    sleeper.kill()
    gevent.sleep(0.02)  # it expires while no greenlet waits
    due_ns = time.monotonic_ns() + 30 * MS
    timer.sleep_until(due_ns)
    assert time.monotonic_ns() >= due_ns
    timer.close()


def test_a_timer_closes_its_descriptor() -> None:
    process = psutil.Process()
    before = process.num_fds()
    timer = PreciseTimer()
    assert process.num_fds() == before + 1
    timer.close()
    assert process.num_fds() == before


def test_a_timer_without_timerfd(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "darwin")
    timer = PreciseTimer()
    due_ns = time.monotonic_ns() + 5 * MS
    timer.sleep_until(due_ns)
    assert time.monotonic_ns() >= due_ns
    timer.close()
