"""A server under test that a command of the user starts, and that is stopped after the test."""

from __future__ import annotations

import os
import shlex
import signal
import socket
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from harness.atomic_file import open_log
from harness.errors import SettingsError
from harness.transport.endpoint import Endpoint

START_TIMEOUT_S = 60.0
"""How long a server may take until it accepts a connection."""

_STOP_TIMEOUT_S = 10.0
_CHECK_EVERY_S = 0.05
_CONNECT_TIMEOUT_S = 1.0


class ServerCommand:
    """A context manager: starts a command, waits until its URL accepts connections, and stops it at the end.

    The command runs without a shell, in its own session, so that the processes that it starts are stopped with it. Its
    output goes to a log. Raises SettingsError if something listens at the URL already (it would be tested in place of
    the server), if the command cannot be run, or if it does not listen in time.
    """

    def __init__(self, option: str, command: str, base_url: str, log: Path) -> None:
        self._option, self._base_url, self._log_path = option, base_url, log
        try:
            self._command = shlex.split(command)
        except ValueError as problem:
            raise SettingsError(f"{option}: {command!r} is not a command line: {problem}") from None
        if not self._command:
            raise SettingsError(f"{option} is empty; give the command that starts the server")
        try:
            endpoint = Endpoint.from_url(base_url)
        except ValueError as problem:
            raise SettingsError(str(problem)) from None
        self._address = endpoint.host, endpoint.port
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        if self._accepts():
            raise SettingsError(
                f"{self._option}: a server listens at {self._base_url} already; stop it, or leave out {self._option} "
                "to test it as it is"
            )
        with open_log(self._log_path) as log:
            try:
                self._process = subprocess.Popen(
                    self._command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            except (OSError, ValueError) as problem:  # ValueError: a NUL
                reason = getattr(problem, "strerror", None) or problem
                raise SettingsError(f"{self._option}: cannot run {self._command[0]!r}: {reason}") from None
        try:
            self._wait_until_it_listens(self._process)
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stop()

    @property
    def end(self) -> str:
        """How the server ended on its own, in one sentence; empty while it runs."""
        code = None if self._process is None else _exit_code(self._process)
        if code is None:
            return ""
        return f"the server of {self._option} ended during the test, with code {code} (log: {self._log_path})"

    def _wait_until_it_listens(self, process: subprocess.Popen[bytes]) -> None:
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while not self._accepts():
            if (code := _exit_code(process)) is not None:
                raise SettingsError(
                    f"{self._option}: the server ended with code {code} before it listened at {self._base_url}; see "
                    f"{self._log_path}"
                )
            if time.monotonic() > deadline_s:
                raise SettingsError(
                    f"{self._option}: the server did not listen at {self._base_url} within {START_TIMEOUT_S:g} s; see "
                    f"{self._log_path}"
                )
            time.sleep(_CHECK_EVERY_S)

    def _accepts(self) -> bool:
        try:
            socket.create_connection(self._address, _CONNECT_TIMEOUT_S).close()
        except OSError:
            return False
        return True

    def _stop(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        os.killpg(process.pid, signal.SIGTERM)
        deadline_s = time.monotonic() + _STOP_TIMEOUT_S
        while _exit_code(process) is None and time.monotonic() < deadline_s:
            time.sleep(_CHECK_EVERY_S)
        os.killpg(process.pid, signal.SIGKILL)  # also what the command started and left behind
        process.wait()


def _exit_code(process: subprocess.Popen[bytes]) -> int | None:
    """The exit code of a process, or the number of its signal; None while it runs.

    It stays a zombie, so that no other process gets the number of its session before that is killed.
    """
    ended = os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG)
    return None if ended is None else ended.si_status
