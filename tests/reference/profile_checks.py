"""As checks.py, of the APIs that the embedded server has beside workflow actions."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

from tests.reference.support import Answer, Client

ProfileCheck = Callable[[Client], Awaitable[None]]
PROFILE_CHECKS: dict[tuple[str, str], ProfileCheck] = {}
"""By profile and requirement."""
DONE_MARK = "[DONE]"


def check_of(profile: str, requirement: str) -> Callable[[ProfileCheck], ProfileCheck]:
    def register(function: ProfileCheck) -> ProfileCheck:
        PROFILE_CHECKS[profile, requirement] = function
        return function

    return register


def openai_check(requirement: str) -> Callable[[ProfileCheck], ProfileCheck]:
    return check_of("openai-chat", requirement)


def ag_ui_check(requirement: str) -> Callable[[ProfileCheck], ProfileCheck]:
    return check_of("ag-ui", requirement)


def chat_body(prompt: str = "Hello", **members: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": prompt}]
    usage = {"include_usage": True}
    return {"model": "m", "messages": messages, "stream": True, "stream_options": usage, **members}


async def chat(client: Client, prompt: str = "Hello") -> list[Any]:
    """The data of each event: JSON objects, or the text [DONE]."""
    answer = await client.post(chat_body(prompt), path="/v1/chat/completions")
    assert answer.status == 200, answer
    return data_of(answer)


def data_of(answer: Answer) -> list[Any]:
    data = [frame.data or "" for frame in answer.frames]
    return [text if text == DONE_MARK else json.loads(text) for text in data]


def chunks(events: list[Any]) -> list[dict[str, Any]]:
    return [event for event in events if event != DONE_MARK]


def reasons(events: list[Any]) -> list[str]:
    choices = [choice for chunk in chunks(events) for choice in chunk.get("choices", [])]
    return [choice["finish_reason"] for choice in choices if choice["finish_reason"]]


def ends(events: list[Any]) -> list[str]:
    return reasons(events) + ["error" for event in chunks(events) if "error" in event]


@openai_check("terminal.always")
async def a_stream_has_a_reason_and_a_mark(client: Client) -> None:
    events = await chat(client)
    assert reasons(events)
    assert DONE_MARK in events


@openai_check("terminal.exactly-one")
async def a_stream_ends_once(client: Client) -> None:
    for prompt in ("Hello", "Fail."):
        events = await chat(client, prompt)
        assert len(ends(events)) == 1
        assert events.count(DONE_MARK) == 1


@openai_check("terminal.last")
async def nothing_follows_the_end(client: Client) -> None:
    events = await chat(client)
    assert events[-1] == DONE_MARK
    finish = next(n for n, event in enumerate(events) if reasons([event]))
    assert not [
        chunk for chunk in chunks(events[finish:]) for one in chunk["choices"] if one["delta"].get("content")
    ]


@openai_check("terminal.failure")
async def a_failure_is_an_error(client: Client) -> None:
    assert ends(await chat(client, "Fail."))[0] == "error"


@openai_check("events.usage")
async def the_usage_counts_the_tokens(client: Client) -> None:
    events = await chat(client)
    tokens = [one for chunk in chunks(events) for one in chunk["choices"] if one["delta"].get("content")]
    usages = [chunk["usage"]["completion_tokens"] for chunk in chunks(events) if chunk["usage"]]
    assert usages == [len(tokens)]
    assert len(tokens) > 10


@openai_check("run-id.single")
async def chunks_have_one_id(client: Client) -> None:
    assert len({chunk["id"] for chunk in chunks(await chat(client))}) == 1


@openai_check("key.none-independent")
async def runs_have_ids_of_their_own(client: Client) -> None:
    first, second = [chunks(await chat(client))[0]["id"] for _ in range(2)]
    assert first != second


def agent_body(prompt: str = "Hello", run_id: str = "r-1", **members: Any) -> dict[str, Any]:
    messages = [{"id": "m-1", "role": "user", "content": prompt}]
    return {"threadId": "t-1", "runId": run_id, "messages": messages, "tools": [], "context": [], **members}


async def agent(client: Client, prompt: str = "Hello") -> list[dict[str, Any]]:
    answer = await client.post(agent_body(prompt), path="/", token=None)
    assert answer.status == 200, answer
    return answer.events


def kinds(events: list[dict[str, Any]]) -> list[str]:
    return [event["type"] for event in events]


ENDS = {"RUN_FINISHED", "RUN_ERROR"}


@ag_ui_check("events.first")
async def a_run_starts(client: Client) -> None:
    assert kinds(await agent(client))[0] == "RUN_STARTED"


@ag_ui_check("events.pairs")
async def a_message_is_ended_once_after_its_last_piece(client: Client) -> None:
    found = kinds(await agent(client))
    assert found.count("TEXT_MESSAGE_START") == found.count("TEXT_MESSAGE_END") == 1
    assert "TEXT_MESSAGE_CONTENT" not in found[found.index("TEXT_MESSAGE_END") :]


@ag_ui_check("terminal.failure")
async def a_failed_run_has_an_error(client: Client) -> None:
    assert "RUN_ERROR" in kinds(await agent(client, "Fail."))


@ag_ui_check("terminal.no-tokens")
async def a_silent_run_is_finished(client: Client) -> None:
    assert kinds(await agent(client, "Say nothing.")) == ["RUN_STARTED", "RUN_FINISHED"]


@ag_ui_check("terminal.exactly-one")
async def a_run_ends_once(client: Client) -> None:
    for prompt in ("Hello", "Fail."):
        assert len([kind for kind in kinds(await agent(client, prompt)) if kind in ENDS]) == 1


@ag_ui_check("terminal.last")
async def the_end_is_last(client: Client) -> None:
    assert kinds(await agent(client))[-1] in ENDS


@ag_ui_check("terminal.cancelled")
async def an_abort_is_reported(client: Client) -> None:
    assert (await agent(client, "Cancel yourself."))[-1]["outcome"] == {"type": "cancelled"}


@ag_ui_check("run-id.single")
async def a_run_has_one_id(client: Client) -> None:
    assert len({event["runId"] for event in await agent(client) if "runId" in event}) == 1


@ag_ui_check("run-id.echoed")
async def a_run_has_the_clients_id(client: Client) -> None:
    assert (await agent(client))[0]["runId"] == "r-1"
