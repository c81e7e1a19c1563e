"""Recorded answers of sixteen servers, read with the profile of their API: clean runs fit, defects are named.

The captures are in tests/profiles/captures, one folder for each server, as ``curl -i -N --raw`` prints them.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.profiles import library
from harness.profiles.stream_reader import ProfileStream, read_stream
from harness.protocol.capture import CapturedAnswer, read_capture
from tests.cases import all_cases

CAPTURES = Path(__file__).parent / "captures"
INCOMPLETE = "incomplete"  # the client cut the connection, or the server broke off

#: Profile, capture, token events, and how the run ended, in the words of the stream.
CLEAN = [
    ("openai-responses", "agentserver/cancelled", 7, "cancelled"),
    ("openai-responses", "agentserver/cut", 22, "incomplete"),
    ("openai-responses", "agentserver/cut-resumed", 39, "done"),
    ("openai-responses", "agentserver/error-mid", 3, "error"),
    ("openai-responses", "agentserver/silent", 0, "done"),
    ("openai-responses", "agentserver/success", 11, "done"),
    ("a2a", "a2a/cut-resumed", 90, "done"),
    ("a2a", "a2a/cut", 10, "incomplete"),
    ("a2a", "a2a/cut2-rpc-resubscribed", 90, "done"),
    ("a2a", "a2a/cut2", 10, "incomplete"),
    ("a2a", "a2a/quiet", 8, "done"),
    ("a2a", "a2a/rest-error-declared", 0, "error"),
    ("a2a", "a2a/rest-error-mid", 3, "error"),
    ("a2a", "a2a/rest-error-raised", 0, "error"),
    ("a2a", "a2a/rest-success", 8, "done"),
    ("a2a", "a2a/rpc-success", 8, "done"),
    ("agno", "agno/cut-resumed", 90, "done"),
    ("agno", "agno/cut", 10, "incomplete"),
    ("agno", "agno/error-at-start", 0, "error"),
    ("agno", "agno/error-mid", 3, "error"),
    ("agno", "agno/join-first", 100, "done"),
    ("agno", "agno/join-same-key", 100, "done"),
    ("agno", "agno/quiet", 10, "done"),
    ("agno", "agno/resumed-after-end", 90, "done"),
    ("agno", "agno/resumed-from-start", 100, "done"),
    ("agno", "agno/retry-after-end", 10, "done"),
    ("agno", "agno/retry-other-body", 10, "done"),
    ("agno", "agno/silent", 0, "done"),
    ("agno", "agno/success-inline", 10, "done"),
    ("agno", "agno/success", 10, "done"),
    ("ag-ui", "agui/cut", 10, "incomplete"),
    ("ag-ui", "agui/error-at-start", 0, "error"),
    ("ag-ui", "agui/error-mid", 3, "error"),
    ("ag-ui", "agui/quiet", 8, "done"),
    ("ag-ui", "agui/silent", 0, "error"),
    ("ag-ui", "agui/success", 8, "done"),
    ("openai-chat", "aimock-chat/auth-missing", 8, "done"),
    ("openai-chat", "aimock-chat/cut", 11, "incomplete"),
    ("openai-chat", "aimock-chat/error-mid", 2, "incomplete"),
    ("openai-chat", "aimock-chat/quiet", 4, "done"),
    ("openai-chat", "aimock-chat/silent", 0, "done"),
    ("openai-chat", "aimock-chat/success-with-usage", 8, "done"),
    ("openai-chat", "aimock-chat/success", 8, "done"),
    ("gemini", "aimock-gemini/success", 10, "done"),
    ("anthropic-messages", "aimock-messages/auth-missing", 8, "done"),
    ("anthropic-messages", "aimock-messages/cut", 10, "incomplete"),
    ("anthropic-messages", "aimock-messages/error-mid", 1, "incomplete"),
    ("anthropic-messages", "aimock-messages/silent", 0, "done"),
    ("anthropic-messages", "aimock-messages/success", 8, "done"),
    ("openai-responses", "aimock-responses/auth-missing", 8, "done"),
    ("openai-responses", "aimock-responses/cut", 8, "incomplete"),
    ("openai-responses", "aimock-responses/error-mid", 0, "incomplete"),
    ("openai-responses", "aimock-responses/silent", 0, "done"),
    ("openai-responses", "aimock-responses/success", 8, "done"),
    ("resumable-stream", "frs/cut-resumed", 40, "done"),
    ("resumable-stream", "frs/cut", 12, "incomplete"),
    ("resumable-stream", "frs/join-first", 40, "done"),
    ("resumable-stream", "frs/join-second", 40, "done"),
    ("resumable-stream", "frs/retry-after-end", 8, "done"),
    ("resumable-stream", "frs/retry-other-body", 8, "done"),
    ("resumable-stream", "frs/success", 8, "done"),
    ("langgraph", "langgraph/cancelled-interrupt", 7, ""),
    ("langgraph", "langgraph/cut", 11, "incomplete"),
    ("langgraph", "langgraph/error-at-start", 0, "error"),
    ("langgraph", "langgraph/error-mid", 4, "error"),
    ("langgraph", "langgraph/quiet", 15, ""),
    ("langgraph", "langgraph/silent", 0, ""),
    ("langgraph", "langgraph/success", 15, ""),
    ("openai-chat", "litellm-chat/cut", 11, "incomplete"),
    ("openai-chat", "litellm-chat/error-mid", 2, "error"),
    ("openai-chat", "litellm-chat/quiet", 4, "done"),
    ("openai-chat", "litellm-chat/silent", 0, "done"),
    ("openai-chat", "litellm-chat/success-with-usage", 8, "done"),
    ("openai-chat", "litellm-chat/success", 8, "done"),
    ("anthropic-messages", "litellm-messages/cut", 10, "incomplete"),
    ("anthropic-messages", "litellm-messages/error-mid", 1, "error"),
    ("anthropic-messages", "litellm-messages/quiet", 4, "done"),
    ("anthropic-messages", "litellm-messages/silent", 0, "done"),
    ("anthropic-messages", "litellm-messages/success", 8, "done"),
    ("openai-responses", "litellm-responses/cut", 8, "incomplete"),
    ("openai-responses", "litellm-responses/error-mid", 0, "error"),
    ("openai-responses", "litellm-responses/silent", 0, "done"),
    ("openai-responses", "litellm-responses/success", 8, "done"),
    ("mcp", "mcp/cut-resumed-later", 49, "done"),
    ("mcp", "mcp/cut-resumed", 49, "done"),
    ("mcp", "mcp/cut", 11, "incomplete"),
    ("mcp", "mcp/initialize", 0, "done"),
    ("mcp", "mcp/success", 8, "done"),
    ("ai-sdk", "vercel-ai-npm/cut", 9, "incomplete"),
    ("ai-sdk", "vercel-ai-npm/error-at-start", 0, "error"),
    ("ai-sdk", "vercel-ai-npm/error-mid", 3, "error"),
    ("ai-sdk", "vercel-ai-npm/silent", 0, "done"),
    ("ai-sdk", "vercel-ai-npm/success", 8, "done"),
    ("ai-sdk", "vercel-pydantic/cut", 9, "incomplete"),
    ("ai-sdk", "vercel-pydantic/error-at-start", 0, "error"),
    ("ai-sdk", "vercel-pydantic/error-mid", 3, "error"),
    ("ai-sdk", "vercel-pydantic/silent", 0, "error"),
    ("ai-sdk", "vercel-pydantic/success", 8, "done"),
]
DEFECTS = [
    (
        "agno",
        "agno/cancelled",
        ["2 outcomes: cancelled, done", "event 11: the whole text does not end with the tokens before it"],
    ),
    ("resumable-stream", "frs/error-mid", ["no event tells how the run ended"]),
    (
        "langgraph",
        "langgraph/success-all-modes",
        ["event 5: the id '1795967081691-0' is not greater than '1795967081691-0'"],
    ),
    ("mcp", "mcp/resumed-bad-id", ["it has no event"]),
]
NO_STREAM = [
    ("agentserver/cancelled-again", 400),
    ("a2a/cancelled-request", 200),
    ("a2a/cut-resumed-post", 400),
    ("a2a/cut-task", 200),
    ("a2a/error-mid-cancel-after", 400),
    ("a2a/error-mid-subscribe-after", 400),
    ("a2a/error-mid-task-after", 200),
    ("a2a/input-array", 400),
    ("a2a/input-not-json", 400),
    ("agno/auth-bad", 401),
    ("agno/auth-missing", 401),
    ("agno/cancelled-request", 200),
    ("agno/input-missing-message", 422),
    ("agno/input-unknown-agent", 404),
    ("agui/input-array", 422),
    ("agui/input-not-json", 422),
    ("aimock-chat/error-at-start", 500),
    ("aimock-chat/input-array", 400),
    ("aimock-chat/input-not-json", 400),
    ("aimock-messages/error-at-start", 500),
    ("aimock-messages/input-array", 400),
    ("aimock-messages/input-not-json", 400),
    ("aimock-responses/error-at-start", 500),
    ("aimock-responses/input-array", 400),
    ("aimock-responses/input-not-json", 400),
    ("langgraph/cancelled-interrupt-request", 202),
    ("langgraph/create-thread", 200),
    ("langgraph/input-missing-assistant", 422),
    ("langgraph/input-not-json", 422),
    ("litellm-chat/auth-missing", 500),
    ("litellm-chat/error-at-start", 500),
    ("litellm-chat/input-array", 500),
    ("litellm-chat/input-not-json", 400),
    ("litellm-messages/auth-missing", 500),
    ("litellm-messages/error-at-start", 500),
    ("litellm-messages/input-array", 500),
    ("litellm-messages/input-not-json", 400),
    ("litellm-responses/auth-missing", 500),
    ("litellm-responses/error-at-start", 500),
    ("litellm-responses/input-array", 500),
    ("litellm-responses/input-not-json", 400),
    ("mcp/cancelled-request", 202),
    ("mcp/initialized", 202),
    ("mcp/input-not-json", 400),
    ("vercel-ai-npm/input-array", 400),
    ("vercel-ai-npm/input-not-json", 400),
    ("vercel-pydantic/input-array", 422),
    ("vercel-pydantic/input-not-json", 422),
]


def answer(capture: str) -> CapturedAnswer:
    (recorded,) = read_capture((CAPTURES / f"{capture}.http").read_bytes())
    return recorded


def read(profile: str, capture: str) -> ProfileStream:
    recorded = answer(capture)
    return read_stream(library.load(profile), recorded.frames, is_complete=recorded.is_complete)


@all_cases(("profile", "capture", "tokens", "outcome"), CLEAN)
def test_a_sound_stream_fits(profile: str, capture: str, tokens: int, outcome: str) -> None:
    stream = read(profile, capture)
    assert stream.problems == []
    assert sum(event.is_token for event in stream.events) == tokens
    assert [event.outcome for event in stream.outcomes] == ([] if outcome in {"", INCOMPLETE} else [outcome])
    assert answer(capture).is_complete or outcome in {INCOMPLETE, "done"}


@pytest.mark.parametrize(("profile", "capture", "problems"), DEFECTS)
def test_a_defect_is_named(profile: str, capture: str, problems: list[str]) -> None:
    assert read(profile, capture).problems == problems


@all_cases(("capture", "status"), NO_STREAM)
def test_a_rejection_is_no_stream(capture: str, status: int) -> None:
    recorded = answer(capture)
    assert not recorded.is_stream
    assert recorded.status == status


def test_every_capture_has_its_expectation() -> None:
    listed = {name for _, name, *_ in (*CLEAN, *DEFECTS)} | {name for name, _ in NO_STREAM}
    assert listed == {f"{file.parent.name}/{file.stem}" for file in CAPTURES.glob("*/*.http")}


@pytest.mark.parametrize("profile", sorted({row[0] for row in CLEAN}))
def test_another_api_does_not_fit(profile: str) -> None:
    """A wrong profile is noticed on every other API's successful run."""
    for other, capture, _, outcome in CLEAN:
        if other != profile and capture.endswith("/success") and outcome == "done":
            assert read(profile, capture).problems, (profile, capture)
