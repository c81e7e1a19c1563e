"""Reads all ready sockets of one epoll set at once: natively where the extension was compiled, else in Python.

Both do the same. batch_reader.c says why there are two.
"""

from __future__ import annotations

import select
import socket
import time

from harness.contract.decoding.token_layout import TokenReader
from harness.transport.timestamps import READ_BYTES, ClockOffset, read_with_timestamp

try:
    from harness.transport import _batch_reader as native_reader
except ImportError:  # no compiler, or a system without epoll
    native_reader = None  # type: ignore[assignment]

NATIVE, PYTHON = "native", "python"
_READABLE = 1  # EPOLLIN
MOST_SOCKETS = 256  # of one call
LEAST_BYTES, MOST_BYTES = 2048, 1 << 20

SocketRead = tuple[int, int, int | None, bytes]
"""Descriptor, arrival (monotonic clock, ns), lag (ns; None without a kernel timestamp), and bytes; none at the end."""


Reads = tuple[list[SocketRead], list[tuple[int, int]], bool, int]
"""What one call read and no reader of tokens took; descriptor and errno of each failed read; whether it read all that
had come before it; how many reads the readers of tokens took.
"""


def reader_in_use() -> str:
    """Which implementation reads the load's sockets: NATIVE or PYTHON."""
    return PYTHON if native_reader is None else NATIVE


def ready_sockets() -> ReadySockets | None:
    """A new empty set; None if the system has no epoll."""
    from gevent.monkey import get_original

    try:
        epoll: select.epoll = get_original("select", "epoll")()
    except AttributeError:
        return None
    return PythonReads(epoll) if native_reader is None else NativeReads(epoll)


class ReadySockets:
    """A set of non-blocking sockets."""

    def __init__(self, epoll: select.epoll) -> None:
        self._epoll = epoll
        self._token_readers: dict[int, TokenReader] = {}

    def fileno(self) -> int:
        """The descriptor that is readable while any socket is."""
        return self._epoll.fileno()

    def add(self, sock: socket.socket, token_reader: TokenReader | None = None) -> None:
        """Read this socket from now on. token_reader: gets each read first, and takes it if it can."""
        self._epoll.register(sock.fileno(), _READABLE)
        if token_reader is not None:
            self._token_readers[sock.fileno()] = token_reader

    def hand_over_all(self, descriptor: int) -> None:
        """From now on no reader of tokens takes a read of this socket."""
        self._token_readers.pop(descriptor, None)

    def remove(self, descriptor: int) -> None:
        """Read it no longer. To be called before it is closed."""
        self.hand_over_all(descriptor)
        self._epoll.unregister(descriptor)

    def read(self, limit_bytes: int) -> Reads:
        """Read each ready socket once, without waiting: at most MOST_SOCKETS and `limit_bytes`.

        limit_bytes: from LEAST_BYTES to MOST_BYTES. A socket of which more is left is ready at the next call.
        """
        raise NotImplementedError


class NativeReads(ReadySockets):
    """Reads in C, without the interpreter's lock."""

    def __init__(self, epoll: select.epoll) -> None:
        super().__init__(epoll)
        self._read_ready = native_reader.read_ready
        self._clock = ClockOffset()
        self._whole = self._buffer = memoryview(bytearray(MOST_BYTES))

    def read(self, limit_bytes: int) -> Reads:
        """See ReadySockets."""
        if len(self._buffer) != limit_bytes:
            self._buffer = self._whole[:limit_bytes]
        now_ns = time.monotonic_ns()
        ahead_ns = self._clock.at_ns(now_ns)
        return self._read_ready(
            self._epoll.fileno(),
            self._buffer,
            MOST_SOCKETS,
            READ_BYTES,
            ahead_ns,
            self._clock.earliest_ns(now_ns),
            self._token_readers,
        )


class PythonReads(ReadySockets):
    """Reads one socket after the other."""

    def __init__(self, epoll: select.epoll) -> None:
        super().__init__(epoll)
        self._sockets: dict[int, socket.socket] = {}

    def add(self, sock: socket.socket, token_reader: TokenReader | None = None) -> None:
        """See ReadySockets."""
        super().add(sock, token_reader)
        self._sockets[sock.fileno()] = sock

    def remove(self, descriptor: int) -> None:
        """See ReadySockets."""
        super().remove(descriptor)
        del self._sockets[descriptor]

    def read(self, limit_bytes: int) -> Reads:
        """See ReadySockets."""
        ready = self._epoll.poll(0, MOST_SOCKETS)
        complete, taken = len(ready) < MOST_SOCKETS, 0
        reads: list[SocketRead] = []
        broken: list[tuple[int, int]] = []
        for descriptor, _ in ready:
            read_bytes = min(READ_BYTES, limit_bytes)
            if read_bytes < LEAST_BYTES:
                complete = False
                break
            try:
                read = read_with_timestamp(self._sockets[descriptor], read_bytes)
            except (BlockingIOError, InterruptedError):
                continue
            except OSError as problem:
                broken.append((descriptor, problem.errno or 0))
                continue
            token_reader = self._token_readers.get(descriptor)
            if token_reader is not None and token_reader.take(*read):
                taken += 1
            else:
                reads.append((descriptor, *read))
            limit_bytes -= len(read[2])
            if len(read[2]) == read_bytes:
                complete = False
        return reads, broken, complete, taken
