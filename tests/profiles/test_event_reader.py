"""One event, read with a profile."""

from __future__ import annotations

import json
from typing import Any

import pytest

from harness.profiles.library import load, parse
from harness.profiles.run_event import FrameReader, RunEvent
from harness.protocol.sse import SseDecoder
from tests.profiles.test_library import MINIMAL

CHAT = load("openai-chat").reader


def event(reader: FrameReader, data: Any, name: str = "", id_: str | None = None) -> RunEvent:
    text = data if isinstance(data, str) else json.dumps(data)
    fields = f"event: {name}\n" if name else ""
    fields += f"id: {id_}\n" if id_ is not None else ""
    (frame,) = SseDecoder().feed(f"{fields}data: {text}\n\n".encode())
    return reader.read(frame)


def chunk(**choice: Any) -> dict[str, Any]:
    return {"id": "run", "object": "chat.completion.chunk", "choices": [{"index": 0, **choice}]}


def minimal(events: str) -> FrameReader:
    return parse(f"{MINIMAL}{events}", "mine.toml").reader


def test_a_token() -> None:
    read = event(CHAT, chunk(delta={"content": "Hi"}, finish_reason=None))
    assert (read.content, read.text, read.is_token) == ("token", "Hi", True)
    assert (read.outcome, read.run_id, read.is_end) == (None, "run", False)


def test_the_first_chunk_has_no_visible_text() -> None:
    read = event(CHAT, chunk(delta={"role": "assistant", "content": ""}))
    assert not read.is_token
    assert read.is_known


def test_an_event_with_several_meanings() -> None:
    """Some servers send the last token, the reason for the end and the usage in one chunk."""
    read = event(
        CHAT, {**chunk(delta={"content": "!"}, finish_reason="stop"), "usage": {"completion_tokens": 7}}
    )
    assert (read.text, read.outcome, read.output_tokens, read.is_end) == ("!", "done", 7, False)


def test_reasoning_is_no_visible_text() -> None:
    read = event(CHAT, chunk(delta={"reasoning_content": "hm"}))
    assert (read.content, read.is_token) == ("reasoning", False)


def test_the_first_outcome_of_the_file_counts() -> None:
    read = event(CHAT, {**chunk(delta={}, finish_reason="error"), "error": {"message": "no model"}})
    assert (read.outcome, read.message) == ("error", "no model")


def test_a_literal_end_is_no_json() -> None:
    read = event(CHAT, "[DONE]")
    assert read.is_end
    assert read.problem is None
    assert event(CHAT, "[DONE!]").problem is not None


def test_the_end_may_be_an_event_of_its_own() -> None:
    reader = load("anthropic-messages").reader
    stop = event(reader, {"type": "message_stop"}, "message_stop")
    assert stop.is_end
    assert stop.outcome is None
    reason = event(
        reader, {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 4}}
    )
    assert (reason.outcome, reason.is_end, reason.output_tokens) == ("done", False, 4)


def test_a_trailer_may_follow() -> None:
    assert event(load("openai-responses").reader, "[DONE]").is_trailer


def test_comments_keep_the_connection_open() -> None:
    (frame,) = SseDecoder().feed(b": ping\n\n")
    assert CHAT.read(frame).is_keepalive


def test_an_event_can_keep_the_connection_open() -> None:
    assert event(load("anthropic-messages").reader, {"type": "ping"}).is_keepalive


def test_the_type_may_stand_in_the_event_field() -> None:
    reader = minimal("error = { is = 'fail*', message = 'data.why' }\ndata = 'any'")
    read = event(reader, ["x"], "failed")
    assert (read.type, read.outcome, read.message) == ("failed", "error", "")


def test_a_type_that_the_profile_does_not_know() -> None:
    assert not event(minimal(""), {}, "surprise").is_known
    assert event(minimal("other = ['sur*']"), {}, "surprise").is_known


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ("[1]", "its data is not a JSON object"),
        ('"text"', "its data is not a JSON object"),
        ("{", "its data is not JSON"),
        ("hello", "its data is not JSON"),
    ],
)
def test_data_that_the_profile_does_not_expect(data: str, says: str) -> None:
    assert says in (event(minimal(""), data, "token").problem or "")


def test_any_json_where_the_profile_says_so() -> None:
    assert event(minimal("data = 'any'"), "[1]", "token").problem is None


@pytest.mark.parametrize("count", [-1, True, "7", None, 1.5])
def test_a_count_of_tokens_is_a_whole_number(count: Any) -> None:
    assert event(CHAT, {**chunk(delta={}), "usage": {"completion_tokens": count}}).output_tokens is None


def test_ids_stand_where_the_profile_says() -> None:
    assert event(load("agno").reader, {"event_index": 4}, "RunContent").id == "4"
    assert event(load("langgraph").reader, [{}], "messages", "17-0").id == "17-0"


def test_an_expression_that_does_not_fit_an_event_is_no_match() -> None:
    reader = load("a2a").reader
    read = event(reader, {"task": {"artifacts": "none"}})
    assert read.whole_text is None
