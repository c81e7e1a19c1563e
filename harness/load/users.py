"""Locust's users: the closed loop, whose users travel one journey after another, and the open loop's pump."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import gevent
import gevent.pool
from locust import User
from locust.exception import StopUser

from harness.load.collector import CollectorClosedError
from harness.load.journeys import JOURNEYS, Journey
from harness.load.session import ActiveTest, Session

_AFTER_REFUSAL_S = 0.2

Task = Callable[["AgentRunUser"], None]


def _active_test(user: User) -> ActiveTest:
    session = Session.of(user.environment)
    active = None if session is None else session.active
    # A worker that is stopping may still be sent users that another, which left before, had.
    if active is None or active.collector.closed or active.stopping.is_set():
        raise StopUser
    return active


def weighted_tasks(weights: Mapping[str, int]) -> list[Any]:
    """The journeys as Locust tasks, each as often as it weighs."""
    return [task for name, weight in weights.items() for task in [_task(name)] * weight]


def _task(name: str) -> Task:
    def task(user: AgentRunUser) -> None:
        user.travel(JOURNEYS[name])

    task.__name__ = name  # what Locust shows
    return task


class AgentRunUser(User):
    """A user of the closed loop: the next journey begins when the one before has ended."""

    abstract = True

    def travel(self, journey: Journey) -> None:
        """One journey."""
        traveller = _active_test(self).traveller()
        try:
            journey(traveller, None)
        except CollectorClosedError:
            raise StopUser from None
        if traveller.refused:
            gevent.sleep(_AFTER_REFUSAL_S)  # without a target a closed loop would only spin


class ArrivalPump(User):
    """The open loop: begins each arrival of this process's share when it is due, whatever became of others.

    It needs one user a process; any more have nothing to do.
    """

    abstract = True
    weights: Mapping[str, int] = {"fresh": 1}
    _pumping: ActiveTest | None = None  # on the class: the test that this process has a pump for

    def pump(self) -> None:
        """Begin arrivals until the test is stopped, then wait for those that are still on their way."""
        cls, active = type(self), _active_test(self)
        if cls._pumping is active or active.share is None:
            active.stopping.wait()
            raise StopUser
        cls._pumping = active
        arriving = gevent.pool.Group()
        try:
            for due_ns in _due_times(active):
                if not _wait_until(due_ns, active):
                    break
                arriving.spawn(self._arrive, active, due_ns)
            arriving.join()
        finally:
            arriving.kill()
        raise StopUser

    tasks = [pump]  # noqa: RUF012 - Locust's way to declare them

    def _arrive(self, active: ActiveTest, due_ns: int) -> None:
        names = [name for name, weight in self.weights.items() if weight]
        (name,) = random.choices(names, [self.weights[name] for name in names])  # noqa: S311 - no secret
        try:
            JOURNEYS[name](active.traveller(), due_ns)
        except CollectorClosedError:
            return
        except Exception as problem:  # noqa: BLE001 - as Locust does with what a task raises
            events: Any = self.environment.events
            events.user_error.fire(user_instance=self, exception=problem, tb=problem.__traceback__)


def _due_times(active: ActiveTest) -> Iterator[int]:
    arrivals, share = active.arrivals, active.share
    if arrivals is not None and share is not None:
        for number in share.arrivals():
            yield active.start_ns + int(arrivals.due_s(number) * 1e9)


def _wait_until(due_ns: int, active: ActiveTest) -> bool:
    """Wait for that moment of the monotonic clock; False when the test is stopped before or at it."""
    while not active.stopping.is_set():
        left_s = (due_ns - time.monotonic_ns()) / 1e9
        if left_s <= 0:
            gevent.sleep(0)  # a pump that is behind lets the others read
            return not active.stopping.is_set()
        active.stopping.wait(left_s)
    return False
