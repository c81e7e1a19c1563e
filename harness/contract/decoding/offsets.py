"""Where in an answer's reads the bytes of an event lie: for whoever shows it, as a read may hold hundreds of them."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from itertools import accumulate
from typing import NamedTuple

from harness.contract.decoding.full_decoder import FullDecoder, Read

_LINE = re.compile(rb"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+")
_CRLF = b"\r\n"


class ByteSpan(NamedTuple):
    """Bytes of one read, from `start` to before `end`. read: its number, from 0."""

    read: int
    start: int
    end: int


class ByteSegment(NamedTuple):
    """A part of one read. start, end: its bytes in that. here: they are an event's that was asked for."""

    start: int
    end: int
    here: bool


def spans(reads: Sequence[Read], indexes: Collection[int]) -> dict[int, ByteSpan]:
    """Where the frames of these indexes (Received.index) lie, with their chunk's framing.

    Of a frame in several reads it is its part of the last, which completed it. Those that there are not, are
    left out.
    """
    decoder = FullDecoder()
    ends = list(accumulate(len(decoder.feed(read)) for read in reads))  # frames there are after each read
    decoder, found = FullDecoder(), dict[int, ByteSpan]()
    first = 0
    for number, (read, end) in enumerate(zip(reads, ends, strict=True)):
        if any(first <= index < end for index in indexes):
            found.update((span[0], span[1]) for span in _in_lines(decoder, read, number, first))
        else:
            decoder.feed(read)
        first = end
    return {index: span for index, span in found.items() if index in indexes}


def _in_lines(decoder: FullDecoder, read: Read, number: int, index: int) -> list[tuple[int, ByteSpan]]:
    """Feed a read line by line, and see which of them completes which frame. index: of its first frame."""
    found: list[tuple[int, ByteSpan]] = []
    start = end = 0
    for line in _LINE.findall(read.data):
        had_head = decoder.head_ns is not None
        completed = decoder.feed(Read(read.arrival_ns, read.lag_ns, line))
        if found and start == end and line == _CRLF:  # the end of its chunk
            last, span = found[-1]
            found[-1] = last, span._replace(end=end + len(line))
            start = end + len(line)
        end += len(line)
        if not had_head and decoder.head_ns is not None:
            start = end
        for _ in completed:
            found.append((index + len(found), ByteSpan(number, start, end)))
            start = end
    return found


def around(data: bytes, here: Sequence[ByteSpan], limit: int) -> list[ByteSegment]:
    """The bytes of one read that are to be shown: about `limit` of them, whole lines, around those spans of it.

    What lies between two pieces, before the first and after the last, is left out.
    """
    each = limit // max(1, len(here))
    windows: list[list[int]] = []
    for span in sorted(here):
        start, end = _window(data, span, each)
        if windows and start <= windows[-1][1]:
            windows[-1][1] = max(end, windows[-1][1])
        else:
            windows.append([start, end])
    return [piece for start, end in windows for piece in _parted(start, end, sorted(here))]


def _window(data: bytes, span: ByteSpan, size: int) -> tuple[int, int]:
    """`size` bytes with the span in their middle, or as much of it as there is room for, from its beginning."""
    room = max(0, size - (span.end - span.start))
    start = max(0, min(span.start - room // 2, len(data) - size))
    end = min(len(data), start + size)
    if start:
        start = min(data.find(b"\n", start - 1, span.start) + 1 or start, span.start)
    if end < len(data) and span.end < end:
        end = max(data.rfind(b"\n", span.end, end) + 1, span.end)
    return start, end


def _parted(start: int, end: int, here: Sequence[ByteSpan]) -> list[ByteSegment]:
    """A window as pieces: those of the spans, and what lies between them."""
    found: list[ByteSegment] = []
    for span in here:
        first, last = max(start, span.start), min(end, span.end)
        if first < last:
            if start < first:
                found.append(ByteSegment(start, first, here=False))
            found.append(ByteSegment(first, last, here=True))
            start = last
    return [*found, ByteSegment(start, end, here=False)] if start < end else found
