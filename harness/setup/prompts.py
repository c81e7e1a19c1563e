"""Whoever can be asked for what cannot be found out: a person at a terminal, or nobody."""

from __future__ import annotations

import sys
from typing import Protocol

import click

from harness.errors import SettingsError


class Prompt(Protocol):
    """Asks for a setting."""

    def ask(self, question: str, flag: str, *, default: str | None = None, hidden: bool = False) -> str:
        """The answer, in one line. flag: what to use where nobody can be asked. Raises SettingsError there."""
        ...

    @property
    def is_interactive(self) -> bool:
        """Whether there is somebody to ask."""
        ...


class NoPrompt:
    """For pipes and CI: each question is an error that names the flag."""

    is_interactive = False

    def ask(self, question: str, flag: str, *, default: str | None = None, hidden: bool = False) -> str:  # noqa: ARG002
        raise SettingsError(f"{question} is not known, and nobody can be asked here; use {flag}")


class TtyPrompt:
    """Somebody at a terminal, asked on standard error."""

    is_interactive = True

    def ask(self, question: str, flag: str, *, default: str | None = None, hidden: bool = False) -> str:  # noqa: ARG002
        answer = click.prompt(
            question, default=default, hide_input=hidden, err=True, show_default=bool(default)
        )
        return str(answer).strip()


def default_prompt() -> Prompt:
    """A person where standard input is a terminal."""
    return TtyPrompt() if sys.stdin is not None and sys.stdin.isatty() else NoPrompt()
