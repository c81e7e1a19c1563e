"""Records in every compared client when it has parsed an event.

SIGUSR1 opens the measurement window. SIGUSR2 closes it and writes the measurements to the file BENCH_OUT.
"""

from __future__ import annotations

import json
import os
import signal
import time
from array import array
from pathlib import Path
from typing import Any

BIN_NS = 10_000
FINE_BIN_NS = 500  # for values of a few microseconds
_BINS = 1_000_000  # 10 s, or 0.5 s of fine ones; larger values count in the last


class Distribution:
    """Durations in bins of `bin_ns`, of constant size."""

    def __init__(self, bin_ns: int = BIN_NS) -> None:
        self._bin_ns = bin_ns
        self._bins = array("L", bytes(array("L").itemsize * _BINS))
        self.count = 0
        self.max_ns = 0

    def add(self, duration_ns: int) -> None:
        """Count a duration; a negative one counts as zero."""
        self._bins[min(max(0, duration_ns // self._bin_ns), _BINS - 1)] += 1
        self.count += 1
        self.max_ns = max(self.max_ns, duration_ns)

    def percentile_ms(self, percent: float) -> float | None:
        """Nearest rank: the upper edge of its bin, at most the maximum; None without values."""
        rank, seen = -(-self.count * percent // 100), 0
        for number, count in enumerate(self._bins):
            seen += count
            if count and seen >= rank:
                return min((number + 1) * self._bin_ns, self.max_ns) / 1e6
        return None

    def document(self) -> dict[str, Any]:
        """Count, p50, p99 and maximum, in ms."""
        return {
            "count": self.count,
            "p50": self.percentile_ms(50),
            "p99": self.percentile_ms(99),
            "max": self.max_ns / 1e6 if self.count else None,
        }


class Recorder:
    """The measurements of one client. `events` and `streams` count from the start, the distributions in the window.

    lag: from the server's send of an event (`t` in its data, on the same clock) until it is parsed. ttft: from before
    the request until the first token is parsed. kernel_error: from the send of a first token to its arrival by the
    kernel's timestamp.
    """

    def __init__(self) -> None:
        self.events = 0
        self.streams = 0
        self.opened_ns: int | None = None
        self.closed_ns: int | None = None
        self.lag, self.ttft = Distribution(), Distribution()
        self.kernel_error = Distribution(FINE_BIN_NS)

    def listen(self) -> None:
        """Install the signal handlers; call it in the main thread."""
        signal.signal(signal.SIGUSR1, self._open)
        signal.signal(signal.SIGUSR2, self._close)

    def _open(self, *_: object) -> None:
        self.opened_ns = time.monotonic_ns()

    def _close(self, *_: object) -> None:
        self.closed_ns = time.monotonic_ns()
        self.write()

    def within(self, at_ns: int) -> bool:
        """Whether that time of the monotonic clock is in the window."""
        return (
            self.opened_ns is not None
            and at_ns >= self.opened_ns
            and (self.closed_ns is None or at_ns <= self.closed_ns)
        )

    def parsed(self, sent_ns: int | None) -> None:
        """Record an event parsed now. sent_ns: its `t`."""
        if sent_ns is not None and self.opened_ns is not None and self.closed_ns is None:
            self.lag.add(time.monotonic_ns() - sent_ns)

    def first_token(self, started_ns: int) -> None:
        """Record a first token parsed now. started_ns: start of its request."""
        if self.opened_ns is not None and self.closed_ns is None:
            self.ttft.add(time.monotonic_ns() - started_ns)

    def ended(self, events: int) -> None:
        """Record the end of a stream."""
        self.streams += 1
        self.events += events

    def write(self) -> None:
        """Write the measurements atomically."""
        path = Path(os.environ["BENCH_OUT"])
        unfinished = path.with_suffix(".unfinished")
        unfinished.write_text(
            json.dumps(
                {
                    "streams": self.streams,
                    "events": self.events,
                    "lag_ms": self.lag.document(),
                    "ttft_ms": self.ttft.document(),
                    "kernel_error_ms": self.kernel_error.document(),
                }
            )
        )
        unfinished.replace(path)
