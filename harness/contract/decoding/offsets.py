"""Finds the bytes of an event in the reads of a response, to show them. A read may contain hundreds of events."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from itertools import pairwise
from typing import NamedTuple

from harness.contract.decoding.full_decoder import FullDecoder
from harness.contract.decoding.read_log import Read

_LINE = re.compile(rb"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+")
_CRLF = b"\r\n"


class ByteSpan(NamedTuple):
    """The bytes `start` to `end` (exclusive) of one read. read: its number, from 0."""

    read: int
    start: int
    end: int


class ByteSegment(NamedTuple):
    """A part of one read. start, end: its bytes. here: whether they belong to one of the requested events."""

    start: int
    end: int
    here: bool


def spans(reads: Sequence[Read], indexes: Collection[int]) -> dict[int, ByteSpan]:
    """The spans of the frames with these indexes (DecodedFrame.index), with their chunk framing.

    For a frame in several reads it is the part in the last one, which completed it. Unknown indexes are left out.
    """
    frames_before = _frame_counts(reads, max(indexes, default=-1))
    decoder, spans_by_index = FullDecoder(keeps_frames=False), dict[int, ByteSpan]()
    for number, (read, (first, end)) in enumerate(zip(reads, pairwise(frames_before), strict=False)):
        if any(first <= index < end for index in indexes):
            spans_by_index.update(_spans_in_read(decoder, read, number))
        else:
            decoder.feed(read.arrival_ns, read.data)
    return {index: span for index, span in spans_by_index.items() if index in indexes}


def _frame_counts(reads: Sequence[Read], last: int) -> list[int]:
    """The number of frames completed before each read, up to the read that completes the frame with the index `last`.

    What follows is not decoded: a server decides how much that is.
    """
    decoder, counts = FullDecoder(keeps_frames=False), [0]
    for read in reads:
        if counts[-1] > last:
            break
        decoder.feed(read.arrival_ns, read.data)
        counts.append(decoder.frame_count)
    return counts


def _spans_in_read(decoder: FullDecoder, read: Read, number: int) -> dict[int, ByteSpan]:
    """Feed a read line by line, to see which line completes which frame; the span of each by its index."""
    found: dict[int, ByteSpan] = {}
    last: int | None = None
    start = end = 0
    for line in _LINE.findall(read.data):
        had_head = decoder.head_ns is not None
        first = decoder.frame_count
        decoder.feed(read.arrival_ns, line)
        if last is not None and start == end and line == _CRLF:  # the end of its chunk
            found[last] = found[last]._replace(end=end + len(line))
            start = end + len(line)
        end += len(line)
        if not had_head and decoder.head_ns is not None:
            start = end
        for last in range(first, decoder.frame_count):
            found[last] = ByteSpan(number, start, end)
            start = end
    return found


def around(data: bytes, here: Sequence[ByteSpan], limit: int) -> list[ByteSegment]:
    """The segments of one read to show: about `limit` bytes of whole lines around its spans `here`.

    The bytes before, between and after the segments are left out.
    """
    each = limit // max(1, len(here))
    windows: list[list[int]] = []
    for span in sorted(here):
        start, end = _window(data, span, each)
        if windows and start <= windows[-1][1]:
            windows[-1][1] = max(end, windows[-1][1])
        else:
            windows.append([start, end])
    return [segment for start, end in windows for segment in _segments(start, end, sorted(here))]


def _window(data: bytes, span: ByteSpan, size: int) -> tuple[int, int]:
    """About `size` bytes around the span; only the beginning of a span that is longer."""
    room = max(0, size - (span.end - span.start))
    start = max(0, min(span.start - room // 2, len(data) - size))
    end = min(len(data), start + size)
    if start:
        start = min(data.find(b"\n", start - 1, span.start) + 1 or start, span.start)
    if end < len(data) and span.end < end:
        end = max(data.rfind(b"\n", span.end, end) + 1, span.end)
    return start, end


def _segments(start: int, end: int, here: Sequence[ByteSpan]) -> list[ByteSegment]:
    """A window, split into the spans and the bytes between them."""
    found: list[ByteSegment] = []
    for span in here:
        first, last = max(start, span.start), min(end, span.end)
        if first < last:
            if start < first:
                found.append(ByteSegment(start, first, here=False))
            found.append(ByteSegment(first, last, here=True))
            start = last
    return [*found, ByteSegment(start, end, here=False)] if start < end else found
