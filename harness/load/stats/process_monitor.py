"""CPU, memory and event-loop delay of a harness process: how much the harness itself distorts a measurement.

A greenlet asks to be woken every 20 ms and records how late it wakes. Every due time that passes during a stall
counts with its own delay; otherwise a long stall would be a single value among many good ones.
"""

from __future__ import annotations

import os
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

import gevent

from harness.load.schedule.precise_timer import PreciseTimer
from harness.load.stats.stats_batch import StatsBatch
from harness.results.histogram import Histogram
from harness.results.records import ProcessRecord
from harness.run_clock import RUN_CLOCK

PERIOD_NS = 20_000_000
_SECOND_NS = 1_000_000_000
_MOST_DUE = 60 * _SECOND_NS // PERIOD_NS  # recorded per stall, which may be a suspended machine
_STATM = Path("/proc/self/statm")


class ProcessMonitor:
    """Watches this process from `start` to `stop`.

    worker: the process's name in the results. open_streams: the number of open streams now.
    """

    def __init__(self, worker: str, open_streams: Callable[[], int] = lambda: 0) -> None:
        self._worker = worker
        self._open_streams = open_streams
        self._delays: dict[int, Histogram] = {}  # by epoch second
        self._rows: list[ProcessRecord] = []
        self._watching: gevent.Greenlet | None = None

    def start(self) -> None:
        """Start watching. Further calls do nothing."""
        if self._watching is None:
            self._watching = gevent.spawn(self._watch)

    def stop(self) -> None:
        """Stop watching. What was recorded since the last `report_to` is kept."""
        if self._watching is not None:
            self._watching.kill()
            self._watching = None

    def report_to(self, batch: StatsBatch) -> None:
        """Move everything recorded since the last call into `batch`."""
        delays, self._delays = self._delays, {}
        for second, histogram in delays.items():
            batch.histograms.setdefault(("hub_delay_ms", "", second), Histogram()).merge(histogram)
        rows, self._rows = self._rows, []
        batch.processes += rows

    def _watch(self) -> None:
        due_ns = time.monotonic_ns() + PERIOD_NS
        second = _Second()
        timer = PreciseTimer()  # the event loop's own timers are up to 1 ms late even if nothing delays it
        try:
            while True:
                timer.sleep_until(due_ns)
                now_ns = time.monotonic_ns()
                due_ns = self._record(due_ns, now_ns)
                if second.is_over(now_ns):
                    self._rows.append(second.row(now_ns, self._worker, self._open_streams()))
                    second = _Second()
        finally:
            timer.close()

    def _record(self, due_ns: int, now_ns: int) -> int:
        """Record the delay of every due time up to now. Returns the next due time."""
        if due_ns > now_ns:
            return due_ns
        next_ns = due_ns + ((now_ns - due_ns) // PERIOD_NS + 1) * PERIOD_NS
        delays = self._delays.setdefault(RUN_CLOCK.wall_ns(now_ns) // _SECOND_NS, Histogram())
        for missed_ns in range(max(due_ns, next_ns - _MOST_DUE * PERIOD_NS), next_ns, PERIOD_NS):
            delays.record((now_ns - missed_ns) / 1e6)
        return next_ns


class _Second:
    """CPU use of this process over one second from construction."""

    def __init__(self) -> None:
        self._start_ns = time.monotonic_ns()
        self._epoch_s = RUN_CLOCK.wall_ns(self._start_ns) // _SECOND_NS
        self._cpu_ns = time.process_time_ns()

    def is_over(self, now_ns: int) -> bool:
        return now_ns - self._start_ns >= _SECOND_NS

    def row(self, now_ns: int, worker: str, open_streams: int) -> ProcessRecord:
        """The row, keyed by the epoch second in which it began."""
        return ProcessRecord(
            worker=worker,
            second=self._epoch_s,
            cpu=(time.process_time_ns() - self._cpu_ns) / (now_ns - self._start_ns),
            rss_bytes=resident_bytes(),
            open_streams=open_streams,
        )


def resident_bytes() -> int:
    """Resident memory of this process, in bytes; its peak where the system reports only that."""
    try:
        pages = int(_STATM.read_text(encoding="ascii").split()[1])
    except OSError:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
    return pages * os.sysconf("SC_PAGE_SIZE")
