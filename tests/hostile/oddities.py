"""What is unusual rather than large: most of it is allowed, and some servers and proxies do it."""

from __future__ import annotations

import gzip
import struct
import zlib
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
    event,
    for_ever,
    head,
    slowly,
    token,
)

group = Group("oddities")
COMPLETE, LIMIT, MALFORMED, TIMED_OUT = Ending.COMPLETE, Ending.LIMIT, Ending.MALFORMED, Ending.TIMED_OUT
TRUNCATED = Ending.TRUNCATED
_RUN = token(0) + done(1)
_BODY = chunk(token(0)) + chunk(done(1)) + LAST
_NOT_HTTP = "not an HTTP/1.1 response"


def _coded(name: str) -> bytes:
    return head("200 OK", "Connection: close", f"Content-Encoding: {name}")


# Sound, however it looks. The client of a browser reads each of these.


@group.does("each CR and LF in a separate read", COMPLETE, sound=True)
def _() -> Iterator[Piece]:
    yield CLOSED
    for line in _RUN.splitlines():
        yield line + b"\r"
        yield 0.01
        yield b"\n"
        yield 0.01


@group.does("a lone CR at each line's end", COMPLETE, sound=True)
def _() -> Iterator[Piece]:
    yield CLOSED
    for line in _RUN.splitlines():
        yield line + b"\r"
        yield 0.01


@group.does("a BOM in three reads", COMPLETE, sound=True)
def _() -> Iterator[Piece]:
    yield CLOSED
    for byte in b"\xef\xbb\xbf":
        yield bytes([byte])
        yield 0.02
    yield _RUN


@group.does("a run in reads of one byte", COMPLETE, sound=True)
def _() -> Iterator[Piece]:
    for byte in CHUNKED + _BODY:
        yield bytes([byte])
        yield 0.001


group.sends("a status line without a reason", (CHUNKED.replace(b" OK", b" ") + _BODY,), COMPLETE, sound=True)
group.sends(
    "100 before the head", (b"HTTP/1.1 100 Continue\r\n\r\n" + CHUNKED + _BODY,), COMPLETE, sound=True
)
group.sends(
    "other line separators in a text",
    (CLOSED, event(0, '{"type":"token","content":"a\u2028b\u2029c\u0085d\u00a0e"}'.encode()), done(1)),
    COMPLETE,
    sound=True,
)
group.sends(
    "sizes of chunks with capitals and zeros",
    (CHUNKED, b"0000%X\r\n" % len(token(0)) + token(0) + b"\r\n", chunk(done(1)) + LAST),
    COMPLETE,
    sound=True,
)
group.sends("60 KB of trailers", (CHUNKED, _BODY[:-2] + b"x: y\r\n" * 10_000 + b"\r\n"), COMPLETE)
group.sends("retry of 0 and of a century", (CLOSED, b"retry: 0\n\nretry: 3153600000000\n\n" + _RUN), COMPLETE)
group.sends("40,000 retry lines", (CLOSED, b"retry: 1\n" * 40_000 + b"\n" + _RUN), COMPLETE)

# Heads.

group.sends("LF alone in the head", (CHUNKED.replace(b"\r\n", b"\n") + _BODY,), COMPLETE, MALFORMED)
group.sends("a folded field", (CHUNKED[:-2] + b"a: b\r\n c\r\n\r\n" + _BODY,), COMPLETE, MALFORMED)
group.sends("a blank before a colon", (CHUNKED[:-2] + b"a : b\r\n\r\n" + _BODY,), COMPLETE, MALFORMED)
group.sends("a field without a name", (CHUNKED[:-2] + b": b\r\n\r\n" + _BODY,), COMPLETE, MALFORMED)
group.sends("a field without a colon", (CHUNKED[:-2] + b"abc\r\n\r\n" + _BODY,), COMPLETE, MALFORMED)
group.sends("two status lines", (b"HTTP/1.1 200 OK\r\n" + CHUNKED + _BODY,), COMPLETE, MALFORMED)
group.sends(
    "five media types", (CHUNKED[:-2] + b"Content-Type: text/html\r\n" * 4 + b"\r\n" + _BODY,), COMPLETE
)
group.sends(
    "100 KB of a media type",
    (head("200 OK", "Connection: close", media="text/event-stream" + ";a=b" * 25_000) + _RUN,),
    COMPLETE,
)
group.sends(
    "UTF-16",
    (
        head("200 OK", "Connection: close", media="text/event-stream;charset=utf-16"),
        _RUN.decode().encode("utf-16"),
    ),
    COMPLETE,
)
for _length in ("+5", "5, 5", ""):
    group.sends(
        f"Content-Length of {_length.encode('unicode_escape').decode()!r}",
        (
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: %s\r\n\r\n"
            % _length.encode()
            + _RUN,
        ),
        COMPLETE,
        MALFORMED,
        TRUNCATED,
    )
for _place in (
    "//a.example/",
    "javascript:alert(1)",
    "file:///etc/passwd",
    "/\x1b[31m\u202e",
    "/" + "a" * 200_000,
):
    group.sends(
        f"a redirect to {_place[:20].encode('unicode_escape').decode()}",
        (head("302 Found", "Content-Length: 0")[:-2] + b"Location: " + _place.encode() + b"\r\n\r\n",),
        COMPLETE,
        MALFORMED,
    )
for _wait in ("0", "-1", "soon", "\u0663"):
    group.sends(
        f"Retry-After of {_wait.encode('unicode_escape').decode()}",
        (head("429 Too Many", "Content-Length: 0")[:-2] + b"Retry-After: " + _wait.encode() + b"\r\n\r\n",),
        COMPLETE,
    )
group.sends("429 with a run", (CHUNKED.replace(b"200 OK", b"429 Too Many") + _BODY,), COMPLETE)


@group.does("429 with tokens without end", TIMED_OUT, LIMIT)
def _() -> Iterator[Piece]:
    yield head("429 Too Many", "Retry-After: 0", "Connection: close")
    yield from slowly(token(0) * 1000)


# Chunks.

for _size in (b"5 ", b"+5", b'5;a="\\"'):
    group.sends(
        f"chunk size {_size!r}",
        (CHUNKED + _size + b"\r\n:abc\n\r\n" + _BODY,),
        COMPLETE,
        MALFORMED,
    )
group.sends("LF alone after a chunk's size", (CHUNKED + _BODY.replace(b"\r\n", b"\n"),), COMPLETE, MALFORMED)
group.sends("a chunk longer than its size", (CHUNKED + b"3\r\n" + token(0) + b"\r\n" + LAST,), MALFORMED)
group.sends("a head in the trailers", (CHUNKED + _BODY[:-2] + CHUNKED + _BODY,), COMPLETE, MALFORMED)

# Codings: data that decode to nothing, and never end.

_GZIP_HEAD = b"\x1f\x8b\x08\x00\0\0\0\0\0\xff"


@group.does("a gzip file's name without end", LIMIT, TIMED_OUT)
def _() -> Iterator[Piece]:
    yield _coded("gzip") + b"\x1f\x8b\x08\x08\0\0\0\0\0\xff"
    yield from for_ever(b"n")


@group.does("empty blocks of deflate without end", LIMIT, TIMED_OUT)
def _() -> Iterator[Piece]:
    yield _coded("gzip") + _GZIP_HEAD
    yield from for_ever(b"\0\0\0\xff\xff")


@group.does("empty zstd frames without end", LIMIT, TIMED_OUT)
def _() -> Iterator[Piece]:
    yield _coded("zstd")
    yield from for_ever(b"\x28\xb5\x2f\xfd\x20\x00\x01\x00\x00")


@group.does("skipped zstd frames without end", LIMIT, TIMED_OUT)
def _() -> Iterator[Piece]:
    yield _coded("zstd")
    yield from for_ever(b"\x50\x2a\x4d\x18\0\0\0\0")


@group.does("a skipped zstd frame of 4 GB", LIMIT, TIMED_OUT)
def _() -> Iterator[Piece]:
    yield _coded("zstd") + b"\x50\x2a\x4d\x18\xff\xff\xff\xff"
    yield from for_ever(b"x")


@group.does("empty brotli blocks without end", LIMIT, TIMED_OUT, COMPLETE)
def _() -> Iterator[Piece]:
    yield _coded("br") + b"\x0b"  # a window of 22 bits, then blocks of metadata without a byte
    yield from for_ever(b"\x06" * 8)


group.sends("gzip with a wrong checksum", (_coded("gzip"), gzip.compress(_RUN)[:-8] + b"\0" * 8), COMPLETE)
group.sends("gzip, then noise", (_coded("gzip"), gzip.compress(_RUN) + b"noise" * 1000), COMPLETE)
group.sends("raw deflate", (_coded("deflate"), zlib.compress(_RUN)[2:-4]), COMPLETE)
group.sends(
    "gzip with 65,535 bytes of extra",
    (
        _coded("gzip"),
        b"\x1f\x8b\x08\x04\0\0\0\0\0\xff"
        + struct.pack("<H", 65_535)
        + b"x" * 65_535
        + gzip.compress(_RUN)[10:],
    ),
    COMPLETE,
)

# Events.

group.sends("field names in capitals", (CLOSED, _RUN.replace(b"data:", b"Data:")), COMPLETE)
group.sends("blanks before field names", (CLOSED, _RUN.replace(b"data:", b" data:")), COMPLETE)
group.sends("an event's name of 1 MB", (CLOSED, b"event: " + b"e" * 1_000_000 + b"\n" + _RUN), COMPLETE)
group.sends("a BOM before each event", (CLOSED, (b"\xef\xbb\xbf" + token(0)) * 500 + done(501)), COMPLETE)
group.sends(
    "ids of descending size",
    (CLOSED, *(b"id: %s-0\ndata: {}\n\n" % (b"9" * (300 - number)) for number in range(290)), done(1)),
    COMPLETE,
)
_IDS = (
    *(
        "-1-0",
        "1e5-0",
        "0" * 4000 + "-0",
        "\u0661-\u0662",
        "1-0-0",
        " 1-0",
        "1_0-0",
        "NaN-0",
        "1" * 301 + "-0",
        "-",
    ),
)
group.sends(
    "ids of other forms",
    (
        CLOSED,
        *(f'id: {one}\ndata: {{"type":"token","content":"x"}}\n\n'.encode() for one in _IDS),
        done(1),
    ),
    COMPLETE,
)
_VALUES = (
    *(b"null", b"[]", b"{}", b"true", b"1e400", b'"__proto__"', b"[[[1]]]", b"-0", b"1E-400", b'""'),
    *(b'"\\u0000"', b"9" * 4500),
)
group.sends(
    "types and texts of other types",
    (
        CLOSED,
        *(b'data: {"type":%s,"content":%s,"runId":%s}\n\n' % (one, one, one) for one in _VALUES),
        *(event(1, b'{"type":"token","content":%s}' % one) for one in _VALUES),
        done(2),
    ),
    COMPLETE,
)
for _value in (b"[[[409]]]", b"1e400", b"9" * 4500, b'"\\ud800"'):
    group.sends(
        f"an error whose code is {_value[:8].decode()}",
        (
            CLOSED
            + event(
                1,
                b'{"type":"error","code":%s,"message":%s,"runId":%s,"error":{"code":%s}}' % ((_value,) * 4),
            ),
        ),
        COMPLETE,
    )


@group.does("half a character in each read", COMPLETE, sound=True)
def _() -> Iterator[Piece]:
    yield CLOSED
    for byte in event(0, '{"type":"token","content":"\U0001f600\u00e9"}'.encode()):
        yield bytes([byte])
        yield 0.001
    yield done(1)


group.sends(
    "closed for writing, and open",
    (CLOSED + token(0), 0.1, done(1), End.HANG),
    TIMED_OUT,
    detail="after its terminal",
)

BEHAVIOURS: list[Behaviour] = group.behaviours
