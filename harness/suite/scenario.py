"""Scenarios: situations brought about on the target, each once, all at the same time.

A scenario is a coroutine function over a World. It may play others it builds on; each is played once a
session. They run on an event loop of their own thread, so that the suite's tests, which only judge,
wait for none but the scenario they ask for.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager
from contextvars import Context, ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Self, TypeVar

from harness.config.settings import Settings
from harness.config.target import Target
from harness.contract.exchange import Exchange
from harness.contract.rules.rule import Need
from harness.protocol.request import HttpRequest
from harness.transport.asyncio_client import AsyncClient, AsyncExchange
from harness.transport.receiver import Cut

_HOLDS: ContextVar[bool] = ContextVar("_HOLDS", default=False)
_TOO_MANY_REQUESTS = 429
_TRIES_AFTER_429 = 3
_LONGEST_WAIT_S = 30.0

T = TypeVar("T")
K = TypeVar("K")


class NotApplicable(Exception):  # noqa: N818 - a verdict, not an error
    """The target does not offer what the scenario needs; the text says what to configure."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How to treat a target that others use too.

    max_connections: at most that many at once; None sets no limit. read_only: no races, no hostile input.
    """

    max_connections: int | None = None
    read_only: bool = False


class ScenarioContext:
    """What a scenario acts on: the target, a client to it, and the scenarios played so far."""

    def __init__(self, settings: Settings, limits: Limits | None = None) -> None:
        self.target = Target(settings)
        self.expect = settings.expectations
        self.client = AsyncClient(self.target.endpoint, self.expect.budgets)
        self._limits = limits or Limits()
        self._free = self._limits.max_connections or 0
        self._freed = asyncio.Condition()
        self._played: dict[Callable[..., Any], asyncio.Task[Any]] = {}

    async def run_once(self, scenario: Callable[[ScenarioContext], Coroutine[Any, Any, T]]) -> T:
        """The outcome of `scenario`; it is played when it is first asked for.

        Raises NotApplicable, or whatever else the scenario raises.
        """
        if scenario not in self._played:
            # In a context of its own: connections that the caller holds are not the scenario's.
            self._played[scenario] = asyncio.create_task(
                scenario(self), name=scenario.__name__, context=Context()
            )
        outcome: T = await asyncio.shield(self._played[scenario])
        return outcome

    def request(self, action: str, *, key: str | None = None, run_id: str | None = None) -> HttpRequest:
        """A valid request for a new run of a configured action. Raises NotApplicable without the action."""
        try:
            return self.target.run(action, key=key, run_id=run_id)
        except LookupError:
            raise NotApplicable(f"configure [target.actions.{action}]") from None

    def require(self, need: Need) -> None:
        """Raises NotApplicable when the target does not offer what a rule needs."""
        if not self.target.offers(need):
            raise NotApplicable(f"configure {need.setting}")

    def forbid_when_read_only(self, what: str) -> None:
        """Raises NotApplicable where the target is not to be sent `what`."""
        if self._limits.read_only:
            raise NotApplicable(f"{what} are left out by --harness-read-only")

    @asynccontextmanager
    async def connections(self, count: int) -> AsyncIterator[None]:
        """Hold `count` connections for what is opened in the block: all at once, so that nobody waits in a ring.

        Raises NotApplicable when there may never be as many.
        """
        limit = self._limits.max_connections
        if limit is None or _HOLDS.get():
            yield
            return
        if count > limit:
            raise NotApplicable(
                f"it takes {count} connections at once; --harness-max-concurrency allows {limit}"
            )
        async with self._freed:
            await self._freed.wait_for(lambda: self._free >= count)
            self._free -= count
        token = _HOLDS.set(True)
        try:
            yield
        finally:
            _HOLDS.reset(token)
            async with self._freed:
                self._free += count
                self._freed.notify_all()

    async def send(
        self,
        request: HttpRequest,
        label: str,
        *,
        cut: Cut | None = None,
        barrier: asyncio.Barrier | None = None,
    ) -> Exchange:
        """Send `request` and wait for the end of its answer.

        A 429 is honoured: the request is sent again after the time that Retry-After asks for, a few times.
        """
        async with self.connections(1):
            answer = await self.open(request, label, cut=cut, barrier=barrier).result()
            for _ in range(_TRIES_AFTER_429):
                if answer.status != _TOO_MANY_REQUESTS or barrier is not None:
                    break
                await asyncio.sleep(retry_after_s(answer))
                answer = await self.open(request, f"{label} (again, after a 429)", cut=cut).result()
            return answer

    def open(
        self,
        request: HttpRequest,
        label: str,
        *,
        cut: Cut | None = None,
        barrier: asyncio.Barrier | None = None,
    ) -> AsyncExchange:
        """Begin to send `request`. Several at once are opened within a block of `connections`."""
        return self.client.open(request, label, cut=cut, barrier=barrier)

    async def send_all(self, requests: dict[K, HttpRequest], label: str) -> dict[K, Exchange]:
        """Send independent requests, a few at a time, and wait for all answers."""
        answers = await gather_some(
            [self.send(request, f"{label}: {name}") for name, request in requests.items()]
        )
        return dict(zip(requests, answers, strict=True))

    async def close(self) -> None:
        """Stop whatever is still being played."""
        for task in self._played.values():
            task.cancel()
        await asyncio.gather(*self._played.values(), return_exceptions=True)
        await self.client.close()


def retry_after_s(answer: Exchange) -> float:
    """How long an answer asks to wait, in seconds, up to half a minute; a second where it does not say."""
    asked = (answer.head.value("retry-after") if answer.head else None) or ""
    if asked.isascii() and asked.strip().isdigit():
        return min(float(asked), _LONGEST_WAIT_S)
    try:
        until = parsedate_to_datetime(asked)
    except ValueError:
        return 1.0
    until = until if until.tzinfo else until.replace(tzinfo=UTC)  # "-0000" is UTC, RFC 5322 has it
    return min(max(0.0, (until - datetime.now(UTC)).total_seconds()), _LONGEST_WAIT_S)


async def gather_some(jobs: Iterable[Awaitable[T]], at_once: int = 16) -> list[T]:
    """Await all `jobs`, at most `at_once` at the same time, and keep their order."""
    slots = asyncio.Semaphore(at_once)

    async def one(job: Awaitable[T]) -> T:
        async with slots:
            return await job

    return list(await asyncio.gather(*(one(job) for job in jobs)))


class ScenarioRunner:
    """A World on an event loop in a thread of its own, for callers that are not asynchronous."""

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
        """Begin to play `scenarios`, without waiting for them."""

        def start() -> None:
            for scenario in scenarios:
                task = asyncio.ensure_future(self.context.run_once(scenario))
                task.add_done_callback(_look_at)

        self._loop.call_soon_threadsafe(start)


def _look_at(task: asyncio.Future[Any]) -> None:
    """Whoever asks for the scenario gets its exception; asyncio need not warn that nobody did."""
    if not task.cancelled():
        task.exception()
