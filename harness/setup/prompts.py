"""Asks for settings that cannot be detected: on a terminal interactively, in CI with an error that names the flag."""

from __future__ import annotations

import sys
from typing import Protocol

import click

from harness.errors import SettingsError


class Prompt(Protocol):
    """Asks for a setting."""

    def ask(self, question: str, flag: str, *, default: str | None = None, hidden: bool = False) -> str:
        """The answer, one line. flag: named in the SettingsError that a non-interactive prompt raises."""
        ...

    @property
    def is_interactive(self) -> bool:
        """Whether a user can answer."""
        ...


class NoPrompt:
    """For pipes and CI: each question is an error that names the flag."""

    is_interactive = False

    def ask(self, question: str, flag: str, *, default: str | None = None, hidden: bool = False) -> str:  # noqa: ARG002
        raise SettingsError(f"missing: {question} (standard input is not a terminal); use {flag}")


class TtyPrompt:
    """Asks the user at a terminal; prompts go to standard error."""

    is_interactive = True

    def ask(self, question: str, flag: str, *, default: str | None = None, hidden: bool = False) -> str:  # noqa: ARG002
        answer = click.prompt(
            question, default=default, hide_input=hidden, err=True, show_default=bool(default)
        )
        return str(answer).strip()


def default_prompt() -> Prompt:
    """Interactive if standard input is a terminal."""
    return TtyPrompt() if sys.stdin is not None and sys.stdin.isatty() else NoPrompt()
