"""Memory does not grow while a worker reads a constant number of streams.

Memory is taken from the processes' rows in the results, second by second. As a program it prints a line per minute, and
exits with 1 if a worker grew after the first fifth of the time. The master is shown but not checked: Locust keeps a
history of every second there.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import linear_regression, median

import psutil

from harness.config.load_settings import LoadSettings
from harness.results.records import ProcessRecord
from harness.results.saturation import MASTER
from tests.benchmarks.target import Rhythm, raise_file_limit, running_target
from tests.load.locust_process import Load

RHYTHM = Rhythm(tokens=100, first_token_us=200_000, gap_us=50_000)
_WARMING_UP = 0.2  # share of the time in which caches fill and the allocator reaches its size
_SPAWN_S = 5.0
_MINUTE_S = 60


@dataclass(frozen=True, slots=True)
class Course:
    """One process's memory over time. rows: by second, while it had all its streams."""

    worker: str
    rows: tuple[ProcessRecord, ...]

    @property
    def measured(self) -> tuple[ProcessRecord, ...]:
        """The seconds after the warm-up."""
        return self.rows[int(len(self.rows) * _WARMING_UP) :]

    @property
    def slope_kb_per_min(self) -> float:
        """Growth after the warm-up, by least squares. Raises StatisticsError for fewer than two seconds."""
        rows = self.measured
        slope, _ = linear_regression(
            [row.second / _MINUTE_S for row in rows], [row.rss_bytes / 1024 for row in rows]
        )
        return slope

    def by_minute(self) -> list[float]:
        """The median of each minute, in MB."""
        first = self.rows[0].second
        minutes = range((self.rows[-1].second - first) // _MINUTE_S + 1)
        return [
            median(row.rss_bytes for row in self.rows if (row.second - first) // _MINUTE_S == minute) / 2**20
            for minute in minutes
        ]


def courses(rows: Sequence[ProcessRecord], *, spawn_s: float, seconds: float) -> list[Course]:
    """The course of each process, without ramp-up and ramp-down."""
    result = []
    for worker_rows in _by_worker(rows):
        first = worker_rows[0]
        begin, end = first.second + spawn_s, first.second + seconds
        result.append(Course(first.worker, tuple(row for row in worker_rows if begin <= row.second < end)))
    return result


def _by_worker(rows: Sequence[ProcessRecord]) -> list[list[ProcessRecord]]:
    return [
        sorted((row for row in rows if row.worker == worker), key=lambda row: row.second)
        for worker in dict.fromkeys(row.worker for row in rows)
    ]


def measure(where: Path, *, streams: int, seconds: float, processes: int = 1) -> list[Course]:
    """Read a constant number of streams, starting a new run when one ends. Every stream must succeed."""
    raise_file_limit()
    spawn_s = min(_SPAWN_S, seconds / 4)
    plan = LoadSettings(
        users=streams,
        spawn_rate=streams / spawn_s,
        duration=seconds,
        processes=processes,
        journeys={"fresh": 1},
    )
    with running_target(RHYTHM, lifetime_s=int(seconds) + 300) as target:
        load = Load(where, target.base_url, plan, "--stop-timeout", "10")
        with load.started(timeout_s=seconds + 120) as process:
            time.sleep(seconds * 0.7)
            looked_at_s, seen = int(time.time()), _resident_bytes(process.pid)
        report = target.report()
    assert "Traceback" not in load.printed, load.printed
    with load.results() as results:
        ledger = results.ledger()
        assert ledger.adds_up, ledger
        assert ledger["done"] == ledger.scheduled == report["requests"], (ledger, report)
        assert results.failures() == 0
        rows = results.processes("whole")
    _check(
        seen,
        [min(of_worker, key=lambda row: abs(row.second - looked_at_s)) for of_worker in _by_worker(rows)],
    )
    result = courses(rows, spawn_s=spawn_s, seconds=seconds)
    open_streams = sum(median(row.open_streams for row in course.measured) for course in result)
    assert open_streams > 0.9 * streams, f"{open_streams} streams were open instead of {streams}"
    return result


def _resident_bytes(pid: int) -> list[int]:
    """Of a process and its children, as the system reports it."""
    process = psutil.Process(pid)
    return sorted(each.memory_info().rss for each in (process, *process.children()))


def _check(seen: Sequence[int], rows: Sequence[ProcessRecord]) -> None:
    """The memory that the processes reported is close to what the system reports."""
    reported = sorted(row.rss_bytes for row in rows)
    near = [abs(ours - system) < 0.1 * system for ours, system in zip(reported, seen, strict=True)]
    assert all(near), f"the processes reported {reported} bytes, the system {seen}"


def main() -> None:
    """Measure, print a line per minute, and exit with 1 if a worker grew by more than the limit."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--streams", type=int, default=1000)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--limit-kb-per-min", type=float, default=256)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="memory-") as where:
        measured = measure(
            Path(where),
            streams=options.streams,
            seconds=options.minutes * _MINUTE_S,
            processes=options.processes,
        )
    print("minute  " + "  ".join(f"{course.worker:>10}" for course in measured))
    for minute, sizes in enumerate(zip(*(course.by_minute() for course in measured), strict=False), 1):
        print(f"{minute:6}  " + "  ".join(f"{size:7.1f} MB" for size in sizes))
    for course in measured:
        limit = "" if course.worker == MASTER else f" (limit {options.limit_kb_per_min:g})"
        print(f"{course.worker}: {course.slope_kb_per_min:+.0f} KB/min{limit}")
    workers = [course for course in measured if course.worker != MASTER]
    sys.exit(1 if any(course.slope_kb_per_min > options.limit_kb_per_min for course in workers) else 0)


if __name__ == "__main__":
    main()
