"""How late an event loop is: the time in which it could not do what was due, because the process had no CPU time.

A server that does not answer does not make a loop late, so the lag tells a slow harness from a slow server.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from harness.transport.pulse import PERIOD_S, Pulse


class LoopLag:
    """Sums up how late a beat of the running event loop is, from the first `begin` to the last `end`.

    clock: monotonic nanoseconds. pulse: gets these beats too, as one timer wakes an idle loop less often than two.
    """

    def __init__(self, clock: Callable[[], int] = time.monotonic_ns, pulse: Pulse | None = None) -> None:
        self._clock = clock
        self._pulse = pulse
        self._users = 0
        self._late_ns = 0
        self._due_ns = 0
        self._beat: asyncio.TimerHandle | None = None

    def begin(self) -> None:
        """Measure until `end`; needs a running event loop."""
        self._users += 1
        if self._users == 1:
            if self._pulse is not None:
                self._pulse.restart()
            self._schedule()

    def end(self) -> None:
        """The counterpart of `begin`."""
        self._users -= 1
        if self._users == 0 and self._beat is not None:
            self._late_ns = self.total_ns()
            self._beat.cancel()
            self._beat = None

    def total_ns(self) -> int:
        """How late the loop has been so far, the current delay included."""
        overdue_ns = self._clock() - self._due_ns if self._beat is not None else 0
        return self._late_ns + max(0, overdue_ns)

    def _schedule(self) -> None:
        self._due_ns = self._clock() + int(PERIOD_S * 1e9)
        self._beat = asyncio.get_running_loop().call_later(PERIOD_S, self._on_beat)

    def _on_beat(self) -> None:
        self._late_ns = self.total_ns()
        if self._pulse is not None:
            self._pulse.beat()
        self._schedule()
