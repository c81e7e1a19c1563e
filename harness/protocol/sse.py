"""Server-Sent Events, decoded to the letter of WHATWG HTML 9.2.6 ("Interpreting an event stream").

It must do three things at once. Give each block as soon as the line end of its blank line is in, also
where that is a lone CR. Cost O(bytes), however the bytes were cut: every byte is searched for a line
end once. Keep the block's own bytes, because a verdict without its evidence is an opinion.

A *frame* here is one block of lines up to a blank line, whether or not a browser would dispatch an
event for it: a block of comments, or of an id alone, is a frame without data.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from propcache.api import cached_property

MAX_FRAME_BYTES = 8 * 1024 * 1024
MAX_RETRY_MS = 10**18

_LINE_END = re.compile(rb"[\r\n]")
_LINE_ENDS = re.compile(rb"\r\n|\r|\n")
_BOM = b"\xef\xbb\xbf"
_DIGITS = re.compile(r"[0-9]+", re.ASCII)


class FrameTooLargeError(ValueError):
    """A block grew past the limit without a blank line: memory is bounded, so the stream is given up.

    `frames` are those that the same bytes completed before it.
    """

    def __init__(self, message: str, frames: list[Frame]) -> None:
        super().__init__(message)
        self.frames = frames


class Field(NamedTuple):
    """One line of a frame. A comment has the name ``""`` and its text as value."""

    name: str
    value: str


@dataclass(frozen=True)
class Frame:
    """One block of the stream.

    raw: its bytes with their line ends, without the blank line that ended it.
    data: the joined ``data`` lines; None when there was no such line.
    event: the ``event`` field; ``""`` when absent, which means ``message``.
    id: the id this block set; None when it set none (or one with a NUL, which is ignored).
    last_event_id: the id a browser would report for this block, kept from earlier ones where it set none.
    retry_ms: the reconnection time this block set, in milliseconds; what is larger reads as MAX_RETRY_MS.
    """

    raw: bytes
    data: str | None
    event: str
    id: str | None
    last_event_id: str
    retry_ms: int | None

    @property
    def dispatches(self) -> bool:
        """Whether a browser would dispatch an event for it: only where there was a data line."""
        return self.data is not None

    @cached_property
    def fields(self) -> tuple[Field, ...]:
        """Every line of the block in order, comments too."""
        return tuple(_field(line) for line in lines(self.raw))

    @property
    def comments(self) -> tuple[str, ...]:
        """The texts of its comment lines."""
        return tuple(value for name, value in self.fields if not name)


def lines(raw: bytes) -> Iterator[bytes]:
    """The lines of a block, without their ends (CRLF, LF or CR); a last line needs no end."""
    parts = _LINE_ENDS.split(raw)
    if parts and not parts[-1]:
        parts.pop()
    yield from parts


def _field(line: bytes) -> Field:
    name, _, value = line.decode("utf-8", "replace").partition(":")
    return Field(name, value.removeprefix(" "))


def _milliseconds(digits: str) -> int:
    digits = digits.lstrip("0")  # int() refuses thousands of digits, and a server may send them
    return int(digits or "0") if len(digits) < len(str(MAX_RETRY_MS)) else MAX_RETRY_MS


class SseDecoder:
    """Incremental decoder of one event stream.

    `feed` takes body bytes in any cut and returns the frames they complete. What never got its blank
    line stays in `pending`; a browser discards it.
    """

    def __init__(self, max_frame_bytes: int = MAX_FRAME_BYTES) -> None:
        self.last_event_id = ""
        self._max_frame_bytes = max_frame_bytes
        self._block = bytearray()  # lines of the open block, then the unfinished line
        self._line_start = 0  # of the unfinished line
        self._searched = 0  # no line end stands in _block[_line_start:_searched]
        self._after_cr = False  # an LF that comes next belongs to the CR before it
        self._at_start = True  # a BOM may still come

    @property
    def pending(self) -> bytes:
        """Bytes of the block that is still open."""
        return bytes(self._block)

    def feed(self, data: bytes) -> list[Frame]:
        """Take the next bytes of the body, return the frames that they complete.

        Raises FrameTooLargeError when a block outgrows the limit, and from then on.
        """
        if len(self._block) > self._max_frame_bytes:
            raise self._too_large([])
        self._block += data
        if self._at_start and not self._pass_bom():
            return []
        frames: list[Frame] = []
        while True:
            if self._after_cr and len(self._block) > self._line_start:
                self._swallow_lf()
            end = _LINE_END.search(self._block, self._searched)
            if end is None:
                break
            if self._line_start > self._max_frame_bytes:
                raise self._too_large(frames)
            if frame := self._end_line(end.start()):
                frames.append(frame)
        self._searched = len(self._block)
        if len(self._block) > self._max_frame_bytes:
            raise self._too_large(frames)
        return frames

    def _too_large(self, frames: list[Frame]) -> FrameTooLargeError:
        return FrameTooLargeError(
            f"an event is larger than {self._max_frame_bytes} bytes and has no blank line yet", frames
        )

    def _pass_bom(self) -> bool:
        """Drop a leading BOM. False while the bytes so far could still become one."""
        if self._block.startswith(_BOM):
            del self._block[:3]
        elif _BOM.startswith(self._block):
            return False
        self._at_start = False
        return True

    def _swallow_lf(self) -> None:
        self._after_cr = False
        if self._block[self._line_start] != 0x0A:
            return
        if self._line_start:  # inside a block the LF stays in the evidence
            self._line_start += 1
        else:  # it ended the blank line of the block before
            del self._block[0]
        self._searched = self._line_start

    def _end_line(self, end: int) -> Frame | None:
        """A line end stands at `end`. Returns the frame when the line was blank and there was a block."""
        block = self._block
        self._after_cr = block[end] == 0x0D
        if end > self._line_start:
            self._line_start = self._searched = end + 1
            return None
        raw = bytes(block[: self._line_start])
        del block[: end + 1]
        self._line_start = self._searched = 0
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
