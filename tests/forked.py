"""Runs Python modules as `python -m` does, and servers, each in a process forked from one that has its imports.

Importing takes longer than most of what the commands under test do. The fork server has one thread and is
started on first use; every process has its own working directory, environment and output.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from multiprocessing.connection import Connection, Pipe
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
        "matplotlib.backends.backend_svg",
        "matplotlib.ticker",
        "pytest",
        "tests.conformance.raw_server",
        "tests.forked_process",
    ]
)
_STOP_S = 10


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
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        process = forked_process.start(
            [sys.executable, "-m", *command],
            environment=environment,
            folder=folder,
            output=out.fileno(),
            errors=None if merge_output else err.fileno(),
            patches=patches,
            forks=forks,
        )
        try:
            code: int | None = process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            code = None
        for file in (out, err):
            file.seek(0)
        printed, complained = out.read(), err.read()
    if code is None:
        raise TimeoutError(f"{command} took more than {timeout_s:g} s:\n{printed}{complained}")
    return subprocess.CompletedProcess(command, code, printed, complained)


@contextmanager
def forked_server(serve: Callable[..., None], *arguments: object) -> Iterator[str]:
    """The base URL of a server in its own process, so that a busy test does not slow it down.

    serve: called there with a connection and `arguments`; it must send the base URL, and return when the connection's
    other end is closed. Raises EOFError if it ends before it sent the URL.
    """
    here, there = Pipe()
    process = forked_process.call(_serve_until_closed, (serve, arguments), there.fileno())
    there.close()
    try:
        yield here.recv()
    finally:
        here.close()
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _serve_until_closed(serve: Callable[..., None], arguments: tuple[object, ...]) -> None:
    with Connection(3) as parent:
        serve(parent, *arguments)


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
