"""Servers that do nothing right: a requirement that passes on one of them is not really tested."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Coroutine
from contextlib import suppress
from functools import partial
from typing import Any

from tests.conformance.raw_server import RawServer, Request, read_request

Answer = Callable[[Request], bytes]

_SSE_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"


def fixed(status: str, *headers: str, body: bytes = b"") -> Answer:
    """The same complete response to every request."""
    lines = [f"HTTP/1.1 {status}", *headers, f"Content-Length: {len(body)}", "Connection: close", "", ""]
    answer = "\r\n".join(lines).encode() + body
    return lambda _: answer


def _raw_echo(request: Request) -> bytes:
    return f"{request.method} {request.target} HTTP/1.1\r\n\r\n".encode() + (request.body or b"")


def _echo(head: bytes) -> Answer:
    return lambda request: head + (request.body or b"")


def _echo_as_event(request: Request) -> bytes:
    return _SSE_HEAD + b"id: 1-0\ndata: " + (request.body or b"") + b"\n\n"


PROBLEM = b'{"title":"refused","status":400,"detail":"organizationId sessionId workflowAction"}'

EMPTY: dict[str, Answer] = {
    "empty 200": fixed("200 OK"),
    "empty 200 event stream": fixed("200 OK", "Content-Type: text/event-stream"),
    "empty 200 that closes": lambda _: _SSE_HEAD,
    "comments alone": lambda _: _SSE_HEAD + b": hello\n\n: world\n\n",
    "204": fixed("204 No Content"),
}
REFUSALS: dict[str, Answer] = {
    "400": fixed("400 Bad Request", "Content-Type: application/problem+json", body=PROBLEM),
    "415": fixed("415 Unsupported Media Type"),
    "422": fixed("422 Unprocessable Content", "Content-Type: application/json", body=PROBLEM),
    "500": fixed("500 Internal Server Error", "Content-Type: text/plain", body=b"oops"),
    "garbage": lambda _: b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 8,
}
CONFLICTS: dict[str, Answer] = {
    "409": fixed("409 Conflict", "Content-Type: application/json", body=b'{"error":"conflict"}'),
    "409 event": lambda _: _SSE_HEAD.replace(b"200 OK", b"409 Conflict") + b'data: {"type":"error"}\n\n',
    "200 with a 409 event": lambda _: _SSE_HEAD + b'id: 1-0\ndata: {"type":"error","status":409}\n\n',
}
ECHOES: dict[str, Answer] = {
    "echo of the request line": _raw_echo,
    "echo of the body": _echo(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"),
    "echo of the body as an event stream": _echo(_SSE_HEAD),
    "echo of the body as an event": _echo_as_event,
}
#: The preflight refuses these. By name: the answer, and what the user reads.
NOT_TESTABLE: dict[str, tuple[Answer, str]] = {
    "301": (fixed("301 Moved Permanently", "Location: /elsewhere"), "redirects (status 301) to '/elsewhere'"),
    "302": (fixed("302 Found", "Location: /login"), "redirects (status 302) to '/login'"),
    "307": (fixed("307 Temporary Redirect", "Location: /"), "redirects (status 307) to '/'"),
    "401": (fixed("401 Unauthorized"), "rejected the token"),
    "403": (fixed("403 Forbidden"), "rejected the token"),
    "404": (fixed("404 Not Found", "X-Content-Type-Options: nosniff"), "is not an endpoint"),
    "405": (fixed("405 Method Not Allowed", "Allow: PUT"), "is not an endpoint"),
    "410": (fixed("410 Gone"), "is not an endpoint"),
    "429": (fixed("429 Too Many Requests", "Retry-After: 0"), "status 429 to several requests"),
    "503": (fixed("503 Service Unavailable", "Retry-After: 0"), "status 503 to several requests"),
}
#: A stream in order, and always the same one. Much passes, but not what a different request must change.
CONSTANT: dict[str, Answer] = {
    "a failed run": lambda _: _SSE_HEAD + b'id: 1-0\ndata: {"type":"error","message":"no"}\n\n',
    "a cancelled run": lambda _: _SSE_HEAD + b'id: 1-0\ndata: {"type":"cancelled"}\n\n',
    "a finished run": lambda _: _SSE_HEAD + b'id: 1-0\ndata: {"type":"done","runId":"r"}\n\n',
}


class NullServer(RawServer):
    """Gives every request the same response, or none."""

    def __init__(self, behave: Callable[[socket.socket], Coroutine[Any, Any, None]]) -> None:
        super().__init__()
        self._behave = behave

    async def converse(self, connection: socket.socket) -> None:
        with suppress(UnicodeError):
            await self._behave(connection)


def answering(answer: Answer) -> NullServer:
    """Reads each request and responds to it."""

    async def behave(connection: socket.socket) -> None:
        request = await read_request(connection)
        if request is not None:
            await asyncio.get_running_loop().sock_sendall(connection, answer(request))

    return NullServer(behave)


async def _closes(connection: socket.socket) -> None:
    connection.shutdown(socket.SHUT_RDWR)


async def _stays_open(connection: socket.socket) -> None:
    while await asyncio.get_running_loop().sock_recv(connection, 65_536):
        pass


async def _begins(connection: socket.socket) -> None:
    if await read_request(connection):
        await asyncio.get_running_loop().sock_sendall(connection, _SSE_HEAD)
        await _stays_open(connection)


SILENCES: dict[str, Callable[[], NullServer]] = {
    "silent": lambda: NullServer(_stays_open),
    "head of an event stream, then silence": lambda: NullServer(_begins),
}

SERVERS: dict[str, Callable[[], NullServer]] = {
    **{
        name: partial(answering, answer)
        for name, answer in {**EMPTY, **REFUSALS, **CONFLICTS, **ECHOES}.items()
    },
    "instant close": lambda: NullServer(_closes),
    **SILENCES,
}
