"""Decodes bodies with a content coding or transfer coding (RFC 9110, 8.4; RFC 9112, 7.2), as they arrive.

The harness asks for neither. What comes anyway is decoded, so that the rules can judge the stream and name the coding.
The output comes in pieces, so that a few bytes never decompress to more than the caller is willing to take.
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Callable, Iterator, Sequence
from itertools import chain

from harness.protocol.zstandard import zstd

PIECE_BYTES = 1 << 20
MAX_CODINGS = 5  # one after the other; more are an attack on the client
MAX_MEMBERS = (
    50_000  # gzip members or zstd frames: each takes some 10 µs, and an empty one decodes to nothing
)
_MAX_HELD_BYTES = 65_536
_SLICE_BYTES = 4096  # after each member, the rest of its slice is copied
_MIB = 2**20
_ZSTD_WINDOW_LOG = 23  # 8 MB, the most that a client must accept (RFC 9659)

_Pieces = Callable[[bytes], Iterator[bytes]]


class CodingError(ValueError):
    """The bytes are not what the coding's name says."""


class _TooManyMembersError(Exception):
    """A body has more than MAX_MEMBERS."""


class _Members:
    """Counts the members of a body."""

    def __init__(self) -> None:
        self._count = 1

    def next(self) -> None:
        """Another one follows. Raises _TooManyMembersError if that is one too many."""
        self._count += 1
        if self._count > MAX_MEMBERS:
            raise _TooManyMembersError


def _slices(data: bytes) -> Iterator[bytes]:
    return (data[start : start + _SLICE_BYTES] for start in range(0, len(data), _SLICE_BYTES))


def _zlib_pieces(window_bits: int, *, members: bool) -> _Pieces:
    """Gzip or zlib or raw deflate data. members: whether several may follow each other (RFC 1952, 2.2)."""
    inflater = zlib.decompressobj(window_bits)
    count = _Members()

    def pieces_of_slice(data: bytes) -> Iterator[bytes]:
        nonlocal inflater
        while data:
            if inflater.eof:
                if not members:
                    raise CodingError("bytes follow the end of the compressed data")
                count.next()
                inflater = zlib.decompressobj(window_bits)
            try:
                piece = inflater.decompress(data, PIECE_BYTES)
                yield piece
                while len(piece) == PIECE_BYTES and not inflater.unconsumed_tail:  # more may be buffered
                    piece = inflater.decompress(b"", PIECE_BYTES)
                    yield piece
            except zlib.error as problem:
                raise CodingError(str(problem)) from None
            data = inflater.unused_data if inflater.eof else inflater.unconsumed_tail

    return lambda data: chain.from_iterable(map(pieces_of_slice, _slices(data)))


def _gzip() -> _Pieces:
    return _zlib_pieces(16 + zlib.MAX_WBITS, members=True)


def _deflate() -> _Pieces:
    return _zlib_pieces(zlib.MAX_WBITS, members=False)


def _raw_deflate() -> _Pieces:
    """What some servers send as deflate: the data without the zlib format around them (RFC 9110, 8.4.1.2)."""
    return _zlib_pieces(-zlib.MAX_WBITS, members=False)


def _brotli() -> _Pieces:
    import brotli  # only for the rare server that sends it

    decompressor = brotli.Decompressor()

    def pieces(data: bytes) -> Iterator[bytes]:
        try:
            piece = decompressor.process(data, output_buffer_limit=PIECE_BYTES)
            yield piece
            while len(piece) >= PIECE_BYTES or not decompressor.can_accept_more_data():
                piece = decompressor.process(b"", output_buffer_limit=PIECE_BYTES)
                yield piece
        except brotli.error as problem:
            raise CodingError(str(problem)) from None

    return pieces


def _zstd() -> _Pieces:
    options: dict[int, int] = {zstd.DecompressionParameter.window_log_max: _ZSTD_WINDOW_LOG}
    decompressor = zstd.ZstdDecompressor(options=options)
    count = _Members()

    def pieces_of_slice(data: bytes) -> Iterator[bytes]:
        nonlocal decompressor
        while True:
            if decompressor.eof:  # another frame follows
                count.next()
                decompressor = zstd.ZstdDecompressor(options=options)
            try:
                yield decompressor.decompress(data, PIECE_BYTES)
            except zstd.ZstdError as problem:
                raise CodingError(str(problem)) from None
            data = decompressor.unused_data if decompressor.eof else b""
            if not data and (decompressor.eof or decompressor.needs_input):
                return

    return lambda data: chain.from_iterable(map(pieces_of_slice, _slices(data)))


_CODINGS: dict[str, tuple[Callable[[], _Pieces], ...]] = {
    "gzip": (_gzip,),
    "x-gzip": (_gzip,),
    "deflate": (_deflate, _raw_deflate),
    "br": (_brotli,),
    "zstd": (_zstd,),
}


KNOWN_CODINGS = frozenset(_CODINGS)


class _Stage:
    """One coding. Bytes that are not in this coding from the start pass unchanged, and `fault` says so."""

    def __init__(self, field: str, name: str) -> None:
        self.fault: str | None = None
        self._label = f"{field}: {name}"
        self._alternatives = list(_CODINGS.get(name, ()))
        self._pieces = self._alternatives.pop(0)() if self._alternatives else None
        self._held: bytes | None = b""  # all bytes, until some were decoded
        if self._pieces is None:
            self.fault = f"{self._label} is a coding that the harness does not know"

    def feed(self, data: bytes) -> Iterator[bytes]:
        if self._pieces is None:
            yield data
            return
        if self._held is not None:
            self._held += data
        try:
            for piece in self._pieces(data):
                if piece:
                    self._held = None
                    yield piece
        except CodingError as problem:
            yield from self._on_error(problem)
        if self._held is not None and len(self._held) > _MAX_HELD_BYTES:
            self._held = None

    def _on_error(self, problem: CodingError) -> Iterator[bytes]:
        held, self._held = self._held, b""
        if held is not None and self._alternatives:
            self._pieces = self._alternatives.pop(0)()
            yield from self.feed(held)
            return
        if held is not None:
            self._pieces = None
            self.fault = f"the body is not in the coding that {self._label} names ({problem})"
            yield held
            return
        self._pieces = lambda _: iter(())  # what follows corrupt data cannot be decoded
        self.fault = f"the body is corrupt in the coding that {self._label} names ({problem})"


class BodyDecoder:
    """Decodes a body with the given codings, each a pair of header field and name, in the order they were applied.

    A body that is not in a coding, or in one that is unknown, passes that coding unchanged. max_bytes: of what the
    codings produce, each of them alone, since a few bytes in several codings may stand for terabytes. limit: which
    limit was reached, in a sentence; None if none was. Nothing more is decoded then. Raises ImportError if the library
    for a coding is not installed.
    """

    def __init__(self, codings: Sequence[tuple[str, str]], max_bytes: int = sys.maxsize) -> None:
        self._stages = [_Stage(*coding) for coding in reversed(codings[:MAX_CODINGS])]
        self._too_many = len(codings) > MAX_CODINGS
        self._max_bytes = max_bytes
        self._left_bytes = [max_bytes] * len(self._stages)
        self.limit: str | None = None

    @property
    def fault(self) -> str | None:
        """Why the body so far is not what the header fields say, as part of a sentence; None if it is."""
        if self._too_many:
            return f"more than {MAX_CODINGS} codings were applied to the body"
        return next((stage.fault for stage in self._stages if stage.fault is not None), None)

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Decode the next bytes of the body. The pieces together are what was decoded."""
        try:
            yield from self._through(0, data)
        except _TooManyMembersError:
            self.limit = f"the body has more than {MAX_MEMBERS:,} compressed members"

    def _through(self, number: int, data: bytes) -> Iterator[bytes]:
        if number == len(self._stages):
            yield data
            return
        if self.limit is not None:
            return
        for piece in self._stages[number].feed(data):
            self._left_bytes[number] -= len(piece)
            if self._left_bytes[number] < 0:
                self.limit = f"the decompressed body is larger than {self._max_bytes // _MIB} MiB"
            if self.limit is not None:
                return
            yield from self._through(number + 1, piece)
