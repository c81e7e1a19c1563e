"""CPU-bound work yields to the event loop every 3 ms, so sockets are read on time.

gevent polls sockets only between batches of up to 50 callbacks. When 50 streams end together and each takes some
milliseconds to decode and check, nothing is read for 250 ms: the waiting data is then read in one piece, with the
timestamp of its last segment, and the harness would measure itself. For the same reason an arrival that is due goes
first.
"""

from __future__ import annotations

import time

import gevent
from gevent.lock import Semaphore

from harness.transport.pulse import Pulse

_LONGEST_SLICE_S = 0.003
_RECENT_POLL_S = 0.002
_NEVER_NS = 2**63


class CpuYield:
    """Gives CPU slices to the greenlets of one process, first come, first served.

    longest_slice_s: how long work runs before it yields. pulse: of the event loop, which tells when it polled last.
    """

    def __init__(self, *, longest_slice_s: float = _LONGEST_SLICE_S, pulse: Pulse | None = None) -> None:
        self._pulse = pulse
        self._longest_slice_s = longest_slice_s
        self._recent_poll_s = min(_RECENT_POLL_S, longest_slice_s)
        self._waiting = Semaphore(1)
        self._polled_s = 0.0
        self._due_ns = _NEVER_NS

    def expect(self, due_ns: int | None) -> None:
        """An arrival is due at this time of the monotonic clock: work that is running then yields once.

        None: no arrival is due any more.
        """
        self._due_ns = _NEVER_NS if due_ns is None else due_ns

    def acquire(self) -> None:
        """Wait for a CPU slice. Returns at once if the event loop has just polled its sockets and no arrival is due."""
        now_s = time.perf_counter()
        is_due = time.monotonic_ns() >= self._due_ns
        if now_s - self._polled_s < self._recent_poll_s and not is_due:
            return
        if self._pulse is not None and not is_due:  # nearly always, it has just read the end of the stream
            now_ns = time.monotonic_ns()
            age_s = (now_ns - self._pulse.earliest_ns(now_ns)) / 1e9
            if age_s < self._recent_poll_s:
                self._polled_s = now_s - age_s
                return
        if is_due:
            self._due_ns = (
                _NEVER_NS  # in an overload, to yield again and again would cost more time than there is
            )
        with self._waiting:
            hub = gevent.get_hub()
            # Unlike sleep(0), a timer that is due at once makes the loop poll the sockets. Their greenlets run
            # after the timer and before the next callback, which is what sleep(0) waits for.
            with hub.loop.timer(0) as due:
                hub.wait(due)
            gevent.sleep(0)
            self._polled_s = time.perf_counter()

    def yield_if_due(self) -> None:
        """Wait for a new slice if this one has lasted too long."""
        lasts_s = time.perf_counter() - self._polled_s
        if lasts_s > self._longest_slice_s or time.monotonic_ns() >= self._due_ns:
            gevent.sleep(0)  # greenlets that have waited longer go first
            self.acquire()
