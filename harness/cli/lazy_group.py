"""A click group that imports the module of a command only when the command is used or listed."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any

import click


class LazyGroup(click.Group):
    """Finds the command `NAME` as the attribute `NAME` of the module `PACKAGE.NAME`."""

    def __init__(self, *args: Any, package: str, names: Sequence[str], **options: Any) -> None:
        super().__init__(*args, **options)
        self._package = package
        self._names = tuple(sorted(names))

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*self._names, *super().list_commands(ctx)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self._names:
            return super().get_command(ctx, cmd_name)
        command: click.Command = getattr(import_module(f"{self._package}.{cmd_name}"), cmd_name)
        return command
