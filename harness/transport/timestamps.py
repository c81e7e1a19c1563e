"""Arrival times of reads: the kernel's receive timestamps, converted to the monotonic clock."""

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
_CLOCK_READ_NS = (
    1_000  # a reading of both clocks that took less is good enough; its error is at most half of that
)
_CLOCK_READ_TRIES = 5
_OFFSET_VALID_NS = 2_000_000  # in that time no clock discipline moves the clocks apart by more than 1 us
_PLAUSIBLE_LAG_NS = 60_000_000_000  # more means that the wall clock was set after the timestamp
_STEP_NS = 5_000_000  # a change of the offset by more means that the wall clock was set
_SLEW = 0.001  # of the time passed: more than any clock discipline moves the clocks apart
HAS_KERNEL_TIMESTAMPS = sys.platform == "linux"


@cache
def keep_kernel_timestamps_on() -> None:
    """Keep the kernel's packet timestamping on until this process ends.

    The kernel turns it on, with a delay, for the first socket that enables it, and off after the last one. Without
    a permanent socket the first read of a single connection would have no timestamp.
    """
    if HAS_KERNEL_TIMESTAMPS:
        permanent = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        permanent.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        permanent.detach()


def enable_kernel_timestamps(sock: socket.socket) -> None:
    """Have the kernel timestamp what arrives on `sock`, if it can."""
    if HAS_KERNEL_TIMESTAMPS:
        sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)


class ClockOffset:
    """The wall clock minus the monotonic clock, measured again every 2 ms."""

    __slots__ = ("_measured_ns", "_offset_ns", "_set_ns")

    def __init__(self) -> None:
        self._offset_ns = 0
        self._measured_ns: int | None = None
        self._set_ns = 0  # when it was found that the wall clock had been set, monotonic clock

    def lag_ns(self, now_ns: int, stamp_ns: int) -> int | None:
        """How long ago, in ns, the wall clock showed `stamp_ns`. now_ns: current monotonic time.

        None if that cannot be known: the wall clock was set since then.
        """
        lag_ns = now_ns + self.at_ns(now_ns) - stamp_ns
        return lag_ns if lag_ns >= 0 and now_ns - lag_ns >= self.earliest_ns(now_ns) else None

    def earliest_ns(self, now_ns: int) -> int:
        """Before that time of the monotonic clock no timestamp is valid: the wall clock was set in between."""
        return max(self._set_ns, now_ns - _PLAUSIBLE_LAG_NS)

    def at_ns(self, now_ns: int) -> int:
        """The offset in ns. now_ns: current monotonic time."""
        if self._measured_ns is None or not 0 <= now_ns - self._measured_ns < _OFFSET_VALID_NS:
            self._measure()
        return self._offset_ns

    def _measure(self) -> None:
        """Read both clocks, the wall clock in the middle; again if that took long, because this process was preempted
        or its code had left the CPU cache. The error would move arrivals: it takes the reading that took least.
        """
        now_ns = time.monotonic_ns()
        offset_ns, least_ns = 0, None
        for _ in range(_CLOCK_READ_TRIES):
            before_ns, wall_ns, now_ns = now_ns, time.time_ns(), time.monotonic_ns()
            took_ns = now_ns - before_ns
            if least_ns is None or took_ns < least_ns:
                offset_ns, least_ns = wall_ns - now_ns + took_ns // 2, took_ns
            if took_ns < _CLOCK_READ_NS:
                break
        if self._measured_ns is not None:
            moved_ns = abs(offset_ns - self._offset_ns)
            if moved_ns > _STEP_NS + _SLEW * (now_ns - self._measured_ns):
                self._set_ns = now_ns
        self._offset_ns, self._measured_ns = offset_ns, now_ns


_clock_offset = ClockOffset()

#: Reused, so they stay in the CPU cache and do not fragment the heap.
_buffers: list[tuple[memoryview, tuple[memoryview]]] = []


def _new_buffer() -> tuple[memoryview, tuple[memoryview]]:
    whole = memoryview(bytearray(READ_BYTES))
    return whole, (whole,)


def read_with_timestamp(sock: socket.socket, size: int = READ_BYTES) -> tuple[int, int | None, bytes]:
    """One read: arrival (monotonic clock, ns), lag from arrival to read (ns; None without a kernel timestamp), and
    the bytes; no bytes mean that the peer closed.

    Raises BlockingIOError if nothing is available, and the errors of recv.
    """
    if not HAS_KERNEL_TIMESTAMPS:
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
            lag_ns = _clock_offset.lag_ns(now_ns, seconds * 1_000_000_000 + nanoseconds)
            if lag_ns is not None:
                return now_ns - lag_ns, lag_ns, data
    return now_ns, None, data
