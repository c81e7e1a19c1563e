"""Keeps long stretches of computing from standing in the way of the reading of sockets.

The hub looks at sockets only between batches of up to fifty wake-ups. When fifty streams end together,
and each takes some milliseconds to decode and judge, nothing is read for a quarter of a second, and
what came meanwhile is found in one lump with the stamp of its last segment: the harness would measure
itself. So who has much to compute takes turns, and before each turn the hub looks at the sockets.
"""

from __future__ import annotations

import time

import gevent
from gevent.lock import Semaphore

_LONGEST_STRETCH_S = 0.003
_JUST_NOW_S = 0.002


class CpuYield:
    """One process's turns. Greenlets come in the order in which they ask."""

    def __init__(self) -> None:
        self._waiting = Semaphore(1)
        self._began_s = 0.0

    def acquire(self) -> None:
        """Wait until it is this greenlet's turn to compute; at once while the hub has just been there."""
        if time.perf_counter() - self._began_s < _JUST_NOW_S:
            return
        with self._waiting:
            hub = gevent.get_hub()
            # A timer that is due at once, unlike sleep(0), has the hub look at the sockets; what it found
            # there is read after the timer and before the next callback, which is what sleep(0) waits for.
            with hub.loop.timer(0) as due:
                hub.wait(due)
            gevent.sleep(0)
            self._began_s = time.perf_counter()

    def yield_if_due(self) -> None:
        """Take another turn if this one has lasted long."""
        if time.perf_counter() - self._began_s > _LONGEST_STRETCH_S:
            gevent.sleep(0)  # who waited longer comes first
            self.acquire()
