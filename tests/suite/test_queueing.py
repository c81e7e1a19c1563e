"""A queue: runs that begin only after others have ended."""

from __future__ import annotations

import asyncio

import pytest

from harness.config.settings import Settings
from harness.contract.exchange import Exchange
from harness.suite.queueing import PROBES, served_at_once
from harness.suite.scenario import ScenarioContext, Undecided
from tests.contract.exchanges import LAST_CHUNK, STREAM, chunk, done, head, reply, token
from tests.transport.servers import Connection, Script, bounded, listening

ACTION = {"toolId": "t", "toolName": "T", "aiDescription": "…", "runtimeScope": "test"}
HEAD = head(200, {**STREAM, "Transfer-Encoding": "chunked"})


def serving(slots: int, run_s: float) -> Script:
    """At most so many runs at a time, each of this length."""
    free = asyncio.Semaphore(slots)

    async def script(connection: Connection) -> None:
        async with free:
            await connection.send(HEAD, chunk(token(0)))
            await asyncio.sleep(run_s)
            await connection.send(chunk(done(1)), LAST_CHUNK)

    return script


async def found(script: Script) -> ScenarioContext:
    target = {"token": "t", "organization_id": "org-1", "actions": {"success": ACTION}}
    async with listening(script) as server:
        values = {"target": {**target, "base_url": f"http://127.0.0.1:{server.port}"}}
        context = ScenarioContext(Settings.model_validate(values))
        await context.find_queue()
        await context.close()
        return context


@pytest.mark.parametrize("slots", [1, 2, 5])
def test_a_queue_is_found_and_its_length(slots: int) -> None:
    async def job() -> None:
        context = await found(serving(slots, 0.25))
        assert context.runs_at_once == slots
        runs = "1 run" if slots == 1 else f"{slots} runs"
        assert context.queue_note == f"the target serves {runs} at a time and lets others wait"
        context.require_at_once(slots)
        with pytest.raises(Undecided, match=f"serves {runs} at a time .* {slots + 1} at once are needed"):
            context.require_at_once(slots + 1)

    bounded(job())


def test_a_target_that_serves_all_has_no_queue() -> None:
    async def job() -> None:
        context = await found(serving(PROBES, 0.25))
        assert (context.runs_at_once, context.queue_note) == (None, "")
        context.require_at_once(1000)

    bounded(job())


def test_runs_so_short_that_their_order_says_nothing() -> None:
    async def job() -> None:
        assert (await found(serving(1, 0.0))).runs_at_once is None

    bounded(job())


def test_no_run_no_queue() -> None:
    refused: list[Exchange] = [reply(429)] * PROBES
    assert served_at_once(refused) is None
