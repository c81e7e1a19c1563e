"""Bodies: large ones, many lines, and Content-Length that is not true."""

from __future__ import annotations

import os
from collections.abc import Iterator

from harness.contract.exchange import Ending

from .behaviour import CLOSED, Behaviour, End, Group, Piece, done, for_ever, head, times, token

group = Group("bodies")
LIMIT, COMPLETE, TRUNCATED, TIMED_OUT, MALFORMED = (
    Ending.LIMIT,
    Ending.COMPLETE,
    Ending.TRUNCATED,
    Ending.TIMED_OUT,
    Ending.MALFORMED,
)


@group.does("blank lines without end", LIMIT, detail="lines")
def _() -> Iterator[Piece]:
    yield CLOSED
    yield from for_ever(b"\n")


@group.does("carriage returns without end", LIMIT, detail="lines")
def _() -> Iterator[Piece]:
    yield CLOSED
    yield from for_ever(b"\r")


@group.does("comments without end", LIMIT)
def _() -> Iterator[Piece]:
    yield CLOSED
    yield from for_ever(b":\n\n")


@group.does("comments in one block without end", LIMIT, detail="lines")
def _() -> Iterator[Piece]:
    yield CLOSED
    yield from for_ever(b":\n")


@group.does("comments without end, slowly", TIMED_OUT, detail="no event within")
def _() -> Iterator[Piece]:
    yield CLOSED
    while True:
        yield b": still here\n\n"
        yield 0.1


@group.does("a line without end", LIMIT, detail="8 MiB")
def _() -> Iterator[Piece]:
    yield CLOSED
    yield from for_ever(b"data: x")


@group.does("a comment line without end", LIMIT, detail="8 MiB")
def _() -> Iterator[Piece]:
    yield CLOSED + b":"
    yield from for_ever(b"x")


@group.does("zero bytes without end", LIMIT, detail="8 MiB")
def _() -> Iterator[Piece]:
    yield CLOSED
    yield from for_ever(b"\0")


@group.does("unknown fields without end", LIMIT, detail="lines")
def _() -> Iterator[Piece]:
    yield CLOSED
    yield from for_ever(b"x\n")


@group.does("BOMs without end", LIMIT)
def _() -> Iterator[Piece]:
    yield CLOSED
    yield from for_ever(b"\xef\xbb\xbf")


@group.does("large comments without end", LIMIT, detail="limits.")
def _() -> Iterator[Piece]:
    yield CLOSED
    yield from for_ever(b": " + b"x" * 60_000 + b"\n\n")


@group.does("2 MB of tokens", COMPLETE)
def _() -> Iterator[Piece]:
    yield CLOSED
    for number in range(100):
        yield token(number, "x" * 20_000)
    yield done(100)


@group.does("2 MB of noise in each answer", COMPLETE)
def _() -> Iterator[Piece]:
    yield CLOSED
    for number in range(40):
        yield token(number, os.urandom(25_000).hex())
    yield done(40)


@group.does("20 MB of tokens", COMPLETE, LIMIT)
def _() -> Iterator[Piece]:
    yield CLOSED
    for number in range(1000):
        yield token(number, "x" * 20_000)
    yield done(1000)


@group.does("tokens without end", LIMIT, TIMED_OUT)
def _() -> Iterator[Piece]:
    yield CLOSED
    number = 0
    while True:
        yield b"".join(token(number + step) for step in range(1000))
        number += 1000


@group.does("an error page of 40 MB", LIMIT, detail="limits.")
def _() -> Iterator[Piece]:
    yield head("500 Oops", "Connection: close", media="text/html")
    yield from times(b"<p>sorry</p>" * 100, 40_000)


@group.does("2 MB error pages", COMPLETE)
def _() -> Iterator[Piece]:
    yield head("400 Bad", "Content-Length: 2000000", media="application/json")
    yield os.urandom(1_000_000).hex().encode()


_RUN = token(0) + done(1)
group.sends(
    "Content-Length too large, open", (head("200 OK", "Content-Length: 99999") + _RUN, End.HANG), TIMED_OUT
)
group.sends("Content-Length too large, closed", (head("200 OK", "Content-Length: 99999") + _RUN,), TRUNCATED)
group.sends(
    "Content-Length of 10^18", (head("200 OK", f"Content-Length: {10**18}") + _RUN, End.HANG), TIMED_OUT
)
group.sends("Content-Length of 10^30", (head("200 OK", f"Content-Length: {10**30}") + _RUN,), MALFORMED)
group.sends("a negative Content-Length", (head("200 OK", "Content-Length: -1") + _RUN,), MALFORMED)
group.sends(
    "two Content-Lengths", (head("200 OK", "Content-Length: 5", "Content-Length: 6") + _RUN,), MALFORMED
)


@group.does("Content-Length too small, and 20 MB more", COMPLETE)
def _() -> Iterator[Piece]:
    yield head("200 OK", f"Content-Length: {len(_RUN)}") + _RUN
    yield from times(b"x" * 1000, 20_000)


BEHAVIOURS: list[Behaviour] = group.behaviours
