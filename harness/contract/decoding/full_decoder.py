"""The full decoder: decodes any response into its head and frames."""

from __future__ import annotations

from collections.abc import Iterable

from harness.contract.decoding.decoded_frame import DecodedFrame, decode_frame
from harness.contract.decoding.read_log import ReadLog
from harness.profiles.workflow_actions.event_id import StreamId
from harness.profiles.workflow_actions.events import RunEvent
from harness.profiles.workflow_actions.identity import EventIdentity
from harness.protocol.http1 import HttpSyntaxError, ResponseHead, ResponseParser
from harness.protocol.sse import FrameTooLargeError, SseDecoder


class FullDecoder:
    """A Decoder that makes every frame. frames: all so far, comments included."""

    can_reuse_connection = False  # a response that is not regular is not trusted to end where it says
    is_regular = False

    def __init__(self) -> None:
        self.frames: list[DecodedFrame] = []
        self.events = 0
        self.run_events = 0
        self.terminals = 0
        self.terminal: RunEvent | None = None
        self.first_id: StreamId | None = None
        self.head_ns: int | None = None
        self.first_event_ns: int | None = None
        self.first_id_ns: int | None = None
        self.terminal_ns: int | None = None
        self.malformed: str | None = None
        self._http = ResponseParser()
        self._sse: SseDecoder | None = None

    @property
    def head(self) -> ResponseHead | None:
        """Status and header fields; None until they are complete."""
        return self._http.head

    @property
    def complete(self) -> bool:
        """Whether the HTTP message is complete."""
        return self._http.complete

    @property
    def pending(self) -> bytes:
        """Bytes of an event that is not complete: its blank line is missing."""
        return b"" if self._sse is None else self._sse.pending

    def take_chunk(self, data: bytes) -> int | None:  # noqa: ARG002 - only the fast decoder has this shortcut
        return None

    def feed(self, arrival_ns: int, data: bytes) -> int:
        """Decode one read; returns the number of tokens with content, those before malformed bytes too."""
        if self.malformed:
            return 0
        try:
            body = self._http.feed(data)
        except HttpSyntaxError as problem:
            body, self.malformed = problem.body, str(problem)
        if self.head_ns is None and self._http.head is not None:
            self._on_head(self._http.head, arrival_ns)
        return self._on_body(body, arrival_ns) if body else 0

    def end_of_connection(self) -> None:
        """The server closed its side."""
        self._http.end_of_connection()

    def close(self) -> None:
        """No more reads follow."""
        self._http.close()

    def identities(self, log: ReadLog) -> tuple[EventIdentity, ...]:  # noqa: ARG002 - it has the frames
        """The identity of each event."""
        return tuple(frame.identity for frame in self.frames if frame.is_event)

    def _on_head(self, head: ResponseHead, arrival_ns: int) -> None:
        self.head_ns = arrival_ns
        # A 200 of any media type is read as a stream, so that every rule can decide about it.
        if head.status == 200 or "event-stream" in (head.value("content-type") or "").lower():
            self._sse = SseDecoder()

    def _on_body(self, body: bytes, arrival_ns: int) -> int:
        if self._sse is None:
            return 0
        try:
            frames = self._sse.feed(body)
        except FrameTooLargeError as problem:
            frames, self.malformed = problem.frames, str(problem)
        first = len(self.frames)
        new = [decode_frame(first + offset, arrival_ns, frame) for offset, frame in enumerate(frames)]
        self.frames += new
        return self._count(new)

    def _count(self, frames: Iterable[DecodedFrame]) -> int:
        tokens = 0
        for frame in frames:
            if not frame.is_event:
                continue
            self.events += 1
            self.run_events += frame.event is not None
            tokens += frame.has_content
            if self.first_event_ns is None:
                self.first_event_ns = frame.arrival_ns
            if frame.is_terminal:
                self.terminals += 1
                if self.terminal is None:
                    self.terminal, self.terminal_ns = frame.event, frame.arrival_ns
            if self.first_id is None and frame.stream_id is not None:
                self.first_id, self.first_id_ns = frame.stream_id, frame.arrival_ns
        return tokens
