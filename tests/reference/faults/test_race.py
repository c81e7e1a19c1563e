"""What these faults leave correct, however slow the machine is: what other requirements are about."""

from __future__ import annotations

import asyncio

import pytest

from harness.reference.faults.race import StalledReaderBlocksAll
from tests.reference.checks import LONG, post, whole
from tests.reference.support import Client, ask, body, http_post, until


@pytest.mark.parametrize("fault", ["two-winners", "racing-posts-both-run"])
def test_two_requests_with_a_new_key_are_no_race(fault: str) -> None:
    """One retry before the first event, in the same millisecond."""

    async def scenario(client: Client) -> None:
        equal = await asyncio.gather(*(post(client, key="equal") for _ in range(2)))
        assert equal[0].sequence == equal[1].sequence
        different = (post(client, body(sessionId=f"s-{number}"), key="different") for number in range(2))
        assert sorted(answer.status for answer in await asyncio.gather(*different)) == [200, 409]

    ask(scenario, [fault])


@pytest.mark.parametrize("fault", ["two-winners", "racing-posts-both-run"])
def test_many_requests_with_a_stored_key_are_no_race(fault: str) -> None:
    async def scenario(client: Client) -> None:
        first = await post(client, key="stored")
        equal = [post(client, key="stored") for _ in range(8)]
        different = [post(client, body(sessionId=f"other-{number}"), key="stored") for number in range(8)]
        answers = await asyncio.gather(*equal, *different)
        assert {answer.raw for answer in answers[:8]} == {first.raw}
        assert {answer.status for answer in answers[8:]} == {409}

    ask(scenario, [fault])


def test_a_reader_that_is_only_late_blocks_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """A long run fits into its buffers, so nobody waits for it: a wait would last until the test's own time limit."""
    monkeypatch.setattr(StalledReaderBlocksAll, "patience_s", 3600.0)

    async def scenario(client: Client) -> None:
        _, writer = await asyncio.open_connection(client.server.host, client.server.port, limit=1)
        writer.write(http_post(body(LONG), key="late"))
        registry = client.server.api.registry
        await until(lambda: len(registry) and not registry.running)
        whole(await client.post(body(LONG), key="other"))
        writer.close()

    ask(scenario, ["stalled-reader-blocks-all"])
