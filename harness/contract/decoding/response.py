"""One response as it arrives: keeps its reads, counts its events, and makes frames only on demand.

Under load nobody looks at the frames of a stream without a violation, so a regular stream is decoded without making
them (harness.contract.decoding.fast_decoder). The counts are the same with both decoders.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from harness.contract.decoding.decoder import Decoder
from harness.contract.decoding.fast_decoder import FastDecoder
from harness.contract.decoding.frame_template import FastPathError
from harness.contract.decoding.full_decoder import FullDecoder
from harness.contract.decoding.limits import (
    CHECKED_EVERY_BYTES,
    MAX_EVENTS,
    MAX_LINES,
    MAX_READS,
    PACKED_EVERY_BYTES,
    in_mib,
    too_many_lines,
)
from harness.contract.decoding.memory import DEFAULT_BUDGET, MemoryBudget, MemoryShare
from harness.contract.decoding.profile_decoder import ProfileDecoder, has_fast_path
from harness.contract.decoding.read_log import Read, ReadLog
from harness.contract.decoding.token_layout import NO_READER, TokenReader, token_reader
from harness.profiles.library import default_profile
from harness.profiles.profile import WORKFLOW_ACTIONS, Profile
from harness.profiles.run_event import RunEvent
from harness.profiles.workflow_actions.event_id import StreamId
from harness.profiles.workflow_actions.identity import EventIdentity
from harness.protocol.http1 import ResponseHead

MAX_HEAD_BYTES = 256 * 1024  # a browser (Chromium) refuses a larger head, so it is malformed
_KEPT_FRAMES_BYTES = 2**20  # of one response; more are decoded again when a rule needs them


@dataclass(slots=True)
class ResponseSummary:
    """Counts and times of a response's events, as in Decoder.

    token_arrivals_ns: arrival of each token with content.
    """

    events: int = 0
    run_events: int = 0
    first_event_ns: int | None = None
    token_arrivals_ns: array[int] = field(default_factory=lambda: array("q"))
    terminals: int = 0
    terminal: RunEvent | None = None
    terminal_ns: int | None = None
    ends: int = 0
    end_ns: int | None = None
    output_tokens: int | None = None
    reasoning_tokens: int | None = None
    first_signs_ns: Mapping[str, int] = field(default_factory=dict)
    run_id: str | None = None
    first_id: StreamId | None = None
    first_id_ns: int | None = None


class Response:
    """Records the reads of one response and decodes them.

    head_ns, end_ns: arrival of the head and of the event that ends the stream. profile: what its events mean;
    workflow actions by default. malformed: why nothing more can be
    decoded. limit: which limit of the harness was reached, so that it reads no more. over: whether either is set, or
    the message is complete. memory: what it shares with the other responses of this process. take: records and decodes
    a read if the native reader of tokens can (TokenReader.take); all others belong to `feed`.
    """

    __slots__ = (
        "_checked_bytes",
        "_connection_ended",
        "_decoder",
        "_max_bytes",
        "_reader",
        "_share",
        "_surplus",
        "end_ns",
        "head_ns",
        "limit",
        "log",
        "malformed",
        "over",
        "profile",
        "take",
    )

    def __init__(
        self,
        decoder: Decoder | None = None,
        memory: MemoryBudget | None = None,
        profile: Profile | None = None,
    ) -> None:
        self.profile = profile or default_profile()
        self.log = ReadLog()
        self._share = MemoryShare(memory or DEFAULT_BUDGET)
        self.head_ns: int | None = None
        self.end_ns: int | None = None
        self.malformed: str | None = None
        self.limit: str | None = None
        self.over = False
        self._reader = token_reader(self.log) if decoder is None else NO_READER
        self._reader.limit(PACKED_EVERY_BYTES)
        self.take = self._reader.take
        self._decoder = self._first_decoder() if decoder is None else decoder
        self._connection_ended = False
        self._surplus = False
        self._checked_bytes = PACKED_EVERY_BYTES
        self._max_bytes = CHECKED_EVERY_BYTES

    @classmethod
    def from_reads(
        cls,
        reads: Sequence[Read],
        *,
        connection_ended: bool,
        decoder: Decoder | None = None,
        profile: Profile | None = None,
    ) -> Response:
        """The response that consists of these reads. connection_ended: the server closed its side after them."""
        response = cls(decoder, MemoryBudget.unlimited(), profile)
        for read in reads:
            response.feed(*read)
        if connection_ended:
            response.end_of_connection()
        response.close()
        return response

    @property
    def token_reader(self) -> TokenReader | None:
        """The native reader of its tokens; None if it has none. A read that it took needs no `feed`."""
        return None if self._reader is NO_READER else self._reader

    @property
    def head(self) -> ResponseHead | None:
        """Status and header fields; None until they are complete."""
        return self._decoder.head

    @property
    def complete(self) -> bool:
        """Whether the HTTP message is complete."""
        return self._decoder.complete

    @property
    def can_reuse_connection(self) -> bool:
        """Whether another request may be sent on the same connection (RFC 9112, section 9.3)."""
        return self._decoder.can_reuse_connection

    @property
    def is_regular(self) -> bool:
        """Whether everything so far is a regular event stream without an incomplete event, and nothing follows it."""
        return self._decoder.is_regular and not self.surplus

    @property
    def surplus(self) -> bool:
        """Whether bytes other than line ends follow the end of the message."""
        return self._surplus or self._decoder.surplus

    @property
    def coding_fault(self) -> str | None:
        """Why the body is not what Content-Encoding and Transfer-Encoding say; None if it is."""
        return self._decoder.coding_fault

    @property
    def run_id(self) -> str | None:
        """The run's id, from the first event so far that has it; None if none has."""
        return self._decoder.run_id

    @property
    def events(self) -> int:
        """The number of events so far that a client dispatches."""
        return self._decoder.events

    @property
    def first_event_ns(self) -> int | None:
        """Arrival of the first event; None before it."""
        return self._decoder.first_event_ns

    @property
    def summary(self) -> ResponseSummary:
        """Counts and times so far."""
        decoder = self._decoder
        return ResponseSummary(
            events=decoder.events,
            run_events=decoder.run_events,
            first_event_ns=decoder.first_event_ns,
            token_arrivals_ns=self.log.token_arrivals_ns(),
            terminals=decoder.terminals,
            terminal=decoder.terminal,
            terminal_ns=decoder.terminal_ns,
            ends=decoder.ends,
            end_ns=decoder.end_ns,
            output_tokens=decoder.output_tokens,
            reasoning_tokens=decoder.reasoning_tokens,
            first_signs_ns=decoder.first_signs_ns,
            run_id=decoder.run_id,
            first_id=decoder.first_id,
            first_id_ns=decoder.first_id_ns,
        )

    def take_chunk(self, arrival_ns: int, lag_ns: int | None, data: bytes) -> bool:
        """Record and decode one read if it is exactly one chunk with one token, as most are; whether it is."""
        if self.take(arrival_ns, lag_ns, data):
            return True
        if self._reader is not NO_READER:
            return self._take_beyond(arrival_ns, lag_ns, data)
        if self.over:
            return False
        tokens = self._decoder.take_chunk(data)
        if tokens is None:
            return False
        if self.log.append(arrival_ns, lag_ns, data, tokens) > self._checked_bytes:
            self._check_size()
        return True

    def _take_beyond(self, arrival_ns: int, lag_ns: int | None, data: bytes) -> bool:
        """The same for the read after which the size is to be checked."""
        size_bytes = self.log.size_bytes + len(data)
        if size_bytes <= self._checked_bytes or self.over:
            return False
        self._limit_reader(size_bytes)
        is_taken = self.take(arrival_ns, lag_ns, data)
        self._limit_reader(self._checked_bytes)
        if is_taken:
            self._check_size()
        return is_taken

    def feed(self, arrival_ns: int, lag_ns: int | None, data: bytes, error_ns: int = 0) -> int:
        """Record and decode one read (see Read); returns the number of events it completed."""
        if not error_ns and self.take_chunk(arrival_ns, lag_ns, data):
            return 1
        return self.feed_further(arrival_ns, lag_ns, data, error_ns)

    def feed_further(self, arrival_ns: int, lag_ns: int | None, data: bytes, error_ns: int = 0) -> int:
        """The same for a read of which `take_chunk` was false."""
        if self.malformed is not None or self.limit is not None:
            return 0
        decoder = self._decoder
        events = decoder.events
        try:
            tokens = decoder.feed(arrival_ns, data)
        except FastPathError:
            decoder = self._fall_back()
            tokens = decoder.feed(arrival_ns, data)
        size_bytes = self.log.append(arrival_ns, lag_ns, data, tokens, error_ns)
        self.head_ns, self.end_ns = decoder.head_ns, decoder.end_ns
        self.malformed, self.limit = decoder.malformed, decoder.limit
        self.over = decoder.complete or decoder.malformed is not None or decoder.limit is not None
        if size_bytes > self._checked_bytes or len(self.log) > MAX_READS:
            self._check_size()
        elif isinstance(decoder, FullDecoder) and decoder.decoded_bytes > _KEPT_FRAMES_BYTES:
            decoder.forget_frames()
        return decoder.events - events

    def add_surplus(self, arrival_ns: int, lag_ns: int | None, data: bytes) -> None:
        """Record a read after the end of the message."""
        if data.strip(b"\r\n"):
            self._surplus = True
            self.log.append(arrival_ns, lag_ns, data)

    def end_of_connection(self) -> None:
        """The server closed its side."""
        self._connection_ended = True
        self._decoder.end_of_connection()
        self.over = self.over or self.complete

    def close(self) -> None:
        """No more reads follow."""
        decoder = self._decoder
        decoder.close()
        if isinstance(decoder, FullDecoder) and decoder.held_bytes > _KEPT_FRAMES_BYTES:
            decoder.forget_frames()
        self._hold()
        if self._share.budget.is_tight:
            if isinstance(decoder, FullDecoder):
                decoder.forget_frames()
            self.log.pack()
            self._hold()

    def identities(self) -> tuple[EventIdentity, ...]:
        """The identity of each event (DecodedFrame.identity)."""
        decoder = self._decoder
        if isinstance(decoder, FullDecoder) and not decoder.keeps_frames:
            decoder = self.decode_in_full()
        return decoder.identities(self.log)

    def decode_in_full(self) -> FullDecoder:
        """A full decoder that has decoded all reads. For a regular stream each call decodes them again."""
        if isinstance(self._decoder, FullDecoder) and self._decoder.keeps_frames:
            return self._decoder
        full = FullDecoder(self.profile)
        for read in self.log:
            full.feed(read.arrival_ns, read.data)
        if self._connection_ended:
            full.end_of_connection()
        full.close()
        return full

    def _first_decoder(self) -> Decoder:
        if self.profile.name == WORKFLOW_ACTIONS:
            return FastDecoder(self._reader)
        if has_fast_path(self.profile):
            return ProfileDecoder(self.profile, self._reader)
        self._reader = NO_READER
        self.take = NO_READER.take
        return FullDecoder(self.profile, share=self._share)

    def _fall_back(self) -> FullDecoder:
        """Switch to the full decoder, which decodes the earlier reads again."""
        self._decoder.close()
        self._reader = NO_READER
        self.take = NO_READER.take
        full = self._decoder = FullDecoder(self.profile, share=self._share)
        earlier, self.log = self.log, ReadLog()
        for read in earlier:
            tokens = full.feed(read.arrival_ns, read.data)
            self.log.append(read.arrival_ns, read.lag_ns, read.data, tokens, read.error_ns)
        return full

    def _hold(self) -> None:
        """Tell the common budget what this response holds."""
        decoder = self._decoder
        decoded = decoder.held_bytes if isinstance(decoder, FullDecoder) else 0
        self._share.hold(self.log.memory_bytes + decoded)
        in_full = isinstance(decoder, FullDecoder)
        self._share.hold_events(decoder.events, decoder.extra_lines, in_full=in_full)

    def _limit_reader(self, size_bytes: int) -> None:
        """Leave to `feed` the reads that make the log larger than this."""
        self._reader.limit(size_bytes - self.log.packed_bytes)

    def _check_size(self) -> None:
        """Pack the log of a slow stream, and check the limits when it has grown by CHECKED_EVERY_BYTES."""
        log = self.log
        if log.is_slow:
            log.pack()
            next_bytes = log.size_bytes + PACKED_EVERY_BYTES
        else:
            next_bytes = 4 * log.size_bytes
        if log.size_bytes > self._max_bytes or len(log) > MAX_READS:
            self._check_limits()
        self._checked_bytes = min(next_bytes, self._max_bytes)
        self._limit_reader(self._checked_bytes)

    def _check_limits(self) -> None:
        if self.malformed is not None or self.limit is not None:
            return
        budget = self._share.budget
        if isinstance(self._decoder, FullDecoder) and (
            budget.is_tight or self._decoder.decoded_bytes > _KEPT_FRAMES_BYTES
        ):
            self._decoder.forget_frames()
        self._hold()
        if self.head_ns is None and self.log.size_bytes > MAX_HEAD_BYTES:
            self.malformed = f"no complete response head within {MAX_HEAD_BYTES // 1024} KiB"
        elif len(self.log) > MAX_READS:
            self.limit = f"the response arrived in more than {MAX_READS:,} reads"
        elif self.events > MAX_EVENTS:
            self.limit = f"the response has more than {MAX_EVENTS:,} events"
        elif self._decoder.extra_lines > MAX_LINES:
            self.limit = too_many_lines(MAX_LINES)
        elif self.log.size_bytes > budget.response_bytes:
            self.limit = f"the response is larger than {in_mib(budget.response_bytes)} (limits.response)"
        else:
            self.limit = budget.limit_of(self._share)
            self._max_bytes = min(budget.response_bytes, self.log.size_bytes + CHECKED_EVERY_BYTES)
        if self.limit is not None:
            self._reader.disarm()
        self.over = self.complete or self.malformed is not None or self.limit is not None
