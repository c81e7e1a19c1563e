"""One answer as it comes in: the reads are kept, and counted at once; frames are made when somebody asks.

Under load nobody asks for the frames of a stream in which nothing is wrong, so for a stream of the regular
form (harness.contract.regular) they are never made. What is counted on the way is the same either way.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import overload

from harness.contract.received import AnswerDecoder, Read, Received, without_run_id
from harness.contract.regular import NotRegularError, RegularStream
from harness.protocol.http1 import Delimiter, HttpSyntaxError, ResponseHead, ResponseParser
from harness.protocol.run_events import RunEvent
from harness.protocol.stream_id import StreamId

MAX_ANSWER_BYTES = 64 * 1024 * 1024
MAX_ANSWER_READS = 1_000_000
MAX_HEAD_BYTES = 256 * 1024
_NO_LAG = -1


class ReadLog(Sequence[Read]):
    """The reads of one answer in little memory: bytes end to end, and three numbers a read.

    size_bytes: how many bytes there are.
    """

    __slots__ = ("_arrivals_ns", "_bytes", "_ends", "_lags_ns", "size_bytes")

    def __init__(self, reads: Iterable[Read] = ()) -> None:
        self.size_bytes = 0
        self._bytes = bytearray()
        self._ends = array("q")
        self._arrivals_ns = array("q")
        self._lags_ns = array("q")
        for read in reads:
            self.append(read.arrival_ns, read.lag_ns, read.data)

    def append(self, arrival_ns: int, lag_ns: int | None, data: bytes) -> None:
        """Add one read."""
        self._bytes += data
        self.size_bytes = size = len(self._bytes)
        self._ends.append(size)
        self._arrivals_ns.append(arrival_ns)
        self._lags_ns.append(_NO_LAG if lag_ns is None else lag_ns)

    def __len__(self) -> int:
        return len(self._ends)

    @property
    def arrivals_ns(self) -> array[int]:
        """Arrival of each read."""
        return self._arrivals_ns

    @property
    def lags_ns(self) -> array[int]:
        """Lag of each read; below 0 where it has none."""
        return self._lags_ns

    @property
    def last_arrival_ns(self) -> int | None:
        """Arrival of the latest read."""
        return self._arrivals_ns[-1] if self._arrivals_ns else None

    def stamps(self) -> Iterator[tuple[int, int | None]]:
        """Arrival and lag of each read, without its bytes."""
        for arrival_ns, lag_ns in zip(self._arrivals_ns, self._lags_ns, strict=True):
            yield arrival_ns, None if lag_ns == _NO_LAG else lag_ns

    @overload
    def __getitem__(self, index: int) -> Read: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Read, ...]: ...
    def __getitem__(self, index: int | slice) -> Read | tuple[Read, ...]:
        if isinstance(index, slice):
            return tuple(self[one] for one in range(*index.indices(len(self))))
        place = range(len(self))[index]
        start = self._ends[place - 1] if place else 0
        lag_ns = self._lags_ns[place]
        return Read(
            self._arrivals_ns[place],
            None if lag_ns == _NO_LAG else lag_ns,
            bytes(self._bytes[start : self._ends[place]]),
        )

    def __iter__(self) -> Iterator[Read]:
        return (self[place] for place in range(len(self)))

    def __eq__(self, other: object) -> bool:
        if isinstance(other, tuple):
            return tuple(self) == other
        if not isinstance(other, ReadLog):
            return NotImplemented
        return (
            self._arrivals_ns == other._arrivals_ns
            and self._lags_ns == other._lags_ns
            and self._ends == other._ends
            and self._bytes == other._bytes
        )

    __hash__ = None  # type: ignore[assignment]  # it grows


@dataclass(slots=True)
class Summary:
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

    def add(self, frames: Iterable[Received]) -> None:
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

    def add_regular(self, stream: RegularStream, arrival_ns: int) -> None:
        """Count what a read brought of a stream that is regular so far."""
        if self.first_event_ns is None:
            self.first_event_ns = self.first_id_ns = arrival_ns
            self.first_id = stream.first_id
        self.events = self.run_events = stream.events
        tokens = stream.tokens - len(self.token_arrivals_ns)
        if tokens == 1:
            self.token_arrivals_ns.append(arrival_ns)
        elif tokens:
            self.token_arrivals_ns += array("q", (arrival_ns,)) * tokens
        if stream.terminal is not None and self.terminal is None:
            self.terminals, self.terminal, self.terminal_ns = 1, stream.terminal, arrival_ns


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


class Answer:
    """Takes the reads of one answer, and says what they amount to so far.

    malformed: why nothing more can be decoded. over: whether it is malformed, or the message has ended.
    """

    def __init__(self, log: ReadLog | None = None) -> None:
        self.log = ReadLog() if log is None else log
        self.head_ns: int | None = None
        self.malformed: str | None = None
        self.over = False
        self.summary = Summary()
        self._http = ResponseParser()
        self._regular: RegularStream | None = RegularStream()
        self._full: AnswerDecoder | None = None
        self._at_end = False
        self._bound_bytes = MAX_HEAD_BYTES  # until the head is in

    @classmethod
    def of(cls, reads: Sequence[Read], *, at_end: bool) -> Answer:
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
    def may_be_followed(self) -> bool:
        """Whether another request may be sent on the same connection (RFC 9112, section 9.3)."""
        head = self.head
        if head is None or not self.complete or head.delimiter is Delimiter.CLOSE or self._http.surplus:
            return False
        options = {one.strip().lower() for one in (head.value("connection") or "").split(",")}
        return head.version == "1.1" and "close" not in options and self._full is None

    @property
    def is_regular(self) -> bool:
        """Whether all that came is an event stream of the regular form, without an unfinished event."""
        return self._regular is not None and self.summary.events > 0 and not self._regular.pending

    def feed(self, arrival_ns: int, lag_ns: int | None, data: bytes) -> int:
        """Take one read; returns how many events it completed."""
        if self.malformed is not None:
            return 0
        log, before = self.log, self.summary.events
        log.append(arrival_ns, lag_ns, data)
        if self._regular is not None:
            self._feed_regular(self._regular, arrival_ns, data)
        elif self._full is not None:
            self._feed_full(self._full, Read(arrival_ns, lag_ns, data))
        if log.size_bytes > self._bound_bytes or len(log) > MAX_ANSWER_READS:
            self._bound()
        return self.summary.events - before

    def _feed_regular(self, regular: RegularStream, arrival_ns: int, data: bytes) -> None:
        http = self._http
        try:
            body = http.feed(data)
            if body:
                regular.feed(body)
        except (HttpSyntaxError, NotRegularError):
            self._decode_in_full()
            return
        if self.head_ns is None and http.head is not None:
            self.head_ns = arrival_ns
            if http.head.status != 200:
                self._decode_in_full()
                return
        if http.complete:
            self.over = True
        if regular.events != self.summary.events:
            self.summary.add_regular(regular, arrival_ns)

    def _decode_in_full(self) -> None:
        """From here on the full decoder has the word, over what came before too."""
        self._regular = None
        self._full = AnswerDecoder()
        self.summary = Summary()
        self._http.close()
        for read in self.log:
            self._feed_full(self._full, read)

    def _feed_full(self, full: AnswerDecoder, read: Read) -> None:
        self.summary.add(full.feed(read))
        self.head_ns, self.malformed = full.head_ns, full.malformed
        self.over = full.complete or full.malformed is not None

    def _bound(self) -> None:
        if self.malformed is not None:
            return
        self.over = True
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
        if self.summary.terminal is not None:
            data[-1] = without_run_id(data[-1])
        return tuple(zip(ids, data, strict=True))

    def end_of_connection(self) -> None:
        """The server closed its side."""
        self._at_end = True
        self._http.end_of_connection()
        if self._full is not None:
            self._full.end_of_connection()

    def close(self) -> None:
        """Nothing more will come."""
        self._http.close()
        if self._full is not None:
            self._full.http.close()

    @property
    def decoded(self) -> AnswerDecoder:
        """Every frame, made now where they were not needed before."""
        if self._full is None:
            full = AnswerDecoder()
            for read in self.log:
                full.feed(read)
            if self._at_end:
                full.end_of_connection()
            full.http.close()
            self._full = full
        return self._full
