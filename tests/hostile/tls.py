"""TLS: handshakes that do not end, and connections that end without saying so."""

from __future__ import annotations

import os
from collections.abc import Iterator

from harness.contract.exchange import Ending

from .behaviour import (
    CHUNKED,
    CLOSED,
    LAST,
    Behaviour,
    End,
    Group,
    Piece,
    chunk,
    done,
    for_ever,
    slowly,
    token,
)

group = Group("tls")
REFUSED, TIMED_OUT, RESET, COMPLETE, TRUNCATED, LIMIT = (
    Ending.REFUSED,
    Ending.TIMED_OUT,
    Ending.RESET,
    Ending.COMPLETE,
    Ending.TRUNCATED,
    Ending.LIMIT,
)
_NOT_CONNECTED = "could not connect and send within"
_RECORD = b"\x16\x03\x03\x40\x00"


@group.does("a handshake byte by byte", TIMED_OUT, detail=_NOT_CONNECTED, phase="hello")
def _() -> Iterator[Piece]:
    yield from slowly(_RECORD + b"\x02\x00\x3f\xfc\x03\x03" + bytes(10_000))


@group.does("a handshake of noise", REFUSED, detail="TLS", phase="hello")
def _() -> Iterator[Piece]:
    yield os.urandom(100_000)


@group.does("handshake records without end", REFUSED, TIMED_OUT, RESET, phase="hello")
def _() -> Iterator[Piece]:
    yield from for_ever(b"\x16\x03\x03\x00\x04\x00\x00\x00\x00")


@group.does("events without end", LIMIT, phase="tls")
def _() -> Iterator[Piece]:
    yield CLOSED
    yield from for_ever(b"data\n\n")


group.sends("a handshake that never begins", (End.HANG,), TIMED_OUT, detail=_NOT_CONNECTED, phase="hello")
group.sends("closed in the handshake", (b"",), REFUSED, RESET, TRUNCATED, phase="hello")
group.sends("reset in the handshake", (End.RESET,), REFUSED, RESET, phase="hello")
group.sends("plain HTTP", (b"HTTP/1.1 400 Bad Request\r\n\r\n",), REFUSED, detail="TLS", phase="hello")
group.sends("an alert", (b"\x15\x03\x03\x00\x02\x02\x28",), REFUSED, detail="TLS", phase="hello")
group.sends("half a record", (_RECORD + b"x", End.HANG), TIMED_OUT, detail=_NOT_CONNECTED, phase="hello")
group.sends("reset in the stream", (CHUNKED + chunk(token(0)), 0.05, End.RESET), RESET, phase="tls")
group.sends(
    "the stream never ends", (CHUNKED + chunk(token(0)), End.HANG), TIMED_OUT, detail="silent", phase="tls"
)
group.sends("a sound run", (CHUNKED + chunk(token(0)) + chunk(done(1)) + LAST,), COMPLETE, phase="tls")

group.sends(
    "closed without close_notify",
    (CLOSED + token(0) + done(1), End.NO_NOTIFY),
    TRUNCATED,
    detail="without close_notify",
    phase="tls",
    breaks="headers.complete",
)
group.sends("closed with close_notify", (CLOSED + token(0) + done(1),), COMPLETE, phase="tls")
group.sends(
    "chunks, closed without close_notify",
    (CHUNKED + chunk(token(0)) + chunk(done(1)) + LAST, End.NO_NOTIFY),
    COMPLETE,
    phase="tls",
)

BEHAVIOURS: list[Behaviour] = group.behaviours
