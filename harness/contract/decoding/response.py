"""One answer as it comes in: the reads are kept, and counted at once; frames are made when somebody asks.

Under load nobody asks for the frames of a stream in which nothing is wrong, so for a stream of the regular
form (harness.contract.decoding.fast_path) they are never made. What is counted on the way is the same either way.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from harness.contract.decoding.fast_path import FastDecoder, FastPathError
from harness.contract.decoding.full_decoder import DecodedFrame, FullDecoder, Read, without_run_id
from harness.contract.decoding.read_log import MAX_ANSWER_READS, ReadLog
from harness.profiles.workflow_actions.event_id import StreamId
from harness.profiles.workflow_actions.events import RunEvent
from harness.protocol.http1 import HttpSyntaxError, ResponseHead, ResponseParser

MAX_ANSWER_BYTES = 64 * 1024 * 1024
MAX_HEAD_BYTES = 256 * 1024


@dataclass(slots=True)
class ResponseSummary:
    """What is counted of an answer's events as they come in.

    events: those that a client would see. run_events: those of them that are RunEvents. token_arrivals_ns: of
    each token with content. terminals: how many terminal events; `terminal` and `terminal_ns`: the first.
    first_id, first_id_ns: the first id of the form <ms>-<seq>, and the arrival of its event.
    """

    events: int = 0
    run_events: int = 0
    first_event_ns: int | None = None
    token_arrivals_ns: array[int] = field(default_factory=lambda: array("q"))
    terminals: int = 0
    terminal: RunEvent | None = None
    terminal_ns: int | None = None
    first_id: StreamId | None = None
    first_id_ns: int | None = None

    def add(self, frames: Iterable[DecodedFrame]) -> None:
        """Count decoded frames."""
        for one in frames:
            if not one.is_event:
                continue
            self.events += 1
            self.run_events += one.event is not None
            if self.first_event_ns is None:
                self.first_event_ns = one.arrival_ns
            if one.has_content:
                self.token_arrivals_ns.append(one.arrival_ns)
            if one.is_terminal:
                self.terminals += 1
                if self.terminal is None:
                    self.terminal, self.terminal_ns = one.event, one.arrival_ns
            if self.first_id is None and one.stream_id is not None:
                self.first_id, self.first_id_ns = one.stream_id, one.arrival_ns


def body_of(reads: Iterable[Read]) -> bytes:
    """The body without its HTTP framing, as far as the bytes are HTTP."""
    parser, body = ResponseParser(), bytearray()
    try:
        for read in reads:
            body += parser.feed(read.data)
    except HttpSyntaxError as problem:
        body += problem.body
    parser.close()
    return bytes(body)


class Response:
    """Takes the reads of one answer, and says what they amount to so far.

    events: how many came that a client would see. head_ns, first_event_ns, terminal_ns: arrival of the head, of
    the first event and of the first terminal event. malformed: why nothing more can be decoded. over: whether
    it is malformed, or the message has ended.
    """

    __slots__ = (
        "_at_end",
        "_between_chunks",
        "_bound_bytes",
        "_full",
        "_full_summary",
        "_http",
        "_regular",
        "events",
        "first_event_ns",
        "head_ns",
        "log",
        "malformed",
        "over",
        "terminal_ns",
    )

    def __init__(self) -> None:
        self.log = ReadLog()
        self.events = 0
        self.head_ns: int | None = None
        self.first_event_ns: int | None = None
        self.terminal_ns: int | None = None
        self.malformed: str | None = None
        self.over = False
        self._http = ResponseParser()
        self._between_chunks = False  # the parser has seen a regular event's chunk to its end, and no more
        self._regular: FastDecoder | None = FastDecoder()
        self._full: FullDecoder | None = None
        self._full_summary: ResponseSummary | None = None
        self._at_end = False
        self._bound_bytes = MAX_HEAD_BYTES  # until the head is in

    @classmethod
    def from_reads(cls, reads: Sequence[Read], *, at_end: bool) -> Response:
        """The answer that these reads make. at_end: the server closed its side after them."""
        answer = cls()
        for read in reads:
            answer.feed(read.arrival_ns, read.lag_ns, read.data)
        if at_end:
            answer.end_of_connection()
        answer.close()
        return answer

    @property
    def head(self) -> ResponseHead | None:
        """Status and header fields; None before they are in."""
        return self._http.head if self._full is None else self._full.http.head

    @property
    def complete(self) -> bool:
        """Whether the HTTP message has ended properly."""
        return self._http.complete if self._full is None else self._full.complete

    @property
    def can_reuse_connection(self) -> bool:
        """Whether another request may be sent on the same connection (RFC 9112, section 9.3)."""
        http = self._http
        return (
            self._full is None
            and http.head is not None
            and http.complete
            and not http.surplus
            and http.head.keeps_connection
        )

    @property
    def is_regular(self) -> bool:
        """Whether all that came is an event stream of the regular form, without an unfinished event."""
        return self._regular is not None and self.events > 0 and not self._regular.pending

    @property
    def summary(self) -> ResponseSummary:
        """The counts and times that need no frame to be looked at."""
        if self._full_summary is not None:
            return self._full_summary
        regular = self._regular
        if regular is None or regular.first_id is None:
            return ResponseSummary()
        return ResponseSummary(
            events=self.events,
            run_events=self.events,
            first_event_ns=self.first_event_ns,
            token_arrivals_ns=self.log.token_arrivals_ns(),
            terminals=int(regular.terminal is not None),
            terminal=regular.terminal,
            terminal_ns=self.terminal_ns,
            first_id=regular.first_id,
            first_id_ns=self.first_event_ns,
        )

    def feed(self, arrival_ns: int, lag_ns: int | None, data: bytes) -> int:
        """Take one read; returns how many events it completed."""
        # Most reads are one chunk with one token: of those neither parser needs to know.
        if self._between_chunks and self._regular is not None:
            tokens = self._regular.take_chunk(data)
            if tokens is not None:
                self.log.append(arrival_ns, lag_ns, data, tokens)
                self.events += 1
                if self.log.size_bytes > self._bound_bytes:
                    self._bound()
                return 1
        if self.malformed is not None:
            return 0
        before = self.events
        if self._regular is not None:
            self._feed_regular(self._regular, arrival_ns, lag_ns, data)
        else:
            self._feed_full(arrival_ns, lag_ns, data)
        if self.log.size_bytes > self._bound_bytes or len(self.log) > MAX_ANSWER_READS:
            self._bound()
        return self.events - before

    def _feed_regular(self, regular: FastDecoder, arrival_ns: int, lag_ns: int | None, data: bytes) -> None:
        http, tokens = self._http, regular.tokens
        try:
            body = http.feed(data)
            if body:
                regular.feed(body)
        except (HttpSyntaxError, FastPathError):
            self._decode_in_full(arrival_ns, lag_ns, data)
            return
        if self.head_ns is None and http.head is not None:
            self.head_ns = arrival_ns
            if http.head.status != 200:
                self._decode_in_full(arrival_ns, lag_ns, data)
                return
        self.log.append(arrival_ns, lag_ns, data, regular.tokens - tokens)
        self.over = http.complete
        self._between_chunks = regular.ends_chunk(body, data) and http.is_chunked
        if regular.events != self.events:
            self.events = regular.events
            if self.first_event_ns is None:
                self.first_event_ns = arrival_ns
            if self.terminal_ns is None and regular.terminal is not None:
                self.terminal_ns = arrival_ns

    def _decode_in_full(self, arrival_ns: int, lag_ns: int | None, data: bytes) -> None:
        """From this read on the full decoder has the word, over what came before too."""
        self._regular = None
        self._between_chunks = False
        self._http.close()
        self._full = FullDecoder()
        self._full_summary = ResponseSummary()
        earlier, self.log = self.log, ReadLog()
        for read in earlier:
            self._feed_full(*read)
        self._feed_full(arrival_ns, lag_ns, data)

    def _feed_full(self, arrival_ns: int, lag_ns: int | None, data: bytes) -> None:
        full, summary = self._full, self._full_summary
        if full is None or summary is None:
            raise RuntimeError("the stream is regular")
        self.log.append(arrival_ns, lag_ns, data)
        summary.add(full.feed(Read(arrival_ns, lag_ns, data)))
        self.events = summary.events
        self.first_event_ns, self.terminal_ns = summary.first_event_ns, summary.terminal_ns
        self.head_ns, self.malformed = full.head_ns, full.malformed
        self.over = full.complete or full.malformed is not None

    def _bound(self) -> None:
        if self.malformed is not None:
            return
        self.over = True
        self._between_chunks = False
        if self.head_ns is None:
            self.malformed = f"more than {MAX_HEAD_BYTES // 1024} KiB came, and no head yet"
        elif len(self.log) > MAX_ANSWER_READS:
            self.malformed = f"the answer came in more than {MAX_ANSWER_READS} pieces"
        elif self._bound_bytes == MAX_ANSWER_BYTES:
            self.malformed = f"the answer is larger than {MAX_ANSWER_BYTES // 2**20} MiB"
        else:
            self.over = self.complete
            self._bound_bytes = MAX_ANSWER_BYTES

    def identities(self) -> tuple[tuple[str | None, str | None], ...]:
        """What must be the same wherever an event is seen again, event by event (Received.identity)."""
        if self._regular is None:
            return tuple(one.identity for one in self.decoded.received if one.is_event)
        ids, data = self._regular.lines_of(body_of(self.log))
        if self._regular.terminal is not None:
            data[-1] = without_run_id(data[-1])
        return tuple(zip(ids, data, strict=True))

    def end_of_connection(self) -> None:
        """The server closed its side."""
        self._at_end = True
        self._http.end_of_connection()
        if self._full is not None:
            self._full.end_of_connection()
        self.over = self.over or self.complete

    def close(self) -> None:
        """Nothing more will come."""
        self._http.close()
        if self._full is not None:
            self._full.http.close()

    @property
    def decoded(self) -> FullDecoder:
        """Every frame, made now where they were not needed before."""
        if self._full is None:
            full = FullDecoder()
            for read in self.log:
                full.feed(read)
            if self._at_end:
                full.end_of_connection()
            full.http.close()
            self._full = full
        return self._full
