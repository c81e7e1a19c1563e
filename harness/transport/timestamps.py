"""Arrival times of reads: the kernel's receive stamps, carried over to the monotonic clock."""

from __future__ import annotations

import socket
import struct
import sys
import time
from functools import cache

_SO_TIMESTAMPNS = 35


_TIMESPEC = struct.Struct("@ll")


_ANCILLARY_BYTES = socket.CMSG_SPACE(_TIMESPEC.size) if hasattr(socket, "CMSG_SPACE") else 0


READ_BYTES = 65536


_SAME_MOMENT_NS = 20_000


_LOOKS = 5


_SAME_DISTANCE_NS = 2_000_000  # for so long no clock service moves the clocks apart by more than 1 us


_PLAUSIBLE_LAG_NS = 60_000_000_000  # beyond it the wall clock was set between stamp and read


KERNEL_STAMPS = sys.platform == "linux"


@cache
def keep_stamping() -> None:
    """Have the kernel stamp all that arrives, from now until this process ends.

    It begins to, a moment later, when the first socket asks, and stops with the last: without a socket that
    stays, the first read of a lone connection has no stamp.
    """
    if KERNEL_STAMPS:
        keeper = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        keeper.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        keeper.detach()


def ask_for_stamps(sock: socket.socket) -> None:
    """Have the kernel stamp what arrives on `sock`, where it can."""
    if KERNEL_STAMPS:
        sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)


class Clocks:
    """How far the wall clock is ahead of the monotonic one: looked up anew when the last look is some time ago."""

    __slots__ = ("_ahead_ns", "_looked_ns")

    def __init__(self) -> None:
        self._ahead_ns = 0
        self._looked_ns: int | None = None

    def ahead_ns(self, now_ns: int) -> int:
        """In ns. now_ns: what the monotonic clock says."""
        if self._looked_ns is None or not 0 <= now_ns - self._looked_ns < _SAME_DISTANCE_NS:
            self._look()
        return self._ahead_ns

    def _look(self) -> None:
        """Read both in one moment: anew when this process was held up between the two, which would count as
        lag, and make what came look as if it had come sooner.
        """
        now_ns = time.monotonic_ns()
        for _ in range(_LOOKS):
            before_ns, wall_ns, now_ns = now_ns, time.time_ns(), time.monotonic_ns()
            if now_ns - before_ns < _SAME_MOMENT_NS:
                break
        self._ahead_ns, self._looked_ns = wall_ns - now_ns, now_ns


_clocks = Clocks()


#: Used again and again: they stay in the processor's cache, and leave no holes in the heap.
_buffers: list[tuple[memoryview, tuple[memoryview]]] = []


def _new_buffer() -> tuple[memoryview, tuple[memoryview]]:
    whole = memoryview(bytearray(READ_BYTES))
    return whole, (whole,)


def stamped_read(sock: socket.socket, size: int = READ_BYTES) -> tuple[int, int | None, bytes]:
    """One read: when it arrived (monotonic clock, ns), how much later we got to see it (None without a
    kernel stamp), and its bytes; empty ones mean that the peer closed.

    Raises BlockingIOError when nothing is there, and what recv raises otherwise.
    """
    if not KERNEL_STAMPS:
        data = sock.recv(size)
        return time.monotonic_ns(), None, data
    buffer = _buffers.pop() if _buffers else _new_buffer()  # each thread gets its own
    try:
        whole, into = buffer
        if size != READ_BYTES:
            into = (whole[:size],)
        count, ancillary, _, _ = sock.recvmsg_into(into, _ANCILLARY_BYTES)
        now_ns = time.monotonic_ns()
        data = whole[:count].tobytes()
    finally:
        _buffers.append(buffer)
    for level, kind, payload in ancillary:
        if kind == _SO_TIMESTAMPNS and level == socket.SOL_SOCKET and len(payload) >= _TIMESPEC.size:
            seconds, nanoseconds = _TIMESPEC.unpack_from(payload)
            lag_ns = now_ns + _clocks.ahead_ns(now_ns) - (seconds * 1_000_000_000 + nanoseconds)
            if 0 <= lag_ns < _PLAUSIBLE_LAG_NS:
                return now_ns - lag_ns, lag_ns, data
    return now_ns, None, data
