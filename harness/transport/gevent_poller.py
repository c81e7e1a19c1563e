"""Polls all sockets of a process with one epoll, in a single hub callback.

With one libev watcher per socket the hub would call from C into Python for every read, and a greenlet switch per read
would cost twice as much again (docs/performance.md).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import gevent
import gevent.monkey

from harness.transport.pulse import PERIOD_S, Pulse

_READABLE = 1  # libev's EV_READ, and EPOLLIN
_MAX_PER_POLL = 256  # sockets drained before the hub's timers and callbacks run
_POLL_INTERVAL_S = 0.001  # while busy

_new_epoll: Callable[[], Any] | None
try:
    _new_epoll = gevent.monkey.get_original("select", "epoll")
except AttributeError:  # no epoll on this system
    _new_epoll = None


class Poller:
    """Calls a socket's callback whenever it is readable, until it is unwatched.

    A callback may watch or unwatch any socket. If it raises, the exception is printed on standard error and its
    socket is unwatched. pulse: of this hub.
    """

    def __init__(self) -> None:
        self._hub = gevent.get_hub()
        self.pid = os.getpid()
        self._on_readable: dict[int, Callable[[], object]] = {}
        self._watchers: dict[int, Any] = {}
        self._paused = False
        self.pulse = Pulse()
        self._beats = self._hub.loop.timer(PERIOD_S, PERIOD_S, ref=False)
        self._beats.start(self.pulse.beat)
        self._epoll = None if _new_epoll is None else _new_epoll()
        if self._epoll is not None:
            # ref=False: it lives as long as the hub, and must not keep an otherwise idle hub running.
            self._watcher = self._hub.loop.io(self._epoll.fileno(), _READABLE, ref=False)
            self._watcher.start(self._on_ready)
            self._timer = self._hub.loop.timer(_POLL_INTERVAL_S, _POLL_INTERVAL_S, ref=False)

    @classmethod
    def for_current_hub(cls) -> Poller:
        """The poller of this thread's hub; a forked process gets a new one."""
        hub: Any = gevent.get_hub()
        poller: Poller | None = getattr(hub, "harness_poller", None)
        if poller is None or poller.pid != os.getpid():
            poller = hub.harness_poller = cls()
        return poller

    def watch(self, descriptor: int, on_readable: Callable[[], object]) -> None:
        """Call `on_readable` whenever `descriptor` is readable. Ends a pause."""
        self._resume()
        self._on_readable[descriptor] = on_readable
        if self._epoll is not None:
            self._epoll.register(descriptor, _READABLE)
        else:
            watcher = self._watchers[descriptor] = self._hub.loop.io(descriptor, _READABLE)
            watcher.start(on_readable)

    def pause(self) -> None:
        """Read nothing until the next `watch`.

        While a thousand streams are stopped one by one, the last ones would be read late and several events at a
        time, so their first tokens would seem to arrive when the test was stopped.
        """
        self._paused = True
        for watcher in self._watchers.values():
            watcher.stop()

    def _resume(self) -> None:
        if self._paused:
            self._paused = False
            for descriptor, watcher in self._watchers.items():
                watcher.start(self._on_readable[descriptor])

    def unwatch(self, descriptor: int) -> None:
        """Stop watching. Call it before the descriptor is closed; a no-op if it is not watched."""
        if self._on_readable.pop(descriptor, None) is None:
            return
        if self._epoll is not None:
            self._epoll.unregister(descriptor)
        else:
            watcher = self._watchers.pop(descriptor)
            watcher.stop()
            watcher.close()

    def _on_ready(self) -> None:
        self._drain()
        self._watcher.stop()
        self._timer.again(self._on_timer, update=True)

    def _on_timer(self) -> None:
        if not self._drain():
            self._timer.stop()
            self._watcher.start(self._on_ready)

    def _drain(self) -> int:
        """Call back for every readable socket; returns their number."""
        if self._paused:
            return 0
        callbacks = self._on_readable
        ready = self._epoll.poll(0, _MAX_PER_POLL)  # type: ignore[union-attr]
        for descriptor, _ in ready:
            on_readable = callbacks.get(descriptor)
            if on_readable is not None:  # an earlier callback may have unwatched it
                try:
                    on_readable()
                except Exception as problem:  # noqa: BLE001 - printed; the other sockets are still read
                    self.unwatch(descriptor)
                    self._hub.handle_error(on_readable, type(problem), problem, problem.__traceback__)
        return len(ready)
