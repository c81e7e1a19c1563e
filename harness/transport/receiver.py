"""Reads one response from a non-blocking socket; shared by the asyncio and the gevent client.

Each read has one arrival time. On Linux it is the kernel's receive timestamp (SO_TIMESTAMPNS), which does not depend
on how busy this process is. The time from then until the process read is kept as the read's lag.
"""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable
from contextlib import suppress

from harness.contract.decoding.memory import MemoryBudget
from harness.contract.decoding.response import Response
from harness.contract.decoding.token_layout import TokenReader
from harness.contract.exchange import Ending, Exchange, Timing
from harness.contract.expectations import Budgets
from harness.errors import LocalResourceError
from harness.profiles.profile import Profile
from harness.protocol.http1 import Delimiter
from harness.protocol.request import HttpRequest
from harness.transport.connecting import failed_connection
from harness.transport.cutting import Cut, CutHow, Pace, close_connection
from harness.transport.deadlines import next_deadline
from harness.transport.local_faults import local_fault
from harness.transport.pulse import Pulse
from harness.transport.segments import SegmentCount
from harness.transport.timestamps import READ_BYTES, keep_kernel_timestamps_on, read_with_timestamp
from harness.transport.tls import TlsSession, tls_reason
from harness.transport.turns import next_size

__all__ = ["Cut", "CutHow", "Pace", "Receiver", "close_connection"]

_NO_NOTIFY = (
    "the server closed the TLS connection without close_notify, so the end may be missing (RFC 9112, 9.8)"
)
_LEAST_READ_BYTES = 2048
_LATE_READS = 64  # of what a busy process has not read by a deadline


class Receiver:
    """Records one response. The event loop calls `on_readable`; `on_end` is called once, at the end.

    read_bytes: limit per `on_readable` call, for a slow reader. on_events: called after each read that
    completed events. on_earlier_deadline: called when `next_deadline` has moved closer. stop_watching: set by the
    client, called before the socket is closed, since its descriptor may be reused at once. lag_ns: how late the event
    loop has been so far. pulse: of the event loop. memory: what the responses of this process may hold. profile: what
    the events mean; workflow actions by default. token_reader: may take a read before `on_read` gets it; None if
    nothing may. hand_over_all: set by the client, called when `on_read` needs every read.
    """

    __slots__ = (
        "__weakref__",
        "_budgets",
        "_end_arrival_ns",
        "_ended_ns",
        "_ending_detail",
        "_has_end",
        "_intended_ns",
        "_label",
        "_lag_ns",
        "_last_arrival_ns",
        "_last_read_ns",
        "_late_at_start_ns",
        "_late_ns",
        "_left",
        "_on_earlier_deadline",
        "_on_end",
        "_on_events",
        "_one_at_a_time",
        "_pulse",
        "_read_bytes",
        "_reads",
        "_segments",
        "_sent_wall_ns",
        "_sock",
        "_tls",
        "connected_ns",
        "cut",
        "ending",
        "error",
        "hand_over_all",
        "request",
        "response",
        "sent_ns",
        "started_ns",
        "stop_watching",
        "token_reader",
    )

    def __init__(
        self,
        *,
        label: str,
        request: HttpRequest,
        budgets: Budgets,
        intended_ns: int | None = None,
        cut: Cut | None = None,
        read_bytes: int | None = None,
        on_events: Callable[[], None] | None = None,
        on_earlier_deadline: Callable[[], None] | None = None,
        on_end: Callable[[], None] | None = None,
        lag_ns: Callable[[], int] | None = None,
        pulse: Pulse | None = None,
        memory: MemoryBudget | None = None,
        profile: Profile | None = None,
    ) -> None:
        keep_kernel_timestamps_on()
        self.started_ns = time.monotonic_ns()
        self.connected_ns: int | None = None
        self.sent_ns: int | None = None
        self.ending: Ending | None = None
        self.error: Exception | None = None
        self.cut = cut
        self.response = Response(memory=memory, profile=profile)
        self._on_events = on_events
        self.stop_watching: Callable[[], object] | None = None
        self.hand_over_all: Callable[[], object] | None = None
        self.token_reader: TokenReader | None = None
        self._lag_ns = lag_ns
        self._late_at_start_ns = lag_ns() if lag_ns is not None else 0
        self._late_ns = self._ended_ns = 0
        self._label = label
        self.request = request
        self._budgets = budgets
        self._intended_ns = self.started_ns if intended_ns is None else intended_ns
        self._on_earlier_deadline = on_earlier_deadline
        self._one_at_a_time = read_bytes is not None
        self._read_bytes = read_bytes or READ_BYTES
        self._on_end = on_end
        self._sock: socket.socket | None = None
        self._tls: TlsSession | None = None
        self._segments: SegmentCount | None = None
        self._last_arrival_ns = self._last_read_ns = 0
        self._left = self._has_end = False
        self._sent_wall_ns: int | None = None
        self._ending_detail = ""
        self._end_arrival_ns: int | None = None
        self._pulse = pulse
        self._reads = True

    def tell_of_events(self, on_events: Callable[[], None]) -> None:
        """Call `on_events` after each read that completed events, from now on."""
        self._catch_up()
        self._on_events, self.token_reader = on_events, None
        if self.hand_over_all is not None:
            self.hand_over_all()

    @property
    def events_seen(self) -> int:
        """Number of events so far."""
        return self.response.events

    @property
    def cuts_before_response(self) -> bool:
        """Whether the connection is to be cut without reading anything."""
        return self.cut is not None and self.cut.after_events == 0

    def connected(self, sock: socket.socket, tls: TlsSession | None, *, is_new: bool = True) -> None:
        """The connection is ready; everything that arrives on `sock` from now on is the response.

        is_new: whether it was opened for this request; if so, its connect time is recorded.
        """
        self._sock = sock
        self._tls = tls
        if tls is None and self.cut is None and self._on_events is None:
            self.token_reader = self.response.token_reader
        self._segments = SegmentCount(sock)
        if is_new:
            self.connected_ns = time.monotonic_ns()
        if tls is not None:
            self._segments.begin_after(tls.reads, tls.size_bytes)
        elif not is_new:
            self._segments.begin_anew()

    def sent(self, at_ns: int | None = None) -> None:
        """The request's last byte was written: now, or at `at_ns` on the monotonic clock."""
        now_ns = time.monotonic_ns()
        self.sent_ns = now_ns if at_ns is None else at_ns
        self._last_read_ns = max(self._last_read_ns, self.sent_ns)
        self._sent_wall_ns = time.time_ns() - (now_ns - self.sent_ns)

    def stop_reading(self) -> None:
        """Read nothing more, but keep the connection open."""
        self._reads = False
        if self.stop_watching is not None:
            self.stop_watching()

    def on_readable(self) -> bool:
        """Read from the socket; called by the event loop as long as there is something to read.

        It reads a part, so that a server that sends without end leaves time for other streams. Returns whether there
        may be more. An exception of the harness ends the exchange, and is kept in `error` for the client to raise.
        """
        try:
            return self._drain()
        except Exception as problem:  # noqa: BLE001 - the client raises it
            self._on_exception(problem)
            return False

    def on_read(self, arrival_ns: int, lag_ns: int | None, data: bytes) -> None:
        """Process what the poller has read (harness.transport.gevent_poller); errors as in `on_readable`."""
        if self.ending is not None:
            return
        try:
            if self._tls is not None or not data:
                self._take(arrival_ns, lag_ns, data)
            elif self._on_events is not None or self.cut is not None or arrival_ns < self._last_arrival_ns:
                self._decode(arrival_ns, lag_ns, data)
            elif not self.response.take_chunk(arrival_ns, lag_ns, data):
                self._decode(arrival_ns, lag_ns, data, may_be_token=False)
            else:  # one event, which its last byte completed, and which ends nothing
                self._last_arrival_ns = self._last_read_ns = arrival_ns
                if self.response.limit is not None:
                    self._end_if_due(self.response)
        except Exception as problem:  # noqa: BLE001 - the client raises it
            self._on_exception(problem)

    def on_broken(self, problem: OSError) -> None:
        """End the exchange because reading failed."""
        if self.ending is not None:
            return
        if (fault := local_fault(problem)) is not None:
            self.break_off(fault)
        else:
            self.end(Ending.RESET, f"the connection broke: {problem.strerror or problem}")

    def _on_exception(self, problem: Exception) -> None:
        self.error = problem
        self.end(Ending.STOPPED, f"the harness broke: {problem}")

    def _drain(self) -> bool:
        if self.ending is not None or self._sock is None:
            return False
        read_bytes = self._read_bytes
        try:
            arrival_ns, lag_ns, data = read_with_timestamp(self._sock, read_bytes)
        except (BlockingIOError, InterruptedError):
            return False
        except OSError as problem:
            self.on_broken(problem)
            return False
        full, began_ns = len(data) == read_bytes, time.monotonic_ns()
        if data and self._tls is None:
            self._decode(arrival_ns, lag_ns, data)
        else:
            self._take(arrival_ns, lag_ns, data)
        self._left = full  # more may have been there already
        if full and not self._one_at_a_time:
            took_ns = time.monotonic_ns() - began_ns
            self._read_bytes = next_size(read_bytes, took_ns, least=_LEAST_READ_BYTES, most=READ_BYTES)
            return True
        return False

    def look_for_surplus(self) -> None:
        """Read once more after the end of the message: nothing may follow it."""
        if self.ending is not Ending.COMPLETE or self._sock is None:
            return
        self._catch_up()
        with suppress(OSError):
            arrival_ns, lag_ns, data = read_with_timestamp(self._sock, READ_BYTES)
            if self._tls is not None and data:
                data = self._tls.decrypt(data)
            self.response.add_surplus(max(arrival_ns, self._last_arrival_ns), lag_ns, data)

    def _take(self, arrival_ns: int, lag_ns: int | None, data: bytes) -> None:
        """Process a read that is encrypted, or empty (end of stream)."""
        closed = not data
        head = self.response.head
        if closed and self._tls is not None and head is not None and head.delimiter is Delimiter.CLOSE:
            self.end(Ending.TRUNCATED, _NO_NOTIFY)
            return
        if self._tls is not None and not closed:
            try:
                data = self._tls.decrypt(data)
            except ssl.SSLError as problem:
                self.end(Ending.RESET, f"TLS error: {tls_reason(problem)}")
                return
            closed = self._tls.closed
        if data:
            self._decode(arrival_ns, lag_ns, data)
        if self.ending is None and closed:
            self._on_closed()

    def _catch_up(self) -> None:
        """Know the arrival of the newest read, which the reader of tokens may have taken."""
        at_ns = None if self.token_reader is None else self.response.log.last_arrival_ns
        if at_ns is not None and at_ns > self._last_arrival_ns:
            self._last_arrival_ns = self._last_read_ns = at_ns

    def _decode(self, arrival_ns: int, lag_ns: int | None, data: bytes, *, may_be_token: bool = True) -> None:
        self._catch_up()
        if arrival_ns < self._last_arrival_ns:  # bytes arrive in order; the clocks were read again
            lag_ns = None if lag_ns is None else max(0, lag_ns - (self._last_arrival_ns - arrival_ns))
            arrival_ns = self._last_arrival_ns
        response = self.response
        if may_be_token and response.take_chunk(arrival_ns, lag_ns, data):
            completed = 1  # event, which its last byte completed
        else:
            error_ns = self._error_ns(arrival_ns, lag_ns, len(data))
            completed = response.feed_further(arrival_ns, lag_ns, data, error_ns)
        self._last_arrival_ns = self._last_read_ns = arrival_ns
        if completed:
            if self._on_events is not None:
                self._on_events()
            if not self._has_end and response.end_ns is not None:
                self._has_end = True
                if self._on_earlier_deadline is not None:
                    self._on_earlier_deadline()
        if response.over or self.cut is not None:
            self._end_if_due(response)  # without effect if on_events has cut it

    def _error_ns(self, arrival_ns: int, lag_ns: int | None, size: int) -> int:
        """By how much earlier than its kernel timestamp the first byte of this read may have arrived."""
        if lag_ns is None or self._segments is None:
            return 0
        seen_ns = 0 if self._pulse is None or self._left else self._pulse.earliest_ns(arrival_ns + lag_ns)
        error_ns = arrival_ns - max(self._last_read_ns, self.started_ns, seen_ns)
        tls, log = self._tls, self.response.log
        so_far = (len(log) + 1, log.size_bytes + size) if tls is None else (tls.reads, tls.size_bytes)
        return self._segments.error_ns(error_ns, *so_far)

    def _end_if_due(self, response: Response) -> None:
        if response.malformed:
            self.end(Ending.MALFORMED, response.malformed)
        elif response.limit:
            self.end(Ending.LIMIT, f"a limit of the harness was reached: {response.limit}")
        elif self.cut is not None and self.events_seen >= self.cut.after_events > 0:
            self.cut_connection()
        elif response.complete:
            self._end_arrival_ns = self._last_arrival_ns
            self.end(Ending.COMPLETE)

    def _on_closed(self) -> None:
        self._catch_up()
        now_ns = time.monotonic_ns()
        earliest_ns = now_ns if self._pulse is None else self._pulse.earliest_ns(now_ns)
        self._end_arrival_ns = max(earliest_ns, self._last_arrival_ns)
        self.response.end_of_connection()
        if self.response.complete:
            self.end(Ending.COMPLETE)
        elif self.response.head is None:
            self.end(Ending.TRUNCATED, "the server closed the connection before a response")
        else:
            self.end(Ending.TRUNCATED, "the server closed the connection before the end of the response")

    def cut_connection(self, how: CutHow | None = None) -> None:
        """Cut the connection now. how: by default as the planned cut says."""
        if self.ending is None and self._sock is not None:
            how = how or (self.cut.how if self.cut is not None else CutHow.FIN)
            self.cut = Cut(self.events_seen, how)
            self.end(Ending.CUT, self.cut.described(has_head=self.response.head is not None))
            with suppress(OSError):  # the server may have closed it first
                close_connection(self._sock, how)

    def peer_is_silent(self, since_ns: int) -> None:
        """The peer's kernel has not answered a connection that began at `since_ns` (monotonic clock).

        If that is half of the time or more, a delay of the harness itself does not count.
        """
        if 2 * since_ns <= self.started_ns + time.monotonic_ns():
            self._lag_ns = None

    def remaining_s(self) -> float:
        """Seconds until the current deadline, at least 0."""
        return max(0.0, (self.next_deadline()[0] - time.monotonic_ns()) / 1e9)

    def time_out_if_due(self) -> float:
        """Seconds until the current deadline; once that has passed, end as TIMED_OUT and return 0."""
        remaining_s, message = self._until_deadline()
        if remaining_s <= 0:
            self._read_what_arrived()
            remaining_s, message = self._until_deadline()
        if remaining_s > 0 and self.ending is None:
            return remaining_s
        self.end(Ending.TIMED_OUT, message)
        return 0.0

    def _until_deadline(self) -> tuple[float, str]:
        deadline_ns, message = self.next_deadline()
        return (deadline_ns - time.monotonic_ns()) / 1e9, message

    def _read_what_arrived(self) -> None:
        """Read what had arrived by a deadline, and was not read because this process was busy."""
        if self.sent_ns is None or self._one_at_a_time or not self._reads or self.cuts_before_response:
            return
        for _ in range(_LATE_READS):
            if not self.on_readable():
                return

    def next_deadline(self) -> tuple[int, str]:
        """The current deadline on the monotonic clock (ns), and the message if it is missed."""
        self._catch_up()
        budgets, end_ns, has_events = self._budgets, self.response.end_ns, self.events_seen > 0
        return next_deadline(
            budgets, self.started_ns, self.sent_ns, self._last_read_ns, end_ns, has_events=has_events
        )

    def fail(self, problem: OSError) -> None:
        """End the exchange because connecting, the TLS handshake or sending failed.

        A fault of this machine is kept in `error` for the client to raise.
        """
        problem.__traceback__ = None  # it would keep the stream: a frame of it refers to the problem
        if (fault := local_fault(problem)) is not None:
            self.break_off(fault)
        elif isinstance(problem, TimeoutError):
            self.end(Ending.TIMED_OUT, self.next_deadline()[1])
        else:
            self.end(*failed_connection(problem, was_open=self._sock is not None))

    def break_off(self, fault: LocalResourceError) -> None:
        """End the exchange because of a fault of this machine, which the client raises."""
        if self.ending is None:
            self.error = fault
        self.end(Ending.STOPPED, str(fault))

    def end(self, ending: Ending, detail: str = "") -> None:
        """End the exchange; only the first call counts."""
        if self.ending is None:
            self.ending = ending
            self._ending_detail = detail
            self._ended_ns = time.monotonic_ns()
            if self._lag_ns is not None:
                self._late_ns = self._lag_ns() - self._late_at_start_ns
            self.response.close()
            if self.stop_watching is not None:
                self.stop_watching()
            if self._on_end is not None:
                self._on_end()

    def exchange(self) -> Exchange:
        """The finished exchange. Raises RuntimeError before its end."""
        if self.ending is None:
            raise RuntimeError("the exchange has not ended")
        timing = Timing(
            intended_ns=self._intended_ns,
            started_ns=self.started_ns,
            connected_ns=self.connected_ns,
            sent_ns=self.sent_ns,
            sent_wall_ns=self._sent_wall_ns,
            ended_ns=self._ended_ns,
            late_ns=self._late_ns,
            end_arrival_ns=self._end_arrival_ns,
        )
        response = self.response
        noted = (timing, response.log, self.ending, self._ending_detail, response)
        return Exchange(self._label, self.request, *noted, profile=response.profile)
