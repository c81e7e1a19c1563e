"""Locust users: the closed loop, where each user runs one journey after another, and the open loop's pacer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import gevent
from locust import User
from locust.exception import StopUser

from harness.config.load_settings import LoadSettings
from harness.errors import LocalResourceError
from harness.load.journeys.builtin import JOURNEYS, Journey, first_step, promised_weights
from harness.load.journeys.custom import CustomJourney
from harness.load.journeys.new_run import NotStartedError
from harness.load.journeys.stream_runner import StreamRunner
from harness.load.locust.run_context import RunContext
from harness.load.schedule.pacer import Pacer, Schedule
from harness.load.session import Session
from harness.load.stats.collector import CollectorClosedError
from harness.profiles.library import default_profile
from harness.profiles.profile import Profile

_AFTER_REFUSAL_S = 0.2


Task = Callable[["AgentRunUser"], None]


def _run_context(user: User) -> RunContext:
    session = Session.wait_for(user.environment)
    context = None if session is None else session.run_context
    # Locust may still move users of a departed worker to a worker that is stopping.
    if context is None or context.collector.closed or context.stopping.is_set():
        raise StopUser
    return context


def weighted_tasks(weights: Mapping[str, int]) -> list[Any]:
    """The journeys as Locust tasks, each repeated by its weight."""
    return [task for name, weight in weights.items() for task in [_task(name)] * weight]


def _task(name: str) -> Task:
    def task(user: AgentRunUser) -> None:
        user.run_journey(JOURNEYS[name])

    task.__name__ = name  # Locust shows it
    return task


class AgentRunUser(User):
    """A user of the closed loop: the next journey starts when the previous one has ended."""

    abstract = True

    def run_journey(self, journey: Journey) -> None:
        """Run one of the built-in journeys."""
        runner = _run_context(self).stream_runner()
        try:
            journey(runner, None)
        except _ENDS_JOURNEY as problem:
            _after_problem(problem)
        finally:
            runner.end()
        _rest_if_refused(runner)

    @contextmanager
    def journey(self, name: str) -> Iterator[CustomJourney]:
        """Your own journey, for the length of a with-block. Results keep its streams under `name`."""
        runner = _run_context(self).stream_runner()
        try:
            yield CustomJourney(runner, name)
        except _ENDS_JOURNEY as problem:
            _after_problem(problem)
        finally:
            runner.end()
        _rest_if_refused(runner)


_ENDS_JOURNEY = (CollectorClosedError, LocalResourceError, NotStartedError)


def _after_problem(problem: Exception) -> None:
    """The test has ended, which raises StopUser; or a stream did not start, and is counted with its reason."""
    if isinstance(problem, CollectorClosedError):
        raise StopUser from None
    gevent.sleep(_AFTER_REFUSAL_S)


def _rest_if_refused(runner: StreamRunner) -> None:
    if runner.refused:
        gevent.sleep(_AFTER_REFUSAL_S)  # without a target, a closed loop would spin


class ArrivalUser(User):
    """The open loop: starts each arrival of this process's share when it is due, however earlier ones fare.

    One user per process is enough; more have nothing to do.
    """

    abstract = True
    weights: Mapping[str, int] = {"fresh": 1}

    def send_arrivals(self) -> None:
        """Start the arrivals, wait until they have ended, then wait for the end of the test.

        Locust moves users between workers when a worker joins. The arrivals stay: they run in a greenlet of the test.
        """
        context = _run_context(self)
        if context.schedule is not None and context.pacer is None:
            context.pacer = gevent.spawn(self._follow, context.schedule, context)
            try:
                context.pacer.get()
            except gevent.GreenletExit:
                if context.stopping.is_set():
                    context.pacer.kill()
                raise
        context.stopping.wait()
        raise StopUser

    tasks = [send_arrivals]  # noqa: RUF012 - the way Locust declares tasks

    def _follow(self, schedule: Schedule, context: RunContext) -> None:
        try:
            Pacer(
                schedule,
                context.stopping,
                partial(self._arrive, context),
                partial(_drop, context),
                context.cpu_yield.expect,
            ).run(self.weights)
        finally:
            if not context.stopping.is_set():
                context.arrivals_finished()

    def _arrive(self, context: RunContext, journey: str, due_ns: int) -> None:
        runner = context.stream_runner()
        try:
            JOURNEYS[journey](runner, due_ns)
        except (
            CollectorClosedError,
            LocalResourceError,
            NotStartedError,
        ):  # the stream is counted, with its reason
            return
        except Exception as problem:  # noqa: BLE001 - as Locust does for exceptions in a task
            events: Any = self.environment.events
            events.user_error.fire(user_instance=self, exception=problem, tb=problem.__traceback__)
        finally:
            runner.end()


def _drop(context: RunContext, journey: str, due_ns: int) -> None:
    context.collector.drop(first_step(journey), due_ns)


class ConfiguredUser(AgentRunUser, ArrivalUser):
    """A user of the loop, open or closed, that the load settings describe. Tests may differ in their settings."""

    abstract = True

    @classmethod
    def configure(cls, load: LoadSettings, profile: Profile | None = None) -> None:
        """Follow these settings from the next user on. profile: the target's API; by default workflow actions.

        Raises SettingsError if the API promises none of the journeys.
        """
        cls.weights = promised_weights(load.journeys.model_dump(), profile or default_profile())
        cls.tasks = list(ArrivalUser.tasks) if load.is_open else weighted_tasks(cls.weights)
