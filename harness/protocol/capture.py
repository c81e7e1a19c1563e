"""Reads recorded answers: what ``curl -i -N --raw`` prints, a body alone, or a HAR file (HTTP Archive 1.2)."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from harness.protocol.content_coding import BodyDecoder
from harness.protocol.http1 import HttpSyntaxError, ResponseParser
from harness.protocol.sse import Frame, SseDecoder
from harness.protocol.strict_json import loads

_HEAD = re.compile(rb"HTTP/(?P<version>[0-9.]+) (?P<status>[0-9]{3})[^\n]*\r?\n")
_BLANK_LINE = re.compile(rb"\r?\n\r?\n")
#: What a line of an event stream starts with, after its BOM.
_STREAM_LINE = re.compile(rb"(?:\xef\xbb\xbf)?(?:data|event|id|retry)?(?::|\r|\n)")
EVENT_STREAM = "text/event-stream"


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
    """The answers in a file, in order. Raises CaptureError if it has none."""
    if data.lstrip()[:1] == b"{":
        return list(_har(data))
    if head := _HEAD.match(data):
        return [_with_head(data, head)]
    if _STREAM_LINE.match(data.lstrip(b"\r\n")):
        return [CapturedAnswer(None, None, tuple(SseDecoder().feed(data)), is_complete=True)]
    raise CaptureError("is not a recorded answer: record one with curl -i -N --raw, or save a HAR file")


def _with_head(data: bytes, head: re.Match[bytes]) -> CapturedAnswer:
    if head["version"] not in {b"1.0", b"1.1"}:  # curl prints the body of HTTP/2 and HTTP/3 without frames
        return _head_and_body(data, int(head["status"]))
    parser = ResponseParser()
    is_decoded = False
    try:
        body = parser.feed(data)
    except HttpSyntaxError as problem:
        body = problem.body
        is_decoded = not body  # curl without --raw removes the chunks, and leaves their header field
    parser.end_of_connection()
    if parser.head is None:
        raise CaptureError("has no complete response head")
    if is_decoded:
        return _head_and_body(data, parser.head.status)
    decoder = BodyDecoder(parser.head.body_codings)
    decoded = b"".join(decoder.feed(body))
    return CapturedAnswer(
        parser.head.status,
        _media_type(parser.head.value("content-type")),
        tuple(SseDecoder().feed(decoded)),
        is_complete=parser.complete,
    )


def _head_and_body(data: bytes, status: int) -> CapturedAnswer:
    """An answer whose body stands as it is after the blank line."""
    end = _BLANK_LINE.search(data)
    if end is None:
        raise CaptureError("has no complete response head")
    fields = dict(
        line.decode("latin-1").lower().split(":", 1)
        for line in data[: end.start()].splitlines()[1:]
        if b":" in line
    )
    frames = tuple(SseDecoder().feed(data[end.end() :]))
    return CapturedAnswer(status, _media_type(fields.get("content-type")), frames, is_complete=True)


def _media_type(value: str | None) -> str:
    return (value or "").partition(";")[0].strip().lower()


def _har(data: bytes) -> Iterator[CapturedAnswer]:
    try:
        document = loads(data.decode("utf-8-sig"))
        entries = document["log"]["entries"]
    except (ValueError, TypeError, KeyError):
        raise CaptureError("is JSON, but no HAR file: it has no log.entries") from None
    answers = [answer for place, entry in enumerate(entries, 1) if (answer := _entry(entry, place))]
    if not answers:
        raise CaptureError(f"has no entry with an answer of the type {EVENT_STREAM}")
    yield from answers


def _entry(entry: Any, place: int) -> CapturedAnswer | None:
    """The answer of one entry; None if it is not an event stream or lacks its content."""
    try:
        response = entry["response"]
        content = response["content"]
        media_type = _media_type(content.get("mimeType"))
        text = content.get("text") or ""
        body = base64.b64decode(text) if content.get("encoding") == "base64" else text.encode()
        status, url = int(response["status"]), str(entry["request"]["url"])
    except (TypeError, KeyError, AttributeError, ValueError, binascii.Error):
        return None
    if media_type != EVENT_STREAM:
        return None
    frames = tuple(SseDecoder().feed(body))
    return CapturedAnswer(status, media_type, frames, is_complete=True, label=f"entry {place}, {url}")
