"""Locust's users: the closed loop, whose users travel one journey after another, and the open loop's pump."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import gevent
from locust import User
from locust.exception import StopUser

from harness.config.load_settings import LoadSettings
from harness.load.journeys.builtin import JOURNEYS, Journey
from harness.load.journeys.custom import CustomJourney
from harness.load.journeys.stream_runner import StreamRunner
from harness.load.locust.run_context import RunContext
from harness.load.schedule.pacer import Pacer, Schedule
from harness.load.session import Session
from harness.load.stats.collector import CollectorClosedError

_AFTER_REFUSAL_S = 0.2

logger = logging.getLogger(__name__)

Task = Callable[["AgentRunUser"], None]


def _active_test(user: User) -> RunContext:
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
        user.run_journey(JOURNEYS[name])

    task.__name__ = name  # what Locust shows
    return task


class AgentRunUser(User):
    """A user of the closed loop: the next journey begins when the one before has ended."""

    abstract = True

    def run_journey(self, journey: Journey) -> None:
        """One of the shipped journeys."""
        with self._stream_runner() as traveller:
            journey(traveller, None)

    @contextmanager
    def journey(self, name: str) -> Iterator[CustomJourney]:
        """A journey of your own, for the length of a with-block; results keep its streams under `name`."""
        with self._stream_runner() as traveller:
            yield CustomJourney(traveller, name)

    @contextmanager
    def _stream_runner(self) -> Iterator[StreamRunner]:
        traveller = _active_test(self).stream_runner()
        try:
            yield traveller
        except CollectorClosedError:
            raise StopUser from None
        if traveller.refused:
            gevent.sleep(_AFTER_REFUSAL_S)  # without a target a closed loop would only spin


class ArrivalUser(User):
    """The open loop: begins each arrival of this process's share when it is due, whatever became of others.

    It needs one user a process; any more have nothing to do.
    """

    abstract = True
    weights: Mapping[str, int] = {"fresh": 1}

    def send_arrivals(self) -> None:
        """Begin the arrivals, wait for those that are still on their way, and for the test's end."""
        active = _active_test(self)
        if active.timetable is not None and not active.has_pump:
            active.has_pump = True
            try:
                self._follow(active.timetable, active)
            finally:
                if not active.stopping.is_set():
                    active.pumped()
        active.stopping.wait()
        raise StopUser

    tasks = [send_arrivals]  # noqa: RUF012 - Locust's way to declare them

    def _follow(self, timetable: Schedule, active: RunContext) -> None:
        pump = Pacer(timetable, active.stopping, partial(self._arrive, active), active.collector.drop)
        try:
            pump.run(self.weights)
        except gevent.GreenletExit:
            if not active.stopping.is_set():
                logger.error("this process's pump was stopped in mid-test: its arrivals end here")  # noqa: TRY400
            raise

    def _arrive(self, active: RunContext, journey: str, due_ns: int) -> None:
        try:
            JOURNEYS[journey](active.stream_runner(), due_ns)
        except CollectorClosedError:
            return
        except Exception as problem:  # noqa: BLE001 - as Locust does with what a task raises
            events: Any = self.environment.events
            events.user_error.fire(user_instance=self, exception=problem, tb=problem.__traceback__)


class ConfiguredUser(AgentRunUser, ArrivalUser):
    """A user of the loop that the load settings describe, open or closed; they may change between tests."""

    abstract = True

    @classmethod
    def configure(cls, load: LoadSettings) -> None:
        """From the next user on, do what these settings say."""
        cls.weights = load.journeys.model_dump()
        cls.tasks = list(ArrivalUser.tasks) if load.is_open else weighted_tasks(cls.weights)
