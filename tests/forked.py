"""Runs Python modules as `python -m` does, and servers, each in a process forked from one that has its imports.

Importing takes longer than most of what the commands under test do. The fork server has one thread and is
started on first use; every process has its own working directory, environment and output.
"""

from __future__ import annotations

import asyncio
import importlib
import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from harness.reference.server import ServerSettings, running
from tests import forked_process

FORK_SERVER = multiprocessing.get_context("forkserver")
# Not pytest's plugins: pytest warns if one was imported before it could rewrite the assertions in it.
FORK_SERVER.set_forkserver_preload(
    [
        "harness.cli",
        "harness.commands.check",
        "harness.commands.conformance",
        "harness.reference.server",
        "harness.reports.html",
        "harness.suite.pytest_plugin",
        "pytest",
        "tests.conformance.raw_server",
        "tests.forked_process",
    ]
)
_STOP_S = 10
#: What these commands start, by tests/forked_process.py.
_STARTS = {
    "check": ("load", "commands"),
    "load": ("load",),
    "ab": ("load", "commands"),
    "capacity": ("load",),
    "conformance": ("commands",),
}


def run_module(
    command: Sequence[str],
    *,
    folder: Path,
    environment: Mapping[str, str],
    timeout_s: float,
    merge_output: bool = False,
    patches: Mapping[str, object] | None = None,
    forks: bool = True,
) -> subprocess.CompletedProcess[str]:
    """`python -m COMMAND` in `folder`, with exactly that environment and no input.

    merge_output: stderr goes where stdout goes. patches: values for MODULE.NAME in that process. forks: whether the
    load and the suite that it starts are forked too. Raises TimeoutError if it has not ended in time.
    """
    with tempfile.TemporaryDirectory(prefix="forked-") as where:
        out, err = Path(where) / "stdout", Path(where) / "stderr"
        for path in (out, err):
            path.touch()
        outputs = (str(out), str(out if merge_output else err))
        process = FORK_SERVER.Process(
            target=_run,
            args=(
                tuple(command),
                str(folder),
                dict(environment),
                *outputs,
                dict(patches or {}),
                _servers(command) if forks else {},
            ),
        )
        process.start()
        process.join(timeout_s)
        if process.exitcode is None:
            process.kill()
            process.join()
            output = out.read_text() + err.read_text()
            raise TimeoutError(f"{command} took more than {timeout_s:g} s:\n{output}")
        return subprocess.CompletedProcess(command, process.exitcode, out.read_text(), err.read_text())


@contextmanager
def forked_server(serve: Callable[..., None], *arguments: object) -> Iterator[str]:
    """The base URL of a server in its own process, so that a busy test does not slow it down.

    serve: called there with a connection and `arguments`; it must send the base URL, and return when the connection's
    other end is closed. Raises EOFError if it ends before it sent the URL.
    """
    here, there = FORK_SERVER.Pipe()
    process = FORK_SERVER.Process(target=serve, args=(there, *arguments), name="server", daemon=True)
    process.start()
    there.close()
    try:
        yield here.recv()
    finally:
        here.close()
        process.join(_STOP_S)
        if process.is_alive():
            process.kill()
            process.join()


def embedded_server(faults: Iterable[str] = (), **settings: Any) -> AbstractContextManager[str]:
    """The base URL of the embedded server with `faults` and these ServerSettings, in its own process."""
    return forked_server(_serve_embedded, tuple(faults), settings)


def _serve_embedded(parent: Connection, faults: tuple[str, ...], settings: dict[str, Any]) -> None:
    async def serve() -> None:
        async with running(ServerSettings(**settings), faults, grace_s=0) as server:
            parent.send(server.base_url)
            await asyncio.get_running_loop().run_in_executor(None, wait_for_close, parent)

    asyncio.run(serve())


def wait_for_close(parent: Connection) -> None:
    """Return when the other end of the connection is closed, or its process has ended."""
    with suppress(EOFError):
        parent.recv()


def _servers(command: Sequence[str]) -> dict[str, str]:
    """The fork servers for what a command of the harness starts."""
    return {kind: forked_process.server(kind) for verb in command[1:2] for kind in _STARTS.get(verb, ())}


def _run(
    command: Sequence[str],
    folder: str,
    environment: Mapping[str, str],
    out: str,
    err: str,
    patches: Mapping[str, object],
    servers: Mapping[str, str],
) -> None:
    for path, number in ((out, 1), (err, 2)):
        file = os.open(path, os.O_WRONLY | os.O_APPEND)
        os.dup2(file, number)
        os.close(file)
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115 - for the life of the process
    sys.stderr = open(2, "w", encoding="utf-8", closefd=False, buffering=1)  # noqa: SIM115
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.path.insert(0, folder)
    if servers:
        forked_process.use(servers)
    for name, value in patches.items():
        module, _, attribute = name.rpartition(".")
        setattr(importlib.import_module(module), attribute, value)
    sys.argv = list(command)
    runpy.run_module(command[0], run_name="__main__", alter_sys=True)
