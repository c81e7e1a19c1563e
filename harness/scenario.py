"""Scenarios: situations brought about on the target, each once, all at the same time.

A scenario is a coroutine function over a World. It may play others it builds on; each is played once a
session. They run on an event loop of their own thread, so that the suite's tests, which only judge,
wait for none but the scenario they ask for.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any, Self, TypeVar

from harness.contract.exchange import Exchange
from harness.protocol.request import HttpRequest
from harness.settings import Settings
from harness.target import Target
from harness.transport.asyncio_client import AsyncClient, LiveExchange
from harness.transport.receiver import Cut

T = TypeVar("T")
K = TypeVar("K")


class NotApplicable(Exception):  # noqa: N818 - a verdict, not an error
    """The target does not offer what the scenario needs; the text says what to configure."""


class World:
    """What a scenario acts on: the target, a client to it, and the scenarios played so far."""

    def __init__(self, settings: Settings) -> None:
        self.target = Target(settings)
        self.expect = settings.expectations
        self.client = AsyncClient(self.target.endpoint, self.expect.budgets)
        self._opened: list[LiveExchange] = []
        self._played: dict[Callable[..., Any], asyncio.Task[Any]] = {}

    async def play(self, scenario: Callable[[World], Coroutine[Any, Any, T]]) -> T:
        """The outcome of `scenario`; it is played when it is first asked for.

        Raises NotApplicable, or whatever else the scenario raises.
        """
        if scenario not in self._played:
            self._played[scenario] = asyncio.create_task(scenario(self), name=scenario.__name__)
        outcome: T = await asyncio.shield(self._played[scenario])
        return outcome

    def request(self, action: str, *, key: str | None = None, run_id: str | None = None) -> HttpRequest:
        """A valid request for a new run of a configured action. Raises NotApplicable without the action."""
        try:
            return self.target.run(action, key=key, run_id=run_id)
        except LookupError:
            raise NotApplicable(f"configure [target.actions.{action}]") from None

    async def send(
        self,
        request: HttpRequest,
        label: str,
        *,
        cut: Cut | None = None,
        barrier: asyncio.Barrier | None = None,
    ) -> Exchange:
        """Send `request` and wait for the end of its answer."""
        return await self.open(request, label, cut=cut, barrier=barrier).result()

    def open(
        self,
        request: HttpRequest,
        label: str,
        *,
        cut: Cut | None = None,
        barrier: asyncio.Barrier | None = None,
    ) -> LiveExchange:
        """Begin to send `request`."""
        live = self.client.open(request, label, cut=cut, barrier=barrier)
        self._opened.append(live)
        return live

    @property
    def answers(self) -> list[Exchange]:
        """Every Exchange that has ended so far."""
        return [live.exchange for live in self._opened if live.over]

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


async def gather_some(jobs: Iterable[Awaitable[T]], at_once: int = 16) -> list[T]:
    """Await all `jobs`, at most `at_once` at the same time, and keep their order."""
    slots = asyncio.Semaphore(at_once)

    async def one(job: Awaitable[T]) -> T:
        async with slots:
            return await job

    return list(await asyncio.gather(*(one(job) for job in jobs)))


class Stage:
    """A World on an event loop in a thread of its own, for callers that are not asynchronous."""

    def __init__(self, settings: Settings) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="scenarios", daemon=True)
        self.world = World(settings)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self.world.close(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def run(self, job: Coroutine[Any, Any, T]) -> T:
        """Wait for a coroutine."""
        return asyncio.run_coroutine_threadsafe(job, self._loop).result()

    def outcome(self, scenario: Callable[[World], Coroutine[Any, Any, T]]) -> T:
        """Wait for a scenario's outcome."""
        return self.run(self.world.play(scenario))

    def begin(self, scenarios: Iterable[Callable[[World], Coroutine[Any, Any, Any]]]) -> None:
        """Begin to play `scenarios`, without waiting for them."""

        def start() -> None:
            for scenario in scenarios:
                task = asyncio.ensure_future(self.world.play(scenario))
                task.add_done_callback(_look_at)

        self._loop.call_soon_threadsafe(start)


def _look_at(task: asyncio.Future[Any]) -> None:
    """Whoever asks for the scenario gets its exception; asyncio need not warn that nobody did."""
    if not task.cancelled():
        task.exception()
