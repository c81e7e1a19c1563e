"""Requests that arrive together, and streams beside each other."""

from __future__ import annotations

import asyncio
import uuid

from harness.config.target import with_different_body
from harness.contract.exchange import Exchange
from harness.protocol.request import HttpRequest
from harness.suite.scenario import ScenarioContext

from .runs import echo_request

PARTIES = 20
ROUNDS = 3


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
    """Rounds of equal requests that arrive together."""
    return [
        await _together(context, [context.request("success")] * PARTIES, f"round {number} of equal requests")
        for number in range(1, ROUNDS + 1)
    ]


async def different_bodies_together(context: ScenarioContext) -> list[list[Exchange]]:
    """Rounds of requests with one key and different bodies that arrive together."""
    rounds = []
    for number in range(1, ROUNDS + 1):
        request = context.request("success")
        bodies = [request, *(with_different_body(request) for _ in range(PARTIES - 1))]
        rounds.append(await _together(context, bodies, f"round {number} of different bodies"))
    return rounds


async def interleaved_runs(context: ScenarioContext) -> dict[str, Exchange]:
    """Runs beside each other, each under the text that it alone gives back."""
    texts = [f"only-{uuid.uuid4().hex}" for _ in range(PARTIES)]
    requests = [echo_request(context, text) for text in texts]
    return dict(zip(texts, await _together(context, requests, "an interleaved run"), strict=True))


async def one_of_several_closed(context: ScenarioContext) -> tuple[Exchange, list[Exchange]]:
    """One stream closed in mid-run, and the others: two readers of the same run, three runs of their own."""
    shared = context.request("long")
    async with context.connections(6):
        victim = context.open(shared, "the stream that is closed")
        await victim.events(1)
        others = [
            *(context.open(shared, f"another reader of the same run, {number}") for number in (1, 2)),
            *(context.open(context.request("long"), f"a run beside it, {number}") for number in (1, 2, 3)),
        ]
        await victim.events(3)
        closed = await victim.cut()
        return closed, list(await asyncio.gather(*(one.result() for one in others)))


async def runs_beside_a_stalled_reader(context: ScenarioContext) -> tuple[Exchange, list[Exchange]]:
    """A long run alone, and long runs beside connections whose reader has stalled."""
    async with context.connections(6):
        alone = await context.send(context.request("long"), "a run alone")
        stalled = [
            context.open(context.request("long"), f"a stalled reader, {number}") for number in (1, 2, 3)
        ]
        for one in stalled:
            await one.events(1)
            one.stall()
        beside = await asyncio.gather(
            *(
                context.send(context.request("long"), f"a run beside stalled readers, {number}")
                for number in (1, 2, 3)
            )
        )
        for one in stalled:
            await one.cut()
        return alone, list(beside)
