"""Placeholders in a profile's requests: ``${prompt}``, ``${uuid}`` and the profile's variables."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

_PLACEHOLDER = re.compile(r"\$\{([^}]*)\}")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)

UUID = "uuid"
"""The placeholder that is a new UUID wherever it stands."""


def placeholders(template: Any) -> Iterator[str]:
    """The names of all placeholders in a text, or in the texts of a JSON value. Raises ValueError for a wrong one."""
    if isinstance(template, str):
        for name in _PLACEHOLDER.findall(template):
            if not _NAME.fullmatch(name):
                raise ValueError(f"${{{name}}} is not a placeholder: a name has letters, digits and _")
            yield name
    elif isinstance(template, Mapping):
        for name, value in template.items():
            yield from placeholders(name)
            yield from placeholders(value)
    elif isinstance(template, list | tuple):
        for value in template:
            yield from placeholders(value)


def fill(template: Any, values: Mapping[str, Any]) -> Any:
    """The template with its placeholders replaced. A text that is one placeholder takes the value with its type.

    Raises KeyError with the name of a placeholder that has no value.
    """
    if isinstance(template, str):
        alone = _PLACEHOLDER.fullmatch(template)
        if alone is not None:
            return _value(alone[1], values)
        return _PLACEHOLDER.sub(lambda match: str(_value(match[1], values)), template)
    if isinstance(template, Mapping):
        return {fill(name, values): fill(value, values) for name, value in template.items()}
    if isinstance(template, list | tuple):
        return [fill(value, values) for value in template]
    return template


def _value(name: str, values: Mapping[str, Any]) -> Any:
    return str(uuid.uuid4()) if name == UUID else values[name]
