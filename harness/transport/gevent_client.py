"""Exchanges on gevent: what Locust's users run on.

A stream costs a greenlet only at its beginning and its end. In between the hub calls the receiver
straight when there is something to read (harness.transport.gevent_poller).

Sockets are the standard library's own, also where Locust has monkey patched it: they are never blocked
on, and every wait is gevent's by name, so the client works patched and unpatched alike.
"""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
import time
from collections.abc import Sequence
from functools import partial
from typing import Any

import gevent
import gevent.event
import gevent.monkey
import gevent.socket

from harness.contract.exchange import Ending, Exchange
from harness.contract.expectations import Budgets
from harness.protocol.http1 import encode_request
from harness.protocol.request import HttpRequest
from harness.transport.endpoint import Endpoint
from harness.transport.gevent_poller import Poller
from harness.transport.receiver import Cut, CutHow, Pace, Receiver
from harness.transport.timestamps import ask_for_stamps
from harness.transport.tls import TlsSession

_HALF_CLOSED_S = 0.1  # how long a half-closed connection is left standing
_ONE_WRITE_BYTES = 65536
_LAST_WORDS_S = 1.0  # how long to wait for the answer of a server that hung up before it had read the request
_SMALL_BUFFER_BYTES = 4096

_Address = tuple[int, int, int, str, Any]

_native_socket: type[socket.socket] = gevent.monkey.get_original("socket", "socket")


class _Signals:
    """What wakes those who wait for an exchange. It knows nothing of the exchange: in a cycle every stream's
    reads would wait for a full garbage collection, and that stops all the others for a tenth of a second.
    """

    __slots__ = ("news", "wake")

    def __init__(self) -> None:
        self.wake = gevent.event.Event()  # its end, or patience that ends sooner than was thought
        self.news: gevent.event.Event | None = None

    def on_end(self) -> None:
        self.wake.set()
        if self.news is not None:
            self.news.set()


class IdleConnections:
    """Connections that answered in full and may be used again, the one used last first.

    A server that closes one in the same moment breaks the next stream on it; that stream is not sent again
    in secret, since nobody could tell this from a server that drops what it was asked.
    """

    def __init__(self) -> None:
        self._waiting: list[tuple[socket.socket, TlsSession | None]] = []

    def take(self) -> tuple[socket.socket, TlsSession | None] | None:
        """A connection that still stands; None when there is none."""
        while self._waiting:
            sock, tls = self._waiting.pop()
            try:
                sock.recv(1, socket.MSG_PEEK)
            except (BlockingIOError, InterruptedError):
                return sock, tls
            except OSError:
                pass
            sock.close()  # the server closed it, or says what nobody asked for
        return None

    def put(self, sock: socket.socket, tls: TlsSession | None) -> None:
        """Keep a connection for the next stream."""
        self._waiting.append((sock, tls))

    def close(self) -> None:
        """Close them all."""
        while self._waiting:
            self._waiting.pop()[0].close()


class GeventExchange:
    """A request that is under way: `run` it in one greenlet, watch or break it from others."""

    __slots__ = (
        "__weakref__",
        "_endpoint",
        "_exchange",
        "_idle",
        "_pace",
        "_receiver",
        "_request",
        "_signals",
    )

    def __init__(
        self,
        endpoint: Endpoint,
        budgets: Budgets,
        request: HttpRequest,
        label: str,
        *,
        intended_ns: int | None = None,
        cut: Cut | None = None,
        pace: Pace | None = None,
        idle: IdleConnections | None = None,
    ) -> None:
        self._endpoint = endpoint
        self._idle = idle
        self._request = request
        self._pace = pace
        self._exchange: Exchange | None = None
        self._signals = signals = _Signals()
        self._receiver = Receiver(
            label=label,
            request=request,
            budgets=budgets,
            intended_ns=intended_ns,
            cut=cut,
            read_bytes=pace.read_bytes if pace else None,
            on_sooner=signals.wake.set,
            on_end=signals.on_end,
        )

    @property
    def finished(self) -> bool:
        """Whether it has ended."""
        return self._receiver.ending is not None

    @property
    def fault(self) -> Exception | None:
        """What of ours broke while it was read, and ended it; `run` raises it."""
        return self._receiver.fault

    def exchange(self) -> Exchange:
        """The evidence, also of one that was stopped; the same object each time.

        Raises RuntimeError while it is still going on.
        """
        if self._exchange is None:
            self._exchange = self._receiver.exchange()
        return self._exchange

    def wait_for_events(self, count: int) -> bool:
        """Wait until `count` events have been seen; False when it ended before that."""
        news = self._signals.news
        if news is None:
            news = self._signals.news = gevent.event.Event()
            self._receiver.on_events = news.set
        while self._receiver.events_seen < count:
            if self.finished:
                return False
            news.clear()
            news.wait()
        return True

    def cut(self, how: CutHow = CutHow.FIN) -> None:
        """Break the connection now."""
        self._receiver.break_off(how)

    def stop(self) -> None:
        """Give it up unless it has ended; for one that nobody runs any more."""
        self._receiver.end(Ending.STOPPED, "stopped while it was open")

    def run(self) -> Exchange:
        """Connect, send, and block this greenlet until the answer's end.

        Never raises for what the server does. When the greenlet is killed the exchange ends as STOPPED,
        the kill goes on, and `exchange` still has what there was.
        """
        receiver = self._receiver
        sock: socket.socket | None = None
        tls: TlsSession | None = None
        kept = self._idle.take() if self._idle is not None and self._pace is None else None
        try:
            sock, tls = kept or self._connect()
            receiver.connected(sock, tls, just_now=kept is None)
            self._converse(sock, tls)
        except OSError as problem:
            receiver.fail(problem)
        finally:
            receiver.end(Ending.STOPPED, "stopped while it was open")
            if sock is not None:
                if self._idle is not None and self._pace is None and receiver.answer.can_reuse_connection:
                    self._idle.put(sock, tls)
                else:
                    sock.close()
        if receiver.fault is not None:
            raise receiver.fault
        return self.exchange()

    def _connect(self) -> tuple[socket.socket, TlsSession | None]:
        sock = self._first_that_connects(self._addresses())
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            ask_for_stamps(sock)
            if self._endpoint.tls is None:
                return sock, None
            tls = TlsSession(self._endpoint.tls, self._endpoint.host)
            self._shake_hands(sock, tls)
        except BaseException:
            sock.close()
            raise
        return sock, tls

    def _addresses(self) -> Sequence[_Address]:
        host, port = self._endpoint.host, self._endpoint.port
        try:
            version = ipaddress.ip_address(host).version
        except ValueError:
            with gevent.Timeout(self._remaining_s(), TimeoutError):
                found: Sequence[_Address] = gevent.socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
                return found
        # A literal address needs no resolver, and so no switch into its thread.
        family = socket.AF_INET if version == 4 else socket.AF_INET6
        return [(family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (host, port))]

    def _first_that_connects(self, found: Sequence[_Address]) -> socket.socket:
        problem: OSError = ConnectionRefusedError("the name has no address")
        for family, kind, protocol, _, address in found:
            sock = _native_socket(family, kind, protocol)
            sock.setblocking(False)
            if self._pace is not None:  # otherwise the kernel would read on in our place
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SMALL_BUFFER_BYTES)
            try:
                self._reach(sock, address)
            except TimeoutError:
                sock.close()
                raise
            except OSError as failed:
                problem = failed
                sock.close()
            except BaseException:
                sock.close()
                raise
            else:
                return sock
        raise problem

    def _reach(self, sock: socket.socket, address: Any) -> None:
        code = sock.connect_ex(address)
        if code in {errno.EINPROGRESS, errno.EWOULDBLOCK}:
            self._wait_writable(sock)
            code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            raise OSError(code, os.strerror(code))

    def _shake_hands(self, sock: socket.socket, tls: TlsSession) -> None:
        steps = tls.handshake()
        received: bytes | None = None
        while True:
            try:
                out = next(steps) if received is None else steps.send(received)
            except StopIteration as done:
                self._send_all(sock, done.value)
                return
            self._send_all(sock, out)
            received = self._recv(sock)

    def _send(self, sock: socket.socket, tls: TlsSession | None) -> None:
        data = encode_request(self._request, host=self._endpoint.authority)
        began_ns = time.monotonic_ns()
        self._send_all(sock, tls.encrypt(data) if tls else data)
        # What fits into one write is sent when that begins: the answer may be there before it returns.
        self._receiver.sent(began_ns if len(data) <= _ONE_WRITE_BYTES else None)

    def _send_all(self, sock: socket.socket, data: bytes) -> None:
        left = memoryview(data)
        while left:
            try:
                left = left[sock.send(left) :]
            except (BlockingIOError, InterruptedError):
                self._wait_writable(sock)
            if left and self.finished:  # answered before it was all sent
                raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))

    def _recv(self, sock: socket.socket) -> bytes:
        while True:
            gevent.socket.wait_read(sock.fileno(), timeout=self._remaining_s(), timeout_exc=TimeoutError())
            try:
                return sock.recv(65536)
            except (BlockingIOError, InterruptedError):
                continue

    def _wait_writable(self, sock: socket.socket) -> None:
        gevent.socket.wait_write(sock.fileno(), timeout=self._remaining_s(), timeout_exc=TimeoutError())

    def _converse(self, sock: socket.socket, tls: TlsSession | None) -> None:
        """Send and receive at once: a server may answer, and hang up, before it has read the whole request."""
        receiver = self._receiver
        cut_unread = receiver.cut is not None and receiver.cut.after_events == 0
        if not cut_unread:
            poller, descriptor = Poller.of_hub(), sock.fileno()
            receiver.stop_watching = partial(poller.forget, descriptor)
            if self._pace is None:
                poller.watch(descriptor, receiver.on_readable)
            else:
                poller.watch(descriptor, partial(self._read_slowly, poller, descriptor, self._pace.pause_s))
        try:
            self._send(sock, tls)
        except ConnectionError:
            if not self._ends_within(_LAST_WORDS_S):
                raise
        if cut_unread and receiver.cut is not None:
            receiver.break_off(receiver.cut.how)
        self._until_ended()
        if receiver.cut is not None and receiver.cut.how is CutHow.HALF_CLOSE:
            gevent.sleep(_HALF_CLOSED_S)

    def _until_ended(self) -> None:
        while self._receiver.ending is None:
            deadline_ns, said = self._receiver.next_deadline()
            left_s = (deadline_ns - time.monotonic_ns()) / 1e9
            if left_s <= 0:
                self._receiver.end(Ending.TIMED_OUT, said)
                return
            self._signals.wake.wait(timeout=left_s)
            self._signals.wake.clear()

    def _ends_within(self, limit_s: float) -> bool:
        give_up_s = time.monotonic() + limit_s
        while not self.finished and (left_s := give_up_s - time.monotonic()) > 0:
            self._signals.wake.clear()
            self._signals.wake.wait(timeout=left_s)
        return self.finished

    def _remaining_s(self) -> float:
        # 0 would mean "no limit" to some of gevent's waits.
        return max(0.001, (self._receiver.next_deadline()[0] - time.monotonic_ns()) / 1e9)

    def _read_slowly(self, poller: Poller, descriptor: int, pause_s: float) -> None:
        """Read once, and then not for a while."""
        self._receiver.on_readable()
        if self.finished:
            return
        poller.forget(descriptor)

        def go_on() -> None:
            if not self.finished:
                poller.watch(descriptor, partial(self._read_slowly, poller, descriptor, pause_s))

        gevent.spawn_later(pause_s, go_on)


class GeventClient:
    """Sends requests to one target, each on a connection of its own unless it is to reuse them."""

    def __init__(self, endpoint: Endpoint, budgets: Budgets, *, reuse: bool = False) -> None:
        self._endpoint = endpoint
        self._budgets = budgets
        self._idle = IdleConnections() if reuse else None

    @staticmethod
    def hold() -> None:
        """Read no stream any further: they are about to be stopped, all of them."""
        Poller.of_hub().hold()

    def close(self) -> None:
        """Close the connections that wait to be used again."""
        if self._idle is not None:
            self._idle.close()

    def exchange(
        self,
        request: HttpRequest,
        label: str,
        *,
        intended_ns: int | None = None,
        cut: Cut | None = None,
        pace: Pace | None = None,
    ) -> Exchange:
        """Send `request` and wait for the end of its answer. Never raises for what the server does.

        intended_ns: when it was due, on the monotonic clock; None for now. pace: read slowly.
        """
        return self.open(request, label, intended_ns=intended_ns, cut=cut, pace=pace).run()

    def open(
        self,
        request: HttpRequest,
        label: str,
        *,
        intended_ns: int | None = None,
        cut: Cut | None = None,
        pace: Pace | None = None,
    ) -> GeventExchange:
        """The exchange, for the caller to run; its clock starts now."""
        return GeventExchange(
            self._endpoint,
            self._budgets,
            request,
            label,
            intended_ns=intended_ns,
            cut=cut,
            pace=pace,
            idle=self._idle,
        )
