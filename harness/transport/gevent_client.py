"""Exchanges on gevent: what Locust's users run on.

A stream costs a greenlet only at its beginning and its end. In between the hub calls the receiver
straight when there is something to read: a switch into a greenlet for every read would double the
cost of an event, and with it the lag at which this process sees it.

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

from harness.contract.exchange import Ending, Exchange, Received
from harness.contract.expectations import Budgets
from harness.protocol.http1 import encode_request
from harness.protocol.request import HttpRequest
from harness.transport.endpoint import Endpoint
from harness.transport.receiver import Cut, CutHow, Receiver, ask_for_stamps
from harness.transport.tls import TlsSession

_HALF_CLOSED_S = 0.1  # how long a half-closed connection is left standing
_ONE_WRITE_BYTES = 65536
_LAST_WORDS_S = 1.0  # how long to wait for the answer of a server that hung up before it had read the request
_READABLE = 1  # libev's EV_READ

_Address = tuple[int, int, int, str, Any]

_native_socket: type[socket.socket] = gevent.monkey.get_original("socket", "socket")


class LiveExchange:
    """A request that is under way: `run` it in one greenlet, watch or break it from others."""

    def __init__(
        self,
        endpoint: Endpoint,
        budgets: Budgets,
        request: HttpRequest,
        label: str,
        *,
        intended_ns: int | None = None,
        cut: Cut | None = None,
    ) -> None:
        self._endpoint = endpoint
        self._request = request
        self._problem: BaseException | None = None
        self._over = over = gevent.event.Event()
        self._news = news = gevent.event.Event()
        self._sooner = sooner = gevent.event.Event()  # patience ends earlier than was thought

        # These know nothing of self: in a cycle every stream's frames would wait for a full garbage
        # collection, and that stops all the others for a tenth of a second.
        def on_frames(frames: list[Received]) -> None:
            news.set()
            if any(one.is_terminal for one in frames):
                sooner.set()

        def on_end() -> None:
            over.set()
            news.set()
            sooner.set()

        self._receiver = Receiver(
            label=label,
            request=request,
            budgets=budgets,
            intended_ns=intended_ns,
            cut=cut,
            on_frames=on_frames,
            on_end=on_end,
        )

    @property
    def over(self) -> bool:
        """Whether it has ended."""
        return self._receiver.ending is not None

    def exchange(self) -> Exchange:
        """The evidence, also of one that was stopped. Raises RuntimeError while it is still going on."""
        return self._receiver.exchange()

    def wait_for_events(self, count: int) -> bool:
        """Wait until `count` events have been seen; False when it ended before that."""
        while self._receiver.events_seen < count:
            if self.over:
                return False
            self._news.clear()
            self._news.wait()
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
        try:
            sock, tls = self._connect()
            receiver.connected(sock, tls)
            self._converse(sock, tls)
        except OSError as problem:
            receiver.fail(problem)
        finally:
            receiver.end(Ending.STOPPED, "stopped while it was open")
            if sock is not None:
                sock.close()
        if self._problem is not None:
            raise self._problem
        return receiver.exchange()

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
            if left and self.over:  # answered before it was all sent
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
            watcher = gevent.get_hub().loop.io(sock.fileno(), _READABLE)
            receiver.stop_watching = partial(_put_away, watcher)
            watcher.start(self._on_readable)
        try:
            self._send(sock, tls)
        except ConnectionError:
            if not self._over.wait(_LAST_WORDS_S):
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
            self._sooner.wait(timeout=left_s)
            self._sooner.clear()

    def _remaining_s(self) -> float:
        # 0 would mean "no limit" to some of gevent's waits.
        return max(0.001, (self._receiver.next_deadline()[0] - time.monotonic_ns()) / 1e9)

    def _on_readable(self) -> None:
        try:
            self._receiver.on_readable()
        except Exception as problem:  # noqa: BLE001 - a fault of ours; the greenlet that waits raises it
            self._problem = problem
            self._receiver.end(Ending.STOPPED, f"the harness broke: {problem}")


def _put_away(watcher: Any) -> None:
    watcher.stop()
    watcher.close()


class GeventClient:
    """Sends requests to one target, each on a connection of its own."""

    def __init__(self, endpoint: Endpoint, budgets: Budgets) -> None:
        self._endpoint = endpoint
        self._budgets = budgets

    def exchange(
        self, request: HttpRequest, label: str, *, intended_ns: int | None = None, cut: Cut | None = None
    ) -> Exchange:
        """Send `request` and wait for the end of its answer. Never raises for what the server does.

        intended_ns: when it was due, on the monotonic clock; None for now.
        """
        return self.open(request, label, intended_ns=intended_ns, cut=cut).run()

    def open(
        self, request: HttpRequest, label: str, *, intended_ns: int | None = None, cut: Cut | None = None
    ) -> LiveExchange:
        """The exchange, for the caller to run; its clock starts now."""
        return LiveExchange(self._endpoint, self._budgets, request, label, intended_ns=intended_ns, cut=cut)
