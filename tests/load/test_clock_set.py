"""Somebody sets the wall clock during a load test with warm-up: nothing is left out, nothing changes its order."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness import run_clock
from harness.config.load_settings import LoadSettings
from harness.load.restarts.moment import RestartBySuite
from harness.load.schedule.pacer import Schedule
from harness.load.schedule.plan import LoadPlan, WorkerShare
from harness.load.stats.collector import Collector
from harness.load.stats.live import LiveStats
from harness.load.stats.process_monitor import PERIOD_NS, ProcessMonitor
from harness.load.stats.recorder import ResultsRecorder
from harness.load.stats.stats_batch import StatsBatch
from harness.load.stats.stream_metrics import RUN
from harness.results.reader import Results
from harness.run_clock import RUN_CLOCK, RunClock
from harness.suite import restarting
from harness.transport.timestamps import ClockOffset
from tests.load.stats.test_stream_metrics import DONE, END, HEAD, TOKEN, exchange

SECOND = 1_000_000_000
HOUR = 3600 * SECOND
START = 1_700_000_000 * SECOND
WARM_UP_S = 5


class Clocks:
    """Both clocks of a machine, and a person who sets one of them."""

    def __init__(self) -> None:
        self.monotonic = 77 * SECOND
        self.wall = START

    def monotonic_ns(self) -> int:
        return self.monotonic

    def time_ns(self) -> int:
        return self.wall

    def pass_s(self, seconds: float) -> None:
        self.monotonic += round(seconds * SECOND)
        self.wall += round(seconds * SECOND)


@pytest.fixture
def clocks(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clocks]:
    clocks = Clocks()
    with monkeypatch.context() as patched:
        patched.setattr(run_clock, "time", clocks)
        RUN_CLOCK.start()
        yield clocks
    RUN_CLOCK.start()


@pytest.mark.parametrize("by_ns", [-HOUR, HOUR], ids=["back", "forward"])
def test_what_follows_counts_as_if_nobody_had_set_the_clock(
    clocks: Clocks, tmp_path: Path, by_ns: int
) -> None:
    path = tmp_path / "results.sqlite"
    live = LiveStats("a test", lambda _: None, has_warmup=True)
    collector = Collector("local")
    recorder = ResultsRecorder(path, {}, lambda: None, listeners=[live])
    recorder.started(RUN_CLOCK.wall_ns(), WARM_UP_S)
    for second in range(10):
        if second == 7:
            clocks.wall += by_ns
        stream = collector.schedule("fresh", RUN, clocks.monotonic if second % 2 else None)
        collector.end(stream, exchange((30, HEAD + TOKEN), (40, TOKEN), (45, DONE + END)))
        collector.finalize(stream, [])
        collector.drop("fresh", clocks.monotonic)
        recorder.add(collector.take(), "local")
        clocks.pass_s(1)
    recorder.flush()
    snapshot = live.snapshot()
    assert (snapshot["warming_up"], snapshot["elapsed_s"]) == (False, 10)
    assert snapshot["rates"]["all"]["judged"] == 5
    assert snapshot["metrics"]["ttft_ms"]["all"]["count"] == 5
    recorder.close("finished", [])
    assert recorder.totals.rate_counts().judged == 10  # the recorder's own totals include the warm-up
    with Results(path) as results:
        assert results.measured_from == START // SECOND + WARM_UP_S
        assert results.rate_counts().judged == 5
        assert results.histogram("ttft_ms").count == 5
        scheduled = {
            second: one.scheduled for second, one in results.ledger_by_second().items() if one.scheduled
        }
        assert scheduled == {START // SECOND + second: 2 for second in range(10)}
        rows = list(results.streams())
        assert [row.intended_ns for row in rows] == [START + second * SECOND for second in range(10)]


@pytest.mark.parametrize("by_ns", [-HOUR, HOUR], ids=["back", "forward"])
def test_arrivals_and_process_seconds_go_on(clocks: Clocks, by_ns: int) -> None:
    load = LoadSettings.model_validate({"rate": 5, "duration": 10, "seed": 1})
    plan = LoadPlan("t", RUN_CLOCK.wall_ns() + SECOND, load, WorkerShare(0, 1))
    monitor = ProcessMonitor("w")
    monitor._record(clocks.monotonic, clocks.monotonic)
    clocks.wall += by_ns  # the worker reads its plan after that
    schedule = Schedule.of(plan)
    assert schedule is not None
    assert schedule.start_ns == clocks.monotonic + SECOND
    clocks.pass_s(1)
    monitor._record(clocks.monotonic, clocks.monotonic + PERIOD_NS)
    batch = StatsBatch()
    monitor.report_to(batch)
    assert [second for _, _, second in batch.histograms] == [START // SECOND, START // SECOND + 1]


def test_the_next_test_has_the_clock_as_it_is_then(clocks: Clocks) -> None:
    clock = RunClock()
    clocks.wall -= HOUR
    assert clock.wall_ns() == START
    clock.start()
    assert clock.wall_ns() == START - HOUR
    assert clock.monotonic_ns(clock.wall_ns(5)) == 5
    assert clock.now().timestamp() == clock.now_s() == (START - HOUR) / SECOND


@pytest.mark.parametrize("by_s", [-3600, -30, 30, 3600])
def test_packets_from_before_the_clock_was_set_have_no_timestamp(
    monkeypatch: pytest.MonkeyPatch, by_s: int
) -> None:
    clocks = Clocks()
    monkeypatch.setattr("harness.transport.timestamps.time", clocks)
    offset = ClockOffset()
    stamp_ns = clocks.wall
    assert offset.lag_ns(clocks.monotonic, stamp_ns) == 0
    clocks.pass_s(1)
    stamp_ns = clocks.wall
    clocks.pass_s(0.01)
    clocks.wall += by_s * SECOND
    assert offset.lag_ns(clocks.monotonic, stamp_ns) is None
    clocks.pass_s(1)
    stamp_ns = clocks.wall
    clocks.pass_s(0.25)
    assert offset.lag_ns(clocks.monotonic, stamp_ns) == SECOND // 4


@pytest.mark.parametrize("by_ns", [-HOUR, HOUR], ids=["back", "forward"])
def test_a_restart_by_the_suite_is_when_it_was(
    clocks: Clocks, by_ns: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The suite runs in a process of its own, whose wall clock is the one that was set."""
    monkeypatch.setattr(restarting, "time", clocks)
    clocks.pass_s(10)
    clocks.wall += by_ns
    record = tmp_path / "restart"
    asyncio.run(restarting.Restarting("true", 60, tells=record).restart())
    assert RestartBySuite(record).begun_ns() == START + 10 * SECOND
