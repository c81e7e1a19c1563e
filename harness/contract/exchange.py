"""Exchange: one request and everything that came back, as immutable evidence.

Only four things are observed: the request, the bytes of each read with their arrival time, the clock
readings around them, and how it ended. Head, frames and events are decoded from those bytes, so an
Exchange that was stored can be judged again by a later decoder.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Self

from propcache.api import cached_property

from harness.contract.decoding.full_decoder import DecodedFrame, FullDecoder, Read, carries_409
from harness.contract.decoding.read_log import ReadLog
from harness.contract.decoding.response import Response, ResponseSummary, body_of
from harness.profiles.workflow_actions.events import DoneEvent, ErrorEvent, RunEvent, TokenEvent
from harness.protocol.http1 import ResponseHead
from harness.protocol.request import HttpRequest


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
class Exchange:
    """One request and its answer. `label` says, for a reader, which part it played in its scenario."""

    label: str
    request: HttpRequest
    timing: Timing
    reads: Sequence[Read]
    ending: Ending
    ending_detail: str

    @cached_property
    def _response(self) -> Response:
        return Response.from_reads(self.reads, at_end=self.ending in {Ending.COMPLETE, Ending.TRUNCATED})

    @property
    def _decoded(self) -> FullDecoder:
        return self._response.decoded

    @cached_property
    def summary(self) -> ResponseSummary:
        """The counts and times that need no frame to be looked at."""
        return self._response.summary

    @cached_property
    def is_regular(self) -> bool:
        """Whether all rules about a stream's form hold of it, whatever is in it (harness.contract.decoding.fast_path):
        it is of the regular form, and either ended with its one terminal event or was cut by us.
        """
        if not self._response.is_regular:
            return False
        return self.ending is Ending.CUT or (self.ending is Ending.COMPLETE and self.summary.terminals == 1)

    @cached_property
    def head(self) -> ResponseHead | None:
        """Status and header fields; None when no answer began."""
        return self._response.head

    @cached_property
    def status(self) -> int | None:
        """The answer's status code; None when no answer began."""
        return None if self.head is None else self.head.status

    @property
    def head_ns(self) -> int | None:
        """Arrival of the read that completed the head."""
        return self._response.head_ns

    @property
    def frames(self) -> tuple[DecodedFrame, ...]:
        """Every frame, comments and all."""
        return tuple(self._decoded.received)

    @cached_property
    def events(self) -> tuple[DecodedFrame, ...]:
        """The frames for which a client would see an event."""
        return tuple(one for one in self._decoded.received if one.is_event)

    @property
    def terminals(self) -> tuple[DecodedFrame, ...]:
        """The terminal events."""
        return tuple(one for one in self.events if one.is_terminal)

    @property
    def tokens(self) -> tuple[DecodedFrame, ...]:
        """The token events with content."""
        return tuple(one for one in self.events if one.has_content)

    @cached_property
    def outcome(self) -> str | None:
        """Type of the first terminal event; None when there was none."""
        terminal = self.summary.terminal
        return None if terminal is None else terminal.type

    @cached_property
    def run_id(self) -> str | None:
        """The run's id, as a terminal event tells it; None when none does."""
        if self.summary.terminals < 2:
            return _run_id(self.summary.terminal)
        return next((found for one in self.terminals if (found := _run_id(one.event)) is not None), None)

    @cached_property
    def sequence(self) -> tuple[tuple[str | None, str | None], ...]:
        """The events as (id, data): what a resumed or joined stream must have in common with this one."""
        return self._response.identities()

    @property
    def text(self) -> str:
        """The tokens' contents joined."""
        return "".join(one.event.content for one in self.events if isinstance(one.event, TokenEvent))

    @property
    def pending(self) -> bytes:
        """Bytes of an event that never got its blank line."""
        return b"" if self._decoded.sse is None else self._decoded.sse.pending

    @property
    def body(self) -> bytes:
        """The answer's body without its HTTP framing."""
        return body_of(self.reads)

    def holds(self, text: bytes) -> bool:
        """Whether `text` stands in the answer: as it came, or in its body however that was cut into chunks."""
        return text in b"".join(read.data for read in self.reads) or text in self.body

    @cached_property
    def is_rejection_event(self) -> bool:
        """Whether its one event is an `error` that carries 409: a rejection in the form of a stream."""
        return (
            self.summary.events == 1
            and isinstance(self.summary.terminal, ErrorEvent)
            and carries_409(self.events[0].frame.data or "")
        )

    @cached_property
    def started_run(self) -> bool:
        """Whether a run's stream was received: a 200 with at least one event that is not a bare rejection."""
        return self.status == 200 and self.summary.events > 0 and not self.is_rejection_event

    def events_decoded_by(self, answer: Response) -> Self:
        """The same, with the decoding taken over that was done while it came in."""
        # What is asked of every stream is put where cached_property would put it.
        self.__dict__.update(_answer=answer, head=answer.head, summary=answer.summary)
        return self

    def offset_ms(self, at_ns: int) -> float:
        """A clock reading as milliseconds since the request was sent."""
        return (at_ns - self.timing.origin_ns) / 1e6

    def describe(self) -> str:
        """What came back, in a few words: for a finding's sentence."""
        if self.head is None:
            return f"no answer ({self.ending_detail or self.ending})"
        count = self.summary.events
        events = f"{count} event{'' if count == 1 else 's'}" if count else "no event"
        return f"status {self.status} with {events}, {self.ending_detail or self.ending}"

    @property
    def size_bytes(self) -> int:
        """How many bytes came."""
        if isinstance(self.reads, ReadLog):
            return self.reads.size_bytes
        return sum(len(read.data) for read in self.reads)

    def stamps_ns(self) -> tuple[Sequence[int], Sequence[int]]:
        """Arrival and lag of each read; a lag below 0 is that of a read without a kernel stamp."""
        log = self.reads if isinstance(self.reads, ReadLog) else ReadLog(self.reads)
        return log.arrivals_ns, log.lags_ns


def _run_id(terminal: RunEvent | None) -> str | None:
    if isinstance(terminal, DoneEvent):
        return terminal.runId
    extra = (terminal.model_extra or {}).get("runId") if terminal else None
    return extra if isinstance(extra, str) else None
