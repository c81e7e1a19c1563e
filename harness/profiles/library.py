"""Finds profiles: those that the harness ships, those of installed packages, and files of the user."""

from __future__ import annotations

import json
from collections.abc import Mapping
from difflib import get_close_matches
from functools import lru_cache
from importlib.metadata import entry_points
from importlib.resources import files
from pathlib import Path
from typing import Any

import tomlkit
from pydantic import ValidationError

from harness.errors import SettingsError
from harness.formatting import shortened, visible
from harness.input_file import SETTINGS_BYTES, parse_toml, read_text
from harness.profiles.profile import WORKFLOW_ACTIONS, Profile

ENTRY_POINTS = "harness.profiles"
"""Group of entry points by which a package adds a profile: its name, and a module with a file of that name + .toml."""
DEFAULT = "workflow-actions"
"""The API of a target without the setting."""
_SUFFIX = ".toml"
_LONGEST_NAME = 100


@lru_cache(maxsize=1)
def _shipped() -> dict[str, str]:
    folder = files("harness.profiles") / "shipped"
    return {
        file.name.removesuffix(_SUFFIX): file.read_text(encoding="utf-8")
        for file in sorted(folder.iterdir(), key=lambda file: file.name)
        if file.name.endswith(_SUFFIX)
    }


def names() -> list[str]:
    """The names of all profiles that can be used by name."""
    return sorted({*_shipped(), *(point.name for point in entry_points(group=ENTRY_POINTS))})


def source(name_or_path: str) -> tuple[str, str]:
    """The text of a profile, and what messages call it. Raises SettingsError if there is none."""
    if name_or_path in _shipped():
        return _shipped()[name_or_path], f"the profile {name_or_path}"
    for point in entry_points(group=ENTRY_POINTS, name=name_or_path):
        file = files(point.value) / f"{point.name}{_SUFFIX}"
        return file.read_text(encoding="utf-8"), f"the profile {name_or_path} of {point.value}"
    path = Path(name_or_path)
    if path.suffix != _SUFFIX:
        near = get_close_matches(name_or_path[:_LONGEST_NAME], names(), n=1)
        hint = (
            f"; did you mean {near[0]}?"
            if near
            else f": use one of {', '.join(names())}, or the path of a file"
        )
        raise SettingsError(f"there is no profile {shortened(repr(name_or_path))}{hint}")
    return read_text(path, "the profile", SETTINGS_BYTES), f"the profile {visible(str(path))}"


@lru_cache(maxsize=32)
def _shipped_profile(name: str) -> Profile:
    text, label = source(name)
    return parse(text, label)


def load(name_or_path: str) -> Profile:
    """The profile of this name, or in this file. Raises SettingsError with the place and what is wrong there."""
    if name_or_path in _shipped():
        return _shipped_profile(name_or_path)
    text, label = source(name_or_path)
    profile = parse(text, label)
    if profile.name == WORKFLOW_ACTIONS:
        raise SettingsError(
            f"{label}: name: {WORKFLOW_ACTIONS} is the harness's own profile, whose events are not read by [events]; "
            "use a different name"
        )
    return profile


@lru_cache(maxsize=1)
def default_profile() -> Profile:
    """That of workflow actions, which is used where no other is set."""
    return load(WORKFLOW_ACTIONS)


def with_cancellation(profile: Profile, part: Mapping[str, Any], label: str) -> Profile:
    """The profile with this as its part [cancel]. Raises SettingsError with the place and what is wrong there."""
    return _with_cancellation(profile.source, json.dumps(part), label)


@lru_cache(maxsize=8)
def _with_cancellation(source: str, part: str, label: str) -> Profile:
    document = tomlkit.parse(source)
    document["cancel"] = json.loads(part)
    return parse(tomlkit.dumps(document), label)


@lru_cache(maxsize=16)
def parse(text: str, label: str) -> Profile:
    """A profile from TOML. label: what messages call it. Raises SettingsError with the place and what is wrong."""
    try:
        return Profile.model_validate(parse_toml(text, f"{label} is")).of_source(text)
    except ValidationError as problem:
        raise SettingsError(f"{label}: {_sentence(problem)}") from None


def _sentence(problem: ValidationError) -> str:
    """The first problem: where, and what is wrong there."""
    first = problem.errors(include_url=False)[0]
    place = shortened(".".join(str(part) for part in first["loc"] if part not in _UNION_BRANCHES))
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        message = "there is no such field"
    message = shortened(visible(message), 300)
    return f"{visible(place)}: {message}" if place else message


_UNION_BRANCHES = {"EventRule", "constrained-str", "function-wrap[_keep_order()]"}
