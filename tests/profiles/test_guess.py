"""A draft of a profile from a request and an answer: it is a valid profile, and reads the whole text."""

from __future__ import annotations

import pytest
import tomlkit

from harness.profiles import library
from harness.profiles.guess import guess_profile
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
    assert bool(found.outcomes) == (
        capture != "litellm-chat/success"
    )  # there the last chunk has no other type


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
    "events", [(), ('data: {"type":"a"}',), ('data: {"type":"a","text":"b"}',), ("data: x",)]
)
def test_an_answer_without_tokens_is_refused(events: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="record the answer to a longer prompt"):
        guess_profile("/", {}, frames(*events))
