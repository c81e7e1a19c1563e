"""The chunked coding: sizes, extensions, trailers."""

from __future__ import annotations

from collections.abc import Iterator

from harness.contract.exchange import Ending

from .behaviour import (
    CHUNKED,
    LAST,
    Behaviour,
    End,
    Group,
    Piece,
    chunk,
    done,
    for_ever,
    slowly,
    times,
    token,
)

group = Group("chunks")
MALFORMED, TIMED_OUT, COMPLETE, LIMIT = Ending.MALFORMED, Ending.TIMED_OUT, Ending.COMPLETE, Ending.LIMIT
_RUN = CHUNKED + chunk(token(0)) + chunk(done(1))
_FRAMING = "chunk extensions or trailer fields"


@group.does("an extension without end", MALFORMED, detail=_FRAMING)
def _() -> Iterator[Piece]:
    yield CHUNKED + chunk(token(0)) + b"5;"
    yield from for_ever(b"x")


@group.does("an extension of 1 MB", MALFORMED, detail=_FRAMING)
def _() -> Iterator[Piece]:
    yield CHUNKED + b"5;" + b"x" * 1_000_000 + b"\r\nhello\r\n" + LAST


@group.does("60 KB of extension at each byte", LIMIT, TIMED_OUT, MALFORMED)
def _() -> Iterator[Piece]:
    yield CHUNKED
    yield from for_ever(b"1;" + b"x" * 60_000 + b"\r\n:\r\n")


@group.does("trailers without end", MALFORMED, detail=_FRAMING)
def _() -> Iterator[Piece]:
    yield _RUN + b"0\r\n"
    yield from for_ever(b"a: b\r\n")


@group.does("a trailer value without end", MALFORMED, detail=_FRAMING)
def _() -> Iterator[Piece]:
    yield _RUN + b"0\r\na: "
    yield from for_ever(b"b")


@group.does("trailers without end, slowly", TIMED_OUT, detail="after its terminal event")
def _() -> Iterator[Piece]:
    yield _RUN + b"0\r\n"
    while True:
        yield b"a: b\r\n"
        yield 0.05


@group.does("chunks of one byte", COMPLETE)
def _() -> Iterator[Piece]:
    yield CHUNKED
    for number in range(200):
        yield b"".join(b"1\r\n%c\r\n" % byte for byte in token(number))
    yield chunk(done(200)) + LAST


@group.does("chunks of one byte without end", LIMIT, TIMED_OUT)
def _() -> Iterator[Piece]:
    yield CHUNKED
    yield from for_ever(b"1\r\n\n\r\n")


@group.does("a size with 100,000 zeros", MALFORMED, Ending.TRUNCATED)
def _() -> Iterator[Piece]:
    yield CHUNKED + b"0" * 100_000 + b"5\r\nhello\r\n"


@group.does("last chunks without end", COMPLETE)
def _() -> Iterator[Piece]:
    yield _RUN
    yield from times(LAST, 1_000_000)


@group.does("a chunk size byte by byte", TIMED_OUT)
def _() -> Iterator[Piece]:
    yield CHUNKED + chunk(token(0))
    yield from slowly(b"0" * 1000 + b"5\r\n")


group.sends("chunk size ffffffffffff", (CHUNKED + b"ffffffffffff\r\n" + token(0), End.HANG), TIMED_OUT)
group.sends("chunk size of 17 digits", (CHUNKED + b"1ffffffffffffffff\r\n" + token(0),), MALFORMED)
group.sends("chunk size -1", (CHUNKED + b"-1\r\nx\r\n",), MALFORMED)
group.sends("chunk size 0x5", (CHUNKED + b"0x5\r\nhello\r\n",), MALFORMED)
group.sends("no CRLF after a chunk", (CHUNKED + b"5\r\nhelloXX0\r\n\r\n",), MALFORMED)
group.sends("no last chunk, closed", (_RUN,), Ending.TRUNCATED)
group.sends("no last chunk, open", (_RUN, End.HANG), TIMED_OUT, detail="after its terminal event")
group.sends("half a chunk, closed", (CHUNKED + b"ff\r\n" + token(0),), Ending.TRUNCATED)
group.sends("half a chunk, reset", (CHUNKED + b"ff\r\n" + token(0), 0.05, End.RESET), Ending.RESET)


@group.does("chunk size ffffffffffff without end", LIMIT, TIMED_OUT)
def _() -> Iterator[Piece]:
    yield CHUNKED + b"ffffffffffff\r\n"
    yield from for_ever(b"data: x\n\n")


BEHAVIOURS: list[Behaviour] = group.behaviours
