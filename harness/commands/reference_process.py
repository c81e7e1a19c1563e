"""The embedded server in a separate process, so that it does not share an interpreter with the measurement."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable
from types import TracebackType
from typing import Self

from harness.errors import HarnessError

LISTENING = "listening on "
_STOP_TIMEOUT_S = 5.0


class ReferenceServerError(HarnessError):
    """The embedded server did not start."""


class ReferenceServer:
    """A context manager that runs ``harness serve`` on a free port. faults: names of the faults to enable."""

    def __init__(self, faults: Iterable[str] = ()) -> None:
        self._faults = tuple(faults)
        self._process: subprocess.Popen[str] | None = None
        self.base_url = ""

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", "harness", "serve", "--port", "0", "--stop-with-stdin"]
        for fault in self._faults:
            command += ["--fault", fault]
        # A separate session, because a Ctrl-C must end the test before the server. The server's standard input closes
        # when this process ends, even if it is killed.
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if LISTENING in line:
                self.base_url = line.partition(LISTENING)[2].split()[0]
                return self
        code = self._process.wait()
        self._stop()
        raise ReferenceServerError(f"the embedded server ended with code {code} before it listened")

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stop()

    def _stop(self) -> None:
        process = self._process
        if process is None:
            return
        process.terminate()
        try:
            process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()
