"""How a stream writes its tokens, for the reader of tokens in C (token_reader.c)."""

from __future__ import annotations

from typing import Protocol

from harness.contract.decoding.read_log import ReadLog

try:
    from harness.contract.decoding import _token_reader as native_reader
except ImportError:  # no compiler: the decoders take each token themselves
    native_reader = None  # type: ignore[assignment]

#: What may follow in a frame (the cases of after_frame in token_reader.c).
STREAM_ID, COUNTER, JSON_COUNTER = b"I", b"N", b"n"
CONTENT, TEXT, STRING = (
    b"C",
    b"T",
    b"S",
)  # what is between the quotes: of the content, of one that is not empty, of others
INTEGER, NUMBER, LINE = b"D", b"F", b"X"
_MOST = 0xFFFF
IDS_BELOW = 10**18  # numbers of an id that `arm` takes


def bytes_of(text: bytes) -> bytes:
    """The steps of a layout that are exactly these bytes."""
    parts = [text[start : start + _MOST] for start in range(0, len(text), _MOST)]
    return b"".join(b"L" + len(part).to_bytes(2, "little") + part for part in parts)


class TokenReader(Protocol):
    """Counts and logs reads of one stream, as far as they are whole HTTP chunks of plain tokens.

    A layout is its steps, joined. A frame is a plain token if it is written like that and its id is greater than the
    one before. After `arm` tokens are taken until `disarm`; after `close`, none. events, tokens: how many were
    taken, and how many of them with content. last: the greatest id so far, as in `arm`.
    """

    @property
    def events(self) -> int: ...

    @property
    def tokens(self) -> int: ...

    @property
    def armed(self) -> bool: ...

    @property
    def last(self) -> tuple[int, int]: ...

    def take(self, arrival_ns: int, lag_ns: int | None, data: bytes, /) -> bool:
        """Log and count a read if it is one chunk with one token, and not earlier than the read before."""

    def count(self, data: bytes, start: int, /) -> int:
        """Count the tokens from `start` on; returns the place after the last whole chunk with nothing else."""

    def arm(self, layout: bytes, ms: int, seq: int, /) -> None:
        """Take tokens from now on. ms, seq: the id of the last event; an id of one number is `ms`."""

    def disarm(self) -> None:
        """Anything may follow."""

    def close(self) -> None:
        """No more reads follow: release the log."""

    def limit(self, size_bytes: int, /) -> None:
        """Take no read that makes the log larger than this."""


class _TakesNothing:
    """In place of the native one, where it was not compiled."""

    events = 0
    tokens = 0
    armed = False
    last = (-1, -1)

    def take(self, arrival_ns: int, lag_ns: int | None, data: bytes, /) -> bool:  # noqa: ARG002
        return False

    def count(self, data: bytes, start: int, /) -> int:  # noqa: ARG002
        return start

    def arm(self, layout: bytes, ms: int, seq: int, /) -> None:
        pass

    def disarm(self) -> None:
        pass

    def close(self) -> None:
        pass

    def limit(self, size_bytes: int, /) -> None:
        pass


NO_READER: TokenReader = _TakesNothing()


def token_reader_in_use() -> str:
    """Which implementation takes plain tokens: ``native`` or ``python``."""
    return "python" if native_reader is None else "native"


def token_reader(log: ReadLog) -> TokenReader:
    """A new reader of the tokens of one stream; NO_READER if it was not compiled. log: of that stream."""
    return NO_READER if native_reader is None else native_reader.TokenReader(*log.buffers)
