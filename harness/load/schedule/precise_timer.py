"""A precise timer: the event loop's timers have 1 ms resolution, which would make arrivals late."""

from __future__ import annotations

import ctypes
import os
import sys
import time
from typing import Any

import gevent

_READABLE = 1  # libev's EV_READ
_CLOCK_MONOTONIC = 1
_ABSOLUTE = 1  # TFD_TIMER_ABSTIME
_FLAGS = os.O_NONBLOCK | os.O_CLOEXEC  # TFD_NONBLOCK | TFD_CLOEXEC
_SECOND_NS = 1_000_000_000


class _Time(ctypes.Structure):
    _fields_ = [("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long)]


class _Setting(ctypes.Structure):
    _fields_ = [("interval", _Time), ("due", _Time)]


class PreciseTimer:
    """Wakes one greenlet at a time, at a given time of the monotonic clock.

    On Linux it is a timerfd (timerfd_create(2)) in the event loop: about 0.05 ms late when the loop is idle.
    Elsewhere it is the event loop's timer, up to 1 ms late.
    """

    def __init__(self) -> None:
        self._descriptor: int | None = None
        self._watcher: Any = None
        if sys.platform == "linux":
            self._libc = ctypes.CDLL(None, use_errno=True)
            self._setting = _Setting()
            self._descriptor = self._checked(self._libc.timerfd_create(_CLOCK_MONOTONIC, _FLAGS))
            self._watcher = gevent.get_hub().loop.io(self._descriptor, _READABLE)

    def sleep_until(self, due_ns: int) -> None:
        """Block this greenlet until this time. Returns at once if it has passed."""
        while (left_ns := due_ns - time.monotonic_ns()) > 0:
            if self._descriptor is None:
                gevent.sleep(left_ns / _SECOND_NS)
            else:
                self._wait(self._descriptor, due_ns)

    def _wait(self, descriptor: int, due_ns: int) -> None:
        due = self._setting.due
        due.seconds, due.nanoseconds = divmod(due_ns, _SECOND_NS)
        # This also replaces the time left by an interrupted sleep.
        self._checked(self._libc.timerfd_settime(descriptor, _ABSOLUTE, ctypes.byref(self._setting), None))
        gevent.get_hub().wait(self._watcher)

    def _checked(self, result: int) -> int:
        if result < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        return result

    def close(self) -> None:
        """Close the descriptor. Further calls do nothing."""
        if self._descriptor is not None:
            self._watcher.stop()
            self._watcher.close()
            os.close(self._descriptor)
            self._descriptor = None
