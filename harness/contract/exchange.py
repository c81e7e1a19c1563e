"""Exchange: one request and its response, as immutable evidence.

Recorded are only the request, the bytes of each read with their arrival time, the clock readings around them, and how
the exchange ended. Head, frames and events are decoded from those bytes, so a later decoder can decode a stored
Exchange again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from propcache.api import cached_property

from harness.contract.decoding.body import DecodedBody, decoded_body
from harness.contract.decoding.decoded_frame import DecodedFrame
from harness.contract.decoding.full_decoder import FullDecoder
from harness.contract.decoding.memory import recent
from harness.contract.decoding.read_log import Read, ReadLog, body_of
from harness.contract.decoding.response import Response, ResponseSummary
from harness.formatting import counted
from harness.profiles.capability import Capability
from harness.profiles.library import default_profile
from harness.profiles.named_id import named_id, requested_run_id
from harness.profiles.profile import Profile
from harness.profiles.workflow_actions.conflict import carries_conflict_code
from harness.profiles.workflow_actions.identity import EventIdentity
from harness.protocol.http1 import ResponseHead
from harness.protocol.memory_cost import frame_cost
from harness.protocol.request import HttpRequest

_IDENTITY_BYTES = 400


def _decoder_bytes(decoder: FullDecoder) -> int:
    return decoder.held_bytes


def _first_event_bytes(event: DecodedFrame | None) -> int:
    return 0 if event is None else frame_cost(event.frame.raw, has_data=True)


def _sequence_bytes(sequence: tuple[EventIdentity, ...]) -> int:
    return sum(_IDENTITY_BYTES + len(event.data or "") for event in sequence)


def _body_bytes(body: DecodedBody) -> int:
    return len(body.data)


class Ending(StrEnum):
    """How an Exchange ended."""

    COMPLETE = "complete"  # the HTTP message is complete
    TRUNCATED = "truncated"  # the server closed the connection before the end of the message
    RESET = "reset"  # the connection was reset
    TIMED_OUT = "timed out"  # a time budget ran out, and the harness closed the connection
    CUT = "cut"  # the harness cut the connection on purpose
    STOPPED = "stopped"  # the test stopped while the connection was open
    REFUSED = "refused"  # no connection
    MALFORMED = "malformed"  # not HTTP
    LIMIT = (
        "limit"  # a limit of the harness was reached (decoding.limits), and the harness closed the connection
    )


@dataclass(frozen=True, slots=True)
class Timing:
    """Clock readings of one Exchange: monotonic nanoseconds; `sent_wall_ns` is the wall clock (Unix epoch).

    intended_ns: when the request was due (open loop), otherwise when sending began. sent_ns: when the last byte of the
    request was handed to the kernel; None if it never was. late_ns: for how long of it the harness itself was late, if
    it measured that: its event loop could not do what was due. ended_ns: when the harness noticed the end.
    end_arrival_ns: the earliest moment at which the end of the response may have arrived; None if the server did not
    end it.
    """

    intended_ns: int
    started_ns: int
    connected_ns: int | None
    sent_ns: int | None
    sent_wall_ns: int | None
    ended_ns: int
    late_ns: int = 0
    end_arrival_ns: int | None = None

    @property
    def earliest_sent_ns(self) -> int:
        """The earliest moment at which the request may have been sent.

        `sent_ns` is read after the system call: a busy harness may read it late, when the server has long answered.
        """
        return max(self.started_ns, self.connected_ns or 0)

    @property
    def origin_ns(self) -> int:
        """The origin of offsets: `sent_ns`, or the start if the request was not sent."""
        return self.started_ns if self.sent_ns is None else self.sent_ns


@dataclass(frozen=True)
class Exchange:
    """One request and its response. label: its part in the scenario, for readers.

    received: the response as decoded while it was received; None to decode `reads` on demand. begins_run: whether it
    certainly began a run: its key was new, and the target accepts new keys. profile: what the events mean.
    """

    label: str
    request: HttpRequest
    timing: Timing
    reads: Sequence[Read]
    ending: Ending
    ending_detail: str
    received: Response | None = field(default=None, repr=False, compare=False)
    begins_run: bool = False
    profile: Profile = field(default_factory=default_profile, repr=False, compare=False)

    @cached_property
    def _response(self) -> Response:
        if self.received is not None:
            return self.received
        connection_ended = self.ending in {Ending.COMPLETE, Ending.TRUNCATED}
        return Response.from_reads(self.reads, connection_ended=connection_ended, profile=self.profile)

    @recent(_decoder_bytes)
    def _decoded(self) -> FullDecoder:
        return self._response.decode_in_full()

    @cached_property
    def summary(self) -> ResponseSummary:
        """Counts and times; they need no frames."""
        return self._response.summary

    @cached_property
    def is_regular(self) -> bool:
        """Whether the stream is regular (harness.contract.decoding.fast_decoder), so that it meets all format rules.

        It also either ended with its one terminal event or was cut by the harness.
        """
        if not self._response.is_regular:
            return False
        return self.ending is Ending.CUT or (self.ending is Ending.COMPLETE and self._ended_in_order)

    @property
    def _ended_in_order(self) -> bool:
        """Whether it has as many outcomes and ends as its API's streams have."""
        promised, events, summary = self.profile.capabilities, self.profile.events, self.summary
        if summary.terminals != 1 and Capability.OUTCOME in promised:
            return False
        may_stop = events.error_may_end and self.outcome == "error"
        return Capability.END not in promised or summary.ends == 1 or (may_stop and not summary.ends)

    @cached_property
    def head(self) -> ResponseHead | None:
        """Status and header fields; None if no response head arrived."""
        return self._response.head

    @cached_property
    def status(self) -> int | None:
        """The status code; None if no response head arrived."""
        return None if self.head is None else self.head.status

    @property
    def head_ns(self) -> int | None:
        """Arrival of the read that completed the head."""
        return self._response.head_ns

    @property
    def frames(self) -> tuple[DecodedFrame, ...]:
        """Every frame, comments included."""
        return tuple(self._decoded.frames)

    @property
    def events(self) -> tuple[DecodedFrame, ...]:
        """The frames for which a client dispatches an event."""
        return self._decoded.event_frames if self.summary.events else ()  # it may have a million comments

    @recent(_first_event_bytes)
    def first_event(self) -> DecodedFrame | None:
        """The first of `events`; None if there is none. Nothing after it is decoded."""
        if not self.summary.events:
            return None
        decoder = FullDecoder(self.profile)
        for read in self.reads:
            decoder.feed(read.arrival_ns, read.data)
            if decoder.events:
                break
        return next(iter(decoder.event_frames), None)

    @property
    def terminals(self) -> tuple[DecodedFrame, ...]:
        """The events that tell how the run ended."""
        return tuple(event for event in self.events if event.is_terminal) if self.summary.terminals else ()

    @property
    def tokens(self) -> tuple[DecodedFrame, ...]:
        """The token events with content."""
        return tuple(event for event in self.events if event.has_content)

    @cached_property
    def outcome(self) -> str | None:
        """How the run ended, by the first event that tells it: done, error or cancelled; None if none does.

        Where an API has no such event, a run is done whose message is complete.
        """
        terminal = self.summary.terminal
        if terminal is not None:
            return terminal.outcome
        return "done" if self._ended_without_outcome else None

    @cached_property
    def _ended_without_outcome(self) -> bool:
        """Whether it is a whole stream of an API whose streams do not tell how runs end."""
        return (
            Capability.OUTCOME not in self.profile.capabilities
            and self.ending is Ending.COMPLETE
            and self.status == 200
            and self.summary.run_events > 0
        )

    @property
    def over(self) -> DecodedFrame | None:
        """The event with which the run was over; None if it was not. Its first terminal event, if any."""
        if self.summary.terminal is None:
            return self.events[-1] if self._ended_without_outcome else None
        return self.terminals[0]

    @property
    def is_over(self) -> bool:
        """Whether the run was over. It needs no frames."""
        return self.summary.terminal is not None or self._ended_without_outcome

    @property
    def over_ns(self) -> int | None:
        """When the run was over: arrival of that event. It needs no frames."""
        terminal_ns = self.summary.terminal_ns
        if terminal_ns is None and self._ended_without_outcome:
            return self.timing.end_arrival_ns or self.timing.ended_ns
        return terminal_ns

    @property
    def ends(self) -> tuple[DecodedFrame, ...]:
        """The events after which nothing may follow."""
        return tuple(event for event in self.events if event.event is not None and event.event.is_end)

    @property
    def run_id(self) -> str | None:
        """The run's id, from the first event that has it; None if none has."""
        return self.summary.run_id

    @recent(_sequence_bytes)
    def sequence(self) -> tuple[EventIdentity, ...]:
        """What other streams of the same run must have in common with this one: its events, by value."""
        return self._response.identities()

    @property
    def named_id(self) -> str | None:
        """The id of the event after which the request asks to resume; None if it names none."""
        return named_id(self.profile, self.request)

    @property
    def text(self) -> str:
        """The contents of all tokens, joined."""
        return "".join(
            event.event.text for event in self.events if event.event is not None and event.has_content
        )

    @property
    def comments_ns(self) -> Sequence[int]:
        """Arrival of each comment line. It needs no blank line, so it may come long before its frame is complete."""
        return self._decoded.comments_ns

    @property
    def pending(self) -> bytes:
        """Bytes of an incomplete event at the end: its blank line is missing."""
        return self._decoded.pending

    @recent(_body_bytes)
    def _body(self) -> DecodedBody:
        return decoded_body(self.head, body_of(self.reads))

    @property
    def body(self) -> bytes:
        """The response body without its HTTP framing, its content coding and transfer codings."""
        return self._body.data

    def holds(self, text: bytes) -> bool:
        """Whether the response contains `text`, in its raw bytes or in its body."""
        return text in self.received_bytes or text in self.body

    @cached_property
    def coding_fault(self) -> str | None:
        """Why the body is not what Content-Encoding and Transfer-Encoding say; None if it is, or has no coding."""
        if self.head is None or not self.head.body_codings:
            return None
        return self._response.coding_fault if self.status == 200 else self._body.fault

    @property
    def has_surplus(self) -> bool:
        """Whether bytes other than line ends followed the end of the message."""
        return self._response.surplus

    @cached_property
    def obstacle(self) -> str | None:
        """Why the harness did not read all of the response, although the server may have sent it in order; else None.

        It is a limit of the harness, its own delay, or a coding of the body that hides every event.
        """
        if self.ending is Ending.LIMIT:
            return self.ending_detail
        if self.own_delay is not None:
            return self.own_delay
        return self.coding_fault if not self.summary.events else None

    @cached_property
    def own_delay(self) -> str | None:
        """That the harness itself was too late to send the request, in a clause; None if that is not shown.

        It is shown if the harness was late for half of the time or more, and the server did accept the connection.
        """
        timing = self.timing
        took_ns = timing.ended_ns - timing.started_ns
        if self.ending is not Ending.TIMED_OUT or timing.sent_ns is not None or 2 * timing.late_ns < took_ns:
            return None
        return (
            f"the harness itself was late for {timing.late_ns / 1e9:.1f} s of the {took_ns / 1e9:.1f} s "
            f"({self.ending_detail}), because its process had no CPU time; run it on a machine with less other work"
        )

    @cached_property
    def has_conflict_event(self) -> bool:
        """Whether its only event is an `error` whose code is 409.

        That is a rejection if the key was used before. A run with a new key may fail in the same form, so without
        that knowledge ask `is_rejection_event`.
        """
        return (
            self.profile.conflict_status is not None
            and self.summary.events == 1
            and self.outcome == "error"
            and self.first_event is not None
            and carries_conflict_code(self.first_event.frame.data or "")
        )

    @property
    def is_throttled(self) -> bool:
        """Whether the server asked to send the request again later (RFC 6585, 4; RFC 9110, 15.6.4)."""
        return self.status in {429, 503}

    @cached_property
    def is_rejection_event(self) -> bool:
        """Whether it is a rejection in the form of a stream, as far as the response alone tells.

        A failed run is none: `begins_run` is set, or the event names a run that the client did not name.
        """
        if self.begins_run or not self.has_conflict_event:
            return False
        return self.run_id is None or self.run_id == self.requested_run_id

    @property
    def requested_run_id(self) -> str | None:
        """The run's id that the client chose; None if it chose none."""
        return requested_run_id(self.profile, self.request)

    @cached_property
    def started_run(self) -> bool:
        """Whether a run's stream was received: a 200 with at least one event, which is not just a rejection."""
        return self.status == 200 and self.summary.events > 0 and not self.is_rejection_event

    def offset_ms(self, at_ns: int) -> float:
        """A clock reading as milliseconds since the request was sent."""
        return (at_ns - self.timing.origin_ns) / 1e6

    def describe(self) -> str:
        """The response in a few words, as part of a sentence."""
        if self.head is None:
            return f"no response ({self.ending_detail or self.ending})"
        count = self.summary.events
        events = counted(count, "event") if count else "no event"
        unread = f" ({self.coding_fault})" if not count and self.coding_fault else ""
        return f"status {self.status} with {events}{unread}, {self.ending_detail or self.ending}"

    @property
    def size_bytes(self) -> int:
        """The number of bytes received."""
        if isinstance(self.reads, ReadLog):
            return self.reads.size_bytes
        return sum(len(read.data) for read in self.reads)

    @property
    def received_bytes(self) -> bytes:
        """The bytes of all reads, joined."""
        return self._log.data

    def stamps_ns(self) -> tuple[Sequence[int], Sequence[int]]:
        """Arrival and lag of each read; the lag is negative for a read without a kernel timestamp."""
        return self._log.arrivals_ns, self._log.lags_ns

    @property
    def has_kernel_stamps(self) -> bool:
        """Whether its reads have kernel timestamps."""
        return self._log.has_stamps

    def errors_ns(self) -> Mapping[int, int]:
        """By arrival: by how much earlier some of what arrived then may have arrived; only where that is above 0."""
        return self._log.errors_ns

    @property
    def _log(self) -> ReadLog:
        return self.reads if isinstance(self.reads, ReadLog) else ReadLog(self.reads)
