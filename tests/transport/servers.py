"""Raw asyncio servers: the test's script controls every byte and every close."""

from __future__ import annotations

import asyncio
import shutil
import socket
import ssl
import struct
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from harness.transport.endpoint import Endpoint
from harness.transport.receiver import CutHow

BOUND_S = 30.0  # far more than any of these tests takes


@dataclass
class Connection:
    """What a script works on: the request, and a socket for the response."""

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

    async def send(self, *parts: bytes, pause_s: float = 0.0) -> None:
        for part in parts:
            self.writer.write(part)
            await self.writer.drain()
            await asyncio.sleep(pause_s)

    async def wait_for_close(self) -> str:
        """Wait for the client to close: "fin", "rst", or "data" if it sends more."""
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
    """Its port, and its connections so far."""

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
    """A server that runs `script` on every connection. read: read the request first."""
    server = Server()
    tasks: set[asyncio.Task[Any]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        connection = Connection(reader, writer)
        server.connections.append(connection)
        try:
            if read:
                await connection.read_request()
            await script(connection)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client closed, as in many tests
        except AssertionError as problem:
            server.problems.append(problem)
        except asyncio.CancelledError:
            pass  # by `listening` at its end
        finally:
            tasks.discard(task)
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    listener = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context, backlog=64)
    server.port = listener.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listener.close()
        if tasks:
            await asyncio.wait(list(tasks), timeout=1)  # lets scripts see how the client closed
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await listener.wait_closed()
    assert not server.problems, server.problems


def sending(*parts: bytes, pause_s: float = 0.0) -> Script:
    """Send that, then close."""

    async def script(connection: Connection) -> None:
        await connection.send(*parts, pause_s=pause_s)

    return script


def sending_and_waiting(*parts: bytes) -> Script:
    """Send that, then keep the connection open until the client closes."""

    async def script(connection: Connection) -> None:
        await connection.send(*parts)
        await connection.wait_for_close()

    return script


@contextmanager
def connected() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Our end of a TCP connection, not blocking, and the peer's, blocking for a bounded time."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ours = socket.create_connection(listener.getsockname())
        peer, _ = listener.accept()
    ours.setblocking(False)
    peer.settimeout(10)
    with ours, peer:
        yield ours, peer


def cut_detail(how: CutHow, after_events: int) -> str:
    """The ending detail of a connection that the harness cut; 0 events: before the response head."""
    name = {CutHow.FIN: "FIN", CutHow.RST: "RST", CutHow.HALF_CLOSE: "half-close"}[how]
    count = "1 event" if after_events == 1 else f"{after_events} events"
    place = f"after {count}" if after_events else "before the response head"
    return f"the harness cut the connection ({name}) {place}"


def bounded(job: Coroutine[Any, Any, None]) -> None:
    """Run a test's coroutine with a time limit."""

    async def within() -> None:
        async with asyncio.timeout(BOUND_S):
            await job

    asyncio.run(within())


@dataclass(frozen=True)
class Authority:
    """A test CA, and a server context with a certificate it signed."""

    ca_file: Path
    context: ssl.SSLContext


def make_authority(folder: Path, *names: str) -> Authority:
    """Sign a certificate for `names`, for example ``DNS:localhost``. Skips the test without openssl."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not installed")

    def run(*arguments: str) -> None:
        subprocess.run([openssl, *arguments], cwd=folder, check=True, capture_output=True, timeout=60)

    new_key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    may_sign = ("-addext", "keyUsage=critical,keyCertSign")  # required since Python 3.13
    ca = ("-days", "2", "-subj", "/CN=Test CA", "-keyout", "ca.key", "-out", "ca.pem")
    run("req", "-x509", *new_key, *may_sign, *ca)
    run("req", *new_key, "-subj", "/CN=server", "-keyout", "server.key", "-out", "server.csr")
    (folder / "names").write_text(
        f"subjectAltName={','.join(names)}\nauthorityKeyIdentifier=keyid\nsubjectKeyIdentifier=hash\n"
    )
    issue = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-extfile", "names")
    run("x509", "-req", "-in", "server.csr", *issue, "-out", "server.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem", folder / "server.key")
    return Authority(folder / "ca.pem", context)


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """For the address of these servers."""
    return make_authority(tmp_path_factory.mktemp("authority"), "IP:127.0.0.1", "DNS:localhost")
