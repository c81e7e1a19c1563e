"""One look at all sockets of a process: a single callback of the hub that drains whichever are ready.

A watcher for each socket would make the hub cross from C into Python once a read; and a greenlet that
wakes for each read would cost twice as much again (docs/performance.md).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import gevent
import gevent.monkey

_READABLE = 1  # libev's EV_READ, and EPOLLIN
_AT_ONCE = 256  # sockets drained before the hub's timers and callbacks have their turn
_REST_S = 0.001

_new_epoll: Callable[[], Any] | None
try:
    _new_epoll = gevent.monkey.get_original("select", "epoll")
except AttributeError:  # not on this system
    _new_epoll = None


class Poller:
    """Calls back for each socket that can be read, until it is told to forget it.

    A callback may forget, or watch, any socket. One that raises is told of on standard error, and its socket
    is forgotten.
    """

    def __init__(self) -> None:
        self._hub = gevent.get_hub()
        self.pid = os.getpid()
        self._on_readable: dict[int, Callable[[], object]] = {}
        self._watchers: dict[int, Any] = {}
        self._held = False
        self._epoll = None if _new_epoll is None else _new_epoll()
        if self._epoll is not None:
            # It is there as long as the hub is, and shall not keep that from seeing that nothing is left to do.
            self._watcher = self._hub.loop.io(self._epoll.fileno(), _READABLE, ref=False)
            self._watcher.start(self._on_ready)
            self._rest = self._hub.loop.timer(_REST_S, _REST_S, ref=False)

    @classmethod
    def of_hub(cls) -> Poller:
        """The one of this thread's hub; a forked process gets its own."""
        hub: Any = gevent.get_hub()
        poller = getattr(hub, "harness_poller", None)
        if poller is None or poller.pid != os.getpid():
            poller = hub.harness_poller = cls()
        found: Poller = poller
        return found

    def watch(self, descriptor: int, on_readable: Callable[[], object]) -> None:
        """Call back whenever `descriptor` can be read; who was held goes on."""
        self._go_on()
        self._on_readable[descriptor] = on_readable
        if self._epoll is not None:
            self._epoll.register(descriptor, _READABLE)
        else:
            watcher = self._watchers[descriptor] = self._hub.loop.io(descriptor, _READABLE)
            watcher.start(on_readable)

    def hold(self) -> None:
        """Read nothing more until there is another socket to watch.

        While a thousand streams are stopped one by one, those whose turn comes last would be read late, and
        several events at a time: their first tokens would seem to come when the test was stopped.
        """
        self._held = True
        for watcher in self._watchers.values():
            watcher.stop()

    def _go_on(self) -> None:
        if self._held:
            self._held = False
            for descriptor, watcher in self._watchers.items():
                watcher.start(self._on_readable[descriptor])

    def forget(self, descriptor: int) -> None:
        """No more; call it before the descriptor is closed. Nothing happens where it is not watched."""
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
        self._rest.again(self._after_rest, update=True)

    def _after_rest(self) -> None:
        if not self._drain():
            self._rest.stop()
            self._watcher.start(self._on_ready)

    def _drain(self) -> int:
        """Read what is there; returns how many sockets that were."""
        if self._held:
            return 0
        callbacks = self._on_readable
        ready = self._epoll.poll(0, _AT_ONCE)  # type: ignore[union-attr]
        for descriptor, _ in ready:
            on_readable = callbacks.get(descriptor)
            if on_readable is not None:  # an earlier callback may have had it forgotten
                try:
                    on_readable()
                except Exception as problem:  # noqa: BLE001 - told on standard error; the others are still read
                    self.forget(descriptor)
                    self._hub.handle_error(on_readable, type(problem), problem, problem.__traceback__)
        return len(ready)
