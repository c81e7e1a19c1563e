"""Errors that end a command with a one-sentence message and exit code 2."""

from __future__ import annotations

from collections.abc import Sequence

from harness.formatting import visible


class HarnessError(Exception):
    """The harness cannot continue: wrong input, or a problem with the environment.

    message: one sentence: what is wrong, where, and how to fix it. The command line prints it without a traceback.
    details: further lines. Each is one line, whatever the path of a file or a server's text in it contains.
    """

    def __init__(self, message: str, details: Sequence[str] = ()) -> None:
        super().__init__("\n".join(map(visible, (message, *details))))


class FileWriteError(HarnessError):
    """A file cannot be written. The message names the file and the operating system's reason."""


class SettingsError(HarnessError, ValueError):
    """A setting is wrong. The message says which one, where, and how to fix it."""


class LocalResourceError(HarnessError):
    """A fault of the machine or process that keeps a request from being sent; it says nothing about the server."""
