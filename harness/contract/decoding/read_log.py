"""The reads of one response: offset and arrival time of each, in compact arrays."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, islice
from typing import overload

from harness.contract.decoding.full_decoder import Read

MAX_ANSWER_READS = 1_000_000


_NO_LAG = -1


_READS_A_BLOCK = 8


class ReadLog(Sequence[Read]):
    """The reads of one answer in little memory, and at little cost: under load thousands of these take turns,
    and each thing that one read touches has left the processor's cache since the last.

    size_bytes: how many bytes there are.
    """

    __slots__ = ("_arrivals_ns", "_blocks", "_ends", "_lags_ns", "_recent", "_tokens", "size_bytes")

    def __init__(self, reads: Iterable[Read] = ()) -> None:
        self.size_bytes = 0
        self._recent: list[tuple[int, int, bytes, int]] = []
        # What was recent, a dozen reads at a time:
        self._blocks: list[bytes] = []
        self._ends = array("q")
        self._arrivals_ns = array("q")
        self._lags_ns = array("q")
        self._tokens = array("i")
        for read in reads:
            self.append(read.arrival_ns, read.lag_ns, read.data)

    def append(self, arrival_ns: int, lag_ns: int | None, data: bytes, tokens: int = 0) -> None:
        """Add one read. tokens: how many tokens with content it completed, where that was counted."""
        recent = self._recent
        self.size_bytes += len(data)
        recent.append((arrival_ns, _NO_LAG if lag_ns is None else lag_ns, data, tokens))
        if len(recent) == _READS_A_BLOCK:
            self._pack()

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
        """Lag of each read; below 0 where it has none."""
        self._pack()
        return self._lags_ns

    def token_arrivals_ns(self) -> array[int]:
        """Arrival of each token that was counted."""
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
        return next(islice(self._from(range(len(self))[index]), 1))

    def __iter__(self) -> Iterator[Read]:
        return self._from(0)

    def _from(self, place: int) -> Iterator[Read]:
        self._pack()
        everything, ends = b"".join(self._blocks), self._ends
        start = ends[place - 1] if place else 0
        for at in range(place, len(ends)):
            lag_ns = self._lags_ns[at]
            yield Read(
                self._arrivals_ns[at], None if lag_ns == _NO_LAG else lag_ns, everything[start : ends[at]]
            )
            start = ends[at]

    def __eq__(self, other: object) -> bool:
        if isinstance(other, ReadLog | tuple):
            return tuple(self) == tuple(other)
        return NotImplemented

    __hash__ = None  # type: ignore[assignment]  # it grows
