"""Simultaneous requests, and concurrent streams."""

from __future__ import annotations

import asyncio
import uuid
from functools import partial

from harness.contract.exchange import Ending, Exchange
from harness.contract.rules.race import StalledRound, is_decided, is_slowed
from harness.protocol.request import HttpRequest
from harness.suite.scenario import ScenarioContext

from .runs import TIMED, echo_request

PARTIES = 20
ROUNDS = 3
_STALLED_BUFFER_BYTES = (
    4096  # the default would take all of a run that is not large, and nobody would notice the stall
)
_STALL_ROUNDS = (
    4  # while it is not decided what makes runs next to stalled readers slow: a busy machine does too
)
_CLOSE_ROUNDS = 4  # until the stream is closed before its run has ended


async def _together(context: ScenarioContext, requests: list[HttpRequest], label: str) -> list[Exchange]:
    """Send all but the last byte of each request, then all last bytes at once."""
    context.forbid_when_read_only("races")
    barrier = asyncio.Barrier(len(requests))
    async with context.connections(len(requests)):
        return list(
            await asyncio.gather(
                *(
                    context.send(request, f"{label}, {number} of {len(requests)}", barrier=barrier)
                    for number, request in enumerate(requests, 1)
                )
            )
        )


async def equal_requests_together(context: ScenarioContext) -> list[list[Exchange]]:
    """Rounds of simultaneous equal requests."""

    async def race(number: int) -> list[Exchange]:
        requests = [await context.request("success")] * context.parties(PARTIES)
        return await _together(context, requests, f"round {number} of equal requests")

    return [await context.unrefused(partial(race, number)) for number in range(1, ROUNDS + 1)]


async def different_bodies_together(context: ScenarioContext) -> list[list[Exchange]]:
    """Rounds of simultaneous requests with one key and different bodies."""

    async def race(number: int) -> list[Exchange]:
        request = await context.request("success")
        others = (context.target.conflicting(request) for _ in range(context.parties(PARTIES) - 1))
        return await _together(context, [request, *others], f"round {number} of different bodies")

    return [await context.unrefused(partial(race, number)) for number in range(1, ROUNDS + 1)]


async def interleaved_runs(context: ScenarioContext) -> dict[str, Exchange]:
    """Concurrent runs, each of which echoes a unique text."""
    texts = [f"only-{uuid.uuid4().hex}" for _ in range(context.parties(PARTIES))]
    requests = [await echo_request(context, text) for text in texts]
    return dict(zip(texts, await _together(context, requests, "an interleaved run"), strict=True))


async def one_of_several_closed(context: ScenarioContext) -> tuple[Exchange, list[Exchange]]:
    """A stream that is closed mid-run, and the others: two more readers of its run, and three other runs.

    It is closed when all others have begun, and after one more event on it: so it was open together with them.
    On a busy machine the run may end before that. Then the situation is set up again.
    """
    context.require_at_once(6)
    await context.ended(TIMED)
    for _ in range(_CLOSE_ROUNDS):
        closed, others = await context.unrefused(partial(_one_closed, context))
        if closed.ending is Ending.CUT or not closed.started_run:
            break
    return closed, others


async def _one_closed(context: ScenarioContext) -> tuple[Exchange, list[Exchange]]:
    shared = await context.request("long")
    async with context.connections(6):
        closing = context.open(shared, "the stream that is closed")
        await closing.events(1)
        others = [
            *(context.open(shared, f"another reader of the same run, {number}") for number in (1, 2)),
            *[
                context.open(await context.request("long"), f"a concurrent run, {number}")
                for number in (1, 2, 3)
            ],
        ]
        for other in others:
            await other.events(1)
        await closing.events(max(3, closing.events_seen + 1))
        closed = await closing.cut()
        return closed, list(await asyncio.gather(*(reader.result() for reader in others)))


async def runs_with_a_stalled_reader(context: ScenarioContext) -> list[StalledRound]:
    """A long run alone, and long runs next to connections with a stalled reader; again until they decide.

    After runs that took longer, one more run alone. It begins when the runs whose times are judged have ended.
    """
    context.require_at_once(6)
    await context.ended(TIMED)
    rounds: list[StalledRound] = []
    for _ in range(_STALL_ROUNDS):
        rounds.append(await context.unrefused(partial(_next_to_stalled_readers, context)))
        if is_decided(rounds):
            break
    return rounds


async def _next_to_stalled_readers(context: ScenarioContext) -> StalledRound:
    async with context.connections(6):
        before = await context.send(await context.request("long"), "a run alone")
        stalled = [
            context.open(
                await context.request("long"),
                f"a stalled reader, {number}",
                receive_buffer_bytes=_STALLED_BUFFER_BYTES,
            )
            for number in (1, 2, 3)
        ]
        for reader in stalled:
            await reader.events(1)
            reader.stop_reading()
        concurrent = await asyncio.gather(
            *[
                context.send(await context.request("long"), f"a run next to stalled readers, {number}")
                for number in (1, 2, 3)
            ]
        )
        for reader in stalled:
            await reader.cut()
        if not is_slowed(before, concurrent):
            return before, concurrent, None
        return (
            before,
            concurrent,
            await context.send(await context.request("long"), "a run alone after stalled readers"),
        )
