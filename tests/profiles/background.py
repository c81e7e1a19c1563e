"""The profile openai-responses with the parts that its comment has for responses with ``background = true``."""

from __future__ import annotations

import re

from harness.profiles import library
from harness.profiles.profile import Profile

_RUN = "stream = true }"
_COMMENTED = re.compile(r"^# (\[\w+\]|\w+ = .*)$", re.MULTILINE)


def background_text() -> str:
    """Its TOML."""
    text, _ = library.source("openai-responses")
    assert text.count(_RUN) == 1
    return _COMMENTED.sub(r"\1", text.replace(_RUN, "stream = true, background = true }"))


def background() -> Profile:
    """The profile. Raises SettingsError if what the comment has does not fit the format."""
    return library.parse(background_text(), "the profile openai-responses, background")
