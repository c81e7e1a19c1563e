"""Starts load tests and suites by forking a process that has their imports: each saves a second of CPU time."""

from __future__ import annotations

import atexit
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from select import select
from typing import IO

from harness.commands import processes

ROOT = Path(__file__).resolve().parents[1]
#: Modules, and the kind of fork server that has imported the most of each.
MODULES = {"locust": "load", "harness.load.locust.main": "load", "pytest": "commands", "harness": "commands"}


class ForkedProcess:
    """The process of one command, as subprocess.Popen has it. Use `start`."""

    def __init__(self, command: Sequence[str], connection: socket.socket) -> None:
        self.args = command
        self.returncode: int | None = None
        self._answers = connection
        self._answer = b""
        self.pid = self._read()

    def _read(self) -> int:
        while b"\n" not in self._answer:
            piece = self._answers.recv(64)
            if not piece:
                raise EOFError(f"the fork server gave no answer for {self.args}")
            self._answer += piece
        line, _, self._answer = self._answer.partition(b"\n")
        return int(line)

    def poll(self) -> int | None:
        with suppress(subprocess.TimeoutExpired):
            return self.wait(0)
        return None

    def wait(self, timeout: float | None = None) -> int:
        """The exit code; negative for a signal. Raises subprocess.TimeoutExpired, EOFError."""
        if self.returncode is None:
            readable, _, _ = select([self._answers], [], [], timeout)
            if not readable:
                assert timeout is not None
                raise subprocess.TimeoutExpired(self.args, timeout)
            self.returncode = os.waitstatus_to_exitcode(self._read())
            self._answers.close()
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(15)

    def kill(self) -> None:
        self.send_signal(9)


Started = ForkedProcess | subprocess.Popen[bytes]


def start(
    command: Sequence[str],
    *,
    environment: Mapping[str, str],
    folder: Path,
    output: int | None,
    passed: Sequence[int] = (),
    new_session: bool = False,
) -> Started:
    """Start a command without input.

    `python -m MODULE` with one of MODULES is forked; any other is a new process. output: the descriptor for standard
    output and error; None for those of this process. passed: descriptors that it gets with the same numbers.
    """
    interpreter, option, module, *_ = [*command, "", "", ""]
    kind = MODULES.get(module) if (interpreter, option) == (sys.executable, "-m") else None
    if kind is None:
        return subprocess.Popen(
            command,
            env=environment,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=None if output is None else subprocess.STDOUT,
            pass_fds=passed,
            start_new_session=new_session,
        )
    request = {
        "command": list(command[2:]),
        "folder": str(folder),
        "environment": dict(environment),
        "new_session": new_session,
        "servers": {one: server(one) for one in ("load", "commands")} if module == "harness" else {},
        "descriptors": [0, 1, 2, *passed],
    }
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.connect(server(kind))
    outputs = (1, 2) if output is None else (output, output)
    with Path(os.devnull).open("rb") as nothing:
        socket.send_fds(connection, [b" "], [nothing.fileno(), *outputs, *passed])
        connection.sendall(json.dumps(request).encode() + b"\n")
    return ForkedProcess(command, connection)


def run(
    command: Sequence[str], *, environment: Mapping[str, str], folder: Path, timeout_s: float = 60
) -> tuple[int, str]:
    """Exit code and output of a command. Raises subprocess.TimeoutExpired."""
    with tempfile.TemporaryFile("w+") as output:
        process = start(command, environment=environment, folder=folder, output=output.fileno())
        try:
            code = process.wait(timeout_s)
        finally:
            process.kill()
        output.seek(0)
        return code, output.read()


#: The sockets of the servers: those of this process, or of the one that started it.
servers: dict[str, str] = {}


def use(others: Mapping[str, str]) -> None:
    """In a process that runs a command of the harness: load and suite are forked by the servers of another process."""
    servers.update(others)
    processes.subprocess = Forking  # type: ignore[assignment,attr-defined]


def server(kind: str) -> str:
    """The socket of a fork server, which is started on first use and ends with this process."""
    if kind not in servers:
        servers[kind] = _new_server(kind)
    return servers[kind]


def _new_server(kind: str) -> str:
    folder = tempfile.mkdtemp(prefix="fork-")
    path = str(Path(folder) / "socket")
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.fork_server", kind, path],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None

    def stop() -> None:
        process.stdin.close()
        process.wait()
        process.stdout.close()
        shutil.rmtree(folder)

    atexit.register(stop)
    if process.stdout.readline() != b"ready\n":
        raise EOFError("the fork server did not start")
    return path


class Forking:
    """In place of the module subprocess, where the harness starts load and suite: starts them by `start`."""

    DEVNULL, STDOUT = subprocess.DEVNULL, subprocess.STDOUT
    TimeoutExpired = subprocess.TimeoutExpired

    @staticmethod
    def Popen(  # noqa: N802 - its name there
        command: Sequence[str],
        *,
        env: Mapping[str, str],
        stdout: IO[bytes] | None,
        pass_fds: Sequence[int],
        start_new_session: bool,
        **_: object,
    ) -> Started:
        return start(
            command,
            environment=env,
            folder=Path.cwd(),
            output=None if stdout is None else stdout.fileno(),
            passed=pass_fds,
            new_session=start_new_session,
        )
