"""Scenarios: situations that are set up on the target, each once per session, concurrently.

A scenario is a coroutine function that takes a ScenarioContext. It may use the outcome of other scenarios. All run on
one event loop in their own thread, so a test waits only for the scenarios that it needs.
"""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from concurrent.futures import TimeoutError as FutureTimeoutError
from concurrent.futures import wait
from contextvars import Context
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Self, TypeVar

from harness.config.settings import Settings
from harness.config.target import BEFORE_A_RUN, CreationError, Target
from harness.contract.evidence.redaction import Redactor
from harness.contract.exchange import Exchange
from harness.contract.rules.rule import Need, Requirement
from harness.profiles.capability import Capability
from harness.profiles.profile import WORKFLOW_ACTIONS
from harness.protocol.request import HttpRequest
from harness.suite.not_decided import NotApplicable, Undecided
from harness.suite.queueing import PROBES
from harness.suite.request_budget import Cost
from harness.suite.restarting import Restarting
from harness.suite.sending import PatientSender
from harness.suite.throttle import retry_after_s
from harness.suite.time_limit import TimeLimit
from harness.transport.asyncio_client import AsyncExchange

__all__ = ["NotApplicable", "Undecided", "retry_after_s"]

_ENDS_WITHIN_S = 10.0  # what is cancelled
_ANSWERS_WITHIN_S = 2.0  # the event loop, unless one of its tasks computes

T = TypeVar("T")
K = TypeVar("K")


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits for a shared target.

    max_connections: at the same time; None for no limit. read_only: no races, no hostile input. alone: no other process
    of this test uses the target. terminal, tells_restart: see Restarting.
    """

    max_connections: int | None = None
    read_only: bool = False
    alone: bool = True
    terminal: str | None = None
    tells_restart: Path | None = None


class ScenarioContext(PatientSender):
    """What a scenario works with: the target, a client, and the other scenarios."""

    def __init__(self, settings: Settings, limits: Limits | None = None) -> None:
        self.expect = settings.expectations
        self._limits = limits or Limits()
        super().__init__(
            Target(settings),
            self.expect.budgets,
            self._limits.max_connections,
            settings.limits.budget_requests,
        )
        self.time_limit = TimeLimit(settings.limits.suite_s(settings.budgets), self.throttle.put_off_s)
        self.restarting = Restarting(
            settings.target.restart_command,
            settings.budgets.restart,
            self._limits.terminal,
            self._limits.tells_restart,
            Redactor(settings.secrets()).sentence,
        )
        self._started: dict[Callable[..., Any], asyncio.Task[Any]] = {}
        self._waiting: dict[asyncio.Task[Any], int] = {}
        self._changed = asyncio.Event()  # when a scenario ends, or waits for the others

    async def run_once(self, scenario: Callable[[ScenarioContext], Coroutine[Any, Any, T]]) -> T:
        """The outcome of `scenario`, which runs only once. Raises NotApplicable, Undecided, or what it raises.

        Undecided at the suite's time limit too, if it has not ended by then.
        """
        if scenario not in self._started:
            # In its own context: the caller's connections are not the scenario's.
            self._started[scenario] = asyncio.create_task(
                self._run(scenario), name=scenario.__name__, context=Context()
            )
            self._started[scenario].add_done_callback(lambda _: self._changed.set())
        task = self._started[scenario]
        while not task.done() and (left_s := self.time_limit.left_s()):
            await asyncio.wait([task], timeout=left_s)
        if not task.done():
            raise self.time_limit.undecided()
        outcome: T = await asyncio.shield(task)
        return outcome

    async def _run(self, scenario: Callable[[ScenarioContext], Coroutine[Any, Any, T]]) -> T:
        return await self.unrefused(lambda: scenario(self))

    def cost_of(self, scenarios: Cost) -> Cost:
        """What the suite sends to this target: these scenarios, and before them preflight and search for a queue."""
        runs = scenarios.runs + 1 + len(self.target.replicas) + 2 * PROBES
        requests = scenarios.requests + runs - scenarios.runs
        requests += runs * len(self.target.profile.before_run)
        return Cost(requests, runs)

    async def ended(self, scenarios: Iterable[Callable[..., Any]]) -> None:
        """Wait until those of `scenarios` that have been started have ended, whatever their outcome.

        For a scenario that may delay theirs. Only scenarios that do not wait for the caller.
        """
        begun = [self._started[scenario] for scenario in scenarios if scenario in self._started]
        if begun:
            await asyncio.wait(begun)

    async def others_ended(self, turn: int = 1) -> None:
        """Wait until every scenario has ended but the calling one, and those that call this with a later turn.

        At most one scenario may call it with each turn: 0 before the retry that must be late, 1 for that, 2 for what
        ends the server.
        """
        own = asyncio.current_task()
        assert own is not None
        self._waiting[own] = turn
        self._changed.set()  # for those that wait with an earlier turn
        while any(
            task is not own and not task.done() and self._waiting.get(task, 0) <= turn
            for task in self._started.values()
        ):
            self._changed.clear()
            await self._changed.wait()

    async def request(
        self, action: str, *, key: str | None = None, run_id: str | None = None, text: str | None = None
    ) -> HttpRequest:
        """A valid request for a new run of an action, after what the API wants before it. text: for an echo action.

        Raises NotApplicable if the action is not configured, and Undecided if no run can be started.
        """
        try:
            values = self.target.values(action, text)
        except LookupError:
            raise NotApplicable(f"configure [target.actions.{action}]") from None
        for step in self.target.profile.before_run:
            answer = await self.send(self.target.creation(step, values), BEFORE_A_RUN)
            try:
                values |= self.target.kept(step, answer)
            except CreationError as problem:
                raise Undecided(str(problem)) from None
        request = self.target.run_with(values, key=key, run_id=run_id)
        self.begin_route(self.target.key_of(request))
        return request

    def again(self, run: Exchange) -> HttpRequest:
        """The request that reads a run again, from its first event. Raises Undecided if it cannot be made."""
        try:
            return self.elsewhere(run.request, self.target.again(run.request, run.run_id))
        except LookupError as reason:
            raise Undecided(f"{run.label} cannot be read again: {reason}") from None

    async def known(self, run: AsyncExchange, *, to_resume: bool = False) -> None:
        """Wait until the events of a run have what a request about it needs. Raises Undecided if they never do."""
        while not self.target.knows_run(run.request, run.run_id, to_resume=to_resume):
            if not await run.events(run.events_seen + 1):
                raise Undecided("the run cannot be resumed: its events do not tell its id")

    async def joining(self, run: AsyncExchange) -> HttpRequest:
        """The request that joins a run in flight, once it is known. Raises Undecided if it cannot be made."""
        await self.known(run)
        return self.elsewhere(run.request, self.target.again(run.request, run.run_id))

    def resumption(self, run: Exchange, last_id: str | None) -> HttpRequest:
        """The request that continues a cut run after its event `last_id`. Raises Undecided if it cannot be made."""
        try:
            return self.elsewhere(run.request, self.target.resumption(run.request, run.run_id, last_id))
        except LookupError as reason:
            raise Undecided(f"{run.label} cannot be resumed: {reason}") from None

    def offers(self, need: Need) -> bool:
        """Whether the target, or its user, offers what a rule needs."""
        return self.restarting.is_possible if need is Need.RESTART else self.target.offers(need)

    def require(self, need: Need) -> None:
        """Raises NotApplicable if the target does not offer `need`."""
        if not self.offers(need):
            raise NotApplicable(f"configure {need.setting}")

    def not_applicable(self, requirement: Requirement) -> str | None:
        """Why a requirement is not applicable to the target's API, in a sentence; None if it is applicable."""
        profile, checks_token = self.target.profile, Capability.AUTHENTICATION in requirement.promise
        may_lack_token = profile.name != WORKFLOW_ACTIONS  # its documentation requires one
        if checks_token and may_lack_token and not self.target.principal.token:
            return "the target is used without a token; configure target.token to test how it checks tokens"
        return requirement.not_promised(profile)

    def forbid_when_read_only(self, what: str) -> None:
        """Raises NotApplicable with --read-only; `what` names what is not sent."""
        if self._limits.read_only:
            raise NotApplicable(f"{what} are left out by --read-only")

    def require_alone(self, what: str) -> None:
        """Raises NotApplicable if other processes of this test use the target; `what` would disturb them."""
        if not self._limits.alone:
            raise NotApplicable(f"{what} need the suite in one process, without -n")

    def allows_connections(self, count: int) -> bool:
        """Whether `count` simultaneous connections are within --harness-max-concurrency."""
        limit = self._limits.max_connections
        return limit is None or count <= limit

    async def send_all(self, requests: dict[K, HttpRequest], label: str) -> dict[K, Exchange]:
        """Send independent requests, a few at a time, and wait for all responses."""
        answers = await gather_some(
            [self.send(request, f"{label}: {name}") for name, request in requests.items()]
        )
        return dict(zip(requests, answers, strict=True))

    async def close(self) -> None:
        """Cancel the scenarios that are still running."""
        for task in self._started.values():
            task.cancel()
        await asyncio.gather(*self._started.values(), return_exceptions=True)
        await self.client.close()


async def gather_some(jobs: Iterable[Awaitable[T]], at_once: int = 16) -> list[T]:
    """Await all `jobs`, at most `at_once` at the same time; returns their results in order."""
    slots = asyncio.Semaphore(at_once)

    async def limited(job: Awaitable[T]) -> T:
        async with slots:
            return await job

    tasks = []
    for job in jobs:
        task = asyncio.create_task(limited(job))
        task.add_done_callback(partial(_close_unused, job))
        tasks.append(task)
    return list(await asyncio.gather(*tasks))


def _close_unused(job: Awaitable[Any], _: asyncio.Task[Any]) -> None:
    """Stops Python's warning about a coroutine that was cancelled before its turn came."""
    if inspect.iscoroutine(job) and inspect.getcoroutinestate(job) == inspect.CORO_CREATED:
        job.close()


class ScenarioRunner:
    """Runs scenarios on an event loop in its own thread, for synchronous callers."""

    def __init__(self, settings: Settings, limits: Limits | None = None) -> None:
        self.context = ScenarioContext(
            settings, limits
        )  # may refuse the settings, and then nothing is to be closed
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="scenarios", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        try:
            asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(_ENDS_WITHIN_S)
        except FutureTimeoutError:
            return  # it computes without end; its thread ends with the process
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _end(self) -> None:
        await self.context.close()
        left = asyncio.all_tasks() - {asyncio.current_task()}  # what other threads have just begun to send
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    def run(self, job: Coroutine[Any, Any, T]) -> T:
        """Wait for a coroutine."""
        return asyncio.run_coroutine_threadsafe(job, self._loop).result()

    def outcome(self, scenario: Callable[[ScenarioContext], Coroutine[Any, Any, T]]) -> T:
        """Wait for a scenario's outcome. Raises what `ScenarioContext.run_once` raises.

        Undecided at the time limit, even if a scenario computes without end.
        """
        future = asyncio.run_coroutine_threadsafe(self.context.run_once(scenario), self._loop)
        limit = self.context.time_limit
        while True:
            done, _ = wait([future], timeout=limit.left_s() + _ANSWERS_WITHIN_S)
            if done:
                return future.result()
            if not limit.left_s():
                future.cancel()
                raise limit.undecided()

    def begin(self, scenarios: Iterable[Callable[[ScenarioContext], Coroutine[Any, Any, Any]]]) -> None:
        """Start `scenarios` without waiting for them."""

        def start() -> None:
            for scenario in scenarios:
                task = asyncio.ensure_future(self.context.run_once(scenario))
                task.add_done_callback(_retrieve_exception)

        self._loop.call_soon_threadsafe(start)


def _retrieve_exception(task: asyncio.Future[Any]) -> None:
    """Stops asyncio's warning about an exception that was never retrieved: the scenario's tests raise it."""
    if not task.cancelled():
        task.exception()
