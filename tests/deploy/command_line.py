"""Parses command lines of the harness without running them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from harness.cli import main


def parsed(arguments: Sequence[str]) -> dict[str, Any]:
    """The options of `harness ARGUMENTS` by name, and the verb as `_verb`. Raises click.UsageError."""
    with main.make_context("harness", list(arguments)) as context:
        name, command, rest = main.resolve_command(context, [*context._protected_args, *context.args])
        assert command is not None
        with command.make_context(name, rest, parent=context) as inner:
            assert isinstance(inner, click.Context)
            return {**inner.params, "_verb": name}
