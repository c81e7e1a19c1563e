"""Polls all sockets of a process with one epoll, in a single hub callback.

With one libev watcher per socket the hub would call from C into Python for every read, and a greenlet switch per read
would cost twice as much again (docs/performance.md).
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from typing import Any, Protocol

import gevent

from harness.contract.decoding.token_layout import TokenReader
from harness.transport.pulse import PERIOD_S, Pulse
from harness.transport.ready_sockets import MOST_BYTES, ready_sockets
from harness.transport.timestamps import READ_BYTES, read_with_timestamp
from harness.transport.turns import next_size

_READABLE = 1  # libev's EV_READ
_REST_S = 0.001  # while busy: more sockets are ready at once then, and each costs less
_LOOK_S = 0.002  # at least so often, so that it is known when each socket was empty
_BUSY_NS = 100_000  # events closer than this are better read together
_FEW_SOCKETS = 5


class SocketReader(Protocol):
    """Takes what is read from one socket. After an exception it is unwatched.

    token_reader: gets each read before `on_read`, and takes it if it can. Read once, when the socket is watched.
    """

    @property
    def token_reader(self) -> TokenReader | None: ...

    def on_read(self, arrival_ns: int, lag_ns: int | None, data: bytes) -> object:
        """One read, as from read_with_timestamp."""

    def on_broken(self, problem: OSError) -> object:
        """Reading failed."""


class Poller:
    """Reads each watched socket whenever it is readable, and hands over what it read.

    A reader may watch or unwatch any socket. What was read from a socket that was unwatched meanwhile is dropped. If a
    reader raises, the exception is printed on standard error. pulse: of this hub.
    """

    def __init__(self) -> None:
        self._hub = gevent.get_hub()
        self.pid = os.getpid()
        self._readers: dict[int, SocketReader] = {}
        self._new: set[int] = set()  # watched since the sockets were read
        self._watchers: dict[int, tuple[Any, Callable[[], object]]] = {}
        self._paused = False
        self._limit_bytes = MOST_BYTES
        self._polled_ns = 0
        self.pulse = Pulse()
        self._sockets = ready_sockets()
        # ref=False: they live as long as the hub, and must not keep an otherwise idle hub running.
        if self._sockets is None:
            self._beats = self._hub.loop.timer(PERIOD_S, PERIOD_S, ref=False)
            self._beats.start(self.pulse.beat)
        else:
            self._watcher = self._hub.loop.io(self._sockets.fileno(), _READABLE, ref=False)
            self._watcher.start(self._on_ready)
            self._rest = self._hub.loop.timer(_REST_S, _REST_S, ref=False)
            self._look = self._hub.loop.timer(_LOOK_S, _LOOK_S, ref=False)

    @classmethod
    def for_current_hub(cls) -> Poller:
        """The poller of this thread's hub; a forked process gets a new one."""
        hub: Any = gevent.get_hub()
        poller: Poller | None = getattr(hub, "harness_poller", None)
        if poller is None or poller.pid != os.getpid():
            poller = hub.harness_poller = cls()
        return poller

    def watch(self, sock: socket.socket, reader: SocketReader) -> None:
        """Give `reader` whatever arrives on `sock`. Ends a pause."""
        descriptor = sock.fileno()
        self._resume()
        self._new.add(descriptor)
        self._readers[descriptor] = reader
        if self._sockets is None:
            self._start(descriptor, lambda: self._read_one(sock, reader))
            return
        self._sockets.add(sock, reader.token_reader)
        self._begin_to_look()

    def hand_over_all(self, descriptor: int) -> None:
        """Give the reader of this socket every read from now on, plain tokens too."""
        if self._sockets is not None:
            self._sockets.hand_over_all(descriptor)

    def notify(self, descriptor: int, on_readable: Callable[[], object]) -> None:
        """Call `on_readable`, which reads, whenever `descriptor` is readable. Ends a pause."""
        self._resume()
        self._start(descriptor, on_readable)
        self._begin_to_look()

    def pause(self) -> None:
        """Read nothing until the next `watch` or `notify`.

        While a thousand streams are stopped one by one, the last ones would be read late and several events at a
        time, so their first tokens would seem to arrive when the test was stopped.
        """
        self._paused = True
        for watcher, _ in self._watchers.values():
            watcher.stop()

    def unwatch(self, descriptor: int) -> None:
        """Stop watching. Call it before the descriptor is closed; a no-op if it is not watched."""
        if descriptor in self._watchers:
            watcher, _ = self._watchers.pop(descriptor)
            watcher.stop()
            watcher.close()
        if self._readers.pop(descriptor, None) is not None and self._sockets is not None:
            self._sockets.remove(descriptor)

    def _resume(self) -> None:
        if self._paused:
            self._paused = False
            for watcher, on_readable in self._watchers.values():
                watcher.start(on_readable)

    def _start(self, descriptor: int, on_readable: Callable[[], object]) -> None:
        watcher = self._hub.loop.io(descriptor, _READABLE)
        self._watchers[descriptor] = watcher, on_readable
        watcher.start(on_readable)

    def _begin_to_look(self) -> None:
        if self._sockets is not None and not self._look.active:
            self._look.start(self._on_look)

    def _on_ready(self) -> None:
        before_ns = self._polled_ns
        self._drain()
        if self._polled_ns - before_ns < _BUSY_NS:
            self._watcher.stop()
            self._rest.again(self._on_rested, update=True)

    def _on_rested(self) -> None:
        if self._drain() < _FEW_SOCKETS:
            self._rest.stop()
            self._watcher.start(self._on_ready)

    def _on_look(self) -> None:
        if not self._rest.active:  # else it looks more often
            self._drain()
        if not self._readers and not self._watchers:
            self._look.stop()

    def _drain(self) -> int:
        """Read every readable socket and hand over what was read; returns their number."""
        if self._paused or self._sockets is None:
            return 0
        began_ns = self._polled_ns = time.monotonic_ns()
        readers, new = self._readers, self._new
        new.clear()
        reads, broken, complete, taken = self._sockets.read(self._limit_bytes)
        began_cpu_ns = time.thread_time_ns()  # of this thread only: on a busy machine, more time passes
        for descriptor, arrival_ns, lag_ns, data in reads:
            reader = readers.get(descriptor)
            if reader is not None and descriptor not in new:
                try:
                    reader.on_read(arrival_ns, lag_ns, data)
                except Exception as problem:  # noqa: BLE001 - printed; the other sockets are still read
                    self._on_exception(descriptor, reader, problem)
        for descriptor, code in broken:
            reader = readers.get(descriptor)
            if reader is not None and descriptor not in new:
                reader.on_broken(OSError(code, os.strerror(code)))
        if reads or taken:
            took_ns = time.thread_time_ns() - began_cpu_ns
            self._limit_bytes = next_size(self._limit_bytes, took_ns, least=READ_BYTES, most=MOST_BYTES)
        if complete:
            self.pulse.seen(began_ns)
        return len(reads) + taken

    def _read_one(self, sock: socket.socket, reader: SocketReader) -> None:
        """On systems without epoll."""
        try:
            arrival_ns, lag_ns, data = read_with_timestamp(sock)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as problem:
            reader.on_broken(problem)
            return
        reader.on_read(arrival_ns, lag_ns, data)

    def _on_exception(self, descriptor: int, reader: SocketReader, problem: Exception) -> None:
        self.unwatch(descriptor)
        self._hub.handle_error(reader, type(problem), problem, problem.__traceback__)
