"""Ends the judging of a suite at its time limit: a server decides how much there is to judge."""

from __future__ import annotations

import signal
import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from types import FrameType

import pytest

from harness.suite.selection import requirement_of
from harness.suite.time_limit import TimeLimit

_AGAIN_S = 1.0  # an exception may have been lost
_SOON_S = 0.01
# And what weak references call (ours, and those of the library): an exception is printed there, and lost.
_DESTRUCTORS = frozenset({"__del__", "_drop", "remove", "_remove"})


class JudgingLimit:
    """A plugin that interrupts a test of the suite at the time limit; what it would have decided is undecided."""

    def __init__(self, limit: TimeLimit) -> None:
        self._limit = limit

    @pytest.hookimpl(wrapper=True, trylast=True)
    def pytest_pyfunc_call(self, pyfuncitem: pytest.Function) -> Generator[None, object, object]:
        if requirement_of(pyfuncitem) is None:
            return (yield)
        with ends_in_time(self._limit):
            return (yield)


@contextmanager
def ends_in_time(limit: TimeLimit) -> Iterator[None]:
    """Raise Undecided in the block when the limit is reached, if this is the main thread.

    It does nothing if there is a timer already, which belongs to a different plugin.
    """
    if not limit.left_to_judge_s():
        raise limit.undecided()
    if threading.current_thread() is not threading.main_thread() or signal.getitimer(signal.ITIMER_REAL)[0]:
        yield
        return
    inside = True

    def at_limit(_: int, frame: FrameType | None) -> None:
        if not inside:
            return
        left_s = limit.left_to_judge_s()  # the target may have put requests off since
        if not left_s and _is_in_destructor(frame):
            left_s = _SOON_S
        signal.setitimer(signal.ITIMER_REAL, left_s or _AGAIN_S)
        if not left_s:
            raise limit.undecided()

    before = signal.signal(signal.SIGALRM, at_limit)
    try:
        signal.setitimer(signal.ITIMER_REAL, limit.left_to_judge_s() or _AGAIN_S)
        yield
    finally:
        inside = False
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _is_in_destructor(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_name in _DESTRUCTORS:
            return True
        frame = frame.f_back
    return False
