"""The actions, without a server."""

from __future__ import annotations

import asyncio
import re
import time

import pytest

from harness.reference.actions import (
    DEFAULT_TEXT,
    MAX_TOKENS,
    TOOL_IDS,
    ActionCancelledError,
    ActionFailedError,
    BadActionError,
    prepare_action,
    tokens_of,
)
from tests.cases import all_cases
from tests.reference.support import action


async def drain(tool_id: str, seen: list[str], **parameters) -> None:
    async for token in prepare_action(action(tool_id, **parameters))():
        seen.append(token)  # noqa: PERF401 - keeps the tokens before an exception


def tokens(tool_id: str, **parameters) -> list[str]:
    seen: list[str] = []
    asyncio.run(drain(tool_id, seen, **parameters))
    return seen


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("one", ["one"]),
        ("one two", ["one", " two"]),
        (" a\n\nb  ", [" a", "\n\nb", "  "]),
        ("\r\n", ["\r\n"]),
        ("data: x\n\nid: 1", ["data:", " x", "\n\nid:", " 1"]),
        ("\u2028\0é", ["\u2028\0é"]),
    ],
)
def test_tokens_of(text, expected):
    assert tokens_of(text) == expected


@pytest.mark.parametrize("text", ["w " * 3500, "w" * 10**6, " " * 10**6, "a b\n" * 100_000])
def test_tokens_join_to_the_text_and_are_bounded(text):
    pieces = tokens_of(text)
    assert "".join(pieces) == text
    assert 0 < len(pieces) <= MAX_TOKENS


def test_echo_returns_its_text():
    assert tokens("echo", text="one two") == ["one", " two"]
    assert tokens("echo", text="") == []
    default = tokens("echo")
    assert "".join(default) == DEFAULT_TEXT
    assert len(default) > 11, "sequence numbers must reach two digits"
    assert not DEFAULT_TEXT.isascii()


def test_long_keeps_its_pace():
    start = time.monotonic()
    assert len(tokens("long", tokens=6, intervalMs=20)) == 6
    assert time.monotonic() - start >= 0.1


def test_fail_and_cancel_end_after_a_token():
    seen: list[str] = []
    with pytest.raises(ActionFailedError, match="data source") as caught:
        asyncio.run(drain("fail", seen))
    assert (caught.value.code, len(seen)) == ("action_failed", 1)
    with pytest.raises(ActionCancelledError):
        asyncio.run(drain("cancel", seen))
    assert len(seen) == 2


def test_silent_has_no_token_and_quiet_pauses_between_two():
    assert tokens("silent") == []
    start = time.monotonic()
    assert len(tokens("quiet", pauseMs=50)) == 2
    assert time.monotonic() - start >= 0.05


@pytest.mark.parametrize("tool_id", TOOL_IDS)
def test_unknown_parameters_are_ignored(tool_id):
    prepare_action(action(tool_id, unknown={"a": [1]}))


@all_cases(
    ("parameters", "message"),
    [
        ({"tool_id": "rm -rf"}, "workflowAction.toolId: unknown tool; the tools are echo, long, "),
        ({"tool_id": "echo", "text": 7}, "workflowAction.text: "),
        ({"tool_id": "echo", "text": None}, "workflowAction.text: "),
        ({"tool_id": "long", "tokens": "3"}, "workflowAction.tokens: "),
        ({"tool_id": "long", "tokens": True}, "workflowAction.tokens: "),
        ({"tool_id": "long", "tokens": MAX_TOKENS + 1}, "workflowAction.tokens: "),
        ({"tool_id": "long", "tokens": 10**400}, "workflowAction.tokens: "),
        ({"tool_id": "long", "intervalMs": -1}, "workflowAction.intervalMs: "),
        ({"tool_id": "long", "intervalMs": 10**400}, "workflowAction.intervalMs: "),
        ({"tool_id": "quiet", "pauseMs": 10**9}, "workflowAction.pauseMs: "),
    ],
)
def test_bad_parameters_are_named(parameters, message):
    with pytest.raises(BadActionError, match="^" + re.escape(message)):
        prepare_action(action(**parameters))
