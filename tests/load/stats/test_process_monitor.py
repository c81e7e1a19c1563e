from __future__ import annotations

import time
from collections.abc import Callable

import gevent
import pytest

from harness.load.stats import process_monitor
from harness.load.stats.process_monitor import PERIOD_NS, ProcessMonitor, resident_bytes
from harness.load.stats.stats_batch import StatsBatch
from harness.results.histogram import Histogram
from harness.results.records import ProcessRecord


def seen(monitor: ProcessMonitor) -> tuple[Histogram, list[ProcessRecord]]:
    batch, total = StatsBatch(), Histogram()
    monitor.report_to(batch)
    for (metric, journey, _), histogram in batch.histograms.items():
        assert (metric, journey) == ("hub_delay_ms", "")
        total.merge(histogram)
    return total, batch.processes


def until(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not done() and time.monotonic() < deadline:
        gevent.sleep(0.01)
    assert done()


def test_every_due_time_counts_with_its_own_delay() -> None:
    monitor = ProcessMonitor("w")
    ms = 1_000_000
    assert monitor._record(100 * ms, 99 * ms) == 100 * ms
    assert monitor._record(100 * ms, 101 * ms) == 120 * ms
    assert monitor._record(120 * ms, 120 * ms) == 140 * ms
    assert monitor._record(140 * ms, 205 * ms) == 220 * ms
    delays, _ = seen(monitor)
    # 1 and 0, then 65, 45, 25 and 5 of a stall of 65 ms.
    assert (delays.count, delays.sum, delays.max) == (6, 141.0, 65.0)
    assert seen(monitor)[0].count == 0


def test_the_values_of_an_endless_stall_are_limited() -> None:
    monitor = ProcessMonitor("w")
    hours_ns = 8 * 3600 * 10**9
    assert monitor._record(0, hours_ns) == hours_ns + PERIOD_NS
    assert seen(monitor)[0].count == process_monitor._MOST_DUE


def test_a_blocked_event_loop_is_detected() -> None:
    monitor = ProcessMonitor("w")
    monitor.start()
    gevent.sleep(0.1)
    busy_until = time.monotonic() + 0.3
    while time.monotonic() < busy_until:
        pass
    gevent.sleep(0.1)
    monitor.stop()
    delays, _ = seen(monitor)
    assert delays.max is not None
    assert delays.max >= 270
    assert delays.count >= 20  # 0.5 s at 20 ms, including due times during the stall


def test_each_second_records_cpu_memory_and_open_streams() -> None:
    monitor = ProcessMonitor("worker-3", lambda: 17)
    before = time.time()
    monitor.start()
    monitor.start()
    cpu_s = time.process_time()
    until(lambda: len(monitor._rows) == 1)
    used_s = time.process_time() - cpu_s
    monitor.stop()
    monitor.stop()
    _, (row,) = seen(monitor)
    assert (row.worker, row.open_streams) == ("worker-3", 17)
    assert before - 60 <= row.second <= time.time() + 60
    assert 0 <= row.cpu <= used_s + 0.05  # over a second or more
    assert row.rss_bytes > 5_000_000


def test_cpu_is_processor_time_divided_by_wall_time(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = {"monotonic": 0, "cpu": 0}
    monkeypatch.setattr(process_monitor.time, "monotonic_ns", lambda: clock["monotonic"])
    monkeypatch.setattr(process_monitor.time, "process_time_ns", lambda: clock["cpu"])
    second = process_monitor._Second()
    assert not second.is_over(999_999_999)
    clock.update(monotonic=2_000_000_000, cpu=500_000_000)
    assert second.is_over(2_000_000_000)
    assert second.row(2_000_000_000, "w", 4).cpu == 0.25


def test_it_stops_watching() -> None:
    monitor = ProcessMonitor("w")
    monitor.start()
    gevent.sleep(0.05)
    monitor.stop()
    seen(monitor)
    gevent.sleep(0.1)
    assert seen(monitor)[0].count == 0


def test_memory_without_proc_is_the_peak(monkeypatch: pytest.MonkeyPatch) -> None:
    now = resident_bytes()
    monkeypatch.setattr(process_monitor, "_STATM", process_monitor.Path("/nowhere"))
    assert now * 0.5 < resident_bytes() < now * 50
