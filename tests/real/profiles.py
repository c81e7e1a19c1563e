"""The profile of each target: the shipped one of its name, or one made of a shipped one."""

from __future__ import annotations

from pathlib import Path

from harness.profiles import library
from harness.profiles.profile import Profile
from tests.profiles.background import background, background_text

from .servers import BUILD

BACKGROUND = "openai-background"
"""OpenAI Responses that can be read again and cancelled."""


def profile(target: str) -> Profile:
    """The profile that a target is tested with."""
    return background() if target == BACKGROUND else library.load(target)


def file_of(target: str) -> Path | None:
    """A file with the profile, if it is not shipped."""
    if target != BACKGROUND:
        return None
    path = BUILD / f"{target}.profile.toml"
    path.write_text(background_text())
    return path
