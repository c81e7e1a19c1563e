"""A draft of a profile from a request and an answer: it is a valid profile, and reads the whole text."""

from __future__ import annotations

import json
import re

import pytest
import tomlkit

from harness.profiles import library
from harness.profiles.guess import guess_profile, null_members
from harness.profiles.stream_reader import read_stream
from harness.protocol.sse import SseDecoder
from tests.profiles.test_captures import answer

BODY = {"agent": "a", "options": {"n": 1}, "input": [{"role": "user", "content": "Hello"}]}


@pytest.mark.parametrize(
    ("profile", "capture"),
    [
        ("agno", "agno/success"),
        ("ag-ui", "agui/success"),
        ("ai-sdk", "vercel-ai-npm/success"),
        ("openai-responses", "aimock-responses/success"),
        ("anthropic-messages", "litellm-messages/success"),
        ("openai-chat", "litellm-chat/success"),
        ("resumable-stream", "frs/success"),
    ],
)
def test_a_draft_reads_the_text_that_the_shipped_profile_reads(profile: str, capture: str) -> None:
    recorded = answer(capture)
    guessed = guess_profile("/api/runs", BODY, recorded.frames)
    draft = library.parse(tomlkit.dumps(guessed), "the draft")
    assert guessed["run"] == {
        "path": "/api/runs",
        "json": {"agent": "a", "options": {"n": 1}, "input": [{"role": "user", "content": "${prompt}"}]},
    }
    shipped = read_stream(library.load(profile), recorded.frames)
    found = read_stream(draft, recorded.frames)
    assert found.text == shipped.text != ""
    assert found.problems == []
    assert found.outcomes


def frames(*events: str) -> list[object]:
    return SseDecoder().feed("".join(f"{one}\n\n" for one in events).encode())


@pytest.mark.parametrize(
    ("ids", "order"),
    [
        (["1-0", "1-1", "2-0"], "ms-seq"),
        (["1", "2", "10"], "counter"),
        (["2", "1", "3"], "opaque"),
        (["a", "b", "c"], "opaque"),
        (["a", "a", "b"], None),
    ],
)
def test_the_order_of_ids_is_guessed(ids: list[str], order: str | None) -> None:
    events = [f'id: {one}\ndata: {{"kind":"t","piece":"w{n}"}}' for n, one in enumerate(ids)]
    guessed = guess_profile("/", {"q": "long text"}, frames(*events))
    assert guessed.get("ids", {}).get("order") == order
    assert guessed["events"] == {
        "type": "data.kind",
        "token": {"is": "t", "text": "data.piece"},
        "end": "close",
    }
    assert guessed["run"]["json"] == {"q": "${prompt}"}


def test_errors_and_odd_names_are_kept() -> None:
    events = [
        '{"type":"a","d":{"x y":"one"}}',
        '{"type":"a","d":{"x y":"two"}}',
        '{"type":"failed"}',
        '{"type":"end"}',
    ]
    guessed = guess_profile("/", {}, frames(*(f"data: {one}" for one in events)))
    assert guessed["events"] == {
        "type": "data.type",
        "token": {"is": "a", "text": 'data.d."x y"'},
        "done": {"is": "end"},
        "error": {"is": ["failed"]},
    }


@pytest.mark.parametrize(
    "events",
    [(), ('data: {"type":"a"}',), ('data: {"type":"a","text":"b"}',), ('data: {"text":"b"}', "data: x")],
)
def test_an_answer_without_tokens_is_refused(events: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="record the answer to a longer prompt"):
        guess_profile("/", {}, frames(*events))


@pytest.mark.parametrize(
    ("events", "why"),
    [
        (("data: Soft", "data: rain"), "the data of its events is not JSON objects ('Soft')"),
        (
            ('data: {"t":"a"}', 'data: {"t":"a b"}', 'data: {"t":"a b c"}'),
            "each text at data.t repeats the one before it",
        ),
    ],
    ids=["plain text", "the whole text so far"],
)
def test_an_answer_that_no_profile_reads_is_named(events: tuple[str, ...], why: str) -> None:
    with pytest.raises(ValueError, match=re.escape(why)):
        guess_profile("/", {}, frames(*events))


def named(kind: str, **data: object) -> str:
    return f"event: {kind}\ndata: {json.dumps({'run': {'id': 'r1'}, **data})}"


def test_reasoning_is_no_token_and_the_whole_text_no_piece() -> None:
    thoughts = [named("thought.delta", delta={"text": word}) for word in ("I ", "must ", "write ", "this ")]
    tokens = [named("message.delta", delta={"text": word}) for word in ("Soft ", "rain", "rain")]
    events = [
        named("run.started"),
        *thoughts,
        *tokens,
        named("message.completed", message={"text": "Soft rainrain"}),
        named("usage", usage={"prompt_tokens": 9, "completion_tokens": 3}),
        named("run.completed"),
    ]
    assert guess_profile("/", {}, frames(*events))["events"] == {
        "type": "event",
        "token": {"is": "message.delta", "text": "data.delta.text"},
        "run_id": "data.run.id",
        "reasoning": {"is": ["thought.delta"]},
        "snapshot": {"is": "message.completed", "text": "data.message.text"},
        "done": {"is": "run.completed"},
        "usage": {
            "where": "data.usage.completion_tokens",
            "output_tokens": "data.usage.completion_tokens",
        },
        "other": ["run.started", "usage"],
    }


@pytest.mark.parametrize(
    ("before", "last", "done"),
    [
        ({"finished": False}, {"finished": True}, {"where": "data.finished"}),
        ({"state": "running"}, {"state": "complete"}, {"where": "data.state == 'complete'"}),
        ({}, {"status": "complete"}, {"where": "data.status == 'complete'"}),
        ({"x": {"finishReason": None}}, {"x": {"finishReason": "STOP"}}, {"where": "data.x.finishReason"}),
        ({"state": "running"}, {"state": "running"}, None),
        ({"colour": "red"}, {"colour": "blue"}, None),
        ({"done": True}, {"done": True}, None),
    ],
)
def test_the_mark_of_the_last_event_is_guessed(
    before: dict[str, object], last: dict[str, object], done: dict[str, str] | None
) -> None:
    events = [json.dumps({"answer": word, **before}) for word in ("a", "b", "c")]
    events.append(json.dumps({"answer": "", **last}))
    found = guess_profile("/", {}, frames(*(f"data: {one}" for one in events)))["events"]
    assert found.get("done") == done
    assert found.get("end") == (None if done else "close")


LONG = "no prompt, however long this text may be"


@pytest.mark.parametrize(
    ("body", "place"),
    [
        ({"user_message": {"parts": [{"kind": "text", "value": "p"}]}, "metadata": {"note": LONG}}, "value"),
        ({"system_prompt": LONG, "userInput": "p"}, "userInput"),
        ({"q": "p", "lang": "en-GB"}, "q"),
        ({"body": "a question", "input_type": LONG}, "body"),
    ],
)
def test_the_prompt_is_found_by_its_name(body: dict[str, object], place: str) -> None:
    found = json.dumps(guess_profile("/", body, frames('data: {"t":"a"}', 'data: {"t":"b"}'))["run"]["json"])
    assert f'"{place}": "${{prompt}}"' in found


def test_null_in_the_body_is_left_out_and_named() -> None:
    body = {"q": "p", "thread": None, "o": {"a": [None, 1], "b": None}}
    found = guess_profile("/", body, frames('data: {"t":"a"}', 'data: {"t":"b"}'))
    assert found["run"]["json"] == {"q": "${prompt}", "o": {"a": [1]}}
    assert null_members(body) == ["thread", "o.a.0", "o.b"]
    assert "null" not in tomlkit.dumps(found)


@pytest.mark.parametrize("name", ['q"t', "b\\s", "0", "", "a.b", "é"])
def test_any_name_of_a_member_makes_an_expression(name: str) -> None:
    events = [json.dumps({"list": [{name: word}], "type": "t"}) for word in ("a", "b", "c")]
    read = frames(*(f"data: {one}" for one in events))
    draft = library.parse(tomlkit.dumps(guess_profile("/", {}, read)), "the draft")
    assert read_stream(draft, read).text == "abc"
