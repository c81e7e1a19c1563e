"""A process that has imported what commands need, and forks for each: `python -m tests.fork_server KIND SOCKET [PID]`.

The imports of a load test take longer than most loads of the tests do. Locust's replace parts of the standard library,
so they have a process of their own, and here only original functions are used, those bound before these imports.
A client (tests/forked_process.py) sends a command with its environment, folder and descriptors. It gets the
process's id, and later its wait status. The server ends with the process PID, or when its standard input is closed.
"""

from __future__ import annotations

import _socket
import array
import atexit
import base64
import fcntl
import gc
import importlib
import json
import os
import pickle
import resource
import runpy
import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Sequence
from contextlib import suppress
from os import close, fork, waitpid  # gevent's own work in its event loop
from pathlib import Path
from select import select
from typing import Any

PRELOADED = {
    "load": ("locust.main", "harness.load.session", "harness.load.users"),
    "commands": (
        "harness.cli",
        "harness.commands.check",
        "harness.commands.conformance",
        "harness.commands.load_web",
        "harness.load.bounds.stream_cost",
        "harness.reference.server",
        "harness.reports.html",
        "harness.suite.pytest_plugin",
        "conformance.scenarios",
        "hypothesis",
        "tests.conformance.raw_server",
        "tests.forked",
        "tests.reports.samples",
        "xdist.plugin",
    ),
}
#: The forms of these are made once, instead of in each process.
SECRETS = ("demo-token", "demo-token-2", "secret-token", "acme-7f3d9a")
#: gevent keeps descriptors of its own; those that a command passes on have lower numbers.
_LOWEST_OWN = 64
_MOST_BYTES = 1 << 20
_MOST_DESCRIPTORS = 8


def _preload(kind: str) -> None:
    lowest = os.open(os.devnull, os.O_RDONLY)
    held = [lowest, *(os.dup(lowest) for _ in range(_LOWEST_OWN - lowest))]
    for name in PRELOADED[kind]:
        __import__(name)
    for secret in SECRETS:
        importlib.import_module("harness.contract.evidence.secret_forms").forms_of(secret)
    if kind == "commands":
        _write_a_report()
    for descriptor in held:
        close(descriptor)


def _write_a_report() -> None:
    """What is made for the first report, such as fonts and compiled templates, serves all."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        results = importlib.import_module("tests.reports.samples").full(folder / "results.sqlite")
        importlib.import_module("harness.reports.html").write_report(results, folder / "report.html")


def _received(connection: _socket.socket) -> tuple[dict[str, Any], list[int]]:
    """A line of JSON, and the descriptors that came with its beginning, moved above those of the command."""
    data, ancillary, _, _ = connection.recvmsg(
        _MOST_BYTES, _socket.CMSG_SPACE(_MOST_DESCRIPTORS * array.array("i").itemsize)
    )
    numbers = array.array("i")
    for _level, _kind, content in ancillary:
        numbers.frombytes(content)
    while not data.endswith(b"\n"):
        data += connection.recv(_MOST_BYTES)
    moved = [fcntl.fcntl(number, fcntl.F_DUPFD, _LOWEST_OWN) for number in numbers]
    for number in numbers:
        close(number)
    return json.loads(data), moved


def _serve(listener: _socket.socket, end: int) -> dict[str, Any] | None:
    """In the server: None when the descriptor `end` is readable. In each forked process: its command."""
    while True:
        readable, _, _ = select([end, listener], [], [])
        if end in readable:
            return None
        _wait_for_ended()
        connection = _socket.socket(fileno=listener._accept()[0])  # type: ignore[attr-defined]
        request, descriptors = _received(connection)
        if fork() == 0:
            listener.close()
            if end != 0:
                close(end)
            _keep(connection, request, descriptors)
            return request
        for number in descriptors:
            close(number)
        connection.close()


def _wait_for_ended() -> None:
    with suppress(ChildProcessError):
        while waitpid(-1, os.WNOHANG)[0]:
            pass


def _fork() -> int:
    if "gevent" not in sys.modules:
        return fork()
    from gevent.os import fork_gevent

    return int(fork_gevent())


def _keep(connection: _socket.socket, request: dict[str, Any], descriptors: list[int]) -> None:
    """Fork the command and send its id and its wait status. Returns only in the command's process."""
    ready, go = os.pipe()
    pid = _fork()
    if pid:
        for number in descriptors:
            close(number)
        connection.sendall(b"%d\n" % pid)
        close(go)  # the client knows the process before it can end
        close(ready)
        _, status = waitpid(pid, 0)
        connection.sendall(b"%d\n" % status)
        os._exit(0)
    connection.close()
    if request["new_session"]:
        os.setsid()
    close(go)
    os.read(ready, 1)
    close(ready)
    for number, target in zip(descriptors, request["descriptors"], strict=True):
        os.dup2(number, target)
        close(number)
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _run(request: dict[str, Any]) -> None:
    """As `python -m MODULE ARGUMENTS` in that folder, with that environment, or a call of a function."""
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 - all three for the life of the process
    sys.stdout = sys.__stdout__ = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = sys.__stderr__ = open(  # type: ignore[misc]  # noqa: SIM115
        2, "w", encoding="utf-8", errors="backslashreplace", buffering=1, closefd=False
    )
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    resource.setrlimit(resource.RLIMIT_FSIZE, request["file_size"])
    paths = request["environment"].get("PYTHONPATH", "").split(os.pathsep)
    sys.path[:0] = [request["folder"], *filter(None, paths)]
    if request["servers"]:
        importlib.import_module("tests.forked_process").use(request["servers"])
    if request["call"]:
        function, arguments = pickle.loads(base64.b64decode(request["call"]))
        function(*arguments)
        return
    for name, value in pickle.loads(base64.b64decode(request["patches"])).items():
        module, _, attribute = name.rpartition(".")
        setattr(importlib.import_module(module), attribute, value)
    sys.argv = request["command"]
    if sys.argv[0] == "pytest":  # what this process has imported cannot be rewritten
        sys.argv[1:1] = ["-W", "ignore:Module already imported:pytest.PytestAssertRewriteWarning"]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


def _run_to_its_end(request: dict[str, Any]) -> None:
    """Run it, and end as the interpreter does, but without taking apart all that was imported."""
    code = 0
    try:
        _run(request)
    except SystemExit as end:
        if isinstance(end.code, str):
            sys.stderr.write(f"{end.code}\n")
        code = 1 if isinstance(end.code, str) else end.code or 0
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        if not stream.closed:
            stream.flush()
    os._exit(code & 0xFF)


def main(kind: str, path: str, until: Sequence[str]) -> None:
    listener = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    listener.bind(path)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end = os.pidfd_open(int(until[0])) if until else 0
    _preload(kind)
    gc.collect()
    gc.freeze()  # the forked processes neither examine nor copy what was imported
    listener.listen(64)
    print("ready", flush=True)
    request = _serve(listener, end)
    if request is not None:
        _run_to_its_end(request)
    shutil.rmtree(Path(path).parent, ignore_errors=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
