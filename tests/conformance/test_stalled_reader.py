"""Runs next to stalled readers are repeated while they take longer than alone, and compared with one after them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager

import pytest

from harness.conformance.scenarios.race import runs_with_a_stalled_reader
from harness.contract.exchange import Exchange
from harness.contract.rules import race
from harness.contract.rules.race import StalledRound
from tests.contract.exchanges import done, run, token


class Reader:
    """A stream in flight."""

    async def events(self, _: int) -> bool:
        return True

    async def cut(self) -> None:
        pass

    def stop_reading(self) -> None:
        pass


class Context:
    """Answers requests with runs that take as long as is said, in milliseconds."""

    def __init__(self, took_ms: Iterable[float]) -> None:
        self._took_ms = iter(took_ms)

    def require_at_once(self, _: int) -> None:
        pass

    async def ended(self, _: Iterable[object]) -> None:
        pass

    @asynccontextmanager
    async def connections(self, _: int) -> AsyncIterator[None]:
        yield

    async def request(self, action: str) -> str:
        return action

    def open(self, *_: object, **__: object) -> Reader:
        return Reader()

    async def unrefused(self, play: Callable[[], Awaitable[StalledRound]]) -> StalledRound:
        return await play()

    async def send(self, *_: object) -> Exchange:
        return run(token(0), done(1), at=[0, next(self._took_ms)])


EVEN = [1000.0, 1000, 1000, 1000]


@pytest.mark.parametrize(
    ("took_ms", "verdict"),
    [
        ([1000, 1000, 1900, 1000], "pass"),
        ([1000, 3000, 3000, 3000, 1000, 1000, 3000, 3000, 3000, 1000], "warn"),
        ([*EVEN[:3], 3000, 1000, *EVEN, *EVEN], "pass"),
        ([*EVEN[:3], 3000, 3000, *EVEN], "pass"),
        ([*EVEN[:3], 3000, 1000, *EVEN, *EVEN[:3], 3000, 1000, *EVEN], "inconclusive"),
        ([*EVEN[:3], 3000, 3000] * 4, "inconclusive"),
    ],
    ids=[
        "as fast",
        "always slower",
        "slower once",
        "slower after it once",
        "slower half the time",
        "always after it",
    ],
)
def test_rounds(took_ms: list[float], verdict: str) -> None:
    context = Context(took_ms)
    rounds = asyncio.run(runs_with_a_stalled_reader(context))  # type: ignore[arg-type]
    assert next(context._took_ms, None) is None, "all were needed"
    assert str(race.slow_reader(rounds).verdict) == verdict
