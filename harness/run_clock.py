"""The clock of a load test: the monotonic clock orders its moments, and the wall clock only names them.

A wall clock may be set, forward or back, while a test runs. Seconds of the results, warm-up and windows would then
leave out or repeat an hour. So the offset between the clocks is read once, when a test starts.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime


class RunClock:
    """Names moments of the monotonic clock by wall clock time, epoch. `start` reads the wall clock."""

    def __init__(self) -> None:
        self._offset_ns = 0
        self.start()

    def start(self) -> None:
        """A test starts: take the wall clock as it is now."""
        self._offset_ns = time.time_ns() - time.monotonic_ns()

    def wall_ns(self, monotonic_ns: int | None = None) -> int:
        """A reading of the monotonic clock, None for now, as epoch ns."""
        return (time.monotonic_ns() if monotonic_ns is None else monotonic_ns) + self._offset_ns

    def monotonic_ns(self, wall_ns: int) -> int:
        """The inverse of `wall_ns`."""
        return wall_ns - self._offset_ns

    def now_s(self) -> float:
        """The present, epoch s."""
        return self.wall_ns() / 1e9

    def now(self) -> datetime:
        """The present, UTC."""
        return datetime.fromtimestamp(self.now_s(), UTC)


RUN_CLOCK = RunClock()
"""The clock of this process. One test runs at a time in it."""
