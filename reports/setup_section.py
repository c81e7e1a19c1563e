"""The setup of a test, from the manifest: command, target, versions, machine, settings."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from harness.capacity.record import MANIFEST_KEY

from .text import duration

FACTS_SHOWN = 200
"""Most rows of one table."""

SETUP_KEYS = ("target", "versions", "machine", "settings")
"""Keys of the manifest that describe the setup, each a table."""

_TEST_KEYS = ("command", "state", "started_at", "ended_at")


@dataclass(frozen=True, slots=True)
class FactTable:
    """A titled list of names and values. left_out: how many rows are not shown."""

    title: str
    rows: tuple[tuple[str, str], ...]
    left_out: int


def fact_tables(manifest: Mapping[str, Any]) -> Iterator[FactTable]:
    """Tables of every key of the manifest: the well-known ones first, the others last."""
    yield _fact_table("Test", {key: manifest[key] for key in _TEST_KEYS if key in manifest})
    for key in SETUP_KEYS:
        yield _fact_table(key.capitalize(), manifest.get(key, {}))
    shown = {*_TEST_KEYS, *SETUP_KEYS, MANIFEST_KEY}
    rest = {key: value for key, value in manifest.items() if key not in shown}
    if rest:
        yield _fact_table("Other", rest)


def _fact_table(title: str, value: Any) -> FactTable:
    rows = list(flatten("", value))
    return FactTable(title, tuple(rows[:FACTS_SHOWN]), max(len(rows) - FACTS_SHOWN, 0))


def flatten(name: str, value: Any) -> Iterator[tuple[str, str]]:
    """The leaves of a manifest value as names, joined by dots below `name`, and values as text."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from flatten(f"{name}.{key}" if name else str(key), inner)
    elif isinstance(value, str):
        yield name, value
    elif (
        isinstance(value, list) and name.endswith("command") and all(isinstance(part, str) for part in value)
    ):
        yield name, " ".join(value)
    else:
        yield name, json.dumps(value, ensure_ascii=False)


def start_time(manifest: Mapping[str, Any]) -> str:
    """When a test started, for people; the recorded value unchanged if it is not an ISO 8601 time."""
    value = manifest.get("started_at")
    try:
        return f"{datetime.fromisoformat(value):%-d %B %Y, %H:%M:%S %Z}"  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return "" if value is None else str(value)


def elapsed_time(manifest: Mapping[str, Any]) -> str:
    """How long a test took; empty if its manifest does not record that."""
    try:
        began, ended = (datetime.fromisoformat(manifest[key]) for key in ("started_at", "ended_at"))
        return duration((ended - began).total_seconds() * 1000)
    except (KeyError, TypeError, ValueError):
        return ""
