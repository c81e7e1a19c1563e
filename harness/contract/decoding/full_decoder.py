"""The full decoder: decodes any response into its head and frames."""

from __future__ import annotations

from collections.abc import Iterable

from harness.contract.decoding.decoded_frame import DecodedFrame, decode_frame
from harness.contract.decoding.limits import (
    DECODED_AT_ONCE_BYTES,
    LINES_OF_EVENT,
    MAX_COMMENT_BYTES,
    MAX_COMMENT_FRAMES,
    MAX_COMMENTS,
    MAX_DECODED_BYTES,
    MAX_EVENTS,
    MAX_FRAME_BYTES,
    MAX_FRAME_LINES,
    MAX_LINES,
    MAX_RESPONSE_BYTES,
    in_mib,
    too_many_lines,
)
from harness.contract.decoding.memory import MemoryShare
from harness.contract.decoding.read_log import ReadLog
from harness.profiles.event_rules import SIGNS
from harness.profiles.library import default_profile
from harness.profiles.profile import Profile
from harness.profiles.run_event import RunEvent
from harness.profiles.workflow_actions.event_id import StreamId
from harness.profiles.workflow_actions.identity import EventIdentity
from harness.protocol.content_coding import BodyDecoder
from harness.protocol.http1 import HttpSyntaxError, ResponseHead, ResponseParser
from harness.protocol.memory_cost import frame_cost
from harness.protocol.sse import Frame, FrameTooLargeError, SseDecoder

_MOMENT_BYTES = 40  # of one arrival in a list


class FullDecoder:
    """A Decoder that makes every frame. frames: all so far, comments included.

    profile: what its events mean; workflow actions by default. frame_count: how many there were. decoded_bytes: about
    how much memory they take. keeps_frames: False if they are only counted, which needs no memory; the reads can be
    decoded again.
    """

    can_reuse_connection = False  # a response that is not regular is not trusted to end where it says
    is_regular = False

    def __init__(
        self, profile: Profile | None = None, *, keeps_frames: bool = True, share: MemoryShare | None = None
    ) -> None:
        self.profile = profile or default_profile()
        self._share = share
        self.frames: list[DecodedFrame] = []
        self.frame_count = 0
        self.decoded_bytes = 0
        self.keeps_frames = keeps_frames
        self.events = 0
        self.run_events = 0
        self.terminals = 0
        self.terminal: RunEvent | None = None
        self.ends = 0
        self.output_tokens: int | None = None
        self.reasoning_tokens: int | None = None
        self.first_signs_ns: dict[str, int] = {}
        self.run_id: str | None = None
        self.first_id: StreamId | None = None
        self.head_ns: int | None = None
        self.first_event_ns: int | None = None
        self.first_id_ns: int | None = None
        self.terminal_ns: int | None = None
        self.end_ns: int | None = None
        self.malformed: str | None = None
        self.limit: str | None = None
        self.comments_ns: list[int] = []  # arrival of each comment line
        self._http = ResponseParser()
        self._sse: SseDecoder | None = None
        self._codings: BodyDecoder | None = None
        self._coding_fault: str | None = None  # after close
        self._pending = b""  # after close
        self._lines = 0
        self._comment_bytes = 0
        self._event_frames: tuple[DecodedFrame, ...] | None = None

    @property
    def head(self) -> ResponseHead | None:
        """Status and header fields; None until they are complete."""
        return self._http.head

    @property
    def complete(self) -> bool:
        """Whether the HTTP message is complete."""
        return self._http.complete

    @property
    def surplus(self) -> bool:
        """Whether bytes follow the end of the message."""
        return self._http.surplus

    @property
    def coding_fault(self) -> str | None:
        """Why the body is not what Content-Encoding and Transfer-Encoding say; None if it is."""
        return self._coding_fault if self._codings is None else self._codings.fault

    @property
    def pending(self) -> bytes:
        """Bytes of an event that is not complete: its blank line is missing."""
        return self._pending if self._sse is None else self._sse.pending

    @property
    def extra_lines(self) -> int:
        """Lines that bring no event, or more than LINES_OF_EVENT for one."""
        return max(0, self._lines - LINES_OF_EVENT * self.events)

    @property
    def held_bytes(self) -> int:
        """About how much memory it takes now."""
        pending = len(self._pending) if self._sse is None else self._sse.pending_bytes
        frames = self.decoded_bytes if self.keeps_frames else 0
        return frames + pending + _MOMENT_BYTES * len(self.comments_ns)

    def take_chunk(self, data: bytes) -> int | None:  # noqa: ARG002 - only the fast decoder has this shortcut
        return None

    def feed(self, arrival_ns: int, data: bytes) -> int:
        """Decode one read; returns the number of tokens with content, those before malformed bytes too."""
        if self.malformed or self.limit:
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
        """No more reads follow. What served to read takes megabytes, if a server so wishes, and is freed."""
        self._http.close()
        self._coding_fault, self._codings = self.coding_fault, None
        self._pending, self._sse = self.pending if self.keeps_frames else b"", None

    def identities(self, log: ReadLog) -> tuple[EventIdentity, ...]:  # noqa: ARG002 - it has the frames
        """The identity of each event."""
        return tuple(frame.identity for frame in self.event_frames)

    def _on_head(self, head: ResponseHead, arrival_ns: int) -> None:
        self.head_ns = arrival_ns
        # A 200 of any media type is read as a stream, so that every rule can decide about it.
        if head.status == 200 or "event-stream" in (head.value("content-type") or "").lower():
            self._sse = SseDecoder(MAX_FRAME_BYTES, MAX_FRAME_LINES)
            if head.body_codings:
                self._codings = BodyDecoder(head.body_codings, MAX_RESPONSE_BYTES)

    def forget_frames(self) -> None:
        """Keep no frames, from now on."""
        self.keeps_frames = False
        self.frames = []
        self.comments_ns = []
        self._pending = b""
        self._event_frames = None

    @property
    def event_frames(self) -> tuple[DecodedFrame, ...]:
        """The frames for which a client dispatches an event."""
        if self._event_frames is None:
            self._event_frames = tuple(frame for frame in self.frames if frame.is_event)
        return self._event_frames

    def _on_body(self, body: bytes, arrival_ns: int) -> int:
        if self._sse is None:
            return 0
        if self._codings is None:
            return self._on_text(self._sse, body, arrival_ns)
        tokens = 0
        for piece in self._codings.feed(body):
            tokens += self._on_text(self._sse, piece, arrival_ns)
            if self.limit is not None:
                return tokens
        self.limit = self._codings.limit
        return tokens

    def _on_text(self, sse: SseDecoder, text: bytes, arrival_ns: int) -> int:
        if len(text) <= DECODED_AT_ONCE_BYTES:
            return self._on_piece(sse, text, arrival_ns)
        tokens = 0
        for start in range(0, len(text), DECODED_AT_ONCE_BYTES):
            tokens += self._on_piece(sse, text[start : start + DECODED_AT_ONCE_BYTES], arrival_ns)
            if self.limit is not None:
                break
        return tokens

    def _on_piece(self, sse: SseDecoder, text: bytes, arrival_ns: int) -> int:
        comments = sse.comment_lines
        sse.skips_comments = self._has_enough_comments
        try:
            frames = sse.feed(text)
        except FrameTooLargeError as problem:
            frames = problem.frames
            self.limit = (
                f"an event has more than {MAX_FRAME_LINES:,} lines"
                if problem.has_many_lines
                else f"an event is larger than {in_mib(MAX_FRAME_BYTES)}"
            )
        if sse.comment_lines > comments and len(self.comments_ns) < MAX_COMMENTS and self.keeps_frames:
            self.comments_ns += [arrival_ns] * (sse.comment_lines - comments)
        new = self._decode(frames, arrival_ns) if frames else []
        self._lines = sse.line_count
        if self._lines > MAX_LINES:
            self.limit = too_many_lines(MAX_LINES)
        tokens = self._count(new)
        if self._share is not None and self.limit is None:
            self._share.hold_events(self.events, self.extra_lines, in_full=True)
            self.limit = self._share.budget.limit_of(self._share)
        return tokens

    @property
    def _has_enough_comments(self) -> bool:
        """Whether frames without an event are only counted from now on."""
        many = self.frame_count > MAX_COMMENT_FRAMES + self.events
        return many or self._comment_bytes > MAX_COMMENT_BYTES

    def _decode(self, frames: list[Frame], arrival_ns: int) -> list[DecodedFrame]:
        """Decode these frames, as far as the limits allow."""
        if self._has_enough_comments:
            frames = [frame for frame in frames if frame.dispatches]
        if self.events + len(frames) > MAX_EVENTS:
            self.limit = f"the response has more than {MAX_EVENTS:,} events"
        new = []
        for frame in frames:
            if frame.data is None:
                self._comment_bytes += len(frame.raw)
            self.decoded_bytes += frame_cost(frame.raw, has_data=frame.data is not None)
            if self.decoded_bytes > MAX_DECODED_BYTES:
                self.limit = f"its events take more than {in_mib(MAX_DECODED_BYTES)} in memory"
                break
            new.append(decode_frame(self.frame_count, arrival_ns, frame, self.profile))
            self.frame_count += 1
        if self.keeps_frames:
            self.frames += new
            self._event_frames = None
        return new

    def _count(self, frames: Iterable[DecodedFrame]) -> int:
        tokens = 0
        for frame in frames:
            if not frame.is_event:
                continue
            self.events += 1
            event = frame.event
            self.run_events += event is not None and event.is_known and not event.is_literal
            tokens += frame.has_content
            if self.first_event_ns is None:
                self.first_event_ns = frame.arrival_ns
            if event is not None:
                self._count_meaning(event, frame.arrival_ns)
            if self.first_id is None and frame.stream_id is not None:
                self.first_id, self.first_id_ns = frame.stream_id, frame.arrival_ns
        return tokens

    def _count_meaning(self, event: RunEvent, arrival_ns: int) -> None:
        if event.outcome is not None:
            self.terminals += 1
            if self.terminal is None:
                self.terminal, self.terminal_ns = event, arrival_ns
        if event.is_end:
            self.ends += 1
            if self.end_ns is None:
                self.end_ns = arrival_ns
        if event.content in SIGNS:
            self.first_signs_ns.setdefault(event.content, arrival_ns)
        if event.output_tokens is not None:
            self.output_tokens, self.reasoning_tokens = event.output_tokens, event.reasoning_tokens
        if self.run_id is None:
            self.run_id = event.run_id
