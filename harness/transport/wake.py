"""The wait of a stream's greenlet for its end, with a limit of time."""

from __future__ import annotations

from typing import Any

import gevent
import gevent.hub


class Wake:
    """Like gevent's Event for the one greenlet that waits with a limit of time, at half of its time and memory.

    A thousand streams wait at once, and each keeps the C stack of its wait.
    """

    __slots__ = ("_is_set", "_waiter")

    def __init__(self) -> None:
        self._is_set = False
        self._waiter: Any = None

    def set(self) -> None:
        """Let the wait return, now or when it begins. Called in the hub or in any greenlet of it."""
        self._is_set = True
        waiter, self._waiter = self._waiter, None
        if waiter is not None:
            waiter.hub.loop.run_callback(waiter.switch, None)

    def wait_and_clear(self, limit_s: float) -> None:
        """Wait until it is set, but no longer than `limit_s` seconds; then it is no longer set."""
        if not self._is_set:
            hub: Any = gevent.get_hub()
            waiter = self._waiter = gevent.hub.Waiter(hub)
            timer = hub.loop.timer(limit_s)
            timer.start(waiter.switch, None, update=True)
            try:
                waiter.get()
            finally:
                self._waiter = None
                timer.stop()
                timer.close()
        self._is_set = False
