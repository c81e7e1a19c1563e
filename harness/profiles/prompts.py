"""What the runs of an API that takes a prompt are asked, if the settings do not say it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

PROMPT = "prompt"
"""The placeholder of what a run is asked."""

ECHO_PLACEHOLDER = "{text}"
"""In an echo prompt or a parameter of an echo action, the place of the text to return."""

PROMPTS: Mapping[str, str] = {
    "success": "Answer in one short sentence: what is a stream of events?",
    "long": "Count from 1 to 150 in digits, separated by blanks. Write nothing else.",
    "echo": f"Repeat the text after this colon character for character, and write nothing else: {ECHO_PLACEHOLDER}",
}
"""By situation. The others depend on the server: what makes a run fail, pause or end without text."""


def with_text(value: Any, text: str) -> Any:
    """A JSON value with `text` where its placeholder is, at any depth."""
    if isinstance(value, str):
        return value.replace(ECHO_PLACEHOLDER, text)
    if isinstance(value, dict):
        return {name: with_text(member, text) for name, member in value.items()}
    return [with_text(member, text) for member in value] if isinstance(value, list) else value
