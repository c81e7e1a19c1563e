"""GitHub workflow commands: lines that GitHub Actions interprets in a step's output.

https://docs.github.com/actions/reference/workflows-and-actions/workflow-commands
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TextIO

from harness.formatting import visible


def in_github(environment: Mapping[str, str]) -> bool:
    """Whether this process runs in a step of a GitHub workflow."""
    return environment.get("GITHUB_ACTIONS") == "true"


def workflow_command(kind: str, message: str, **properties: str) -> str:
    """A workflow command on one line: ``::error title=…::message``.

    Escapes as GitHub's own toolkit does (actions/toolkit, packages/core/src/command.ts), and shows control characters.
    """
    text = ",".join(f"{name}={_escape_property(value)}" for name, value in properties.items() if value)
    return f"::{kind}{f' {text}' if text else ''}::{_escape_data(message)}"


def _escape_data(text: str) -> str:
    return visible(text, keep="\r\n").replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _escape_property(text: str) -> str:
    return _escape_data(text).replace(":", "%3A").replace(",", "%2C")


def new_delimiter() -> str:
    """A random text, which a server under test cannot guess."""
    return f"harness-{secrets.token_hex(16)}"


@contextmanager
def suspend_workflow_commands(
    out: TextIO, title: str, environment: Mapping[str, str] = os.environ
) -> Iterator[None]:
    """In the block, GitHub ignores workflow commands in the output of this process and its children.

    A server's text can be printed at the beginning of a line, and could be ``::add-mask::`` or worse. title: of the
    foldable group of output lines; empty for no group. Does nothing outside GitHub.
    """
    if not in_github(environment):
        yield
        return
    token = new_delimiter()
    group = f"{workflow_command('group', title)}\n" if title else ""
    out.write(f"{group}::stop-commands::{token}\n")
    out.flush()
    try:
        yield
    finally:
        end = "::endgroup::\n" if title else ""
        out.write(f"::{token}::\n{end}")
        out.flush()
