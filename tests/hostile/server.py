"""A server that answers some requests with a hostile behaviour, and the others like a sound one."""

from __future__ import annotations

import itertools
import socket
import ssl
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from pathlib import Path

from tests.forked import forked_server, wait_for_close

from .behaviour import Behaviour, End, Piece, Script, sound_run
from .corpus import CORPUS

_MAX_REQUEST_BYTES = 20_000_000
_HANG_S = 300.0
_RESPONSE_S = 200.0  # the server itself ends, whatever the client does


class HostileServer:
    """Threads, one per connection. every: which requests are hostile: 1 all, 20 each twentieth. spared: the first
    requests that are not, such as a preflight. certificate: PEM file with key, for behaviours in TLS.

    hostile, sound: how many requests got which.
    """

    def __init__(self, behaviour: Behaviour, *, every: int, spared: int, certificate: Path | None) -> None:
        self._behaviour = behaviour
        self._every = every
        self._spared = spared
        self._numbers = itertools.count(1)
        self._context: ssl.SSLContext | None = None
        if certificate is not None and behaviour.uses_tls:
            self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._context.load_cert_chain(certificate)
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.port: int = self._listener.getsockname()[1]
        self._closing = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._closing.set()
        self._listener.close()

    def _accept(self) -> None:
        while not self._closing.is_set():
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        number = next(self._numbers)
        is_hostile = number > self._spared and number % self._every == 0
        script, phase = (
            (self._behaviour.script, self._behaviour.phase) if is_hostile else (sound_run, "response")
        )
        stream = sock
        with suppress(OSError, ValueError):
            try:
                if self._context is not None and phase != "hello":
                    stream = self._context.wrap_socket(sock, server_side=True)
                if phase not in {"accept", "hello"}:
                    _read_request(stream)
                self._send(sock, stream, script)
            finally:
                _close(stream)

    def _send(self, sock: socket.socket, stream: socket.socket, script: Script) -> None:
        until_s = time.monotonic() + _RESPONSE_S
        for piece in script():
            if self._closing.is_set() or time.monotonic() > until_s:
                return
            if self._do(sock, stream, piece):
                return

    def _do(self, sock: socket.socket, stream: socket.socket, piece: Piece) -> bool:
        """Whether that was the end."""
        if piece is End.RESET:
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            stream.close()
            return True
        if piece is End.NO_NOTIFY:
            socket.socket.shutdown(stream, socket.SHUT_WR)
            stream.settimeout(2)
            with suppress(OSError):
                while socket.socket.recv(stream, 65536):
                    pass
            return True
        if piece is End.HANG:
            stream.settimeout(_HANG_S)
            with suppress(OSError):
                while stream.recv(65536):
                    pass
            return True
        if isinstance(piece, float):
            self._closing.wait(piece)
        elif isinstance(piece, bytes):
            stream.sendall(piece)
        return False


def _read_request(stream: socket.socket) -> None:
    """Raises OSError if it does not come."""
    stream.settimeout(30)
    data = b""
    while b"\r\n\r\n" not in data:
        more = stream.recv(65536)
        if not more or len(data) > _MAX_REQUEST_BYTES:
            raise OSError("no request")
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    length = next(
        (
            int(line.split(b":")[1])
            for line in head.split(b"\r\n")
            if line.lower().startswith(b"content-length")
        ),
        0,
    )
    left = min(length, _MAX_REQUEST_BYTES) - len(body)
    while left > 0:
        more = stream.recv(65536)
        if not more:
            raise OSError("half a request")
        left -= len(more)
    stream.settimeout(_HANG_S)


def _close(stream: socket.socket) -> None:
    """With what the client has not read still on its way: close() would reset it."""
    with suppress(OSError):
        if isinstance(stream, ssl.SSLSocket):
            stream.settimeout(1)
            stream = stream.unwrap()
        stream.shutdown(socket.SHUT_WR)
        stream.settimeout(2)
        while stream.recv(65536):
            pass
    stream.close()


def _run_all(parent: Connection, certificate: Path) -> None:
    servers = {
        name: HostileServer(behaviour, every=1, spared=0, certificate=certificate)
        for name, behaviour in CORPUS.items()
    }
    parent.send({name: server.port for name, server in servers.items()})
    wait_for_close(parent)


@contextmanager
def serving_all(certificate: Path) -> Iterator[dict[str, int]]:
    """The port of each behaviour's server; all of them are in one process."""
    with forked_server(_run_all, certificate) as ports:
        yield ports  # type: ignore[misc]  # what the process sends first


def _run(parent: Connection, name: str, every: int, spared: int, certificate: Path | None) -> None:
    for _ in itertools.islice(CORPUS[name].script(), 2):  # a bomb takes seconds to make, once
        pass
    server = HostileServer(CORPUS[name], every=every, spared=spared, certificate=certificate)
    scheme = "https" if CORPUS[name].uses_tls else "http"
    parent.send(f"{scheme}://127.0.0.1:{server.port}")
    wait_for_close(parent)
    server.close()


@contextmanager
def serving(name: str, *, every: int = 1, spared: int = 0, certificate: Path | None = None) -> Iterator[str]:
    """The base URL of such a server in its own process."""
    with forked_server(_run, name, every, spared, certificate) as url:
        yield url
