"""What came back, decoded: reads off a connection to the head and the frames of one answer."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from propcache.api import cached_property

from harness.profiles.workflow_actions.event_id import StreamId
from harness.profiles.workflow_actions.events import TERMINAL_TYPES, RunEvent, TokenEvent, parse_run_event
from harness.protocol.http1 import HttpSyntaxError, ResponseHead, ResponseParser
from harness.protocol.sse import Frame, FrameTooLargeError, SseDecoder

_RUN_ID = re.compile(r'"runId"\s*:\s*"(?:[^"\\]|\\.)*"')
_HTTP_409 = re.compile(r"\b409\b")


class Read(NamedTuple):
    """One read off the connection: its bytes (decrypted, HTTP framing included) and when they came.

    arrival_ns: monotonic clock; the kernel's receive stamp where there was one.
    lag_ns: how much later the harness itself got to see them; None without a kernel stamp.
    """

    arrival_ns: int
    lag_ns: int | None
    data: bytes


@dataclass(frozen=True)
class DecodedFrame:
    """One frame as it was received.

    index: its place among the stream's frames. arrival_ns: arrival of the read that completed it.
    event: what its data says; None when it carries no data, or data that is no RunEvent (`problem` says why).
    """

    index: int
    arrival_ns: int
    frame: Frame
    event: RunEvent | None
    problem: str | None

    @cached_property
    def stream_id(self) -> StreamId | None:
        """Its own id as a pair of numbers; None when it has none of that form."""
        if self.frame.id is None:
            return None
        try:
            return StreamId.parse(self.frame.id)
        except ValueError:
            return None

    @property
    def is_event(self) -> bool:
        """Whether a client would see an event for it."""
        return self.frame.dispatches

    @property
    def is_terminal(self) -> bool:
        """Whether it ends the run."""
        return self.event is not None and self.event.type in TERMINAL_TYPES

    @property
    def has_content(self) -> bool:
        """Whether it is a token that carries text: what time to first token waits for."""
        return isinstance(self.event, TokenEvent) and bool(self.event.content)

    @cached_property
    def identity(self) -> tuple[str | None, str | None]:
        """What must be the same wherever the event is seen again: id and data.

        A runId in the terminal event is left out: run-id.constant judges that, and alone.
        """
        data = self.frame.data
        if self.is_terminal and data is not None:
            data = without_run_id(data)
        return self.frame.id, data


def without_run_id(data: str) -> str:
    """A terminal event's data without the value of its runId."""
    return _RUN_ID.sub('"runId":…', data)


def decode_frame(index: int, arrival_ns: int, frame: Frame) -> DecodedFrame:
    """Decode what `frame` says."""
    if not frame.data:
        problem = "the data is empty" if frame.dispatches else None
        return DecodedFrame(index, arrival_ns, frame, None, problem)
    try:
        return DecodedFrame(index, arrival_ns, frame, parse_run_event(frame.data), None)
    except ValueError as problem:
        return DecodedFrame(index, arrival_ns, frame, None, str(problem))


def carries_409(data: str) -> bool:
    """Whether some value in a JSON text is the number 409, or a text that speaks of it."""
    try:
        return _holds_409(json.loads(data))
    except (ValueError, RecursionError):
        return False


def _holds_409(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(map(_holds_409, value.values()))
    if isinstance(value, list):
        return any(map(_holds_409, value))
    if isinstance(value, str):
        return _HTTP_409.search(value) is not None
    return value == 409 and not isinstance(value, bool)


class FullDecoder:
    """Reads in, frames out: HTTP framing and event stream of one answer, incrementally.

    `malformed` says, once it is set, why nothing more can be decoded.
    """

    def __init__(self) -> None:
        self.http = ResponseParser()
        self.sse: SseDecoder | None = None
        self.head_ns: int | None = None
        self.body = bytearray()  # kept for answers that are no event stream
        self.received: list[DecodedFrame] = []
        self.terminal_ns: int | None = None
        self.malformed: str | None = None

    @property
    def complete(self) -> bool:
        """Whether the HTTP message has ended properly."""
        return self.http.complete

    def feed(self, read: Read) -> list[DecodedFrame]:
        """Decode one read; returns the frames that it completed, those before malformed bytes too."""
        if self.malformed:
            return []
        try:
            body = self.http.feed(read.data)
        except HttpSyntaxError as problem:
            body, self.malformed = problem.body, str(problem)
        if self.head_ns is None and self.http.head is not None:
            self._on_head(self.http.head, read.arrival_ns)
        return self._on_body(body, read.arrival_ns) if body else []

    def end_of_connection(self) -> None:
        """The server closed its side."""
        self.http.end_of_connection()

    def _on_head(self, head: ResponseHead, arrival_ns: int) -> None:
        self.head_ns = arrival_ns
        # A success of another type is still read as a stream, so that each judge can say its part.
        if head.status == 200 or "event-stream" in (head.value("content-type") or "").lower():
            self.sse = SseDecoder()

    def _on_body(self, body: bytes, arrival_ns: int) -> list[DecodedFrame]:
        if self.sse is None:
            self.body += body
            return []
        try:
            frames = self.sse.feed(body)
        except FrameTooLargeError as problem:
            frames, self.malformed = problem.frames, str(problem)
        first = len(self.received)
        new = [decode_frame(first + offset, arrival_ns, frame) for offset, frame in enumerate(frames)]
        self.received += new
        if self.terminal_ns is None and any(one.is_terminal for one in new):
            self.terminal_ns = arrival_ns
        return new
