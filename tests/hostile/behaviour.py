"""A hostile behaviour: what a server sends in answer to one request, byte by byte, and what must come of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import repeat

from harness.contract.exchange import Ending

BLOCK_BYTES = 65_536
FIRST_MS = 1_717_000_000_000


class End(StrEnum):
    """What the server does after its last byte. Without one it closes in order."""

    HANG = "hang"  # keeps the connection open, and sends nothing
    RESET = "reset"
    NO_NOTIFY = "no close_notify"  # closes a TLS connection without saying so


Piece = bytes | float | End
"""Bytes to send, a pause in seconds, or an end."""
Script = Callable[[], Iterator[Piece]]


@dataclass(frozen=True, slots=True)
class Behaviour:
    """endings: those that its exchange may have. detail: part of the exchange's ending_detail. breaks: the requirement
    that it violates, for those that would look sound. sound: whether it violates none.

    phase: when it begins: before the request was read ("accept"), as the server's side of a TLS handshake ("hello"),
    or after the request ("response", in TLS with "tls").
    """

    name: str
    script: Script
    endings: frozenset[Ending]
    detail: str = ""
    phase: str = "response"
    breaks: str = ""
    sound: bool = False

    @property
    def uses_tls(self) -> bool:
        return self.phase in {"hello", "tls"}


class Group:
    """The behaviours of one file."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.behaviours: list[Behaviour] = []

    def does(
        self,
        name: str,
        *endings: Ending,
        detail: str = "",
        phase: str = "response",
        breaks: str = "",
        sound: bool = False,
    ) -> Callable[[Script], Script]:
        """Add a generator of pieces."""

        def add(script: Script) -> Script:
            full = f"{self.name}: {name}"
            self.behaviours.append(Behaviour(full, script, frozenset(endings), detail, phase, breaks, sound))
            return script

        return add

    def sends(
        self,
        name: str,
        pieces: tuple[Piece, ...],
        *endings: Ending,
        detail: str = "",
        phase: str = "response",
        breaks: str = "",
        sound: bool = False,
    ) -> None:
        """Add one that always sends the same pieces."""
        self.does(name, *endings, detail=detail, phase=phase, breaks=breaks, sound=sound)(
            lambda: iter(pieces)
        )


def head(
    status: str = "200 OK", *fields: str, version: str = "HTTP/1.1", media: str = "text/event-stream"
) -> bytes:
    return "\r\n".join([f"{version} {status}", f"Content-Type: {media}", *fields, "", ""]).encode("latin-1")


CHUNKED = head("200 OK", "Cache-Control: no-store", "Transfer-Encoding: chunked")
CLOSED = head("200 OK", "Cache-Control: no-store", "Connection: close")
LAST = b"0\r\n\r\n"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def event(number: int, value: dict[str, object] | bytes) -> bytes:
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return b"id: %d-0\ndata: %s\n\n" % (FIRST_MS + number, data)


def token(number: int, text: str = "word ") -> bytes:
    return event(number, {"type": "token", "content": text})


def done(number: int) -> bytes:
    return event(number, {"type": "done", "runId": "run-1"})


def sound_run() -> Iterator[Piece]:
    """What a sound server sends."""
    yield CHUNKED
    for number in range(5):
        yield 0.02
        yield chunk(token(number))
    yield chunk(done(5)) + LAST


def for_ever(piece: bytes) -> Iterator[bytes]:
    """The same bytes again and again, in large blocks."""
    return repeat(piece * max(1, BLOCK_BYTES // len(piece)))


def times(piece: bytes, count: int) -> Iterator[bytes]:
    """The same bytes `count` times, in large blocks."""
    at_once = max(1, BLOCK_BYTES // len(piece))
    for start in range(0, count, at_once):
        yield piece * min(at_once, count - start)


def slowly(data: bytes, pause_s: float = 0.3) -> Iterator[Piece]:
    """Byte by byte."""
    for byte in data:
        yield bytes([byte])
        yield pause_s
