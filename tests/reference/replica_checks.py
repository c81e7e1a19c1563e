"""The checks of two replicas, like those of one server in checks.py."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

from harness.reference.faults.base import Fault
from harness.reference.server import running
from tests.reference.cancel_checks import cancel
from tests.reference.checks import LONG, TERMINAL, begun_run, check, long_run, post, whole
from tests.reference.support import Answer, Client, body

LAST_EVENT_IDS = 8


@check("replica.same-run")
async def same_run(client: Client) -> None:
    first, second = await post(client, key="k"), await post(client.other, key="k")
    assert first.events[-1]["runId"] == second.events[-1]["runId"]


@check("replica.replay")
async def replay(client: Client) -> None:
    for here, there in ((client, client.other), (client.other, client)):
        first = await post(here, key=f"of {here.server.port}")
        assert (await post(there, key=f"of {here.server.port}")).sequence == first.sequence


@check("replica.joins")
async def joins(client: Client) -> None:
    first = await long_run(client, key="joined")
    joined = await post(client.other, body(LONG), key="joined")
    assert joined.sequence == (await first).sequence


@check("replica.terminal-race")
async def terminal_race(client: Client) -> None:
    async def late(wait_s: float) -> None:
        first = await begun_run(client, key=f"late {wait_s}", started=wait_s)
        second = await post(client.other, body(LONG), key=f"late {wait_s}")
        assert second.sequence == (await first).sequence

    await asyncio.gather(*(late(0.1 + 0.008 * step) for step in range(8)))


@check("replica.every-cut")
async def every_cut(client: Client) -> None:
    async def cut(after: int) -> None:
        key = f"cut after {after}"
        before = await post(client, body(LONG), key=key, cut_after=after)
        rest = await post(client.other, body(LONG), key=key, Last_Event_ID=str(before.ids[after - 1]))
        run = await post(client, body(LONG), key=key)
        assert before.sequence[:after] + rest.sequence == run.sequence

    await asyncio.gather(*(cut(after) for after in range(1, LAST_EVENT_IDS)))


@check("replica.conflict")
async def conflict(client: Client) -> None:
    first = await long_run(client, key="reused")
    assert (await post(client.other, body(LONG, sessionId="s-2"), key="reused")).status == 409
    whole(await first)
    assert (await post(client.other, body(LONG, sessionId="s-2"), key="reused")).status == 409


@check("replica.conflict-form")
async def conflict_form(client: Client) -> None:
    await post(client, key="form")
    here, there = [await post(one, body(sessionId="s-2"), key="form") for one in (client, client.other)]
    assert here.headers["Content-Type"] == there.headers["Content-Type"]


async def at_both(client: Client, key: str, bodies: list[object]) -> list[Answer]:
    """The answers to requests that are sent together, every second one to the other replica."""
    return await asyncio.gather(
        *(post((client, client.other)[number % 2], each, key=key) for number, each in enumerate(bodies))
    )


@check("replica.one-run")
async def one_run(client: Client) -> None:
    answers = await at_both(client, "same", [body()] * 12)
    assert len({answer.events[-1]["runId"] for answer in answers}) == 1


@check("replica.one-winner")
async def one_winner(client: Client) -> None:
    answers = await at_both(client, "different", [body(sessionId=f"s{number}") for number in range(12)])
    assert sorted(answer.status for answer in answers) == [200] + [409] * 11


@check("replica.cancel")
async def cancels(client: Client) -> None:
    run_id = str(uuid.uuid4())
    first = await long_run(client, key=run_id, started=0.06, run_id=run_id)
    assert (await cancel(client.other, run_id)).status == 200
    assert (await first).types[-1] == "cancelled"


@asynccontextmanager
async def restarted(client: Client) -> AsyncIterator[Client]:
    """The replicas started again on their store, after the first ones stopped as if they had been killed."""
    api = client.server.api
    names = [base.name for base in type(api).__bases__ if issubclass(base, Fault)]
    for one in (client, client.other):
        registry = one.server.api.registry
        for run in registry.running:
            assert run.task is not None
            run.task.cancel()
    async with (
        running(replace(client.other.server.api.settings, generation=1), names) as second,
        running(replace(api.settings, generation=1), names) as first,
    ):
        yield replace(client, server=first, elsewhere=replace(client.other, server=second))


@check("restart.serves-again")
async def serves_again(client: Client) -> None:
    await post(client, key="before")
    async with restarted(client) as later:
        assert (await post(later, key="after")).status == 200


@check("restart.no-new-run")
async def restarts_no_run(client: Client) -> None:
    ended = await post(client, key="ended")
    unfinished = await post(client, body(LONG), key="unfinished", cut_after=2)
    async with restarted(client) as later:
        assert (await post(later, key="ended")).events[-1]["runId"] == ended.events[-1]["runId"]
        assert (await post(later, body(LONG), key="unfinished")).ids[:2] == unfinished.ids[:2]


@check("restart.replay")
async def replays_after_a_restart(client: Client) -> None:
    ended = await post(client, key="ended")
    async with restarted(client) as later:
        for replica in (later, later.other):
            assert (await post(replica, key="ended")).sequence == ended.sequence


@check("restart.ends")
async def ends_after_a_restart(client: Client) -> None:
    await post(client, body(LONG), key="unfinished", cut_after=2)
    async with restarted(client) as later:
        for replica in (later.other, later):
            types = (await post(replica, body(LONG), key="unfinished")).types
            assert sum(kind in TERMINAL for kind in types) == 1
    reading = await long_run(client, key="in flight when it stops")
    await client.server.api.close(0)
    assert (await reading).types[-1] in TERMINAL


@check("restart.same-events")
async def same_events_after_a_restart(client: Client) -> None:
    before = await post(client, body(LONG), key="unfinished", cut_after=4)
    async with restarted(client) as later:
        first, second = [
            (await post(replica, body(LONG), key="unfinished")).sequence for replica in (later.other, later)
        ]
        assert first == second
        assert first[: len(before.sequence)] == before.sequence


@check("restart.conflict")
async def conflicts_after_a_restart(client: Client) -> None:
    await post(client, key="reused")
    async with restarted(client) as later:
        assert (await post(later, body(sessionId="s-2"), key="reused")).status == 409
