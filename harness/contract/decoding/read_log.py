"""The reads of one response: bytes and arrival time of each, in compact arrays."""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterable, Iterator, Sequence
from itertools import compress, islice
from typing import Final, Literal, NamedTuple, overload

from harness.protocol.http1 import HttpSyntaxError, ResponseParser
from harness.protocol.zstandard import zstd

_NO_LAG = -1
_RECORD = struct.Struct("=qqII").pack  # arrival, lag, size, tokens
_RECORD_BYTES = 24
_LAG, _LAG_AT = struct.Struct("=q"), 8
_ARRIVAL = struct.Struct("=q")
_READ_BYTES = 40  # of memory for the numbers of one read, with room to grow
_PACKED_FROM_BYTES = 1024
_SLOW_NS_PER_BYTE = 20_000  # 50 KB/s
_FRAME: Final = zstd.ZstdCompressor.FLUSH_FRAME
_compressor = zstd.ZstdCompressor(level=1)  # one for all: a new one takes ten times as long as 2 KB


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
    of the same response. So there are two buffers that grow at their end, and no object for a read. The bytes of a
    stream that takes long can be packed meanwhile: events are so alike that about a tenth remains.
    """

    __slots__ = ("_data", "_errors_ns", "_numbers", "_packed", "_packed_reads", "packed_bytes")

    def __init__(self, reads: Iterable[Read] = ()) -> None:
        self._data = bytearray()  # of the reads that are not packed
        self._numbers = bytearray()  # a _RECORD for each read
        self._packed = b""  # the bytes before them, in Zstandard frames
        self._packed_reads = 0
        self.packed_bytes = 0  # before they were packed
        self._errors_ns: dict[int, int] | None = None  # of the few reads that have one, by number
        for read in reads:
            self.append(read.arrival_ns, read.lag_ns, read.data, error_ns=read.error_ns)

    def append(
        self, arrival_ns: int, lag_ns: int | None, data: bytes, tokens: int = 0, error_ns: int = 0
    ) -> int:
        """Add one read; returns the bytes of all reads. tokens: with content that it completed, if counted."""
        if error_ns:
            self._errors_ns = self._errors_ns or {}
            self._errors_ns[len(self)] = error_ns
        self._data += data
        self._numbers += _RECORD(arrival_ns, _NO_LAG if lag_ns is None else lag_ns, len(data), tokens)
        return self.packed_bytes + len(self._data)

    @property
    def buffers(self) -> tuple[bytearray, bytearray]:
        """The bytes of the reads that are not packed, and a record of each read, for the native reader of tokens.

        It adds to both.
        """
        return self._data, self._numbers

    @property
    def last_arrival_ns(self) -> int | None:
        """Arrival of the newest read; None if there is none."""
        numbers = self._numbers
        return _ARRIVAL.unpack_from(numbers, len(numbers) - _RECORD_BYTES)[0] if numbers else None

    @property
    def size_bytes(self) -> int:
        """Of all reads, before they were packed."""
        return self.packed_bytes + len(self._data)

    @property
    def memory_bytes(self) -> int:
        """About how much memory it takes."""
        return len(self._packed) + len(self._data) + _READ_BYTES * len(self)

    @property
    def is_slow(self) -> bool:
        """Whether the reads that are not packed came more slowly than it takes to notice what packing costs."""
        place = self._packed_reads * _RECORD_BYTES
        if not self._data or self.last_arrival_ns is None:
            return False
        took_ns = self.last_arrival_ns - _ARRIVAL.unpack_from(self._numbers, place)[0]
        return bool(took_ns > _SLOW_NS_PER_BYTE * len(self._data))

    def pack(self) -> None:
        """Compress the bytes that are not yet, if they are many; each look at them takes longer from now on."""
        if len(self._data) < _PACKED_FROM_BYTES:
            return
        self._packed += _compressor.compress(self._data, _FRAME)
        self._packed_reads = len(self)
        self.packed_bytes += len(self._data)
        self._data.clear()

    @property
    def data(self) -> bytes:
        """The bytes of all reads, joined: a copy."""
        return bytes(self._unpacked())

    def _unpacked(self) -> bytes | bytearray:
        return zstd.decompress(self._packed) + self._data if self._packed else self._data

    def _column(self, form: Literal["q", "I"], place: int) -> array[int]:
        """One value of each read: the one at this place of a _RECORD of such values."""
        numbers = bytes(self._numbers)  # a view of the buffer itself would keep it from growing
        values = memoryview(numbers).cast(form)
        return array(form, values[place :: _RECORD_BYTES // values.itemsize].tobytes())

    def __len__(self) -> int:
        return len(self._numbers) // _RECORD_BYTES

    @property
    def arrivals_ns(self) -> array[int]:
        """Arrival of each read."""
        return self._column("q", 0)

    @property
    def lags_ns(self) -> array[int]:
        """Lag of each read; negative if it has none."""
        return self._column("q", 1)

    @property
    def has_stamps(self) -> bool:
        """Whether its reads, of which the first one tells, have kernel timestamps."""
        return len(self._numbers) > 0 and bool(_LAG.unpack_from(self._numbers, _LAG_AT)[0] >= 0)

    @property
    def errors_ns(self) -> dict[int, int]:
        """The largest error_ns of the reads that have one, by arrival."""
        errors: dict[int, int] = {}
        if self._errors_ns:
            arrivals_ns = self._column("q", 0)
            for number, error_ns in self._errors_ns.items():
                at_ns = arrivals_ns[number]
                errors[at_ns] = max(error_ns, errors.get(at_ns, 0))
        return errors

    def token_arrivals_ns(self) -> array[int]:
        """Arrival of each counted token."""
        arrivals_ns, tokens = self._column("q", 0), self._column("I", 5)
        ones = tokens.count(1)
        if ones + tokens.count(0) == len(tokens):  # at most one in each read, as a rule in all but the last
            in_front = tokens[:ones].count(1) == ones
            return arrivals_ns[:ones] if in_front else array("q", compress(arrivals_ns, tokens))
        arrivals = array("q")
        for arrival_ns, count in zip(arrivals_ns, tokens, strict=True):
            if count == 1:
                arrivals.append(arrival_ns)
            elif count:
                arrivals += array("q", (arrival_ns,)) * count
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
        data, sizes = self._unpacked(), self._column("I", 4)
        arrivals_ns, lags_ns = self._column("q", 0), self._column("q", 1)
        errors_ns = self._errors_ns or {}
        start = sum(sizes[:place])
        for number in range(place, len(sizes)):
            end = start + sizes[number]
            lag_ns = None if lags_ns[number] == _NO_LAG else lags_ns[number]
            yield Read(arrivals_ns[number], lag_ns, bytes(data[start:end]), errors_ns.get(number, 0))
            start = end

    def __eq__(self, other: object) -> bool:
        if isinstance(other, ReadLog | tuple):
            return tuple(self) == tuple(other)
        return NotImplemented

    __hash__ = None  # type: ignore[assignment]  # mutable
