"""HTTP client on gevent, used by Locust's users.

A stream switches greenlets only at its start and its end. In between, the hub calls the receiver directly whenever
its socket is readable (harness.transport.gevent_poller).

Sockets are the standard library's own even if Locust has monkey-patched it. They never block, and every wait calls
gevent explicitly, so the client works patched and unpatched.
"""

from __future__ import annotations

import errno
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

from harness.contract.decoding.memory import MemoryBudget
from harness.contract.exchange import Ending, Exchange
from harness.contract.expectations import Budgets
from harness.errors import LocalResourceError
from harness.profiles.profile import Profile
from harness.protocol.http1 import encode_request
from harness.protocol.request import HttpRequest
from harness.transport.connecting import (
    EARLY_RESPONSE_S,
    HALF_CLOSED_S,
    UNRESOLVABLE,
    Address,
    literal_address,
    prepare_socket,
    request_sent_ns,
)
from harness.transport.endpoint import Endpoint
from harness.transport.gevent_poller import Poller
from harness.transport.idle_connections import IdleConnections
from harness.transport.local_faults import local_fault, new_socket, no_threads
from harness.transport.receiver import Cut, CutHow, Pace, Receiver
from harness.transport.tls import TlsSession
from harness.transport.wake import Wake

_SMALL_BUFFER_BYTES = 4096

_native_socket: type[socket.socket] = gevent.monkey.get_original("socket", "socket")


class _Signals:
    """Wakes the greenlets that wait for an exchange.

    It has no reference to the exchange. A reference cycle would keep every stream's reads until a full garbage
    collection, which pauses all streams for about 100 ms.
    """

    __slots__ = ("progress", "wake")

    def __init__(self) -> None:
        self.wake = Wake()  # set at the end, and when the deadline moves closer
        self.progress: gevent.event.Event | None = None

    def on_end(self) -> None:
        self.wake.set()
        if self.progress is not None:
            self.progress.set()


class GeventExchange:
    """A request in flight: `run` it in one greenlet, wait for its events or cut it from others."""

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
        memory: MemoryBudget | None = None,
        profile: Profile | None = None,
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
            on_earlier_deadline=signals.wake.set,
            on_end=signals.on_end,
            pulse=Poller.for_current_hub().pulse,
            memory=memory,
            profile=profile,
        )

    @property
    def finished(self) -> bool:
        """Whether it has ended."""
        return self._receiver.ending is not None

    @property
    def error(self) -> Exception | None:
        """The harness's own exception, if one ended the exchange; `run` raises it."""
        return self._receiver.error

    def exchange(self) -> Exchange:
        """The finished exchange, also if it was stopped; the same object each time.

        Raises RuntimeError before its end.
        """
        if self._exchange is None:
            self._exchange = self._receiver.exchange()
        return self._exchange

    @property
    def event_arrivals_ns(self) -> Sequence[int]:
        """Arrival of each read since the first event, so far: monotonic clock, ns."""
        first_ns = self._receiver.response.first_event_ns
        if first_ns is None:
            return ()
        return [at_ns for at_ns in self._receiver.response.log.arrivals_ns if at_ns >= first_ns]

    @property
    def request(self) -> HttpRequest:
        """What is sent."""
        return self._request

    @property
    def run_id(self) -> str | None:
        """The run's id, as the events so far tell it; None if none does."""
        return self._receiver.response.run_id

    def wait_for_events(self, count: int) -> bool:
        """Wait until `count` events have arrived; False if it ended before that."""
        progress = self._signals.progress
        if progress is None:
            progress = self._signals.progress = gevent.event.Event()
            self._receiver.tell_of_events(progress.set)
        while self._receiver.events_seen < count:
            if self.finished:
                return False
            progress.clear()
            progress.wait()
        return True

    def cut(self, how: CutHow = CutHow.FIN) -> None:
        """Cut the connection now."""
        self._receiver.cut_connection(how)

    def stop(self) -> None:
        """End it as STOPPED unless it has ended; for an exchange whose greenlet is gone."""
        self._receiver.end(Ending.STOPPED, "stopped by the harness before its end")

    def run(self) -> Exchange:
        """Connect, send, and block this greenlet until the end of the response.

        Server errors never raise. If the greenlet is killed, the exchange ends as STOPPED, the kill propagates, and
        `exchange` returns what had arrived.
        """
        receiver = self._receiver
        sock: socket.socket | None = None
        tls: TlsSession | None = None
        reused = self._idle.take() if self._idle is not None and self._pace is None else None
        try:
            sock, tls = reused or self._connect()
            receiver.connected(sock, tls, is_new=reused is None)
            self._send_and_receive(sock, tls)
        except OSError as problem:
            receiver.fail(problem)
        except LocalResourceError as fault:
            receiver.break_off(fault)
        finally:
            receiver.end(Ending.STOPPED, "stopped by the harness before its end")
            if sock is not None:
                if self._idle is not None and self._pace is None and receiver.response.can_reuse_connection:
                    self._idle.put(sock, tls)
                else:
                    sock.close()
        self._raise_error()
        return self.exchange()

    def _raise_error(self) -> None:
        """Raise the harness's own exception, if one ended it. It is kept no longer: its traceback holds the stream."""
        error, self._receiver.error = self._receiver.error, None
        if error is not None:
            try:
                raise error
            finally:
                del error

    def _connect(self) -> tuple[socket.socket, TlsSession | None]:
        sock = self._connect_to_first(self._addresses())
        try:
            prepare_socket(sock)
            if self._endpoint.tls is None:
                return sock, None
            tls = TlsSession(self._endpoint.tls, self._endpoint.host)
            self._shake_hands(sock, tls)
        except BaseException:
            sock.close()
            raise
        return sock, tls

    def _addresses(self) -> Sequence[Address]:
        host, port = self._endpoint.host, self._endpoint.port
        literal = literal_address(host, port)
        if literal is not None:
            return [literal]
        with gevent.Timeout(self._remaining_s(), TimeoutError):
            try:
                addresses: Sequence[Address] = gevent.socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            except RuntimeError as problem:  # the thread pool cannot start a thread
                raise no_threads() from problem
            return addresses

    def _connect_to_first(self, addresses: Sequence[Address]) -> socket.socket:
        problem: OSError = ConnectionRefusedError(UNRESOLVABLE)
        for family, kind, protocol, _, address in addresses:
            sock = new_socket(family, kind, protocol, _native_socket)
            if self._pace is not None:  # with a large buffer the kernel would keep reading at full speed
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SMALL_BUFFER_BYTES)
            try:
                self._connect_socket(sock, address)
            except TimeoutError:
                sock.close()
                raise
            except OSError as error:
                problem = problem if local_fault(problem) else error
                sock.close()
            except BaseException:
                sock.close()
                raise
            else:
                return sock
        raise problem

    def _connect_socket(self, sock: socket.socket, address: Any) -> None:
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
        self._receiver.sent(request_sent_ns(began_ns, len(data)))

    def _send_all(self, sock: socket.socket, data: bytes) -> None:
        unsent = memoryview(data)
        while unsent:
            try:
                unsent = unsent[sock.send(unsent) :]
            except (BlockingIOError, InterruptedError):
                self._wait_writable(sock)
            if unsent and self.finished:  # the response ended before the request was sent completely
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

    def _send_and_receive(self, sock: socket.socket, tls: TlsSession | None) -> None:
        """Send and receive concurrently: a server may respond, and close, before it has read the whole request."""
        receiver = self._receiver
        cuts_before_response = receiver.cuts_before_response
        if not cuts_before_response:
            poller, descriptor = Poller.for_current_hub(), sock.fileno()
            receiver.stop_watching = partial(poller.unwatch, descriptor)
            if self._pace is None:
                receiver.hand_over_all = partial(poller.hand_over_all, descriptor)
                poller.watch(sock, receiver)
            else:
                poller.notify(descriptor, partial(self._read_slowly, poller, descriptor, self._pace.pause_s))
        try:
            self._send(sock, tls)
        except ConnectionError:
            if not self._ends_within(EARLY_RESPONSE_S):
                raise
        if cuts_before_response:
            receiver.cut_connection()
        self._until_ended()
        if receiver.cut is not None and receiver.cut.how is CutHow.HALF_CLOSE:
            gevent.sleep(HALF_CLOSED_S)

    def _until_ended(self) -> None:
        while self._receiver.ending is None:
            if remaining_s := self._receiver.time_out_if_due():
                self._signals.wake.wait_and_clear(remaining_s)

    def _ends_within(self, limit_s: float) -> bool:
        deadline_s = time.monotonic() + limit_s
        while not self.finished and (remaining_s := deadline_s - time.monotonic()) > 0:
            self._signals.wake.wait_and_clear(remaining_s)
        return self.finished

    def _remaining_s(self) -> float:
        return max(0.001, self._receiver.remaining_s())  # some of gevent's waits take 0 as "no limit"

    def _read_slowly(self, poller: Poller, descriptor: int, pause_s: float) -> None:
        """Read once, then pause."""
        self._receiver.on_readable()
        if self.finished:
            return
        poller.unwatch(descriptor)

        def resume() -> None:
            if not self.finished:
                poller.notify(descriptor, partial(self._read_slowly, poller, descriptor, pause_s))

        gevent.spawn_later(pause_s, resume)


class GeventClient:
    """Sends requests to one target.

    reuse: keep connections alive and reuse them; otherwise one per request. memory: what its responses may hold
    together; None for the default. profile: what their events mean; workflow actions by default.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        budgets: Budgets,
        *,
        reuse: bool = False,
        memory: MemoryBudget | None = None,
        profile: Profile | None = None,
    ) -> None:
        self._memory = memory
        self._profile = profile
        self._endpoint = endpoint
        self._budgets = budgets
        self._idle = IdleConnections() if reuse else None

    @staticmethod
    def pause_reading() -> None:
        """Read no stream any further, because all of them are about to be stopped."""
        Poller.for_current_hub().pause()

    def close(self) -> None:
        """Close the idle connections."""
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
        """Send `request` and wait for the end of its response. Server errors never raise.

        intended_ns: scheduled start on the monotonic clock; None for now. pace: read slowly.
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
        """Prepare an exchange for the caller to run. Its clock starts now."""
        return GeventExchange(
            self._endpoint,
            self._budgets,
            request,
            label,
            intended_ns=intended_ns,
            cut=cut,
            pace=pace,
            idle=self._idle,
            memory=self._memory,
            profile=self._profile,
        )
