"""Decoder for server-sent events, after WHATWG HTML 9.2.6 ("Interpreting an event stream").

It returns each block once the line end of its blank line has arrived (even if that is a lone CR), takes O(bytes) for
any split of the bytes, since each byte is searched for a line end once, and keeps the block's bytes as evidence.

A *frame* is one block of lines up to a blank line, whether or not a browser would dispatch an event for it: a block of
comments, or with only an id, is a frame without data.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from propcache.api import cached_property

MAX_RETRY_MS = 10**18
DEFAULT_EVENT_NAME = "message"  # of an event without an `event` field

_LINE_END = re.compile(rb"[\r\n]")
_LINE_ENDS = re.compile(rb"\r\n|\r|\n")
# Whole blocks of comments; the quantifiers give nothing back, so the time is linear.
_COMMENT_BLOCKS = re.compile(rb"(?:(?::[^\r\n]*+\n)++\n)++|(?:(?::[^\r\n]*+\r\n)++\r\n)++")
_BOM = b"\xef\xbb\xbf"
_COLON = 0x3A
_DIGITS = re.compile(r"[0-9]+", re.ASCII)


class FrameTooLargeError(ValueError):
    """A block exceeds a limit; decoding stops. frames: those completed by the same bytes before it.

    has_many_lines: the limit is that of lines, not of bytes.
    """

    def __init__(self, message: str, frames: list[Frame], *, has_many_lines: bool = False) -> None:
        super().__init__(message)
        self.frames = frames
        self.has_many_lines = has_many_lines


class Field(NamedTuple):
    """One line of a frame. A comment has an empty name, and its text as value."""

    name: str
    value: str


@dataclass(frozen=True)
class Frame:
    """One block of the stream.

    raw: its bytes with line ends, without the final blank line.
    data: the joined ``data`` lines; None if there are none.
    event: the ``event`` field; empty if absent, which means ``message``.
    id: the id set by this block; None if it sets none, or one with a NUL, which is ignored.
    last_event_id: the id a browser would report for this block, which may come from an earlier one.
    retry_ms: the reconnection time set by this block, in milliseconds, at most MAX_RETRY_MS.
    """

    raw: bytes
    data: str | None
    event: str
    id: str | None
    last_event_id: str
    retry_ms: int | None

    @property
    def dispatches(self) -> bool:
        """Whether a browser would dispatch an event for it: only with a data line."""
        return self.data is not None

    @cached_property
    def fields(self) -> tuple[Field, ...]:
        """Every line of the block, including comments."""
        return tuple(_field(line) for line in lines(self.raw))

    @property
    def comments(self) -> tuple[str, ...]:
        """The text of each comment line."""
        return tuple(value for name, value in self.fields if not name)


def lines(raw: bytes) -> Iterator[bytes]:
    """The lines of a block, without line ends (CRLF, LF or CR); the last line may lack one."""
    parts = _LINE_ENDS.split(raw)
    if parts and not parts[-1]:
        parts.pop()
    yield from parts


def _field(line: bytes) -> Field:
    name, _, value = line.decode("utf-8", "replace").partition(":")
    return Field(name, value.removeprefix(" "))


def _milliseconds(digits: str) -> int:
    digits = digits.lstrip("0")  # int() raises for thousands of digits, which a server may send
    return int(digits or "0") if len(digits) < len(str(MAX_RETRY_MS)) else MAX_RETRY_MS


class SseDecoder:
    """Incremental decoder of one event stream.

    `feed` takes body bytes in any split and returns the frames they complete. A block without its blank line stays in
    `pending`; a browser discards it. comment_lines: how many have ended. A comment, unlike an event, needs no blank
    line. line_count: how many lines have ended, blank ones too. skips_comments: whether blocks of comments are only
    counted, which takes little time.
    """

    def __init__(self, max_frame_bytes: int = sys.maxsize, max_frame_lines: int = sys.maxsize) -> None:
        self.last_event_id = ""
        self.comment_lines = 0
        self.line_count = 0
        self.skips_comments = False
        self._max_frame_bytes = max_frame_bytes
        self._max_frame_lines = max_frame_lines
        self._block = bytearray()  # lines of the open block, then the unfinished line
        self._block_start = 0  # of the open block; not 0 only inside `feed`
        self._block_lines = 0
        self._line_start = 0  # of the unfinished line
        self._searched = 0  # there is no line end in _block[_line_start:_searched]
        self._after_cr = False  # a following LF belongs to the CR before it
        self._at_start = True  # a BOM may still follow

    @property
    def pending(self) -> bytes:
        """Bytes of the incomplete block."""
        return bytes(self._block)

    @property
    def pending_bytes(self) -> int:
        """The length of `pending`."""
        return len(self._block)

    def feed(self, data: bytes) -> list[Frame]:
        """Decode the next bytes of the body, return the frames that they complete.

        Raises FrameTooLargeError if a block exceeds the limit, and on every later call.
        """
        if len(self._block) > self._max_frame_bytes or self._block_lines > self._max_frame_lines:
            raise self._too_large([])
        self._block += data
        if self._at_start and not self._skip_bom():
            return []
        frames: list[Frame] = []
        try:
            self._end_lines(frames)
        finally:
            self._drop_ended_blocks()
        if len(self._block) > self._max_frame_bytes:
            raise self._too_large(frames)
        return frames

    def _end_lines(self, frames: list[Frame]) -> None:
        """Process every line end. Raises FrameTooLargeError."""
        block = self._block
        while True:
            if self._after_cr and len(block) > self._line_start:
                self._skip_lf()
            if self.skips_comments and self._line_start == self._block_start:
                self._skip_comments()
            end = _LINE_END.search(block, self._searched)
            if end is None:
                break
            if self._line_start - self._block_start > self._max_frame_bytes:
                raise self._too_large(frames)
            if frame := self._end_line(end.start()):
                frames.append(frame)
            elif self._block_lines > self._max_frame_lines:
                raise self._too_large(frames)
        self._searched = len(block)

    def _drop_ended_blocks(self) -> None:
        """Once for all blocks that ended: each deletion moves what follows."""
        start, self._block_start = self._block_start, 0
        if start:
            del self._block[:start]
            self._line_start -= start
            self._searched -= start

    def _too_large(self, frames: list[Frame]) -> FrameTooLargeError:
        if self._block_lines > self._max_frame_lines:
            return FrameTooLargeError(
                f"an event exceeds {self._max_frame_lines} lines without a blank line",
                frames,
                has_many_lines=True,
            )
        return FrameTooLargeError(
            f"an event exceeds {self._max_frame_bytes} bytes without a blank line", frames
        )

    def _skip_bom(self) -> bool:
        """Drop a leading BOM. False while the bytes so far may be the start of one."""
        if self._block.startswith(_BOM):
            del self._block[:3]
        elif _BOM.startswith(self._block):
            return False
        self._at_start = False
        return True

    def _skip_lf(self) -> None:
        self._after_cr = False
        if self._block[self._line_start] != 0x0A:
            return
        if self._line_start == self._block_start:  # part of the previous block's blank line
            self._block_start += 1
        self._line_start += 1  # inside a block it stays in the evidence
        self._searched = self._line_start

    def _skip_comments(self) -> None:
        found = _COMMENT_BLOCKS.match(self._block, self._line_start)
        if found is None:
            return
        text = found[0]
        lines = text.count(b"\n")
        self.line_count += lines
        self.comment_lines += lines - text.count(b"\r\n\r\n" if b"\r" in text else b"\n\n")
        self._block_start = self._line_start = self._searched = found.end()

    def _end_line(self, end: int) -> Frame | None:
        """Process the line end at `end`. Returns the frame if the line was blank and ends a block."""
        block = self._block
        self._after_cr = block[end] == 0x0D
        self.line_count += 1
        if end > self._line_start:
            self.comment_lines += block[self._line_start] == _COLON
            self._block_lines += 1
            self._line_start = self._searched = end + 1
            return None
        raw = bytes(block[self._block_start : self._line_start])
        self._block_lines = 0
        self._block_start = self._line_start = self._searched = end + 1
        return self._frame(raw) if raw else None

    def _frame(self, raw: bytes) -> Frame:
        data: list[str] = []
        event = ""
        own_id: str | None = None
        retry_ms: int | None = None
        for name, value in map(_field, lines(raw)):
            if name == "data":
                data.append(value)
            elif name == "id":
                if "\0" not in value:
                    own_id = self.last_event_id = value
            elif name == "event":
                event = value
            elif name == "retry" and _DIGITS.fullmatch(value):
                retry_ms = _milliseconds(value)
        joined = "\n".join(data) if data else None
        return Frame(raw, joined, event, own_id, self.last_event_id, retry_ms)
