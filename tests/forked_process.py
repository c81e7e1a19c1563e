"""Starts load tests and suites by forking a process that has their imports: each saves a second of CPU time."""

from __future__ import annotations

import atexit
import base64
import fcntl
import importlib
import json
import os
import pickle
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from select import select
from typing import IO, Any

from harness.commands import processes, reference_process
from harness.load.bounds import machine

ROOT = Path(__file__).resolve().parents[1]
#: Modules, and the kind of fork server that has imported the most of each.
MODULES = {
    "locust": "load",
    "harness.load.locust.main": "load",
    "pytest": "commands",
    "harness": "commands",
    "harness.load.bounds.stream_cost": "commands",
}
KINDS = ("load", "commands")
#: The kinds of what a verb of the harness starts.
_STARTS = {
    "check": KINDS,
    "load": ("load",),
    "ab": KINDS,
    "capacity": KINDS,
    "doctor": ("commands",),
    "conformance": ("commands",),
    "worker": ("load",),
}


class ForkedProcess:
    """The process of one command, as subprocess.Popen has it. Use `start`."""

    def __init__(self, command: Sequence[str], connection: socket.socket) -> None:
        self.args = command
        self.returncode: int | None = None
        self.stdin: IO[str] | None = None
        self.stdout: IO[str] | None = None
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
    errors: int | None = None,
    given: int | None = None,
    passed: Sequence[int] = (),
    new_session: bool = False,
    patches: Mapping[str, object] | None = None,
    forks: bool = True,
) -> Started:
    """Start a command.

    `python -m MODULE` with one of MODULES is forked; any other is a new process. output, errors: the descriptors for
    standard output and error; the latter goes with the former if it has none, and both to those of this process if
    neither has one. given: for standard input; without it, there is no input. passed: descriptors that it gets with
    the same numbers. patches: values for MODULE.NAME in a forked process. forks: whether load, suite and server that it
    starts are forked too.
    """
    interpreter, option, module, *_ = [*command, "", "", ""]
    kind = MODULES.get(module) if (interpreter, option) == (sys.executable, "-m") else None
    if errors is None:
        errors = output
    if kind is None:
        return subprocess.Popen(
            command,
            env=environment,
            cwd=folder,
            stdin=subprocess.DEVNULL if given is None else given,
            stdout=output,
            stderr=errors,
            pass_fds=passed,
            start_new_session=new_session,
        )
    request = _request(
        command[2:],
        folder=str(folder),
        environment=dict(environment),
        new_session=new_session,
        servers=_servers(module, command[3:]) if forks else {},
        descriptors=[0, 1, 2, *passed],
        patches=_packed(dict(patches or {})),
    )
    outputs = (1 if output is None else output, 2 if errors is None else errors)
    return _send(server(kind), command, request, given, [*outputs, *passed])


def call(function: Callable[..., None], arguments: Sequence[object], descriptor: int) -> ForkedProcess:
    """Call a function in a forked process, which has the descriptor as number 3."""
    request = _request(
        (), environment=dict(os.environ), descriptors=[0, 1, 2, 3], call=_packed((function, tuple(arguments)))
    )
    return _send(server("commands"), [function.__name__], request, None, [1, 2, descriptor])


def command_file(path: Path, *, patches: Mapping[str, object] | None = None) -> None:
    """Write an executable file that is the command `harness`: it forks instead of importing."""
    request = _request(
        ("harness",),
        servers={one: server(one) for one in KINDS},
        descriptors=[0, 1, 2],
        patches=_packed(dict(patches or {})),
    )
    script = (ROOT / "tests" / "forked_command.py").read_text(encoding="utf-8")
    text = script.replace("SOCKET", server("commands")).replace('"REQUEST"', repr(json.dumps(request)))
    path.write_text(f"#!{sys.executable} -IS\n{text}", encoding="utf-8")
    path.chmod(0o755)


def _servers(module: str, arguments: Sequence[str]) -> dict[str, str]:
    """The fork servers for what `python -m MODULE ARGUMENTS` starts: Locust's page makes reports and measures."""
    kinds: tuple[str, ...] = ()
    if module == "harness":
        kinds = _STARTS.get(next(iter(arguments), ""), ())
        if "--web" in arguments:
            kinds = KINDS
    elif MODULES[module] == "load" and {"--web-port", "--harness-rate"} & {*arguments}:
        kinds = ("commands",)
    return {kind: server(kind) for kind in kinds}


def _packed(value: object) -> str:
    return base64.b64encode(pickle.dumps(value)).decode()


def _request(command: Sequence[str], **more: object) -> dict[str, Any]:
    """What tests/fork_server.py reads. A forked process has this one's limit of the size of a file."""
    return {
        "command": list(command),
        "folder": str(ROOT),
        "environment": {},
        "new_session": False,
        "servers": {},
        "call": "",
        "patches": _packed({}),
        "file_size": resource.getrlimit(resource.RLIMIT_FSIZE),
        **more,
    }


def _send(
    path: str,
    command: Sequence[str],
    request: Mapping[str, Any],
    given: int | None,
    descriptors: Sequence[int],
) -> ForkedProcess:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.connect(path)
    with Path(os.devnull).open("rb") as nothing:
        socket.send_fds(connection, [b" "], [nothing.fileno() if given is None else given, *descriptors])
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
    reference_process.subprocess = Forking  # type: ignore[assignment,attr-defined]
    machine.subprocess = Forking  # type: ignore[assignment]
    if "harness.load.session" in sys.modules:
        importlib.import_module("harness.load.web.report_job").subprocess = Forking


#: Of a test run with several workers: its id, and the process that started them.
_run_of_tests: tuple[str, int] | None = None


def share(run: str, controller: int) -> None:
    """Use the servers of all workers of that test run, which end with the process `controller`."""
    global _run_of_tests  # noqa: PLW0603
    if hasattr(os, "pidfd_open"):
        _run_of_tests = run, controller


def server(kind: str) -> str:
    """The socket of a fork server, which is started on first use and ends with this process, or with the workers'."""
    if kind not in servers:
        servers[kind] = _new_server(kind) if _run_of_tests is None else _shared_server(kind, *_run_of_tests)
    return servers[kind]


def _shared_server(kind: str, run: str, controller: int) -> str:
    folder = Path(tempfile.gettempdir()) / f"fork-{run}-{kind}"
    folder.mkdir(mode=0o700, exist_ok=True)
    path = folder / "socket"
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            process = _started(kind, path, subprocess.DEVNULL, str(controller))
            process.returncode = 0  # it may outlive this one, and nobody waits for it
    return str(path)


def _new_server(kind: str) -> str:
    folder = tempfile.mkdtemp(prefix="fork-")
    path = Path(folder) / "socket"
    process = _started(kind, path, subprocess.PIPE)
    assert process.stdin is not None

    def stop() -> None:
        assert process.stdin is not None
        process.stdin.close()
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)

    atexit.register(stop)
    return str(path)


def _started(kind: str, path: Path, given: int, *until: str) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.fork_server", kind, str(path), *until],
        cwd=ROOT,
        stdin=given,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stdout is not None
    with process.stdout as printed:
        if printed.readline() != b"ready\n":
            raise EOFError("the fork server did not start")
    return process


class Forking:
    """In place of the module subprocess, where the harness starts load, suite and server: starts them by `start`."""

    DEVNULL, STDOUT, PIPE = subprocess.DEVNULL, subprocess.STDOUT, subprocess.PIPE
    TimeoutExpired, SubprocessError = subprocess.TimeoutExpired, subprocess.SubprocessError

    @staticmethod
    def run(
        command: Sequence[str], *, timeout: float, check: bool = False, **_: object
    ) -> subprocess.CompletedProcess[str]:
        """Of a command, perhaps behind `nice -n NUMBER`, with its output. Without a fork server it is a new process.

        Raises TimeoutExpired, and CalledProcessError if `check`.
        """
        words = list(command)[list(command).index(sys.executable) :]
        if MODULES[words[2]] not in servers:
            return subprocess.run(command, timeout=timeout, check=check, capture_output=True, text=True)
        with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
            process = start(
                words,
                environment=os.environ,
                folder=Path.cwd(),
                output=output.fileno(),
                errors=errors.fileno(),
            )
            try:
                code = process.wait(timeout)
            finally:
                process.kill()
            output.seek(0)
            errors.seek(0)
            done = subprocess.CompletedProcess(command, code, output.read(), errors.read())
        if check:
            done.check_returncode()
        return done

    @staticmethod
    def Popen(  # noqa: N802 - its name there
        command: Sequence[str],
        *,
        stdout: IO[bytes] | int | None,
        start_new_session: bool = False,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        stdin: int = subprocess.DEVNULL,
        pass_fds: Sequence[int] = (),
        **_: object,
    ) -> Started:
        """stdin, stdout: pipes as text, if they are PIPE."""
        given, to_it = os.pipe() if stdin == subprocess.PIPE else (None, None)
        from_it, written = os.pipe() if stdout == subprocess.PIPE else (None, None)
        output = written if stdout is None or isinstance(stdout, int) else stdout.fileno()
        started = start(
            command,
            environment=os.environ if env is None else env,
            folder=cwd or Path.cwd(),
            output=output,
            errors=None if written is None else 2,
            given=given,
            passed=pass_fds,
            new_session=start_new_session,
        )
        for theirs in (given, written):
            if theirs is not None:
                os.close(theirs)
        if to_it is not None:
            started.stdin = os.fdopen(to_it, "w")  # type: ignore[assignment]
        if from_it is not None:
            started.stdout = os.fdopen(from_it)  # type: ignore[assignment]
        return started
