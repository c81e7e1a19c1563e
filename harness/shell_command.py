"""Runs a shell command that a user configured, with a bound on its time."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Self

from harness.errors import HarnessError
from harness.formatting import visible

CHECK_EVERY_S = 0.2

_CHECK_SOON_S = 0.01  # a command that prints much waits for its output to be read
_PIPE_BYTES = 1024 * 1024
_READ_BYTES = 64 * 1024
_END_BYTES = 16_384  # of the output, for its last line
_CUT_CHARACTERS = 8192  # of a line whose beginning is not in it: a secret that is cut would not be recognized
_SHOWN_CHARACTERS = 200
# A shell gives a background command another standard input, unless it is redirected.
_DISCARD = "exec 3<&0; cat <&3 >/dev/null 2>&1 3<&- &"


class CommandError(HarnessError):
    """A command failed; the message is what follows its name in a sentence."""


class CommandOutput:
    """The output of a command: a pipe, the last bytes of which are kept. A context manager.

    writing: the descriptor for the command. A server that the command left in the background may print for as long as
    it runs: a file would fill the disk, and without a reader of the pipe its next line would kill it. So when the block
    ends, a separate process reads on, and ends with the last one that can write.
    """

    def __init__(self) -> None:
        self._reading, self.writing = os.pipe()
        os.set_blocking(self._reading, False)
        if hasattr(fcntl, "F_SETPIPE_SZ"):  # on Linux
            with suppress(OSError):  # a user's pipes may hold a limited size together
                fcntl.fcntl(self._reading, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        self._is_closed = False
        self.end = b""
        self.is_cut = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.started()
        try:
            self.read()
            if not self._is_closed:
                self._leave_to_reader()
        finally:
            os.close(self._reading)

    def started(self) -> None:
        """The command has its end of the pipe: close this process's."""
        if self.writing >= 0:
            os.close(self.writing)
            self.writing = -1

    def read(self) -> float:
        """Read what was printed, at most what the pipe holds. Returns after how many seconds to read again."""
        size_bytes = 0
        while not self._is_closed and size_bytes < _PIPE_BYTES:
            try:
                data = os.read(self._reading, _READ_BYTES)
            except BlockingIOError:
                break
            self._is_closed = not data
            size_bytes += len(data)
            self.is_cut |= len(self.end) + len(data) > _END_BYTES
            self.end = (self.end + data)[-_END_BYTES:]
        return _CHECK_SOON_S if size_bytes else CHECK_EVERY_S

    def _leave_to_reader(self) -> None:
        """Have a separate process read the rest, without the environment of this one, which may contain secrets."""
        os.set_blocking(self._reading, True)
        try:
            subprocess.run(
                ["/bin/sh", "-c", _DISCARD],
                stdin=self._reading,
                cwd="/",
                env={"PATH": os.environ.get("PATH", os.defpath)},
                start_new_session=True,
                check=True,
            )
        except (OSError, subprocess.CalledProcessError) as problem:
            raise CommandError(f"left a process whose output cannot be read: {problem}") from None


def run_shell(command: str, within_s: float, mask: Callable[[str], str] = visible) -> None:
    """Run a shell command. Raises CommandError if it fails, or if it has not ended after `within_s` seconds.

    Then everything that it started is killed. What it leaves in the background continues. mask: makes what it printed
    fit for a message, on one line and without secrets.
    """
    until_s = time.monotonic() + within_s
    with CommandOutput() as output:
        process = subprocess.Popen(
            ["/bin/sh", "-c", command],
            stdin=subprocess.DEVNULL,
            stdout=output.writing,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        output.started()
        try:
            while (code := _code(process, min(until_s, time.monotonic() + output.read()))) is None:
                if time.monotonic() >= until_s:
                    raise CommandError(late(within_s))
        finally:
            if process.returncode is None:
                kill_session(process.pid)
                process.wait()
        if code != 0:
            raise CommandError(failure(code, output, mask))


def _code(process: subprocess.Popen[bytes], until_s: float) -> int | None:
    """The exit code of a process; None if it has not ended by then."""
    with suppress(subprocess.TimeoutExpired):
        return process.wait(max(0.0, until_s - time.monotonic()))
    return None


def kill_session(pid: int) -> None:
    """Kill a process that was started in its own session, with all that it started."""
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)


def late(within_s: float) -> str:
    """What is wrong with a command that did not end in time."""
    return f"did not end within {within_s:g} s (budgets.restart)"


def failure(code: int, output: CommandOutput, mask: Callable[[str], str] = visible) -> str:
    """What is wrong with a command that ended with this code, with its last line. mask: as in `run_shell`."""
    output.read()
    _, line_end, last_line = output.end.decode("utf-8", "replace").strip().rpartition("\n")
    last_line = mask(last_line)
    if output.is_cut and not line_end:
        last_line = f"…{last_line[_CUT_CHARACTERS:]}"
    shown = f": {last_line[:_SHOWN_CHARACTERS]!r}" if last_line else ""
    return f"ended with code {code}{shown}"
