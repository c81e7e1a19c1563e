"""Reads one answer off a non-blocking socket: what both transports share.

One read has one arrival time. Where the system stamps arrivals (Linux, SO_TIMESTAMPNS) it is the
kernel's, so it does not depend on how busy this process is; the difference to the time at which the
process got to read is the harness's own lag, kept with the read. The stamp is wall-clock time and is
carried over to the monotonic clock by way of that difference.
"""

from __future__ import annotations

import os
import socket
import ssl
import struct
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum

from harness.contract.decoding.response import Response
from harness.contract.exchange import Ending, Exchange, Timing
from harness.contract.expectations import Budgets
from harness.protocol.request import HttpRequest
from harness.transport.timestamps import READ_BYTES, keep_stamping, stamped_read
from harness.transport.tls import TlsSession
from harness.transport.tls import reason as tls_reason


class CutHow(StrEnum):
    """How a scenario breaks a connection."""

    FIN = "fin"  # an orderly close
    RST = "rst"  # an abortive one
    HALF_CLOSE = "half-close"  # our sending side only; the rest follows a moment later


@dataclass(frozen=True, slots=True)
class Pace:
    """Read slowly: at most `read_bytes` at a time, and nothing for `pause_s` seconds after each read."""

    pause_s: float
    read_bytes: int = 1024


@dataclass(frozen=True, slots=True)
class Cut:
    """Break the connection once `after_events` events have been seen; 0 is before any answer."""

    after_events: int
    how: CutHow = CutHow.FIN


def break_connection(sock: socket.socket, how: CutHow) -> None:
    """Break it as `how` says. After a half-close the socket is still to be closed.

    The FIN is sent by a shutdown of its own: closing with unread bytes in the buffer would send RST.
    """
    if how is CutHow.RST:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    else:
        sock.shutdown(socket.SHUT_WR)
    if how is not CutHow.HALF_CLOSE:
        sock.close()


class Receiver:
    """Collects one answer. The event loop calls `on_readable`; `on_end` is called once, at its end.

    read_bytes: read no more than that each time the socket is ready; None reads all there is.
    `on_events`, where set, is called after each read that completed events, and `on_sooner` when patience
    will end sooner than `next_deadline` last said. `stop_watching`, which the event
    loop sets, is called before the socket is closed: its number may belong to another one right after.
    """

    __slots__ = (
        "__weakref__",
        "_budgets",
        "_ended_ns",
        "_ending_detail",
        "_has_terminal",
        "_intended_ns",
        "_label",
        "_last_read_ns",
        "_on_end",
        "_on_sooner",
        "_one_at_a_time",
        "_read_bytes",
        "_sent_wall_ns",
        "_sock",
        "_tls",
        "answer",
        "connected_ns",
        "cut",
        "ending",
        "fault",
        "on_events",
        "request",
        "sent_ns",
        "started_ns",
        "stop_watching",
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
        on_sooner: Callable[[], None] | None = None,
        on_end: Callable[[], None] | None = None,
    ) -> None:
        keep_stamping()
        self.started_ns = time.monotonic_ns()
        self.connected_ns: int | None = None
        self.sent_ns: int | None = None
        self.ending: Ending | None = None
        self.fault: Exception | None = None
        self.cut = cut
        self.answer = Response()
        self.on_events = on_events
        self.stop_watching: Callable[[], object] | None = None
        self._label = label
        self.request = request
        self._budgets = budgets
        self._intended_ns = self.started_ns if intended_ns is None else intended_ns
        self._on_sooner = on_sooner
        self._one_at_a_time = read_bytes is not None
        self._read_bytes = read_bytes or READ_BYTES
        self._on_end = on_end
        self._sock: socket.socket | None = None
        self._tls: TlsSession | None = None
        self._last_read_ns = 0
        self._has_terminal = False
        self._sent_wall_ns: int | None = None
        self._ending_detail = ""
        self._ended_ns = 0

    @property
    def events_seen(self) -> int:
        """How many events have come."""
        return self.answer.events

    def connected(self, sock: socket.socket, tls: TlsSession | None, *, just_now: bool = True) -> None:
        """The connection stands; what arrives on `sock` from here on is the answer.

        just_now: whether it was made for this request, so that the time it took is of interest.
        """
        self._sock = sock
        self._tls = tls
        if just_now:
            self.connected_ns = time.monotonic_ns()

    def sent(self, at_ns: int | None = None) -> None:
        """The last byte of the request was handed to the kernel: now, or at `at_ns` on the monotonic clock."""
        now_ns = time.monotonic_ns()
        self.sent_ns = now_ns if at_ns is None else at_ns
        self._last_read_ns = max(self._last_read_ns, self.sent_ns)
        self._sent_wall_ns = time.time_ns() - (now_ns - self.sent_ns)

    def on_readable(self) -> None:
        """Drain the socket; the event loop calls it when there is something to read.

        A fault of ours ends the exchange, and is kept in `fault` for whoever waits for it.
        """
        try:
            self._drain()
        except Exception as problem:  # noqa: BLE001 - whoever waits for the exchange raises it
            self.fault = problem
            self.end(Ending.STOPPED, f"the harness broke: {problem}")

    def _drain(self) -> None:
        while self.ending is None and self._sock is not None:
            try:
                arrival_ns, lag_ns, data = stamped_read(self._sock, self._read_bytes)
            except (BlockingIOError, InterruptedError):
                return
            except OSError as problem:
                self._on_broken(problem)
                return
            size = len(data)
            if size and self._tls is None:
                self._decode(arrival_ns, lag_ns, data)
            else:
                self._take(arrival_ns, lag_ns, data)
            if size < self._read_bytes or self._one_at_a_time:
                return

    def _on_broken(self, problem: OSError) -> None:
        if self.answer.complete:
            self.end(Ending.COMPLETE)
        else:
            self.end(Ending.RESET, f"the connection broke: {problem.strerror or problem}")

    def _take(self, arrival_ns: int, lag_ns: int | None, data: bytes) -> None:
        """A read that is encrypted, or the last."""
        closed = not data
        if self._tls is not None and not closed:
            try:
                data = self._tls.decrypt(data)
            except ssl.SSLError as problem:
                self.end(Ending.RESET, f"TLS broke: {problem.reason or problem}")
                return
            closed = self._tls.closed
        if data:
            self._decode(arrival_ns, lag_ns, data)
        if self.ending is None and closed:
            self._on_closed()

    def _decode(self, arrival_ns: int, lag_ns: int | None, data: bytes) -> None:
        answer = self.answer
        self._last_read_ns = arrival_ns
        if answer.feed(arrival_ns, lag_ns, data):
            if self.on_events is not None:
                self.on_events()
            if not self._has_terminal and answer.terminal_ns is not None:
                self._has_terminal = True
                if self._on_sooner is not None:
                    self._on_sooner()
        if (answer.over or self.cut is not None) and self.ending is None:  # on_events may have cut it
            self._end_where_due(answer)

    def _end_where_due(self, answer: Response) -> None:
        if answer.malformed:
            self.end(Ending.MALFORMED, answer.malformed)
        elif self.cut is not None and self.events_seen >= self.cut.after_events > 0:
            self.break_off(self.cut.how)
        elif answer.complete:
            self.end(Ending.COMPLETE)

    def _on_closed(self) -> None:
        self.answer.end_of_connection()
        if self.answer.complete:
            self.end(Ending.COMPLETE)
        elif self.answer.head is None:
            self.end(Ending.TRUNCATED, "the server closed the connection before an answer")
        else:
            self.end(Ending.TRUNCATED, "the server closed the connection before the message's end")

    def break_off(self, how: CutHow) -> None:
        """Break the connection on purpose."""
        if self.ending is None and self._sock is not None:
            where = f"after {self.events_seen} events" if self.answer.head else "before the head"
            self.cut = Cut(self.events_seen, how)
            self.end(Ending.CUT, f"cut by us ({how}) {where}")
            with suppress(OSError):  # the server may have broken it first
                break_connection(self._sock, how)

    def next_deadline(self) -> tuple[int, str]:
        """When, on the monotonic clock in ns, patience ends as things stand, and what is then to be said."""
        if self.sent_ns is None:
            limit_s = self._budgets.first_event_s
            return self.started_ns + int(limit_s * 1e9), f"could not connect and send within {limit_s:g} s"
        terminal_ns = self.answer.terminal_ns
        if terminal_ns is not None:
            limit_s = self._budgets.terminal_close_s
            return (
                terminal_ns + int(limit_s * 1e9),
                f"the stream was still open {limit_s:g} s after its terminal event",
            )
        whole = self.sent_ns + int(self._budgets.run_s * 1e9)
        if not self.events_seen:
            limit_s, said = self._budgets.patience_s, "no event within"
            silent = self.sent_ns + int(limit_s * 1e9)
        else:
            limit_s, said = self._budgets.silence_s, "silent for"
            silent = self._last_read_ns + int(limit_s * 1e9)
        if silent < whole:
            return silent, f"{said} {limit_s:g} s"
        return whole, f"no terminal event within {self._budgets.run_s:g} s"

    def fail(self, problem: OSError) -> None:
        """Connecting, shaking hands or sending failed: the Exchange ends by that."""
        if isinstance(problem, TimeoutError):
            self.end(Ending.TIMED_OUT, self.next_deadline()[1])
        elif isinstance(problem, ssl.SSLError):
            self.end(Ending.REFUSED, tls_reason(problem))
        else:
            ending = Ending.REFUSED if self._sock is None else Ending.RESET
            # The system's words; asyncio has its own, which name the address again.
            if problem.errno and not isinstance(problem, socket.gaierror):
                self.end(ending, os.strerror(problem.errno))
            else:
                self.end(ending, str(problem.strerror or problem))

    def end(self, ending: Ending, detail: str = "") -> None:
        """The Exchange is over; only the first call counts."""
        if self.ending is None:
            self.ending = ending
            self._ending_detail = detail
            self._ended_ns = time.monotonic_ns()
            self.answer.close()
            if self.stop_watching is not None:
                self.stop_watching()
            if self._on_end is not None:
                self._on_end()

    def exchange(self) -> Exchange:
        """The evidence. Call it after the end."""
        if self.ending is None:
            raise RuntimeError("the exchange is still going on")
        timing = Timing(
            intended_ns=self._intended_ns,
            started_ns=self.started_ns,
            connected_ns=self.connected_ns,
            sent_ns=self.sent_ns,
            sent_wall_ns=self._sent_wall_ns,
            ended_ns=self._ended_ns,
        )
        exchange = Exchange(
            self._label, self.request, timing, self.answer.log, self.ending, self._ending_detail
        )
        return exchange.events_decoded_by(self.answer)
