"""A worker that reads the same number of streams for as long as one likes takes no more memory for it.

The memory is what the processes told of themselves in the results, second by second. Run as a program it
prints a line a minute, and exits with 1 when a worker grew after its first fifth. The master is shown, and
held to nothing: Locust keeps a history of every second there.
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
from harness.results.metrics import MASTER
from harness.results.records import ProcessRecord
from tests.benchmarks.target import Rhythm, raise_file_limit, running_target
from tests.load.locust.test_processes import Load

RHYTHM = Rhythm(tokens=100, first_token_us=200_000, gap_us=50_000)
_WARMING_UP = 0.2  # share of the time in which caches fill, and the allocator finds its size
_SPAWN_S = 5.0
_MINUTE_S = 60


@dataclass(frozen=True, slots=True)
class Course:
    """How one process's memory went. rows: by second, of the time in which it had all its streams."""

    worker: str
    rows: tuple[ProcessRecord, ...]

    @property
    def settled(self) -> tuple[ProcessRecord, ...]:
        """What counts: the seconds after the warm-up."""
        return self.rows[int(len(self.rows) * _WARMING_UP) :]

    @property
    def slope_kb_per_min(self) -> float:
        """Growth of the settled part, by least squares. Raises StatisticsError for fewer than two seconds."""
        rows = self.settled
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
    """The course of each process, without the time in which streams came up and went."""
    found = []
    for own in _by_worker(rows):
        begin, end = own[0].second + spawn_s, own[0].second + seconds
        found.append(Course(own[0].worker, tuple(row for row in own if begin <= row.second < end)))
    return found


def _by_worker(rows: Sequence[ProcessRecord]) -> list[list[ProcessRecord]]:
    return [
        sorted((row for row in rows if row.worker == worker), key=lambda row: row.second)
        for worker in dict.fromkeys(row.worker for row in rows)
    ]


def hold(where: Path, *, streams: int, seconds: float, processes: int = 1) -> list[Course]:
    """Read that many streams at a time for that long, each run anew when it has ended; all must go well."""
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
    _check(seen, [min(one, key=lambda row: abs(row.second - looked_at_s)) for one in _by_worker(rows)])
    found = courses(rows, spawn_s=spawn_s, seconds=seconds)
    held = sum(median(row.open_streams for row in one.settled) for one in found)
    assert held > 0.9 * streams, f"{held} streams were open, {streams} were wanted"
    return found


def _resident_bytes(pid: int) -> list[int]:
    """Of that process and its children, as the system tells it."""
    process = psutil.Process(pid)
    return sorted(one.memory_info().rss for one in (process, *process.children()))


def _check(seen: Sequence[int], rows: Sequence[ProcessRecord]) -> None:
    """The processes told of their memory what the system tells of it, but for what is between two looks."""
    told = sorted(row.rss_bytes for row in rows)
    near = [abs(one - other) < 0.1 * other for one, other in zip(told, seen, strict=True)]
    assert all(near), f"the processes told of {told} bytes, the system of {seen}"


def main() -> None:
    """Hold the streams, print a line a minute, and exit with 1 where a worker grew by more than it may."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--streams", type=int, default=1000)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--limit-kb-per-min", type=float, default=256)
    told = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="memory-") as where:
        found = hold(
            Path(where), streams=told.streams, seconds=told.minutes * _MINUTE_S, processes=told.processes
        )
    print("minute  " + "  ".join(f"{one.worker:>10}" for one in found))
    for minute, sizes in enumerate(zip(*(one.by_minute() for one in found), strict=False), 1):
        print(f"{minute:6}  " + "  ".join(f"{size:7.1f} MB" for size in sizes))
    for one in found:
        allowed = "" if one.worker == MASTER else f", at most {told.limit_kb_per_min:g} are allowed"
        print(f"{one.worker}: {one.slope_kb_per_min:+.0f} KB/min{allowed}")
    workers = [one for one in found if one.worker != MASTER]
    sys.exit(1 if any(one.slope_kb_per_min > told.limit_kb_per_min for one in workers) else 0)


if __name__ == "__main__":
    main()
