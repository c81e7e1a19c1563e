"""Content codings: bombs, corrupt data, names that are not true."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from functools import cache
from itertools import repeat

import brotli

from harness.contract.exchange import Ending

from .behaviour import Behaviour, End, Group, Piece, done, for_ever, head, token

group = Group("codings")
LIMIT, COMPLETE, TIMED_OUT = Ending.LIMIT, Ending.COMPLETE, Ending.TIMED_OUT
_RUN = token(0) + done(1)


def _coded(*names: str) -> bytes:
    return head("200 OK", "Connection: close", f"Content-Encoding: {', '.join(names)}")


@cache
def _bomb(text: bytes, size_bytes: int = 100_000_000) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    block = text * (1_000_000 // len(text))
    return b"".join(packer.compress(block) for _ in range(size_bytes // len(block))) + packer.flush()


@cache
def _zstd_bomb(text: bytes) -> bytes:
    from backports import zstd

    return zstd.compress(text * (100_000_000 // len(text)), 3)


@cache
def _brotli_bomb(text: bytes) -> bytes:
    return brotli.compress(text * (100_000_000 // len(text)), quality=1)


_TEXTS = {"zeros": b"\0", "blank lines": b"\n", "tiny events": b"data\n\n", "comments": b":\n\n"}
for _name, _text in _TEXTS.items():
    group.does(f"a gzip bomb of {_name}", LIMIT)(
        lambda text=_text: iter((_coded("gzip"), _bomb(text)))  # type: ignore[misc]
    )
for _name, _text in list(_TEXTS.items())[:3]:
    group.does(f"a brotli bomb of {_name}", LIMIT)(
        lambda text=_text: iter((_coded("br"), _brotli_bomb(text)))  # type: ignore[misc]
    )
    group.does(f"a zstd bomb of {_name}", LIMIT)(
        lambda text=_text: iter((_coded("zstd"), _zstd_bomb(text)))  # type: ignore[misc]
    )


@group.does("gzip in gzip in gzip", LIMIT, COMPLETE)
def _() -> Iterator[Piece]:
    yield _coded("gzip", "gzip", "gzip")
    yield gzip.compress(gzip.compress(_bomb(b"\0")))


@group.does("gzip bombs in a row without end", LIMIT)
def _() -> Iterator[Piece]:
    yield _coded("gzip")
    yield from repeat(_bomb(b": x\n\n", 1_000_000))


@group.does("empty gzip members without end", LIMIT, TIMED_OUT)
def _() -> Iterator[Piece]:
    yield _coded("gzip")
    yield from for_ever(gzip.compress(b""))


@group.does("an error page that is a gzip bomb", COMPLETE)
def _() -> Iterator[Piece]:
    body = _bomb(b"x")
    yield (
        head("500 Oops", "Content-Encoding: gzip", f"Content-Length: {len(body)}", media="text/plain") + body
    )


group.sends("gzip that is plain text", (_coded("gzip") + _RUN,), COMPLETE)
group.sends("corrupt gzip", (_coded("gzip") + gzip.compress(_RUN)[:-9] + b"\xff" * 40,), COMPLETE)
group.sends("half of a gzip", (_coded("gzip") + gzip.compress(_RUN)[:30],), COMPLETE)
group.sends("gzip, open", (_coded("gzip") + gzip.compress(_RUN)[:-8], End.HANG), TIMED_OUT)
group.sends("a coding nobody knows", (_coded("rot13") + _RUN,), COMPLETE)
group.sends("six codings", (_coded(*["gzip"] * 6) + _RUN,), COMPLETE)

BEHAVIOURS: list[Behaviour] = group.behaviours
