"""Errors that end a command with a one-sentence message and exit code 2."""

from __future__ import annotations


class HarnessError(Exception):
    """The harness cannot continue: wrong input, or a problem with the environment.

    The message is one sentence: what is wrong, where, and how to fix it. The command line prints it without a
    traceback.
    """


class FileWriteError(HarnessError):
    """A file cannot be written. The message names the file and the operating system's reason."""


class SettingsError(HarnessError, ValueError):
    """A setting is wrong. The message says which one, where, and how to fix it."""


class LocalResourceError(HarnessError):
    """A fault of the machine or process that keeps a request from being sent; it says nothing about the server."""
