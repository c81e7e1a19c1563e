"""Knows up to when an event loop has noticed everything that arrived.

A read has the kernel's timestamp, which is that of its last segment; the end of a connection has none. If the loop was
busy, for example with a stream of another server, it notices both late, and the server that was in time must not be
blamed.
"""

from __future__ import annotations

import time

PERIOD_S = 0.02
_PERIOD_NS = int(PERIOD_S * 1e9)


class Pulse:
    """A loop that looks at its sockets itself calls `seen`; one that can't calls `beat` every PERIOD_S seconds."""

    __slots__ = ("_next_ns", "_seen_ns")

    def __init__(self) -> None:
        self._seen_ns = self._next_ns = time.monotonic_ns()

    def beat(self) -> None:
        """The loop has come round; it is late if it is busy. It had noticed everything until this beat was due."""
        self._seen_ns, self._next_ns = self._next_ns, time.monotonic_ns() + _PERIOD_NS

    def seen(self, until_ns: int) -> None:
        """The loop has noticed everything that came until then: monotonic clock."""
        self._seen_ns = until_ns

    def restart(self) -> None:
        """The loop calls `beat` again from now on."""
        self._seen_ns = self._next_ns = time.monotonic_ns()

    def earliest_ns(self, now_ns: int) -> int:
        """Since when what the loop notices only now may have been there: monotonic clock."""
        return min(now_ns, self._seen_ns)
