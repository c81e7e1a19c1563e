"""The reads of one response: bytes and arrival time of each, in compact arrays."""

from __future__ import annotations

import zlib
from array import array
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, islice
from typing import NamedTuple, overload

from harness.protocol.http1 import HttpSyntaxError, ResponseParser

_NO_LAG = -1
_READ_BYTES = 40  # of memory for the numbers of one read
_COMPRESSED_FROM_BYTES = 16_384
_READS_PER_BLOCK = 8


class Read(NamedTuple):
    """One read from the connection: its bytes (decrypted, with HTTP framing) and their arrival time.

    arrival_ns: monotonic clock; the kernel's receive timestamp if there is one, which is that of the last segment.
    lag_ns: how much later the harness read them; None without a kernel timestamp. error_ns: by how much earlier the
    first of them may have arrived, because they came in several segments; 0 if they did not.
    """

    arrival_ns: int
    lag_ns: int | None
    data: bytes
    error_ns: int = 0


def body_of(reads: Iterable[Read]) -> bytes:
    """The body without its HTTP framing, as far as the bytes are HTTP."""
    parser, body = ResponseParser(), bytearray()
    try:
        for read in reads:
            body += parser.feed(read.data)
    except HttpSyntaxError as problem:
        body += problem.body
    parser.close()
    return bytes(body)


class ReadLog(Sequence[Read]):
    """The reads of one response, with little memory and few cache misses.

    Under load, thousands of responses take turns: whatever a read touches has left the CPU cache since the last read
    of the same response. So reads are kept in small blocks. size_bytes: of all reads.
    """

    __slots__ = (
        "_arrivals_ns",
        "_blocks",
        "_compressed",
        "_ends",
        "_errors_ns",
        "_lags_ns",
        "_recent",
        "_tokens",
        "size_bytes",
    )

    def __init__(self, reads: Iterable[Read] = ()) -> None:
        self.size_bytes = 0
        self._recent: list[tuple[int, int, bytes, int]] = []
        # Packed from _recent, _READS_PER_BLOCK reads at a time:
        self._blocks: list[bytes] = []
        self._compressed: bytes | None = None  # in place of the blocks
        self._ends = array("q")
        self._arrivals_ns = array("q")
        self._lags_ns = array("q")
        self._tokens = array("i")
        self._errors_ns: dict[int, int] | None = None  # of the few reads that have one, by number
        for read in reads:
            self.append(read.arrival_ns, read.lag_ns, read.data, error_ns=read.error_ns)

    def append(
        self, arrival_ns: int, lag_ns: int | None, data: bytes, tokens: int = 0, error_ns: int = 0
    ) -> None:
        """Add one read. tokens: number of tokens with content that it completed, if counted."""
        recent = self._recent
        if error_ns:
            self._errors_ns = self._errors_ns or {}
            self._errors_ns[len(self)] = error_ns
        self.size_bytes += len(data)
        recent.append((arrival_ns, _NO_LAG if lag_ns is None else lag_ns, data, tokens))
        if len(recent) == _READS_PER_BLOCK:
            self._pack()

    @property
    def memory_bytes(self) -> int:
        """About how much memory it takes."""
        size = self.size_bytes if self._compressed is None else len(self._compressed)
        return size + _READ_BYTES * len(self)

    def compress(self) -> None:
        """Make it small, if that helps; from now on each look at its bytes takes longer. No more reads follow."""
        if self.size_bytes < _COMPRESSED_FROM_BYTES or self._compressed is not None:
            return
        self._pack()
        compressed = zlib.compress(b"".join(self._blocks), 1)
        if 2 * len(compressed) < self.size_bytes:
            self._compressed = compressed
            self._blocks.clear()

    def _bytes(self) -> bytes:
        self._pack()
        return b"".join(self._blocks) if self._compressed is None else zlib.decompress(self._compressed)

    def _pack(self) -> None:
        if not self._recent:
            return
        arrivals_ns, lags_ns, pieces, tokens = zip(*self._recent, strict=True)
        self._recent.clear()
        packed = self._ends[-1] if self._ends else 0
        self._ends.extend(islice(accumulate(map(len, pieces), initial=packed), 1, None))
        self._arrivals_ns.extend(arrivals_ns)
        self._lags_ns.extend(lags_ns)
        self._tokens.extend(tokens)
        self._blocks.append(b"".join(pieces))

    def __len__(self) -> int:
        return len(self._ends) + len(self._recent)

    @property
    def arrivals_ns(self) -> array[int]:
        """Arrival of each read."""
        self._pack()
        return self._arrivals_ns

    @property
    def lags_ns(self) -> array[int]:
        """Lag of each read; negative if it has none."""
        self._pack()
        return self._lags_ns

    @property
    def errors_ns(self) -> dict[int, int]:
        """The largest error_ns of the reads that have one, by arrival."""
        errors: dict[int, int] = {}
        for number, error_ns in (self._errors_ns or {}).items():
            at_ns = self.arrivals_ns[number]
            errors[at_ns] = max(error_ns, errors.get(at_ns, 0))
        return errors

    def token_arrivals_ns(self) -> array[int]:
        """Arrival of each counted token."""
        self._pack()
        arrivals = array("q")
        for arrival_ns, tokens in zip(self._arrivals_ns, self._tokens, strict=True):
            if tokens == 1:
                arrivals.append(arrival_ns)
            elif tokens:
                arrivals += array("q", (arrival_ns,)) * tokens
        return arrivals

    @overload
    def __getitem__(self, index: int) -> Read: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Read, ...]: ...
    def __getitem__(self, index: int | slice) -> Read | tuple[Read, ...]:
        if isinstance(index, slice):
            return tuple(self)[index]
        return next(islice(self._starting_at(range(len(self))[index]), 1))

    def __iter__(self) -> Iterator[Read]:
        return self._starting_at(0)

    def _starting_at(self, place: int) -> Iterator[Read]:
        data, ends = self._bytes(), self._ends
        errors_ns = self._errors_ns or {}
        start = ends[place - 1] if place else 0
        for number in range(place, len(ends)):
            lag_ns = self._lags_ns[number]
            yield Read(
                self._arrivals_ns[number],
                None if lag_ns == _NO_LAG else lag_ns,
                data[start : ends[number]],
                errors_ns.get(number, 0),
            )
            start = ends[number]

    def __eq__(self, other: object) -> bool:
        if isinstance(other, ReadLog | tuple):
            return tuple(self) == tuple(other)
        return NotImplemented

    __hash__ = None  # type: ignore[assignment]  # mutable
