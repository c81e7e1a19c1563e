"""A server for one test: raw asyncio, every byte and every close of it written in the test's script."""

from __future__ import annotations

import asyncio
import shutil
import socket
import ssl
import struct
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from harness.transport.endpoint import Endpoint

BOUND_S = 30.0  # nothing in these tests takes as long


@dataclass
class Connection:
    """What a script acts on: the request, and a socket to answer on."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    head: bytes = b""
    body: bytes = b""

    async def read_head(self) -> None:
        self.head = await self.reader.readuntil(b"\r\n\r\n")

    async def read_request(self) -> None:
        await self.read_head()
        length = next(
            (int(line[15:]) for line in self.head.split(b"\r\n") if line.startswith(b"Content-Length:")), 0
        )
        self.body = await self.reader.readexactly(length)

    async def say(self, *parts: bytes, pause_s: float = 0.0) -> None:
        for part in parts:
            self.writer.write(part)
            await self.writer.drain()
            await asyncio.sleep(pause_s)

    async def how_it_was_closed(self) -> str:
        """Wait for the client's end: "fin", "rst", or "data" where it went on sending."""
        try:
            return "data" if await self.reader.read(1) else "fin"
        except ConnectionResetError:
            return "rst"

    def reset(self) -> None:
        """Close abortively."""
        sock: socket.socket = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


Script = Callable[[Connection], Awaitable[None]]


@dataclass
class Server:
    """Where it listens, and the connections that it had."""

    port: int = 0
    connections: list[Connection] = field(default_factory=list)
    problems: list[BaseException] = field(default_factory=list)

    @property
    def endpoint(self) -> Endpoint:
        return Endpoint("127.0.0.1", self.port)


@asynccontextmanager
async def listening(
    script: Script, context: ssl.SSLContext | None = None, *, read: bool = True
) -> AsyncIterator[Server]:
    """A server whose every connection follows `script`, after it has read the request unless not to `read`."""
    found = Server()
    tasks: set[asyncio.Task[Any]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        one = Connection(reader, writer)
        found.connections.append(one)
        try:
            if read:
                await one.read_request()
            await script(one)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client hung up, as many tests have it do
        except AssertionError as problem:
            found.problems.append(problem)
        except asyncio.CancelledError:
            pass  # by `listening`, whose block has ended
        finally:
            tasks.discard(task)
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context, backlog=64)
    found.port = server.sockets[0].getsockname()[1]
    try:
        yield found
    finally:
        server.close()
        if tasks:
            await asyncio.wait(list(tasks), timeout=1)  # for what the client's last act does to it
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()
    assert not found.problems, found.problems


def saying(*parts: bytes, pause_s: float = 0.0) -> Script:
    """Say that, then close."""

    async def script(one: Connection) -> None:
        await one.say(*parts, pause_s=pause_s)

    return script


def saying_and_waiting(*parts: bytes) -> Script:
    """Say that, then keep the connection open until the client closes."""

    async def script(one: Connection) -> None:
        await one.say(*parts)
        await one.how_it_was_closed()

    return script


def bounded(job: Coroutine[Any, Any, None]) -> None:
    """Run a test's coroutine, for a bounded time."""

    async def within() -> None:
        async with asyncio.timeout(BOUND_S):
            await job

    asyncio.run(within())


@dataclass(frozen=True)
class Authority:
    """A certificate authority of the test's own, and a server's certificate that it signed."""

    ca_file: Path
    context: ssl.SSLContext


def make_authority(folder: Path, *names: str) -> Authority:
    """Sign a certificate for `names`, such as ``DNS:localhost``; skips the test without openssl."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not installed, so there is no certificate to test with")

    def run(*arguments: str) -> None:
        subprocess.run([openssl, *arguments], cwd=folder, check=True, capture_output=True, timeout=60)

    new_key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    run("req", "-x509", *new_key, "-days", "2", "-subj", "/CN=Test CA", "-keyout", "ca.key", "-out", "ca.pem")
    run("req", *new_key, "-subj", "/CN=server", "-keyout", "server.key", "-out", "server.csr")
    (folder / "names").write_text(f"subjectAltName={','.join(names)}\n")
    issue = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-extfile", "names")
    run("x509", "-req", "-in", "server.csr", *issue, "-out", "server.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem", folder / "server.key")
    return Authority(folder / "ca.pem", context)


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """For the address that these servers listen on."""
    return make_authority(tmp_path_factory.mktemp("authority"), "IP:127.0.0.1", "DNS:localhost")
