"""What every client under comparison is measured by, the same few lines in each: when it had an event in hand.

SIGUSR1 opens the window in which the benchmark measures, SIGUSR2 ends it and has what was seen written to the
file that BENCH_OUT names.
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
_BINS = 1_000_000  # 10 s; what is later counts in the last


class Distribution:
    """Durations in bins of 10 us: exact enough for milliseconds, and as large after an hour as at first."""

    def __init__(self) -> None:
        self._bins = array("L", bytes(array("L").itemsize * _BINS))
        self.count = 0
        self.max_ns = 0

    def add(self, duration_ns: int) -> None:
        """Count one; what is below zero counts as zero."""
        self._bins[min(max(0, duration_ns // BIN_NS), _BINS - 1)] += 1
        self.count += 1
        self.max_ns = max(self.max_ns, duration_ns)

    def percentile_ms(self, percent: float) -> float | None:
        """Nearest rank, as the upper edge of its bin but never above the maximum; None without values."""
        rank, seen = -(-self.count * percent // 100), 0
        for number, count in enumerate(self._bins):
            seen += count
            if count and seen >= rank:
                return min((number + 1) * BIN_NS, self.max_ns) / 1e6
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
    """One client's. `events` and `streams` count from the start; the distributions are of the window alone.

    lag: from the server's send of an event (`t` in its data; a clock that both share) to this process's
    having it parsed. ttft: from before the request to the first token's being parsed.
    kernel_error: from the send of a first token to its arrival as the harness's kernel stamp tells it.
    """

    def __init__(self) -> None:
        self.events = 0
        self.streams = 0
        self.opened_ns: int | None = None
        self.closed_ns: int | None = None
        self.lag, self.ttft, self.kernel_error = Distribution(), Distribution(), Distribution()

    def listen(self) -> None:
        """Obey the signals; call it in the main thread."""
        signal.signal(signal.SIGUSR1, self._open)
        signal.signal(signal.SIGUSR2, self._close)

    def _open(self, *_: object) -> None:
        self.opened_ns = time.monotonic_ns()

    def _close(self, *_: object) -> None:
        self.closed_ns = time.monotonic_ns()
        self.write()

    def within(self, at_ns: int) -> bool:
        """Whether that moment of the monotonic clock lies in the window."""
        return (
            self.opened_ns is not None
            and at_ns >= self.opened_ns
            and (self.closed_ns is None or at_ns <= self.closed_ns)
        )

    def parsed(self, sent_ns: int | None) -> None:
        """An event has been parsed just now; sent_ns: its `t`."""
        if sent_ns is not None and self.opened_ns is not None and self.closed_ns is None:
            self.lag.add(time.monotonic_ns() - sent_ns)

    def first_token(self, started_ns: int) -> None:
        """A stream's first token has been parsed just now; started_ns: when its request was begun."""
        if self.opened_ns is not None and self.closed_ns is None:
            self.ttft.add(time.monotonic_ns() - started_ns)

    def ended(self, events: int) -> None:
        """A stream has come to its end, with so many events."""
        self.streams += 1
        self.events += events

    def write(self) -> None:
        """Write what was seen; whole or not at all."""
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
