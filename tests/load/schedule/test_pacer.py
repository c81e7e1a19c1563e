"""The pump alone, without Locust and without a server."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

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
    return time.monotonic_ns() + 5 * MS


class Pumped:
    """A pump whose journeys last `for_s`, and what it did."""

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
        self.timetable = Schedule(arrivals, share, 3, start_ns, duration_s, max_in_flight)
        self.stopping = Event()
        self.begun: list[tuple[str, int]] = []
        self.begun_ns: list[int] = []
        self.dropped: list[tuple[str, int]] = []
        self.ended = 0
        self.killed = 0
        self._for_s = for_s
        self._on_begin = on_begin
        self.pump = Pacer(self.timetable, self.stopping, self._begin, self._drop)

    def run(self) -> Pumped:
        self.pump.run(MIX)
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
        start_ns = self.timetable.start_ns
        return [(mix.journey(number), start_ns + round(number / rate * 1e9)) for number in numbers]


def test_every_arrival_within_the_duration_begins_when_it_is_due() -> None:
    pumped = Pumped(Constant(500), duration_s=0.2).run()
    assert pumped.begun == pumped.due(range(100), 500)
    assert all(
        began_ns >= due_ns for began_ns, (_, due_ns) in zip(pumped.begun_ns, pumped.begun, strict=True)
    )
    assert pumped.ended == 100
    assert pumped.dropped == []
    assert time.monotonic_ns() >= pumped.timetable.end_ns


def test_a_worker_begins_its_share() -> None:
    pumped = Pumped(Constant(500), duration_s=0.2, share=WorkerShare(1, 3)).run()
    assert pumped.begun == pumped.due(range(1, 100, 3), 500)


def test_a_pump_that_comes_late_begins_all_of_them_with_their_due_times() -> None:
    pumped = Pumped(Constant(500), duration_s=0.1, start_ns=time.monotonic_ns() - 80 * MS).run()
    assert pumped.begun == pumped.due(range(50), 500)


def test_a_pump_that_is_behind_lets_others_run() -> None:
    seen: list[int] = []
    pumped = Pumped(Constant(1000), duration_s=0.1, start_ns=time.monotonic_ns() - 200 * MS)

    def look() -> None:
        while True:
            seen.append(len(pumped.begun))
            gevent.sleep(0)

    other = gevent.spawn(look)
    pumped.run()
    other.kill()
    assert len(pumped.begun) == 100
    assert len(set(seen)) > 50


def test_slow_journeys_hold_up_nobody() -> None:
    pumped = Pumped(Constant(200), duration_s=0.1, for_s=0.8).run()
    assert pumped.begun == pumped.due(range(20), 200)
    assert pumped.begun_ns[-1] < pumped.timetable.start_ns + 800 * MS  # nobody had ended
    assert pumped.ended == 20


def test_a_schedule_that_ends_sooner_is_waited_out() -> None:
    pumped = Pumped(Trace([0, 0.01]), duration_s=0.1).run()
    assert len(pumped.begun) == 2
    assert time.monotonic_ns() >= pumped.timetable.end_ns


def test_what_is_due_at_the_end_is_not_begun() -> None:
    assert len(Pumped(Trace([0, 0.05, 0.1, 0.2]), duration_s=0.1).run().begun) == 2


def test_arrivals_beyond_the_limit_are_dropped_and_said() -> None:
    pumped = Pumped(Constant(200), duration_s=0.1, for_s=30, max_in_flight=3)
    running = gevent.spawn(pumped.run)
    while time.monotonic_ns() < pumped.timetable.end_ns:
        gevent.sleep(0.01)
    gevent.sleep(0.01)
    assert pumped.begun == pumped.due(range(3), 200)
    assert pumped.dropped == pumped.due(range(3, 20), 200)
    running.kill()
    assert pumped.killed == 3


def test_who_has_ended_makes_room() -> None:
    pumped = Pumped(Trace([0, 0.001, 0.5, 0.501]), duration_s=0.6, for_s=0.05, max_in_flight=1).run()
    numbers = [round((due_ns - pumped.timetable.start_ns) / MS) for _, due_ns in pumped.begun]
    assert numbers == [0, 500]
    assert [round((due_ns - pumped.timetable.start_ns) / MS) for _, due_ns in pumped.dropped] == [1, 501]


def test_no_room_for_a_share_of_nothing() -> None:
    pumped = Pumped(Constant(100), duration_s=0.05, max_in_flight=0).run()
    assert (pumped.begun, len(pumped.dropped)) == ([], 5)


@pytest.mark.parametrize("rate", [1000, 1])
def test_a_test_that_is_stopped_begins_nothing_more(rate: float) -> None:
    pumped = Pumped(Constant(rate), duration_s=600, for_s=0.05)
    running = gevent.spawn(pumped.run)
    while not pumped.begun:
        gevent.sleep(0.001)
    begun = len(pumped.begun)
    pumped.stopping.set()
    running.join(timeout=10)
    assert running.successful()  # it did not wait for the next, a second away
    assert len(pumped.begun) <= begun + 1
    assert pumped.ended == len(pumped.begun)


def test_a_test_that_is_stopped_before_it_begins() -> None:
    pumped = Pumped(Constant(10), duration_s=1, start_ns=time.monotonic_ns() + 10**12)
    pumped.stopping.set()
    assert pumped.run().begun == []


def test_a_pump_that_is_killed_leaves_nobody_behind() -> None:
    pumped = Pumped(Constant(100), duration_s=600, for_s=600)
    running = gevent.spawn(pumped.run)
    while len(pumped.begun) < 3:
        gevent.sleep(0.01)
    running.kill()
    assert pumped.killed == len(pumped.begun)
    gevent.sleep(0.05)
    assert pumped.killed == len(pumped.begun)


# Timetables


def plan(share: WorkerShare | None, **load: object) -> LoadPlan:
    return LoadPlan("t", time.time_ns() + 10**9, LoadSettings.model_validate(load), share)


def test_the_timetable_of_a_plan() -> None:
    table = Schedule.of(plan(WorkerShare(1, 3), rate=10, duration=2, seed=4, max_in_flight=8))
    assert table is not None
    assert (table.share, table.seed, table.duration_s, table.max_in_flight) == (WorkerShare(1, 3), 4, 2.0, 3)
    assert table.start_ns == pytest.approx(time.monotonic_ns() + 10**9, abs=10**8)
    assert table.end_ns - table.start_ns == 2 * 10**9
    assert len(list(table.due({"fresh": 1}))) == 7  # 1, 4, 7 … 19


def test_who_has_no_timetable() -> None:
    assert Schedule.of(plan(None, rate=10)) is None
    assert Schedule.of(plan(WorkerShare(0, 1), users=10)) is None


# The alarm


def test_an_alarm_is_not_early_and_wakes_again_and_again() -> None:
    alarm = PreciseTimer()
    for wait_ns in (3 * MS, 0, -MS, MS // 10, 20 * MS):
        due_ns = time.monotonic_ns() + wait_ns
        alarm.sleep_until(due_ns)
        assert time.monotonic_ns() >= due_ns
    alarm.close()
    alarm.close()


def test_an_alarm_lets_others_run() -> None:
    alarm, seen = PreciseTimer(), []
    other = gevent.spawn_later(0.001, lambda: seen.append(True))
    alarm.sleep_until(time.monotonic_ns() + 100 * MS)
    assert seen
    other.join()
    alarm.close()


def test_an_alarm_that_was_broken_off_can_be_set_again() -> None:
    alarm = PreciseTimer()
    sleeper = gevent.spawn(alarm.sleep_until, time.monotonic_ns() + 10 * MS)
    gevent.sleep(0)
    sleeper.kill()
    gevent.sleep(0.02)  # it rings, and nobody listens
    due_ns = time.monotonic_ns() + 30 * MS
    alarm.sleep_until(due_ns)
    assert time.monotonic_ns() >= due_ns
    alarm.close()


def test_an_alarm_gives_its_descriptor_back() -> None:
    process = psutil.Process()
    before = process.num_fds()
    alarm = PreciseTimer()
    assert process.num_fds() == before + 1
    alarm.close()
    assert process.num_fds() == before


def test_an_alarm_where_there_is_no_timerfd(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "darwin")
    alarm = PreciseTimer()
    due_ns = time.monotonic_ns() + 5 * MS
    alarm.sleep_until(due_ns)
    assert time.monotonic_ns() >= due_ns
    alarm.close()
