"""The scenarios, one module per kind. Each becomes a fixture with its name."""

from __future__ import annotations

from collections.abc import Callable
from inspect import iscoroutinefunction
from typing import Any

from . import (
    auth,
    cancel,
    conflict,
    cuts,
    hostile,
    input,  # noqa: A004 - the area's name
    key,
    key_pairs,
    race,
    replica,
    restart,
    resume,
    runs,
    security,
    terminal,
    workflow,
)

_MODULES = (
    runs,
    cuts,
    resume,
    key,
    key_pairs,
    conflict,
    auth,
    input,
    hostile,
    race,
    security,
    terminal,
    cancel,
    workflow,
    replica,
    restart,
)


def every_scenario() -> dict[str, Callable[..., Any]]:
    """The scenarios by name."""
    return {
        name: value
        for module in _MODULES
        for name, value in vars(module).items()
        if iscoroutinefunction(value) and value.__module__ == module.__name__ and not name.startswith("_")
    }
