"""Checks of the embedded server's cancellation."""

from __future__ import annotations

import asyncio
import uuid

from tests.reference.checks import LONG, check, long_run, post
from tests.reference.support import Answer, Client, body

OTHER_TOKEN = "demo-token-2"


async def cancel(client: Client, run_id: str, **how: str) -> Answer:
    return await post(client, path=f"/agent/runs/{run_id}/cancel", **how)


async def cancelled(client: Client, **how: str) -> tuple[Answer, Answer, Answer, Answer]:
    """A long run that is cancelled in flight: its two readers, the answer, and the run read again."""
    run_id = str(uuid.uuid4())
    sent = body(LONG, runId=run_id)
    readers = [await long_run(client, key=run_id, started=0, run_id=run_id)]
    readers.append(asyncio.create_task(post(client, sent, key=run_id)))
    await asyncio.sleep(0.06)
    answer = await cancel(client, run_id, **how)
    first, second = await asyncio.gather(*readers)
    await asyncio.sleep(0.08)
    return first, second, answer, await post(client, sent, key=run_id)


@check("cancel.accepted")
async def accepted(client: Client) -> None:
    assert (await cancelled(client))[2].status == 200


@check("cancel.ends")
async def ends(client: Client) -> None:
    await cancelled(client)


@check("cancel.one-outcome")
async def one_outcome(client: Client) -> None:
    for reader in (await cancelled(client))[:2]:
        assert [kind for kind in reader.types if kind != "token"] == ["cancelled"]


@check("cancel.last")
async def last(client: Client) -> None:
    for reader in (await cancelled(client))[:2]:
        assert reader.types[-1] == "cancelled"


@check("cancel.replayed")
async def replayed(client: Client) -> None:
    first, _, _, later = await cancelled(client)
    assert later.sequence == first.sequence


@check("cancel.harmless")
async def harmless(client: Client) -> None:
    sent = body(runId="r-1")
    run = await post(client, sent, key="k")
    assert (await cancel(client, "r-1")).status == 200
    assert (await post(client, sent, key="k")).sequence == run.sequence
    assert (await cancel(client, "unknown")).status == 404


@check("cancel.other-organization")
async def other_organization(client: Client) -> None:
    first, _, answer, _ = await cancelled(client, token=OTHER_TOKEN)
    assert (answer.status, first.types[-1]) == (404, "done")
