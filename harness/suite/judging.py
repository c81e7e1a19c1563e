"""Ends the judging of a suite at its time limit: a server decides how much there is to judge."""

from __future__ import annotations

import signal
import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager

import pytest

from harness.suite.selection import requirement_of
from harness.suite.time_limit import TimeLimit

_AGAIN_S = 1.0  # an exception is lost in a destructor


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

    def at_limit(*_: object) -> None:
        if not inside:
            return
        left_s = limit.left_to_judge_s()  # the target may have put requests off since
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
