"""Placeholders in a profile's requests: ``${prompt}``, ``${uuid}`` and the profile's variables."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from harness.formatting import shortened

#: Possessive, and not over the beginning of another one: a text may have thousands that stay open.
PLACEHOLDER = re.compile(r"\$\{((?:[^}$]|\$(?!\{))*+)\}")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)

UUID = "uuid"
"""The placeholder that is a new UUID wherever it stands."""


def placeholders(template: Any) -> Iterator[str]:
    """The names of all placeholders in a text, or in the texts of a JSON value. Raises ValueError for a wrong one."""
    if isinstance(template, str):
        for name in PLACEHOLDER.findall(template):
            if not _NAME.fullmatch(name):
                raise ValueError(
                    f"${{{shortened(name)}}} is not a placeholder: a name has letters, digits and _"
                )
            yield name
    elif isinstance(template, Mapping):
        for name, value in template.items():
            yield from placeholders(name)
            yield from placeholders(value)
    elif isinstance(template, list | tuple):
        for value in template:
            yield from placeholders(value)


def new_uuid() -> str:
    """A random UUID (RFC 9562, version 4)."""
    return str(uuid.uuid4())


def fill(template: Any, values: Mapping[str, Any], new_id: Callable[[], str] = new_uuid) -> Any:
    """The template with its placeholders replaced. A text that is one placeholder takes the value with its type.

    new_id: makes each ${uuid}. Raises KeyError with the name of a placeholder that has no value.
    """
    if isinstance(template, str):
        if "${" not in template:
            return template
        alone = PLACEHOLDER.fullmatch(template)
        if alone is not None:
            return _value(alone[1], values, new_id)
        return PLACEHOLDER.sub(lambda match: str(_value(match[1], values, new_id)), template)
    if isinstance(template, dict | Mapping):
        return {fill(name, values, new_id): fill(value, values, new_id) for name, value in template.items()}
    if isinstance(template, list | tuple):
        return [fill(value, values, new_id) for value in template]
    return template


def value_in(text: str, template: str, name: str) -> str | None:
    """What a placeholder was replaced with in a text; None if the text is not one of the template.

    Where several readings fit, each placeholder takes as much as it can, from the first one on. The time is linear in
    the length of the text, however many placeholders there are.
    """
    first, *rest = PLACEHOLDER.split(template)  # rest: a name, the text after it, the next name …
    if not rest or len(text) < len(first) + len(rest[-1]):
        return None
    if not (text.startswith(first) and text.endswith(rest[-1])):
        return None
    end = len(text) - len(rest[-1])
    values = {}
    for place in range(len(rest) - 2, 0, -2):
        literal = rest[place - 1]
        at = text.rfind(literal, len(first), end)
        if at < 0:
            return None
        values[rest[place]] = text[at + len(literal) : end]
        end = at
    values[rest[0]] = text[len(first) : end]
    return values.get(name)


def _value(name: str, values: Mapping[str, Any], new_id: Callable[[], str]) -> Any:
    return new_id() if name == UUID else values[name]
