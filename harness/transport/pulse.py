"""Knows how late an event loop may be with what it notices.

A read has the kernel's timestamp; the end of a connection has none. If the loop was busy, for example with a stream of
another server, it notices an end late, and the server that closed in time must not be blamed.
"""

from __future__ import annotations

import time

PERIOD_S = 0.02
_PERIOD_NS = int(PERIOD_S * 1e9)


class Pulse:
    """The loop calls `beat` every PERIOD_S seconds, or later if it is busy."""

    __slots__ = ("_due_ns", "_next_ns")

    def __init__(self) -> None:
        self._due_ns = self._next_ns = time.monotonic_ns()

    def beat(self) -> None:
        """The loop has come round."""
        self._due_ns, self._next_ns = self._next_ns, time.monotonic_ns() + _PERIOD_NS

    def restart(self) -> None:
        """The loop calls `beat` again from now on."""
        self._due_ns = self._next_ns = time.monotonic_ns()

    def earliest_ns(self, now_ns: int) -> int:
        """Since when what the loop notices only now may have been there: monotonic clock.

        That is when its last beat was due: everything before that beat had been noticed.
        """
        return min(now_ns, self._due_ns)
