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
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from functools import cache

from harness.contract.exchange import AnswerDecoder, Ending, Exchange, Read, Received, Timing
from harness.contract.expectations import Budgets
from harness.protocol.request import HttpRequest
from harness.transport.tls import TlsSession
from harness.transport.tls import reason as tls_reason

_SO_TIMESTAMPNS = 35
_TIMESPEC = struct.Struct("@ll")
_ANCILLARY_BYTES = socket.CMSG_SPACE(_TIMESPEC.size) if hasattr(socket, "CMSG_SPACE") else 0
_READ_BYTES = 65536
_PLAUSIBLE_LAG_NS = 60_000_000_000  # beyond it the wall clock was set between stamp and read

KERNEL_STAMPS = sys.platform == "linux"


class CutHow(StrEnum):
    """How a scenario breaks a connection."""

    FIN = "fin"  # an orderly close
    RST = "rst"  # an abortive one
    HALF_CLOSE = "half-close"  # our sending side only; the rest follows a moment later


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


@cache
def _keep_stamping() -> None:
    """Have the kernel stamp all that arrives, from now until this process ends.

    It begins to, a moment later, when the first socket asks, and stops with the last: without a socket that
    stays, the first read of a lone connection has no stamp.
    """
    if KERNEL_STAMPS:
        keeper = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        keeper.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        keeper.detach()


def ask_for_stamps(sock: socket.socket) -> None:
    """Have the kernel stamp what arrives on `sock`, where it can."""
    if KERNEL_STAMPS:
        sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)


def stamped_read(sock: socket.socket) -> Read:
    """One read, with its arrival time; empty data means that the peer closed.

    Raises BlockingIOError when nothing is there, and what recv raises otherwise.
    """
    if not KERNEL_STAMPS:
        data = sock.recv(_READ_BYTES)
        return Read(time.monotonic_ns(), None, data)
    data, ancillary, _, _ = sock.recvmsg(_READ_BYTES, _ANCILLARY_BYTES)
    now_ns = time.monotonic_ns()
    wall_ns = time.time_ns()
    for level, kind, payload in ancillary:
        if level == socket.SOL_SOCKET and kind == _SO_TIMESTAMPNS and len(payload) >= _TIMESPEC.size:
            seconds, nanoseconds = _TIMESPEC.unpack_from(payload)
            lag_ns = wall_ns - (seconds * 1_000_000_000 + nanoseconds)
            if 0 <= lag_ns < _PLAUSIBLE_LAG_NS:
                return Read(now_ns - lag_ns, lag_ns, data)
    return Read(now_ns, None, data)


class Receiver:
    """Collects one answer. The event loop calls `on_readable`; `on_end` is called once, at its end.

    `on_frames`, where given, gets the frames of each read as they come. `stop_watching`, which the event
    loop sets, is called before the socket is closed: its number may belong to another one right after.
    """

    def __init__(
        self,
        *,
        label: str,
        request: HttpRequest,
        budgets: Budgets,
        intended_ns: int | None = None,
        cut: Cut | None = None,
        on_frames: Callable[[list[Received]], None] | None = None,
        on_end: Callable[[], None] | None = None,
    ) -> None:
        _keep_stamping()
        self.started_ns = time.monotonic_ns()
        self.connected_ns: int | None = None
        self.sent_ns: int | None = None
        self.ending: Ending | None = None
        self.events_seen = 0
        self.cut = cut
        self.answer = AnswerDecoder()
        self.stop_watching: Callable[[], object] | None = None
        self._label = label
        self.request = request
        self._budgets = budgets
        self._intended_ns = self.started_ns if intended_ns is None else intended_ns
        self._on_frames = on_frames
        self._on_end = on_end
        self._sock: socket.socket | None = None
        self._tls: TlsSession | None = None
        self._reads: list[Read] = []
        self._last_read_ns = 0
        self._sent_wall_ns: int | None = None
        self._ending_detail = ""
        self._ended_ns = 0

    def connected(self, sock: socket.socket, tls: TlsSession | None) -> None:
        """The connection stands; what arrives on `sock` from here on is the answer."""
        self._sock = sock
        self._tls = tls
        self.connected_ns = time.monotonic_ns()

    def sent(self, at_ns: int | None = None) -> None:
        """The last byte of the request was handed to the kernel: now, or at `at_ns` on the monotonic clock."""
        now_ns = time.monotonic_ns()
        self.sent_ns = now_ns if at_ns is None else at_ns
        self._last_read_ns = max(self._last_read_ns, self.sent_ns)
        self._sent_wall_ns = time.time_ns() - (now_ns - self.sent_ns)

    def on_readable(self) -> None:
        """Drain the socket; the event loop calls it when there is something to read."""
        while self.ending is None and self._sock is not None:
            try:
                read = stamped_read(self._sock)
            except (BlockingIOError, InterruptedError):
                return
            except OSError as problem:
                self._on_broken(problem)
                return
            full = len(read.data) == _READ_BYTES
            self._take(read)
            if not full:
                return

    def _on_broken(self, problem: OSError) -> None:
        if self.answer.complete:
            self.end(Ending.COMPLETE)
        else:
            self.end(Ending.RESET, f"the connection broke: {problem.strerror or problem}")

    def _take(self, read: Read) -> None:
        closed = not read.data
        if self._tls is not None and not closed:
            try:
                read = Read(read.arrival_ns, read.lag_ns, self._tls.decrypt(read.data))
            except ssl.SSLError as problem:
                self.end(Ending.RESET, f"TLS broke: {problem.reason or problem}")
                return
            closed = self._tls.closed
        if read.data:
            self._decode(read)
        if self.ending is None and closed:
            self._on_closed()

    def _decode(self, read: Read) -> None:
        self._reads.append(read)
        self._last_read_ns = read.arrival_ns
        frames = self.answer.feed(read)
        self.events_seen += sum(one.is_event for one in frames)
        if frames and self._on_frames is not None:
            self._on_frames(frames)
        if self.ending is not None:  # on_frames may have cut it
            return
        if self.answer.malformed:
            self.end(Ending.MALFORMED, self.answer.malformed)
        elif self.cut is not None and self.events_seen >= self.cut.after_events > 0:
            self.break_off(self.cut.how)
        elif self.answer.complete:
            self.end(Ending.COMPLETE)

    def _on_closed(self) -> None:
        self.answer.end_of_connection()
        if self.answer.complete:
            self.end(Ending.COMPLETE)
        elif self.answer.http.head is None:
            self.end(Ending.TRUNCATED, "the server closed the connection before an answer")
        else:
            self.end(Ending.TRUNCATED, "the server closed the connection before the message's end")

    def break_off(self, how: CutHow) -> None:
        """Break the connection on purpose."""
        if self.ending is None and self._sock is not None:
            where = f"after {self.events_seen} events" if self.answer.http.head else "before the head"
            self.cut = Cut(self.events_seen, how)
            self.end(Ending.CUT, f"cut by us ({how}) {where}")
            with suppress(OSError):  # the server may have broken it first
                break_connection(self._sock, how)

    def next_deadline(self) -> tuple[int, str]:
        """When, on the monotonic clock in ns, patience ends as things stand, and what is then to be said."""
        if self.sent_ns is None:
            limit_s = self._budgets.first_event_s
            return self.started_ns + int(limit_s * 1e9), f"could not connect and send within {limit_s:g} s"
        if self.answer.terminal_ns is not None:
            limit_s = self._budgets.terminal_close_s
            return (
                self.answer.terminal_ns + int(limit_s * 1e9),
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
            ending = Ending.REFUSED if self.connected_ns is None else Ending.RESET
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
            self._label, self.request, timing, tuple(self._reads), self.ending, self._ending_detail
        )
        return exchange.decoded_by(self.answer)
