"""HTTP client on asyncio, used by the conformance suite.

It works on raw sockets, because the suite checks what HTTP libraries hide: how a message ended, where reads were
split, an abortive close. It can also delay a request's last byte until others are ready.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import cached_property, partial

from harness.contract.decoding.memory import MemoryBudget
from harness.contract.exchange import Ending, Exchange
from harness.contract.expectations import Budgets
from harness.errors import LocalResourceError
from harness.profiles.profile import Profile
from harness.protocol.http1 import encode_request
from harness.protocol.request import HttpRequest
from harness.protocol.traceparent import new_trace_id, traced
from harness.transport.connecting import (
    EARLY_RESPONSE_S,
    HALF_CLOSED_S,
    UNRESOLVABLE,
    Address,
    has_peer,
    literal_address,
    prepare_socket,
    request_sent_ns,
)
from harness.transport.endpoint import Endpoint
from harness.transport.local_faults import local_fault, new_socket, no_threads
from harness.transport.loop_lag import LoopLag
from harness.transport.pulse import Pulse
from harness.transport.receiver import Cut, CutHow, Receiver
from harness.transport.tls import TlsSession

_SURPLUS_S = 0.01  # for what follows the end of a message in a packet after it
_REQUEST_DELIVERY_S = 0.01  # lets the request reach the server before a cut that reads nothing


class AsyncExchange:
    """A request in flight. Wait for `events`, end it early with `cut`, get its `result`."""

    def __init__(self, receiver: Receiver, task: asyncio.Task[None], progress: asyncio.Event) -> None:
        self._receiver = receiver
        self._task = task
        self._progress = progress

    @property
    def events_seen(self) -> int:
        """How many events have arrived."""
        return self._receiver.events_seen

    @property
    def request(self) -> HttpRequest:
        """What is sent."""
        return self._receiver.request

    @property
    def run_id(self) -> str | None:
        """The run's id, as the events so far tell it; None if none does."""
        return self._receiver.response.run_id

    async def events(self, count: int) -> bool:
        """Wait until `count` events have arrived; False if it ended before that."""
        while self._receiver.events_seen < count:
            if self._task.done():
                return False
            self._progress.clear()
            await self._progress.wait()
        return True

    async def cut(self, how: CutHow = CutHow.FIN) -> Exchange:
        """Cut the connection now."""
        self._receiver.cut_connection(how)
        return await self.result()

    def stop_reading(self) -> None:
        """Read nothing more, but keep the connection open."""
        self._receiver.stop_reading()

    async def result(self) -> Exchange:
        """Wait for the end. Raises the harness's own exception if one ended it."""
        await self._task
        if self._receiver.error is not None:
            raise self._receiver.error
        return self.exchange

    @property
    def finished(self) -> bool:
        """Whether it has ended."""
        return self._task.done()

    @cached_property
    def exchange(self) -> Exchange:
        """The finished exchange. Raises RuntimeError before its end."""
        return self._receiver.exchange()


class AsyncClient:
    """Sends requests to one target, each on a new connection.

    memory: what its responses may hold together. profile: what their events mean; workflow actions by default.
    replicas: further endpoints, by the base URL that a request names as its origin. before_each: called before each
    request; what it raises keeps the request from being sent. is_traced: whether each request is sent in a new trace.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        budgets: Budgets,
        memory: MemoryBudget | None = None,
        profile: Profile | None = None,
        replicas: Mapping[str, Endpoint] | None = None,
        before_each: Callable[[], None] | None = None,
        *,
        is_traced: bool = False,
    ) -> None:
        self._before_each = before_each
        self._is_traced = is_traced
        self._replicas = replicas or {}
        self._memory = memory
        self._profile = profile
        self._pulse = Pulse()
        self._endpoint = endpoint
        self._budgets = budgets
        self._tasks: set[asyncio.Task[None]] = set()
        self._lag = LoopLag(pulse=self._pulse)

    async def exchange(
        self,
        request: HttpRequest,
        label: str,
        *,
        cut: Cut | None = None,
        barrier: asyncio.Barrier | None = None,
    ) -> Exchange:
        """Send `request` and wait for the end of its response. Server errors never raise."""
        return await self.open(request, label, cut=cut, barrier=barrier).result()

    def open(
        self,
        request: HttpRequest,
        label: str,
        *,
        cut: Cut | None = None,
        barrier: asyncio.Barrier | None = None,
        receive_buffer_bytes: int | None = None,
    ) -> AsyncExchange:
        """Start to send `request`, and return immediately.

        With a `barrier`, the last byte is sent once all parties have sent everything else. receive_buffer_bytes: of the
        kernel, which rounds it up; None for the usual size.
        """
        if self._before_each is not None:
            self._before_each()
        if self._is_traced:
            request = traced(request, new_trace_id())
        progress = asyncio.Event()
        wake = asyncio.Event()

        def on_end() -> None:
            wake.set()
            progress.set()

        self._lag.begin()
        receiver = Receiver(
            label=label,
            request=request,
            budgets=self._budgets,
            cut=cut,
            on_events=progress.set,
            on_earlier_deadline=wake.set,
            on_end=on_end,
            lag_ns=self._lag.total_ns,
            pulse=self._pulse,
            memory=self._memory,
            profile=self._profile,
        )
        task = asyncio.create_task(self._run(receiver, barrier, wake, receive_buffer_bytes))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda _: progress.set())
        task.add_done_callback(lambda _: self._lag.end())
        return AsyncExchange(receiver, task, progress)

    async def _run(
        self,
        receiver: Receiver,
        barrier: asyncio.Barrier | None,
        wake: asyncio.Event,
        receive_buffer_bytes: int | None,
    ) -> None:
        sock: socket.socket | None = None
        try:
            sock, tls = await self._connect(receiver, receive_buffer_bytes)
            receiver.connected(sock, tls)
            await self._send_and_receive(sock, tls, receiver, barrier, wake)
        except asyncio.BrokenBarrierError:
            receiver.end(Ending.STOPPED, "not sent: another request of the same race failed")
        except OSError as problem:
            receiver.fail(problem)
        except LocalResourceError as fault:
            receiver.break_off(fault)
        finally:
            if barrier is not None and receiver.sent_ns is None:
                await barrier.abort()
            receiver.end(Ending.STOPPED, "stopped by the harness before its end")
            if sock is not None:
                sock.close()

    async def _connect(
        self, receiver: Receiver, receive_buffer_bytes: int | None
    ) -> tuple[socket.socket, TlsSession | None]:
        async with asyncio.timeout(receiver.remaining_s()):
            endpoint = self._endpoint_of(receiver.request)
            addresses = await self._addresses(endpoint)
            sock = await self._connect_to_first(addresses, receiver, receive_buffer_bytes)
            try:
                prepare_socket(sock)
                if endpoint.tls is None:
                    return sock, None
                tls = TlsSession(endpoint.tls, endpoint.host)
                await self._shake_hands(sock, tls)
            except BaseException:
                sock.close()
                raise
            return sock, tls

    def _endpoint_of(self, request: HttpRequest) -> Endpoint:
        return self._endpoint if request.origin is None else self._replicas[request.origin]

    @staticmethod
    async def _addresses(endpoint: Endpoint) -> Sequence[Address]:
        host, port = endpoint.host, endpoint.port
        literal = literal_address(host, port)
        if literal is not None:
            return [literal]
        try:
            return await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except RuntimeError as problem:  # the thread pool cannot start a thread
            raise no_threads() from problem

    @staticmethod
    async def _connect_to_first(
        addresses: Sequence[Address], receiver: Receiver, receive_buffer_bytes: int | None
    ) -> socket.socket:
        problem: OSError = ConnectionRefusedError(UNRESOLVABLE)
        for family, kind, protocol, _, address in addresses:
            sock = new_socket(family, kind, protocol)
            if receive_buffer_bytes is not None:  # before the connection offers a larger window
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
            began_ns = time.monotonic_ns()
            try:
                await asyncio.get_running_loop().sock_connect(sock, address)
            except OSError as error:
                problem = problem if local_fault(problem) else error
                sock.close()
            except BaseException:
                if not has_peer(sock):
                    receiver.peer_is_silent(began_ns)
                sock.close()
                raise
            else:
                return sock
        raise problem

    @staticmethod
    async def _shake_hands(sock: socket.socket, tls: TlsSession) -> None:
        loop = asyncio.get_running_loop()
        steps = tls.handshake()
        received: bytes | None = None
        while True:
            try:
                out = next(steps) if received is None else steps.send(received)
            except StopIteration as done:
                await loop.sock_sendall(sock, done.value)
                return
            await loop.sock_sendall(sock, out)
            await asyncio.sleep(0)  # sock_recv does not wait if there are bytes; then nothing else would run
            received = await loop.sock_recv(sock, 65536)

    async def _send_and_receive(
        self,
        sock: socket.socket,
        tls: TlsSession | None,
        receiver: Receiver,
        barrier: asyncio.Barrier | None,
        wake: asyncio.Event,
    ) -> None:
        """Send and receive concurrently: a server may respond, and close, before it has read the whole request."""
        cuts_before_response = receiver.cuts_before_response
        if not cuts_before_response:
            loop = asyncio.get_running_loop()
            loop.add_reader(sock.fileno(), receiver.on_readable)
            receiver.stop_watching = partial(loop.remove_reader, sock.fileno())
        sending = asyncio.create_task(self._send(sock, tls, receiver, barrier))
        waiting = asyncio.create_task(wake.wait())
        try:
            await asyncio.wait([sending, waiting], return_when=asyncio.FIRST_COMPLETED)
            if sending.done() and sending.exception() is None and cuts_before_response:
                await asyncio.sleep(_REQUEST_DELIVERY_S)
                receiver.cut_connection()
            if sending.done() and isinstance(sending.exception(), ConnectionError):
                await asyncio.wait([waiting], timeout=EARLY_RESPONSE_S)
            if sending.done():
                sending.result()
            await self._until_ended(receiver, wake)
            if receiver.ending is Ending.COMPLETE:
                await asyncio.sleep(_SURPLUS_S)
                receiver.look_for_surplus()
        finally:
            for task in (sending, waiting):
                task.cancel()
            await asyncio.gather(sending, waiting, return_exceptions=True)
        if receiver.cut is not None and receiver.cut.how is CutHow.HALF_CLOSE:
            await asyncio.sleep(HALF_CLOSED_S)

    async def _send(
        self, sock: socket.socket, tls: TlsSession | None, receiver: Receiver, barrier: asyncio.Barrier | None
    ) -> None:
        loop = asyncio.get_running_loop()
        data = encode_request(receiver.request, host=self._endpoint_of(receiver.request).authority)
        async with asyncio.timeout(receiver.remaining_s()):
            if barrier is not None:
                await loop.sock_sendall(sock, tls.encrypt(data[:-1]) if tls else data[:-1])
                await barrier.wait()
                data = data[-1:]
            began_ns = time.monotonic_ns()
            await loop.sock_sendall(sock, tls.encrypt(data) if tls else data)
        receiver.sent(request_sent_ns(began_ns, len(data)))

    @staticmethod
    async def _until_ended(receiver: Receiver, wake: asyncio.Event) -> None:
        while receiver.ending is None:
            wake.clear()
            if remaining_s := receiver.time_out_if_due():
                with suppress(TimeoutError):
                    await asyncio.wait_for(wake.wait(), remaining_s)

    async def close(self) -> None:
        """Stop every request in flight."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
