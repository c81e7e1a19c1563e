"""The checks of two replicas, like those of one server in checks.py."""

from __future__ import annotations

import asyncio

from tests.reference.checks import LONG, check, long_run, post, whole
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
        first = await long_run(client, key=f"late {wait_s}", started=wait_s)
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
