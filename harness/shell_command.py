"""Runs a shell command that a user configured, with a bound on its time."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import IO

from harness.errors import HarnessError
from harness.formatting import visible

OUTPUT_BYTES = 16 * 1024 * 1024
"""What a command prints beyond this replaces what it printed before, so that it fills no disk."""

CHECK_EVERY_S = 0.2

_END_BYTES = 16_384  # of the output, for its last line
_CUT_CHARACTERS = 8192  # of a line whose beginning is not in it: a secret that is cut would not be recognized
_SHOWN_CHARACTERS = 200


class CommandError(HarnessError):
    """A command failed; the message is what follows its name in a sentence."""


@contextmanager
def output_file() -> Iterator[IO[bytes]]:
    """A file for the output of a command. Not a pipe: what it leaves in the background would keep that open."""
    with tempfile.TemporaryFile() as output:
        fcntl.fcntl(output, fcntl.F_SETFL, os.O_APPEND)  # it continues at the end of a file that was cut
        yield output


def bound_output(output: IO[bytes]) -> None:
    """Cut an output that has grown beyond OUTPUT_BYTES. Call it from time to time while the command runs."""
    if os.fstat(output.fileno()).st_size > OUTPUT_BYTES:
        os.ftruncate(output.fileno(), 0)


def run_shell(command: str, within_s: float, mask: Callable[[str], str] = visible) -> None:
    """Run a shell command. Raises CommandError if it fails, or if it has not ended after `within_s` seconds.

    Then everything that it started is killed. What it leaves in the background continues. mask: makes what it printed
    fit for a message, on one line and without secrets.
    """
    until_s = time.monotonic() + within_s
    with output_file() as output:
        process = subprocess.Popen(
            ["/bin/sh", "-c", command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            while (code := _code(process, until_s)) is None:
                if time.monotonic() >= until_s:
                    raise CommandError(late(within_s))
                bound_output(output)
        finally:
            if process.returncode is None:
                kill_session(process.pid)
                process.wait()
        if code != 0:
            raise CommandError(failure(code, output, mask))


def _code(process: subprocess.Popen[bytes], until_s: float) -> int | None:
    """The exit code of a process; None if it has not ended at the next check."""
    with suppress(subprocess.TimeoutExpired):
        return process.wait(max(0.0, min(CHECK_EVERY_S, until_s - time.monotonic())))
    return None


def kill_session(pid: int) -> None:
    """Kill a process that was started in its own session, with all that it started."""
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)


def late(within_s: float) -> str:
    """What is wrong with a command that did not end in time."""
    return f"did not end within {within_s:g} s (budgets.restart)"


def failure(code: int, output: IO[bytes], mask: Callable[[str], str] = visible) -> str:
    """What is wrong with a command that ended with this code, with its last line. mask: as in `run_shell`."""
    start = max(0, output.seek(0, os.SEEK_END) - _END_BYTES)
    output.seek(start)
    _, line_end, last_line = output.read(_END_BYTES).decode("utf-8", "replace").strip().rpartition("\n")
    last_line = mask(last_line)
    if start and not line_end:
        last_line = f"…{last_line[_CUT_CHARACTERS:]}"
    shown = f": {last_line[:_SHOWN_CHARACTERS]!r}" if last_line else ""
    return f"ended with code {code}{shown}"
