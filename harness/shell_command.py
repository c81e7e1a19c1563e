"""Runs a shell command that a user configured, with a bound on its time."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
from contextlib import suppress
from typing import IO

from harness.errors import HarnessError
from harness.formatting import visible

_OUTPUT_BYTES = 4096
_SHOWN_CHARACTERS = 200


class CommandError(HarnessError):
    """A command failed; the message is what follows its name in a sentence."""


def run_shell(command: str, within_s: float) -> None:
    """Run a shell command. Raises CommandError if it fails, or if it has not ended after `within_s` seconds.

    Then everything that it started is killed. What it leaves in the background continues.
    """
    with (
        tempfile.TemporaryFile() as output
    ):  # not a pipe: what it leaves in the background would keep it open
        process = subprocess.Popen(
            ["/bin/sh", "-c", command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            code = process.wait(within_s)
        except subprocess.TimeoutExpired:
            raise CommandError(late(within_s)) from None
        finally:
            if process.returncode is None:
                kill_session(process.pid)
                process.wait()
        if code != 0:
            raise CommandError(failure(code, output))


def kill_session(pid: int) -> None:
    """Kill a process that was started in its own session, with all that it started."""
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)


def late(within_s: float) -> str:
    """What is wrong with a command that did not end in time."""
    return f"did not end within {within_s:g} s (budgets.restart)"


def failure(code: int, output: IO[bytes]) -> str:
    """What is wrong with a command that ended with this code, with the last line of its output."""
    output.seek(max(0, output.seek(0, os.SEEK_END) - _OUTPUT_BYTES))
    last_line = output.read().decode("utf-8", "replace").strip().rpartition("\n")[2]
    shown = f": {visible(last_line)[:_SHOWN_CHARACTERS]!r}" if last_line else ""
    return f"ended with code {code}{shown}"
