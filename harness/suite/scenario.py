"""Scenarios: situations that are set up on the target, each once per session, concurrently.

A scenario is a coroutine function that takes a ScenarioContext. It may use the outcome of other scenarios. All run on
one event loop in their own thread, so a test waits only for the scenarios that it needs.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager
from contextvars import Context, ContextVar
from dataclasses import dataclass, field
from typing import Any, Self, TypeVar

from harness.config.settings import Settings
from harness.config.target import Target
from harness.contract.exchange import Ending, Exchange
from harness.contract.rules.rule import Need
from harness.protocol.request import HttpRequest
from harness.suite.queueing import runs_at_once
from harness.suite.throttle import Throttle, is_throttled, retry_after_s
from harness.transport.asyncio_client import AsyncClient, AsyncExchange
from harness.transport.receiver import Cut

__all__ = ["retry_after_s"]

_UNLIMITED = 10_000
_SENDS = 4  # of a request that gets 429 or 503, before it is sent alone
_ATTEMPTS = 4  # of a scenario whose connections get 429 or 503
_CONTROLS = 3  # times that other requests must be accepted before a 429 or 503 is the answer to this one

T = TypeVar("T")
K = TypeVar("K")


class NotApplicable(Exception):  # noqa: N818 - a verdict, not an error
    """The target does not offer what the scenario needs; the message says what to configure."""


class Undecided(Exception):  # noqa: N818 - a verdict, not an error
    """The situation could not be set up, for a reason that says nothing about the requirement."""


@dataclass(slots=True)
class _Attempt:
    """One attempt of a scenario. number: from 0; later ones have the target to themselves.

    streams: what it opened. widest: the most connections that it reserved at once.
    """

    number: int = 0
    streams: list[AsyncExchange] = field(default_factory=list)
    widest: int = 1


_HAS_CONNECTIONS: ContextVar[bool] = ContextVar("_HAS_CONNECTIONS", default=False)
_ATTEMPT: ContextVar[_Attempt | None] = ContextVar("_ATTEMPT", default=None)


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits for a shared target.

    max_connections: at the same time; None for no limit. read_only: no races, no hostile input.
    """

    max_connections: int | None = None
    read_only: bool = False


class ScenarioContext:
    """What a scenario works with: the target, a client, and the other scenarios.

    A target may limit requests (429, 503 and Retry-After) or queue them. The context then sends more slowly and fewer
    at a time. Only a request that is refused while others are accepted counts as an answer to that request.
    """

    def __init__(self, settings: Settings, limits: Limits | None = None) -> None:
        self.target = Target(settings)
        self.expect = settings.expectations
        self.client = AsyncClient(self.target.endpoint, self.expect.budgets)
        self.throttle = Throttle()
        self.runs_at_once: int | None = None  # of a target that queues
        self._limits = limits or Limits()
        self._capacity = self._free = self._limits.max_connections or _UNLIMITED
        self._freed = asyncio.Condition()
        self._refuses_some = False  # a 429 or 503 was the answer to a certain request
        self._started: dict[Callable[..., Any], asyncio.Task[Any]] = {}

    async def find_queue(self) -> None:
        """Find out whether the target queues, and from then on send only as many requests at a time as it serves.

        Call it before the first scenario.
        """
        self.runs_at_once = await runs_at_once(self.client, self.target)
        if self.runs_at_once is not None:
            self._capacity = self._free = min(self._capacity, self.runs_at_once)

    async def run_once(self, scenario: Callable[[ScenarioContext], Coroutine[Any, Any, T]]) -> T:
        """The outcome of `scenario`, which runs only once. Raises NotApplicable, Undecided, or what it raises."""
        if scenario not in self._started:
            # In its own context: the caller's connections are not the scenario's.
            self._started[scenario] = asyncio.create_task(
                self._run(scenario), name=scenario.__name__, context=Context()
            )
        outcome: T = await asyncio.shield(self._started[scenario])
        return outcome

    async def _run(self, scenario: Callable[[ScenarioContext], Coroutine[Any, Any, T]]) -> T:
        """Run a scenario; again, without other requests, if the target refused some of its connections for now."""
        for number in range(_ATTEMPTS):
            attempt = _Attempt(number)
            _ATTEMPT.set(attempt)
            problem: Exception | None = None
            try:
                outcome = await scenario(self)
            except (NotApplicable, Undecided):
                raise
            except Exception as raised:  # noqa: BLE001 - raised below; a refused connection may have caused it
                problem = raised
            refused = self._refused(attempt)
            if not refused or self.throttle.gave_up:
                break
            for response in refused:
                self.throttle.rejected(response)
        if (
            refused
            and self.throttle.has_accepted
            and not await self._accepts_others(attempt.widest, _CONTROLS)
        ):
            raise Undecided(self._explain(refused[-1], attempt.widest))
        if problem is not None:
            raise problem
        return outcome

    def _refused(self, attempt: _Attempt) -> list[Exchange]:
        ended = [stream.exchange for stream in attempt.streams if stream.finished]
        return [exchange for exchange in ended if self._is_refused(exchange)]

    def _is_refused(self, response: Exchange) -> bool:
        """Whether the target put the request off: 429, 503, or a wait in its queue that used up the time budget."""
        waited = response.ending is Ending.TIMED_OUT and not response.summary.events
        return is_throttled(response) or (waited and self.runs_at_once is not None)

    async def _accepts_others(self, count: int, times: int) -> bool:
        """Whether the target accepts other requests, `count` at once, each of several times."""
        for _ in range(times):
            if self.throttle.gave_up:
                return False
            async with self._alone(count):
                others = await asyncio.gather(
                    *(
                        self.client.exchange(self.request("success"), "a request to compare with")
                        for _ in range(count)
                    )
                )
            refused = [other for other in others if self._is_refused(other)]
            for other in refused:
                self.throttle.rejected(other)
            if refused:
                return False
        return True

    def _explain(self, refused: Exchange, count: int) -> str:
        if not is_throttled(refused):
            why = f"the target serves {self.runs_at_once} at a time and lets the others wait: {refused.ending_detail}"
            return f"{why}; limit the suite with --harness-max-concurrency {self.runs_at_once}"
        what = f"{count} requests at once" if count > 1 else "requests"
        if count > 1:
            return (
                f"the target refuses {what} for now (status {refused.status}), whatever they ask for; limit the suite "
                "with --harness-max-concurrency, or raise the target's limit"
            )
        return (
            f"the target refuses {what} for now (status {refused.status}), and did so again after the time in "
            "Retry-After; raise its limit, or limit the suite with --harness-max-concurrency"
        )

    async def others_ended(self) -> None:
        """Wait until every scenario but the calling one has ended. At most one scenario may call this."""
        own = asyncio.current_task()
        while running := [task for task in self._started.values() if task is not own and not task.done()]:
            await asyncio.wait(running)

    def request(self, action: str, *, key: str | None = None, run_id: str | None = None) -> HttpRequest:
        """A valid request for a new run of an action. Raises NotApplicable if the action is not configured."""
        try:
            return self.target.run(action, key=key, run_id=run_id)
        except LookupError:
            raise NotApplicable(f"configure [target.actions.{action}]") from None

    def require(self, need: Need) -> None:
        """Raises NotApplicable if the target does not offer `need`."""
        if not self.target.offers(need):
            raise NotApplicable(f"configure {need.setting}")

    def forbid_when_read_only(self, what: str) -> None:
        """Raises NotApplicable with --harness-read-only; `what` names what is not sent."""
        if self._limits.read_only:
            raise NotApplicable(f"{what} are left out by --harness-read-only")

    def parties(self, count: int) -> int:
        """How many requests to send at the same moment: `count`, or half as many each time the target refused it."""
        attempt = _ATTEMPT.get()
        return count if attempt is None else max(2, count >> attempt.number)

    @asynccontextmanager
    async def connections(self, count: int) -> AsyncIterator[None]:
        """Reserve `count` connections for the block, all at once, so that scenarios cannot deadlock.

        Raises NotApplicable if --harness-max-concurrency is lower than `count`.
        """
        if _HAS_CONNECTIONS.get():
            yield
            return
        limit = self._limits.max_connections
        if limit is not None and count > limit:
            raise NotApplicable(
                f"{count} simultaneous connections needed; --harness-max-concurrency allows {limit}"
            )
        attempt = _ATTEMPT.get()
        if attempt is not None:
            attempt.widest = max(attempt.widest, count)
        alone = attempt is not None and attempt.number > 0
        async with self._reserved(self._capacity if alone else min(count, self._capacity)):
            await self.throttle.turn(count)
            yield

    @asynccontextmanager
    async def _reserved(self, count: int) -> AsyncIterator[None]:
        async with self._freed:
            await self._freed.wait_for(lambda: self._free >= count)
            self._free -= count
        token = _HAS_CONNECTIONS.set(True)
        try:
            yield
        finally:
            _HAS_CONNECTIONS.reset(token)
            async with self._freed:
                self._free += count
                self._freed.notify_all()

    @asynccontextmanager
    async def _alone(self, count: int = 1) -> AsyncIterator[None]:
        """The target without any other request, once it may be sent `count` requests."""
        async with self._reserved(self._capacity):
            await self.throttle.turn(count)
            yield

    async def send(
        self,
        request: HttpRequest,
        label: str,
        *,
        cut: Cut | None = None,
        barrier: asyncio.Barrier | None = None,
    ) -> Exchange:
        """Send `request` and wait for the end of the response.

        After a 429 or 503 the request is sent again when Retry-After has passed, up to three times, then alone. Raises
        Undecided if the target then refuses other requests too.
        """
        if barrier is not None or _HAS_CONNECTIONS.get():
            return await self.open(request, label, cut=cut, barrier=barrier).result()
        again = label
        for _ in range(1 if self._refuses_some else _SENDS):
            async with self.connections(1):
                response = await self.client.open(request, again, cut=cut).result()
            if not self._is_refused(response):
                self.throttle.accepted()
                return response
            again = f"{label} (again, after a {response.status or 'wait'})"
            if self.throttle.gave_up:
                break
            self.throttle.rejected(response)
        return await self._settle(request, again, cut, response)

    async def _settle(self, request: HttpRequest, label: str, cut: Cut | None, last: Exchange) -> Exchange:
        """Decide whether a refusal is for now or is the answer to this request: it, if others are accepted."""
        if not self.throttle.has_accepted:
            self.throttle.gave_up = True
            return last
        accepted_others = []
        for _ in range(1 if self._refuses_some else _CONTROLS):
            if self.throttle.gave_up:
                break
            async with self._alone():
                last = await self.client.open(request, label, cut=cut).result()
            if not self._is_refused(last):
                self.throttle.accepted()
                return last
            self.throttle.rejected(last)
            accepted_others.append(await self._accepts_others(1, 1))
        if accepted_others and all(accepted_others):
            self._refuses_some = True
            return last
        self.throttle.gave_up = not any(accepted_others)
        raise Undecided(self._explain(last, 1))

    def open(
        self,
        request: HttpRequest,
        label: str,
        *,
        cut: Cut | None = None,
        barrier: asyncio.Barrier | None = None,
    ) -> AsyncExchange:
        """Start to send `request`. Open several at once only inside a `connections` block.

        If the target answers 429 or 503, the whole scenario is run again.
        """
        stream = self.client.open(request, label, cut=cut, barrier=barrier)
        attempt = _ATTEMPT.get()
        if attempt is not None:
            attempt.streams.append(stream)
        return stream

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

    return list(await asyncio.gather(*(limited(job) for job in jobs)))


class ScenarioRunner:
    """Runs scenarios on an event loop in its own thread, for synchronous callers."""

    def __init__(self, settings: Settings, limits: Limits | None = None) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="scenarios", daemon=True)
        self.context = ScenarioContext(settings, limits)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self.context.close(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def run(self, job: Coroutine[Any, Any, T]) -> T:
        """Wait for a coroutine."""
        return asyncio.run_coroutine_threadsafe(job, self._loop).result()

    def outcome(self, scenario: Callable[[ScenarioContext], Coroutine[Any, Any, T]]) -> T:
        """Wait for a scenario's outcome."""
        return self.run(self.context.run_once(scenario))

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
