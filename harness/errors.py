"""The errors that end a command with one sentence and exit code 2."""

from __future__ import annotations


class HarnessError(Exception):
    """Input or surroundings that the harness cannot work with.

    The text is one sentence: what is wrong, where, and what to do. The command line prints it without a traceback.
    """


class FileWriteError(HarnessError):
    """A file could not be written; the text names it and gives the system's reason."""


class SettingsError(HarnessError, ValueError):
    """A setting is wrong; the text is one sentence that says which, where, and what to do."""
