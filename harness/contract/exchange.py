"""Exchange: one request and everything that came back, as immutable evidence.

Only four things are observed: the request, the bytes of each read with their arrival time, the clock
readings around them, and how it ended. Head, frames and events are decoded from those bytes, so an
Exchange that was stored can be judged again by a later decoder.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Any, Self

from harness.protocol.http1 import HttpSyntaxError, ResponseHead, ResponseParser
from harness.protocol.request import HttpRequest
from harness.protocol.run_events import (
    TERMINAL_TYPES,
    DoneEvent,
    ErrorEvent,
    RunEvent,
    TokenEvent,
    parse_run_event,
)
from harness.protocol.sse import Frame, FrameTooLargeError, SseDecoder
from harness.protocol.stream_id import StreamId

_RUN_ID = re.compile(r'"runId"\s*:\s*"(?:[^"\\]|\\.)*"')
_HTTP_409 = re.compile(r"\b409\b")


class Ending(StrEnum):
    """How an Exchange ended."""

    COMPLETE = "complete"  # the HTTP message ended properly
    TRUNCATED = "truncated"  # the server closed before the message's end
    RESET = "reset"  # the connection was reset
    TIMED_OUT = "timed out"  # a budget of ours ran out, and we closed
    CUT = "cut"  # we closed on purpose
    STOPPED = "stopped"  # the test was stopped while it was open
    REFUSED = "refused"  # there was no connection
    MALFORMED = "malformed"  # the bytes are no HTTP, or an event outgrew the limit


@dataclass(frozen=True, slots=True)
class Read:
    """One read off the connection: its bytes (decrypted, HTTP framing included) and when they came.

    arrival_ns: monotonic clock; the kernel's receive stamp where there was one.
    lag_ns: how much later the harness itself got to see them; None without a kernel stamp.
    """

    arrival_ns: int
    lag_ns: int | None
    data: bytes


@dataclass(frozen=True, slots=True)
class Timing:
    """Clock readings of one Exchange: monotonic nanoseconds; `sent_wall_ns` is the wall clock (Unix epoch).

    intended_ns: when the request was due (open loop), else when its sending began.
    sent_ns: when the last byte of the request was handed to the kernel; None when that never happened.
    """

    intended_ns: int
    started_ns: int
    connected_ns: int | None
    sent_ns: int | None
    sent_wall_ns: int | None
    ended_ns: int

    @property
    def origin_ns(self) -> int:
        """What offsets are counted from: the sending, or the start where nothing was sent."""
        return self.started_ns if self.sent_ns is None else self.sent_ns


@dataclass(frozen=True)
class Received:
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
            data = _RUN_ID.sub('"runId":…', data)
        return self.frame.id, data


def receive(index: int, arrival_ns: int, frame: Frame) -> Received:
    """Decode what `frame` says."""
    if not frame.data:
        problem = "the data is empty" if frame.dispatches else None
        return Received(index, arrival_ns, frame, None, problem)
    try:
        return Received(index, arrival_ns, frame, parse_run_event(frame.data), None)
    except ValueError as problem:
        return Received(index, arrival_ns, frame, None, str(problem))


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


class AnswerDecoder:
    """Reads in, frames out: HTTP framing and event stream of one answer, incrementally.

    `malformed` says, once it is set, why nothing more can be decoded.
    """

    def __init__(self) -> None:
        self.http = ResponseParser()
        self.sse: SseDecoder | None = None
        self.head_ns: int | None = None
        self.body = bytearray()  # kept for answers that are no event stream
        self.received: list[Received] = []
        self.terminal_ns: int | None = None
        self.malformed: str | None = None

    @property
    def complete(self) -> bool:
        """Whether the HTTP message has ended properly."""
        return self.http.complete

    def feed(self, read: Read) -> list[Received]:
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

    def _on_body(self, body: bytes, arrival_ns: int) -> list[Received]:
        if self.sse is None:
            self.body += body
            return []
        try:
            frames = self.sse.feed(body)
        except FrameTooLargeError as problem:
            frames, self.malformed = problem.frames, str(problem)
        first = len(self.received)
        new = [receive(first + offset, arrival_ns, frame) for offset, frame in enumerate(frames)]
        self.received += new
        if self.terminal_ns is None and any(one.is_terminal for one in new):
            self.terminal_ns = arrival_ns
        return new


@dataclass(frozen=True)
class Exchange:
    """One request and its answer. `label` says, for a reader, which part it played in its scenario."""

    label: str
    request: HttpRequest
    timing: Timing
    reads: tuple[Read, ...]
    ending: Ending
    ending_detail: str

    @cached_property
    def _answer(self) -> AnswerDecoder:
        answer = AnswerDecoder()
        for read in self.reads:
            answer.feed(read)
        if self.ending in {Ending.COMPLETE, Ending.TRUNCATED}:
            answer.end_of_connection()
        return answer

    @property
    def head(self) -> ResponseHead | None:
        """Status and header fields; None when no answer began."""
        return self._answer.http.head

    @property
    def status(self) -> int | None:
        """The answer's status code; None when no answer began."""
        return None if self.head is None else self.head.status

    @property
    def head_ns(self) -> int | None:
        """Arrival of the read that completed the head."""
        return self._answer.head_ns

    @property
    def received(self) -> tuple[Received, ...]:
        """Every frame, comments and all."""
        return tuple(self._answer.received)

    @cached_property
    def events(self) -> tuple[Received, ...]:
        """The frames for which a client would see an event."""
        return tuple(one for one in self._answer.received if one.is_event)

    @property
    def terminals(self) -> tuple[Received, ...]:
        """The terminal events."""
        return tuple(one for one in self.events if one.is_terminal)

    @property
    def tokens(self) -> tuple[Received, ...]:
        """The token events with content."""
        return tuple(one for one in self.events if one.has_content)

    @property
    def outcome(self) -> str | None:
        """Type of the first terminal event; None when there was none."""
        return next((one.event.type for one in self.terminals if one.event), None)

    @property
    def run_id(self) -> str | None:
        """The run's id, as the terminal event tells it; None when it does not."""
        for one in self.terminals:
            if isinstance(one.event, DoneEvent):
                return one.event.runId
            extra = (one.event.model_extra or {}).get("runId") if one.event else None
            if isinstance(extra, str):
                return extra
        return None

    @property
    def sequence(self) -> tuple[tuple[str | None, str | None], ...]:
        """The events as (id, data): what a resumed or joined stream must have in common with this one."""
        return tuple(one.identity for one in self.events)

    @property
    def text(self) -> str:
        """The tokens' contents joined."""
        return "".join(one.event.content for one in self.events if isinstance(one.event, TokenEvent))

    @property
    def pending(self) -> bytes:
        """Bytes of an event that never got its blank line."""
        return b"" if self._answer.sse is None else self._answer.sse.pending

    @property
    def body(self) -> bytes:
        """The answer's body without its HTTP framing."""
        parser = ResponseParser()
        body = bytearray()
        try:
            for read in self.reads:
                body += parser.feed(read.data)
        except HttpSyntaxError as problem:  # `ending` says malformed; what came before it is the body
            body += problem.body
        return bytes(body)

    def holds(self, text: bytes) -> bool:
        """Whether `text` stands in the answer: as it came, or in its body however that was cut into chunks."""
        return text in b"".join(read.data for read in self.reads) or text in self.body

    @cached_property
    def is_rejection_event(self) -> bool:
        """Whether its one event is an `error` that carries 409: a rejection in the form of a stream."""
        return (
            len(self.events) == 1
            and isinstance(self.events[0].event, ErrorEvent)
            and carries_409(self.events[0].frame.data or "")
        )

    @property
    def started_run(self) -> bool:
        """Whether a run's stream was received: a 200 with at least one event that is not a bare rejection."""
        return self.status == 200 and bool(self.events) and not self.is_rejection_event

    def decoded_by(self, answer: AnswerDecoder) -> Self:
        """The same, with the decoding taken over that was done while it came in."""
        self.__dict__["_answer"] = answer
        return self

    def offset_ms(self, at_ns: int) -> float:
        """A clock reading as milliseconds since the request was sent."""
        return (at_ns - self.timing.origin_ns) / 1e6

    def describe(self) -> str:
        """What came back, in a few words: for a finding's sentence."""
        if self.head is None:
            return f"no answer ({self.ending_detail or self.ending})"
        count = len(self.events)
        events = f"{count} event{'' if count == 1 else 's'}" if count else "no event"
        return f"status {self.status} with {events}, {self.ending_detail or self.ending}"

    def lags_ns(self) -> Iterator[int]:
        """The harness's own lag at each read that the kernel stamped."""
        return (read.lag_ns for read in self.reads if read.lag_ns is not None)
