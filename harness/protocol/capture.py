"""Reads recorded answers: what ``curl -i -N --raw`` prints, a body alone, or a HAR file (HTTP Archive 1.2).

They may be from an unknown source: a file of a few kilobytes can stand for terabytes, or for millions of events. What
exceeds the limits here is refused.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from harness.booleans import is_whole_number
from harness.protocol.content_coding import BodyDecoder
from harness.protocol.http1 import HttpSyntaxError, ResponseParser
from harness.protocol.memory_cost import document_cost, frame_cost
from harness.protocol.sse import Frame, FrameTooLargeError, SseDecoder
from harness.protocol.strict_json import loads

_HEAD = re.compile(rb"HTTP/(?P<version>[0-9.]+) (?P<status>[0-9]{3})[^\n]*\r?\n")
_BLANK_LINE = re.compile(rb"\r?\n\r?\n")
#: What a line of an event stream starts with, after its BOM.
_STREAM_LINE = re.compile(rb"(?:\xef\xbb\xbf)?(?:data|event|id|retry)?(?::|\r|\n)")
EVENT_STREAM = "text/event-stream"

MAX_EVENTS = 50_000  # of all answers in a file, comments included
MAX_LINES = 1_000_000
MAX_STREAMS = 1000
_MIB = 2**20
_MAX_EVENT_BYTES = 8 * _MIB
_MAX_EVENT_LINES = 50_000
_MAX_FRAMES_BYTES = 256 * _MIB  # in memory
_MAX_BODY_BYTES = 64 * _MIB  # without its codings
_MAX_DOCUMENT_BYTES = 256 * _MIB  # of a HAR file, in memory
_MAX_HEAD_BYTES = 256 * 1024
_AT_ONCE_BYTES = 65_536  # between two comparisons with the limits
_LABEL_CHARACTERS = 200


class CaptureError(ValueError):
    """The bytes are not a recorded answer. The message is part of a sentence about the file."""


@dataclass(frozen=True, slots=True)
class CapturedAnswer:
    """One answer. status and media_type: None if only the body was recorded. is_complete: the message ended properly.

    label: which one of several in a file, otherwise empty. frames: of an event stream, otherwise empty.
    """

    status: int | None
    media_type: str | None
    frames: tuple[Frame, ...]
    is_complete: bool
    label: str = ""

    @property
    def is_stream(self) -> bool:
        """Whether it is an event stream that the server gave as an answer to a request that it accepted."""
        return (self.status is None or self.status < 300) and self.media_type in {None, EVENT_STREAM}


def read_capture(data: bytes) -> list[CapturedAnswer]:
    """The answers in a file, in order. Raises CaptureError if it has none, or exceeds a limit."""
    reader = _StreamReader()
    if data.lstrip()[:1] == b"{":
        return list(_har(data, reader))
    if head := _HEAD.match(data, 0, _MAX_HEAD_BYTES):
        return [_with_head(data, head, reader)]
    if _STREAM_LINE.match(data.lstrip(b"\r\n")):
        return [CapturedAnswer(None, None, reader.frames(_slices(data)), is_complete=True)]
    raise CaptureError("is not a recorded answer: record one with curl -i -N --raw, or save a HAR file")


class _StreamReader:
    """Decodes the streams of one file, which share the limits."""

    def __init__(self) -> None:
        self._events = 0
        self._lines = 0
        self._bytes = 0

    def frames(self, pieces: Iterable[bytes]) -> tuple[Frame, ...]:
        """The frames of a stream that consists of these pieces. Raises CaptureError."""
        decoder = SseDecoder(_MAX_EVENT_BYTES, _MAX_EVENT_LINES)
        frames: list[Frame] = []
        lines_before = self._lines
        for piece in pieces:
            try:
                new = decoder.feed(piece)
            except FrameTooLargeError:
                size = f"{_MAX_EVENT_BYTES // _MIB} MiB"
                raise CaptureError(
                    f"has an event of more than {size} or {_MAX_EVENT_LINES:,} lines, the most that is read"
                ) from None
            frames += new
            self._lines = lines_before + decoder.line_count
            self._count(new)
        return tuple(frames)

    def _count(self, frames: list[Frame]) -> None:
        self._events += len(frames)
        self._bytes += sum(frame_cost(frame.raw, has_data=frame.dispatches) for frame in frames)
        if self._events > MAX_EVENTS:
            raise CaptureError(f"has more than {MAX_EVENTS:,} events and comments, the most that are read")
        if self._lines > MAX_LINES:
            raise CaptureError(f"has more than {MAX_LINES:,} lines, the most that are read")
        if self._bytes > _MAX_FRAMES_BYTES:
            size = f"{_MAX_FRAMES_BYTES // _MIB} MiB"
            raise CaptureError(f"has events that take more than {size} in memory, the most that are read")


def _slices(data: bytes) -> Iterator[bytes]:
    for start in range(0, len(data), _AT_ONCE_BYTES):
        yield data[start : start + _AT_ONCE_BYTES]


def _with_head(data: bytes, head: re.Match[bytes], reader: _StreamReader) -> CapturedAnswer:
    if head["version"] not in {b"1.0", b"1.1"}:  # curl prints the body of HTTP/2 and HTTP/3 without frames
        return _head_and_body(data, int(head["status"]), reader)
    parser = ResponseParser()
    is_decoded = False
    body = bytearray()
    try:
        for piece in _slices(data):
            body += parser.feed(piece)
    except HttpSyntaxError as problem:
        body += problem.body
        is_decoded = not body  # curl without --raw removes the chunks, and leaves their header field
    parser.end_of_connection()
    if parser.head is None:
        raise _no_head(data)
    if is_decoded:
        return _head_and_body(data, parser.head.status, reader)
    return CapturedAnswer(
        parser.head.status,
        _media_type(parser.head.value("content-type")),
        reader.frames(_without_codings(bytes(body), parser.head.body_codings)),
        is_complete=parser.complete,
    )


def _no_head(data: bytes) -> CaptureError:
    if b"\r" not in data[:_MAX_HEAD_BYTES]:
        return CaptureError(
            "has a response head whose lines end without CR: write what curl prints to the file itself "
            "(curl … > answer.txt); an editor or a terminal changes it"
        )
    return CaptureError("has no complete response head")


def _without_codings(body: bytes, codings: tuple[tuple[str, str], ...]) -> Iterator[bytes]:
    decoder = BodyDecoder(codings, _MAX_BODY_BYTES)
    for piece in _slices(body):
        for decoded in decoder.feed(piece):
            yield from _slices(decoded)
        if decoder.limit is not None:
            raise CaptureError(f"is too large: {decoder.limit}, the most that is read")


def _head_and_body(data: bytes, status: int, reader: _StreamReader) -> CapturedAnswer:
    """An answer whose body stands as it is after the blank line."""
    end = _BLANK_LINE.search(data, 0, _MAX_HEAD_BYTES)
    if end is None:
        raise _no_head(data)
    fields = dict(
        line.decode("latin-1").lower().split(":", 1)
        for line in data[: end.start()].splitlines()[1:]
        if b":" in line
    )
    frames = reader.frames(_slices(data[end.end() :]))
    return CapturedAnswer(status, _media_type(fields.get("content-type")), frames, is_complete=True)


def _media_type(value: str | None) -> str:
    return (value or "").partition(";")[0].strip().lower()[:_LABEL_CHARACTERS]


def _har(data: bytes, reader: _StreamReader) -> Iterator[CapturedAnswer]:
    entries = _har_entries(data)
    if entries is None:
        raise CaptureError("is JSON, but no HAR file: it has no log.entries")
    found = [pair for pair in enumerate(entries, 1) if _is_stream(pair[1])]
    if len(found) > MAX_STREAMS:
        raise CaptureError(f"has more than {MAX_STREAMS:,} event streams, the most that are read")
    answers = [answer for place, entry in found if (answer := _entry(entry, place, reader))]
    if not answers:
        raise CaptureError(f"has no entry with an answer of the type {EVENT_STREAM}")
    yield from answers


def _har_entries(data: bytes) -> list[Any] | None:
    """The entries of a HAR file; None if it is none. Raises CaptureError if its value would not fit into memory."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return None
    if document_cost(text) > _MAX_DOCUMENT_BYTES:
        size = f"{_MAX_DOCUMENT_BYTES // _MIB} MiB"
        raise CaptureError(f"takes more than {size} in memory, the most that is read: save fewer requests")
    try:
        entries = loads(text)["log"]["entries"]
    except (ValueError, TypeError, KeyError):
        return None
    return entries if isinstance(entries, list) else None


def _is_stream(entry: Any) -> bool:
    try:
        return _media_type(entry["response"]["content"]["mimeType"]) == EVENT_STREAM
    except (TypeError, KeyError, AttributeError):
        return False


def _entry(entry: Any, place: int, reader: _StreamReader) -> CapturedAnswer | None:
    """The answer of an entry with an event stream; None if it lacks its content."""
    try:
        content, status, url = (
            entry["response"]["content"],
            entry["response"]["status"],
            entry["request"]["url"],
        )
        text = content.get("text") or ""
        is_packed = content.get("encoding") == "base64"
        body = base64.b64decode(text, validate=True) if is_packed else text.encode()
    except (TypeError, KeyError, AttributeError, ValueError, binascii.Error):
        return None
    if not is_whole_number(status) or not isinstance(url, str):
        return None
    label = f"entry {place}, {url[:_LABEL_CHARACTERS]}{'…' if len(url) > _LABEL_CHARACTERS else ''}"
    return CapturedAnswer(status, EVENT_STREAM, reader.frames(_slices(body)), is_complete=True, label=label)
