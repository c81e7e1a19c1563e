"""Exchanges on asyncio: what the conformance suite's scenarios run on.

It reads the socket itself instead of using an HTTP client library, because the suite judges what such
libraries smooth over: how a message ended, where its packets were cut, an abortive close, a request
whose last byte is held back until twenty others are ready.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import cached_property, partial
from typing import Any

from harness.contract.exchange import Ending, Exchange
from harness.contract.expectations import Budgets
from harness.protocol.http1 import encode_request
from harness.protocol.request import HttpRequest
from harness.transport.endpoint import Endpoint
from harness.transport.receiver import Cut, CutHow, Receiver
from harness.transport.timestamps import ask_for_stamps
from harness.transport.tls import TlsSession

_HALF_CLOSED_S = 0.1  # how long a half-closed connection is left standing
_ONE_WRITE_BYTES = 65536
_HEARD_S = 0.01  # until a request is sure to be heard, before its connection is cut unread
_LAST_WORDS_S = 1.0  # how long to wait for the answer of a server that hung up before it had read the request


class AsyncExchange:
    """A request that is under way. Wait for `events`, break it with `cut`, and take its `result`."""

    def __init__(self, receiver: Receiver, task: asyncio.Task[None], news: asyncio.Event) -> None:
        self._receiver = receiver
        self._task = task
        self._news = news

    async def events(self, count: int) -> bool:
        """Wait until `count` events have been seen; False when it ended before that."""
        while self._receiver.events_seen < count:
            if self._task.done():
                return False
            self._news.clear()
            await self._news.wait()
        return True

    async def cut(self, how: CutHow = CutHow.FIN) -> Exchange:
        """Break the connection now."""
        self._receiver.break_off(how)
        return await self.result()

    def stall(self) -> None:
        """Stop to read, and keep the connection: a reader that has gone to sleep."""
        if self._receiver.stop_watching is not None:
            self._receiver.stop_watching()

    async def result(self) -> Exchange:
        """Wait for the end. Raises what a fault of ours raised meanwhile."""
        await self._task
        if self._receiver.fault is not None:
            raise self._receiver.fault
        return self.exchange

    @property
    def finished(self) -> bool:
        """Whether it has ended."""
        return self._task.done()

    @cached_property
    def exchange(self) -> Exchange:
        """What came of it. Raises RuntimeError while it is still going on."""
        return self._receiver.exchange()


class AsyncClient:
    """Sends requests to one target, each on a connection of its own."""

    def __init__(self, endpoint: Endpoint, budgets: Budgets) -> None:
        self._endpoint = endpoint
        self._budgets = budgets
        self._tasks: set[asyncio.Task[None]] = set()

    async def exchange(
        self,
        request: HttpRequest,
        label: str,
        *,
        cut: Cut | None = None,
        barrier: asyncio.Barrier | None = None,
    ) -> Exchange:
        """Send `request` and wait for the end of its answer. Never raises for what the server does."""
        return await self.open(request, label, cut=cut, barrier=barrier).result()

    def open(
        self,
        request: HttpRequest,
        label: str,
        *,
        cut: Cut | None = None,
        barrier: asyncio.Barrier | None = None,
    ) -> AsyncExchange:
        """Begin to send `request`, and return at once.

        With a `barrier` all but the last byte is sent, and the last one when all parties are there.
        """
        news = asyncio.Event()
        over = asyncio.Event()

        def on_end() -> None:
            over.set()
            news.set()

        receiver = Receiver(
            label=label,
            request=request,
            budgets=self._budgets,
            cut=cut,
            on_events=news.set,
            on_sooner=over.set,  # it is not over, but from here on another deadline holds
            on_end=on_end,
        )
        task = asyncio.create_task(self._run(receiver, barrier, over))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda _: news.set())
        return AsyncExchange(receiver, task, news)

    async def _run(
        self,
        receiver: Receiver,
        barrier: asyncio.Barrier | None,
        over: asyncio.Event,
    ) -> None:
        sock: socket.socket | None = None
        try:
            sock, tls = await self._connect(receiver)
            receiver.connected(sock, tls)
            await self._converse(sock, tls, receiver, barrier, over)
        except asyncio.BrokenBarrierError:
            receiver.end(Ending.STOPPED, "called off: another party of the race could not get there")
        except OSError as problem:
            receiver.fail(problem)
        finally:
            if barrier is not None and receiver.sent_ns is None:
                await barrier.abort()
            receiver.end(Ending.STOPPED, "stopped while it was open")
            if sock is not None:
                sock.close()

    async def _connect(self, receiver: Receiver) -> tuple[socket.socket, TlsSession | None]:
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(self._remaining_s(receiver)):
            found = await loop.getaddrinfo(self._endpoint.host, self._endpoint.port, type=socket.SOCK_STREAM)
            sock = await self._first_that_connects(found)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            ask_for_stamps(sock)
            if self._endpoint.tls is None:
                return sock, None
            tls = TlsSession(self._endpoint.tls, self._endpoint.host)
            try:
                await self._shake_hands(sock, tls)
            except BaseException:
                sock.close()
                raise
            return sock, tls

    @staticmethod
    async def _first_that_connects(
        found: Sequence[tuple[int, int, int, str, Any]],
    ) -> socket.socket:
        problem: OSError = ConnectionRefusedError("the name has no address")
        for family, kind, protocol, _, address in found:
            sock = socket.socket(family, kind, protocol)
            sock.setblocking(False)
            try:
                await asyncio.get_running_loop().sock_connect(sock, address)
            except OSError as failed:
                problem = failed
                sock.close()
            except BaseException:
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
            received = await loop.sock_recv(sock, 65536)

    async def _converse(
        self,
        sock: socket.socket,
        tls: TlsSession | None,
        receiver: Receiver,
        barrier: asyncio.Barrier | None,
        over: asyncio.Event,
    ) -> None:
        """Send and receive at once: a server may answer, and hang up, before it has read the whole request."""
        cut_unread = receiver.cut is not None and receiver.cut.after_events == 0
        if not cut_unread:
            loop = asyncio.get_running_loop()
            loop.add_reader(sock.fileno(), receiver.on_readable)
            receiver.stop_watching = partial(loop.remove_reader, sock.fileno())
        sending = asyncio.create_task(self._send(sock, tls, receiver, barrier))
        waiting = asyncio.create_task(over.wait())
        try:
            await asyncio.wait([sending, waiting], return_when=asyncio.FIRST_COMPLETED)
            if sending.done() and sending.exception() is None and cut_unread and receiver.cut is not None:
                await asyncio.sleep(_HEARD_S)
                receiver.break_off(receiver.cut.how)
            if sending.done() and isinstance(sending.exception(), ConnectionError):
                await asyncio.wait([waiting], timeout=_LAST_WORDS_S)
            if sending.done():
                sending.result()
            await self._until_ended(receiver, over)
        finally:
            for task in (sending, waiting):
                task.cancel()
            await asyncio.gather(sending, waiting, return_exceptions=True)
        if receiver.cut is not None and receiver.cut.how is CutHow.HALF_CLOSE:
            await asyncio.sleep(_HALF_CLOSED_S)

    async def _send(
        self, sock: socket.socket, tls: TlsSession | None, receiver: Receiver, barrier: asyncio.Barrier | None
    ) -> None:
        loop = asyncio.get_running_loop()
        data = encode_request(receiver.request, host=self._endpoint.authority)
        async with asyncio.timeout(self._remaining_s(receiver)):
            if barrier is not None:
                await loop.sock_sendall(sock, tls.encrypt(data[:-1]) if tls else data[:-1])
                await barrier.wait()
                data = data[-1:]
            began_ns = time.monotonic_ns()
            await loop.sock_sendall(sock, tls.encrypt(data) if tls else data)
        # What fits into one write is sent when that begins: the answer may be there before it returns.
        receiver.sent(began_ns if len(data) <= _ONE_WRITE_BYTES else None)

    @staticmethod
    async def _until_ended(receiver: Receiver, over: asyncio.Event) -> None:
        while receiver.ending is None:
            over.clear()
            deadline_ns, said = receiver.next_deadline()
            left_s = (deadline_ns - time.monotonic_ns()) / 1e9
            if left_s <= 0:
                receiver.end(Ending.TIMED_OUT, said)
                return
            with suppress(TimeoutError):
                await asyncio.wait_for(over.wait(), left_s)

    def _remaining_s(self, receiver: Receiver) -> float:
        return max(0.0, (receiver.next_deadline()[0] - time.monotonic_ns()) / 1e9)

    async def close(self) -> None:
        """Break off whatever is still under way."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
