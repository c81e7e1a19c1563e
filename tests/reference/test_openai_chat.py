"""The embedded server as OpenAI Chat Completions."""

from __future__ import annotations

import asyncio
import json

import pytest

from harness.reference.actions import DEFAULT_TEXT
from tests.reference.profile_checks import DONE_MARK, chat, chat_body, chunks, data_of, reasons
from tests.reference.support import Client, ask, until

PATH = "/v1/chat/completions"


def text_of(events: list[object]) -> str:
    return "".join(one["delta"].get("content", "") for chunk in chunks(events) for one in chunk["choices"])


def test_a_run_is_chunks_then_the_reason_the_usage_and_the_mark():
    async def scenario(client: Client) -> None:
        events = await chat(client)
        assert text_of(events) == DEFAULT_TEXT
        first, *_, finish, usage, mark = events
        assert first["choices"][0]["delta"] == {"role": "assistant", "content": ""}
        assert (reasons([finish]), usage["choices"], mark) == (["stop"], [], DONE_MARK)
        assert {chunk["usage"] for chunk in chunks(events[:-2])} == {None}

    ask(scenario, profile="openai-chat")


def test_without_the_option_there_is_no_usage():
    async def scenario(client: Client) -> None:
        answer = await client.post(chat_body(stream_options=None), path=PATH)
        assert not [chunk for chunk in chunks(data_of(answer)) if "usage" in chunk]

    ask(scenario, profile="openai-chat")


def test_the_prompt_decides_the_action():
    async def scenario(client: Client) -> None:
        counted, echoed, failed, silent = await asyncio.gather(
            chat(client, "Count from 1 to 12 in digits"),
            chat(
                client,
                "Repeat the text after this colon character for character, and write nothing else: a: b\nc",
            ),
            chat(client, "Fail."),
            chat(client, "Say nothing."),
        )
        assert len([word for word in text_of(counted).split() if word.isdigit()]) == 12
        assert text_of(echoed) == "a: b\nc"
        assert failed[-2]["error"]["code"] == "action_failed"
        assert text_of(silent) == ""

    ask(scenario, profile="openai-chat")


def test_a_content_of_parts_is_read():
    async def scenario(client: Client) -> None:
        parts = [
            {"type": "text", "text": "Say "},
            {"type": "image_url", "image_url": {}},
            {"type": "text", "text": "nothing"},
        ]
        answer = await client.post(chat_body(messages=[{"role": "user", "content": parts}]), path=PATH)
        assert text_of(data_of(answer)) == ""

    ask(scenario, profile="openai-chat")


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        (chat_body(model=7), 400, "model: "),
        (chat_body(messages=[]), 400, "messages: "),
        (chat_body(stream=False), 400, "stream: "),
        ([1], 400, "The body must be a JSON object."),
    ],
)
def test_a_rejection_has_openais_shape(body, status, says):
    async def scenario(client: Client) -> None:
        answer = await client.post(body, path=PATH)
        error = json.loads(answer.raw)["error"]
        assert (answer.status, list(error)) == (status, ["message", "type", "param", "code"])
        assert says in error["message"]

    ask(scenario, profile="openai-chat")


def test_a_token_is_needed_unless_it_is_switched_off():
    async def scenario(client: Client) -> None:
        assert (await client.post(chat_body(), path=PATH, token=None)).status == 401
        assert (await client.post(chat_body(), path="/agent/workflow-actions")).status == 404

    async def open_to_all(client: Client) -> None:
        assert (await client.post(chat_body(), path=PATH, token=None)).status == 200
        assert (await client.post(chat_body(), path=PATH, token="wrong")).status == 401

    ask(scenario, profile="openai-chat")
    ask(open_to_all, profile="openai-chat", needs_token=False)


@pytest.mark.parametrize(
    ("profile", "path", "body"),
    [
        ("openai-chat", PATH, chat_body("Count from 1 to 20.")),
        (
            "ag-ui",
            "/",
            {"threadId": "t", "runId": "r", "messages": [{"id": "m", "role": "user", "content": "Pause."}]},
        ),
    ],
)
def test_a_reader_that_leaves_cancels_its_run(profile, path, body):
    async def scenario(client: Client) -> None:
        await client.post(body, path=path, cut_after=3)
        registry = client.server.api.registry
        await until(lambda: not registry.running)
        assert len(registry) == 1

    ask(scenario, profile=profile)
