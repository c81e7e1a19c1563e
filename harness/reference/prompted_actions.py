"""Which action a prompt asks for, as a model might understand it. Any other prompt is answered with a sentence."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from harness.profiles.prompts import ECHO_PLACEHOLDER, PROMPTS
from harness.reference.actions import MAX_TOKENS, Tokens, prepare_action

_ECHO = re.compile(re.escape(PROMPTS["echo"]).replace(re.escape(ECHO_PLACEHOLDER), "(.*)"), re.DOTALL)
_COUNT = re.compile(r"Count from 1 to ([0-9]{1,4})\b")
_LONG_MS, _MAX_INTERVAL_MS = 1500, 60  # how long counting takes
_BY_FIRST_WORD = {"fail": "fail", "cancel": "cancel", "say": "silent", "pause": "quiet"}


def prompted_action(prompt: str) -> Callable[[], Tokens]:
    """A function that starts the action."""
    return prepare_action(_parameters(prompt))


def _parameters(prompt: str) -> dict[str, Any]:
    if echo := _ECHO.fullmatch(prompt):
        return {"toolId": "echo", "text": echo[1]}
    if count := _COUNT.match(prompt):
        tokens = min(max(int(count[1]), 1), MAX_TOKENS)
        return {"toolId": "long", "tokens": tokens, "intervalMs": min(_LONG_MS / tokens, _MAX_INTERVAL_MS)}
    word = re.match(r"[a-z]*", prompt.strip().lower())
    return {"toolId": _BY_FIRST_WORD.get(word[0] if word else "", "echo")}
