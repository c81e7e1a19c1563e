"""How busy a process of the harness is: what it adds to what it measures, so that this can be told apart.

A greenlet that asks to be woken every 20 ms finds out how late the hub wakes whoever waits for it. What was
due while the hub was held up counts too, each due time with its own delay, or a long stall would be a
single value among many good ones.
"""

from __future__ import annotations

import os
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

import gevent

from harness.load.stats.stats_batch import StatsBatch
from harness.results.histogram import Histogram
from harness.results.records import ProcessRecord

PERIOD_NS = 20_000_000
_SECOND_NS = 1_000_000_000
_MOST_DUE = 60 * _SECOND_NS // PERIOD_NS  # of a stall, which may be a machine that was asleep for hours
_STATM = Path("/proc/self/statm")


class ProcessMonitor:
    """Watches this process from `start` to `stop`; `report_to` hands over what was seen.

    worker: the process's name in the results. open_streams: how many it has at the moment.
    """

    def __init__(self, worker: str, open_streams: Callable[[], int] = lambda: 0) -> None:
        self._worker = worker
        self._open_streams = open_streams
        self._delays: dict[int, Histogram] = {}  # by epoch second
        self._rows: list[ProcessRecord] = []
        self._watching: gevent.Greenlet | None = None

    def start(self) -> None:
        """Begin to watch; once it is watching it does nothing."""
        if self._watching is None:
            self._watching = gevent.spawn(self._watch)

    def stop(self) -> None:
        """Watch no longer. What was seen and not handed over stays."""
        if self._watching is not None:
            self._watching.kill()
            self._watching = None

    def report_to(self, delta: StatsBatch) -> None:
        """Move what was seen since the last call into a Delta of this process."""
        delays, self._delays = self._delays, {}
        for second, histogram in delays.items():
            delta.histograms.setdefault(("hub_delay_ms", "", second), Histogram()).merge(histogram)
        rows, self._rows = self._rows, []
        delta.processes += rows

    def _watch(self) -> None:
        due_ns = time.monotonic_ns() + PERIOD_NS
        second = _Second()
        while True:
            gevent.sleep(max(0, due_ns - time.monotonic_ns()) / 1e9)
            now_ns = time.monotonic_ns()
            due_ns = self._record(due_ns, now_ns)
            if second.is_over(now_ns):
                self._rows.append(second.row(now_ns, self._worker, self._open_streams()))
                second = _Second()

    def _record(self, due_ns: int, now_ns: int) -> int:
        """Count every due time up to now with its delay; returns the next one."""
        if due_ns > now_ns:
            return due_ns
        next_ns = due_ns + ((now_ns - due_ns) // PERIOD_NS + 1) * PERIOD_NS
        delays = self._delays.setdefault(time.time_ns() // _SECOND_NS, Histogram())
        for one_ns in range(max(due_ns, next_ns - _MOST_DUE * PERIOD_NS), next_ns, PERIOD_NS):
            delays.record((now_ns - one_ns) / 1e6)
        return next_ns


class _Second:
    """A second of this process, from when it is made."""

    def __init__(self) -> None:
        self._epoch_s = time.time_ns() // _SECOND_NS
        self._began_ns = time.monotonic_ns()
        self._cpu_ns = time.process_time_ns()

    def is_over(self, now_ns: int) -> bool:
        return now_ns - self._began_ns >= _SECOND_NS

    def row(self, now_ns: int, worker: str, open_streams: int) -> ProcessRecord:
        """It stands under the epoch second in which it began."""
        return ProcessRecord(
            worker=worker,
            second=self._epoch_s,
            cpu=(time.process_time_ns() - self._cpu_ns) / (now_ns - self._began_ns),
            rss_bytes=resident_bytes(),
            open_streams=open_streams,
        )


def resident_bytes() -> int:
    """Memory of this process that is in RAM, in bytes; where the system tells only of its peak, that."""
    try:
        pages = int(_STATM.read_text(encoding="ascii").split()[1])
    except OSError:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
    return pages * os.sysconf("SC_PAGE_SIZE")
