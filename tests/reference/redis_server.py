"""A Redis server of the tests, on a free port and without files."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

START_TIMEOUT_S = 60.0
_DATABASES = 10_000


def redis_executable() -> str:
    """The path of redis-server. If it is not installed, the test fails in CI and for root, and is skipped otherwise."""
    executable = shutil.which("redis-server")
    if executable is None:
        lacking = pytest.fail if os.environ.get("CI") or os.geteuid() == 0 else pytest.skip
        lacking(
            "no redis-server was found: install Debian's package redis-server to run the tests that need it"
        )
    return executable


@contextmanager
def redis_server() -> Iterator[str]:
    """Run a Redis server and yield its address. Fails or skips the test as `redis_executable` does."""
    executable = redis_executable()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = ("--port", str(port), "--bind", "127.0.0.1", "--save", "", "--databases", str(_DATABASES))
    process = subprocess.Popen([executable, *options], stdout=subprocess.DEVNULL)
    try:
        _wait_until_it_listens(port, process)
        yield f"redis://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


def new_database(server: str) -> str:
    """The address of a database that nobody has used yet."""
    from redis import Redis

    with Redis.from_url(server) as client:
        return f"{server}/{client.incr('databases')}"


def _wait_until_it_listens(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline_s = time.monotonic() + START_TIMEOUT_S
    while True:
        assert process.poll() is None, "redis-server has ended"
        try:
            return socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            assert time.monotonic() < deadline_s, "redis-server does not listen"
            time.sleep(0.01)
