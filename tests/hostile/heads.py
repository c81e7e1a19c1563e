"""Response heads: their size, number of fields, syntax, and what comes before them."""

from __future__ import annotations

from collections.abc import Iterator

from harness.contract.exchange import Ending

from .behaviour import CHUNKED, LAST, Behaviour, End, Group, Piece, chunk, done, for_ever, head, times, token

group = Group("heads")
MALFORMED, COMPLETE, TIMED_OUT, TRUNCATED = (
    Ending.MALFORMED,
    Ending.COMPLETE,
    Ending.TIMED_OUT,
    Ending.TRUNCATED,
)
_REST = chunk(token(0)) + chunk(done(1)) + LAST
_NOT_HTTP = "not an HTTP/1.1 response"


@group.does("59,000 equal fields", MALFORMED, detail="more than 2,000 header fields")
def _() -> Iterator[Piece]:
    yield CHUNKED[:-2] + b"a:\r\n" * 59_000 + b"\r\n" + _REST


@group.does("2,001 fields", MALFORMED, detail="more than 2,000 header fields")
def _() -> Iterator[Piece]:
    yield CHUNKED[:-2] + b"".join(b"x-%d: 1\r\n" % number for number in range(2001)) + b"\r\n" + _REST


@group.does("fields without end", MALFORMED, detail="header fields")
def _() -> Iterator[Piece]:
    yield CHUNKED[:-2]
    yield from for_ever(b"a: b\r\n")


@group.does("long fields without end", MALFORMED, detail="no complete response head within 256 KiB")
def _() -> Iterator[Piece]:
    yield CHUNKED[:-2]
    yield from for_ever(b"a: " + b"b" * 8000 + b"\r\n")


@group.does("a value without end", MALFORMED, detail="no complete response head within 256 KiB")
def _() -> Iterator[Piece]:
    yield b"HTTP/1.1 200 OK\r\nx: "
    yield from for_ever(b"y")


@group.does("a reason without end", MALFORMED, detail="no complete response head within 256 KiB")
def _() -> Iterator[Piece]:
    yield b"HTTP/1.1 200 "
    yield from for_ever(b"O")


@group.does("a name without end", MALFORMED, detail="no complete response head within 256 KiB")
def _() -> Iterator[Piece]:
    yield b"HTTP/1.1 200 OK\r\n"
    yield from for_ever(b"n")


@group.does("200 KiB of cookies", COMPLETE)
def _() -> Iterator[Piece]:
    yield CHUNKED[:-2] + b"Set-Cookie: a=%s\r\n" % (b"x" * 2000) * 100 + b"\r\n" + _REST


@group.does("another 200 KiB each time", COMPLETE)
def _() -> Iterator[Piece]:
    import os

    noise = os.urandom(50_000).hex().encode()
    yield CHUNKED[:-2] + b"x-noise: %s\r\nx-more: %s\r\n" % (noise, noise) + b"\r\n" + _REST


@group.does("1xx without end", MALFORMED, detail="no complete response head within 256 KiB")
def _() -> Iterator[Piece]:
    yield from for_ever(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")


@group.does("1xx without end, slowly", TIMED_OUT, detail="no event within")
def _() -> Iterator[Piece]:
    while True:
        yield b"HTTP/1.1 102 Processing\r\n\r\n"
        yield 0.1


@group.does("a 1xx with 60,000 fields before the head", MALFORMED, detail="header fields")
def _() -> Iterator[Piece]:
    yield b"HTTP/1.1 103 Early Hints\r\n" + b"a:\r\n" * 60_000 + b"\r\n" + CHUNKED + _REST


@group.does("blank lines without end before the head", MALFORMED, detail="no complete response head")
def _() -> Iterator[Piece]:
    yield from for_ever(b"\r\n")


@group.does("a field value of 5,000 commas in Transfer-Encoding", COMPLETE, MALFORMED)
def _() -> Iterator[Piece]:
    yield head("200 OK", "Transfer-Encoding: " + "," * 5000 + "chunked") + _REST


@group.does("1,000 Transfer-Encoding fields", COMPLETE, MALFORMED, TRUNCATED)
def _() -> Iterator[Piece]:
    yield head("200 OK", *["Transfer-Encoding: chunked"] * 1000) + _REST


@group.does("1,000 content codings", COMPLETE)
def _() -> Iterator[Piece]:
    yield (
        head("200 OK", "Transfer-Encoding: chunked", "Content-Encoding: " + ", ".join(["gzip"] * 1000))
        + _REST
    )


@group.does("Retry-After of 4,300 digits", COMPLETE)
def _() -> Iterator[Piece]:
    yield head("429 Too Many", "Content-Length: 0", "Retry-After: " + "9" * 4300)


group.sends(
    "Retry-After of 1e30", (head("429 Too Many", "Content-Length: 0", "Retry-After: 1" + "0" * 30),), COMPLETE
)
group.sends(
    "Retry-After in the year 9999",
    (head("503 Busy", "Content-Length: 0", "Retry-After: Fri, 31 Dec 9999 23:59:59 -1200"),),
    COMPLETE,
)
group.sends("no head, closed", (b"",), TRUNCATED, detail="before a response")
group.sends("half a head, closed", (CHUNKED[:30],), TRUNCATED, detail="before a response")
group.sends("half a head, open", (CHUNKED[:30], End.HANG), TIMED_OUT, detail="no event within")
group.sends("half a head, reset", (CHUNKED[:30], 0.05, End.RESET), Ending.RESET)
group.sends("NUL bytes", (b"\0" * 100_000,), MALFORMED, detail=_NOT_HTTP)
group.sends("status line of SIP", (b"SIP/2.0 200 OK\r\n\r\n",), MALFORMED, detail=_NOT_HTTP)
group.sends("status 99999", (b"HTTP/1.1 99999 OK\r\n\r\n",), MALFORMED, detail=_NOT_HTTP)
group.sends(
    "status 101",
    (b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n",),
    MALFORMED,
    detail="101",
)
group.sends("a lone CR in a field", (CHUNKED[:-2] + b"a: b\rc\r\n\r\n" + _REST,), MALFORMED, COMPLETE)
group.sends("a NUL in a field", (CHUNKED[:-2] + b"a: b\0c\r\n\r\n" + _REST,), MALFORMED, COMPLETE)
group.sends(
    "escape sequences in the reason",
    (b"HTTP/1.1 500 \x1b[2J\x1b]0;x\x07\r\nContent-Length: 0\r\n\r\n",),
    COMPLETE,
    MALFORMED,
)
group.sends(
    "a redirect to itself",
    (head("307 Again", "Location: /agent/workflow-actions", "Content-Length: 0"),),
    COMPLETE,
)


@group.does("304 with a body without end", COMPLETE)
def _() -> Iterator[Piece]:
    yield head("304 Not Modified")
    yield from times(b"x" * 1000, 20_000)


BEHAVIOURS: list[Behaviour] = group.behaviours
