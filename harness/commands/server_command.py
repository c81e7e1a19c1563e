"""A server under test that a command of the user starts, and that is stopped after the test."""

from __future__ import annotations

import fcntl
import os
import shlex
import signal
import socket
import subprocess
import threading
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from harness.atomic_file import open_log
from harness.errors import SettingsError
from harness.transport.endpoint import Endpoint

START_TIMEOUT_S = 60.0
"""How long a server may take until it accepts a connection."""

LOG_BYTES = 64 * 1024 * 1024
"""A server's log that grows beyond this begins again, so that a server that prints without end fills no disk."""

_STOP_TIMEOUT_S = 10.0
_CHECK_LOG_EVERY_S = 1.0
# When the pipe ends, because this process has, however it ended.
_GUARD = 'read -r _; kill -s TERM -- "-$0"; sleep 2; kill -s KILL -- "-$0"'
_CHECK_EVERY_S = 0.05
_CONNECT_TIMEOUT_S = 1.0


class ServerCommand:
    """A context manager: starts a command, waits until its URL accepts connections, and stops it at the end.

    The command runs without a shell, in its own session, so that the processes that it starts are stopped with it, also
    when this process is killed. Its output goes to a log of at most about LOG_BYTES. Raises SettingsError if something
    listens at the URL already (it would be tested in place of the server), if the command cannot be run, or if it does
    not listen in time.
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
        self._guard: subprocess.Popen[bytes] | None = None
        self._stopped = threading.Event()

    def __enter__(self) -> Self:
        if self._accepts():
            raise SettingsError(
                f"{self._option}: a server listens at {self._base_url} already; stop it, or leave out {self._option} "
                "to test it as it is"
            )
        with open_log(self._log_path) as log:
            fcntl.fcntl(log, fcntl.F_SETFL, os.O_APPEND)  # it continues at the end of a log that was cut
            try:
                self._process = subprocess.Popen(
                    self._command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
                self._watch(self._process, log)
            except (OSError, ValueError) as problem:  # ValueError: a NUL
                self._stop()
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
        how = "" if self._process is None else _end(self._process)
        return how and f"the server of {self._option} {how} during the test (log: {self._log_path})"

    def _watch(self, process: subprocess.Popen[bytes], log: BinaryIO) -> None:
        """Stop it at the end of this process, and bound its log. Raises OSError."""
        self._guard = subprocess.Popen(
            ["/bin/sh", "-c", _GUARD, str(process.pid)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        threading.Thread(target=self._bound_log, args=(os.dup(log.fileno()),), daemon=True).start()

    def _wait_until_it_listens(self, process: subprocess.Popen[bytes]) -> None:
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while not self._accepts():
            if how := _end(process):
                raise SettingsError(
                    f"{self._option}: the server {how} before it listened at {self._base_url}; see {self._log_path}"
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
        self._stopped.set()
        if process is None:
            return
        os.killpg(process.pid, signal.SIGTERM)
        deadline_s = time.monotonic() + _STOP_TIMEOUT_S
        while not _end(process) and time.monotonic() < deadline_s:
            time.sleep(_CHECK_EVERY_S)
        os.killpg(process.pid, signal.SIGKILL)  # also what the command started and left behind
        process.wait()
        if self._guard is not None:
            self._guard.kill()
            self._guard.communicate()

    def _bound_log(self, log: int) -> None:
        while not self._stopped.wait(_CHECK_LOG_EVERY_S):
            if os.fstat(log).st_size > LOG_BYTES:
                os.ftruncate(log, 0)
                with suppress(OSError):  # a full disk
                    os.write(log, b"harness: the log was too long; what was here before is lost\n")
        os.close(log)


def _end(process: subprocess.Popen[bytes]) -> str:
    """How a process ended, as a predicate; empty while it runs.

    It stays a zombie, so that no other process gets the number of its session before that is killed.
    """
    ended = os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG)
    if ended is None:
        return ""
    by_itself = ended.si_code == os.CLD_EXITED
    return f"{'ended with code' if by_itself else 'was killed by signal'} {ended.si_status}"
