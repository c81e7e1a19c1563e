"""The embedded server as an agent of AG-UI."""

from __future__ import annotations

import json

from harness.reference.actions import DEFAULT_TEXT
from tests.reference.profile_checks import agent, agent_body, kinds
from tests.reference.support import Client, ask


def test_a_run_is_a_message_in_pieces():
    async def scenario(client: Client) -> None:
        events = await agent(client)
        first, start, *pieces, end, last = events
        assert kinds([first, start, end, last]) == [
            "RUN_STARTED",
            "TEXT_MESSAGE_START",
            "TEXT_MESSAGE_END",
            "RUN_FINISHED",
        ]
        assert "".join(piece["delta"] for piece in pieces) == DEFAULT_TEXT
        assert len({event["messageId"] for event in events[1:-1]}) == 1
        assert (first["threadId"], first["runId"], last["outcome"]) == ("t-1", "r-1", {"type": "success"})

    ask(scenario, profile="ag-ui")


def test_a_run_that_fails_ends_with_the_reason():
    async def scenario(client: Client) -> None:
        last = (await agent(client, "Fail."))[-1]
        assert (last["type"], last["code"]) == ("RUN_ERROR", "action_failed")
        assert "data source" in last["message"]

    ask(scenario, profile="ag-ui")


def test_a_body_without_a_field_is_rejected():
    async def scenario(client: Client) -> None:
        for name in ("threadId", "runId", "messages"):
            body = {key: value for key, value in agent_body().items() if key != name}
            answer = await client.post(body, path="/", token=None)
            assert (answer.status, name in json.loads(answer.raw)["detail"]) == (422, True)

    ask(scenario, profile="ag-ui")
