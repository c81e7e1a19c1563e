"""Faults that violate the headers requirements."""

from __future__ import annotations

import asyncio
import time
import zlib
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import ClassVar

from aiohttp import web

from harness.contract.rules import headers
from harness.profiles.workflow_actions.event_id import StreamId
from harness.reference.api import (
    Connection,
    Rejection,
)
from harness.reference.faults.base import Fault
from harness.reference.runs import Run


class JsonContentType(Fault, name="json-content-type", breaks=headers.event_stream):
    """Labels the stream as application/json, the type of its events' data."""

    def stream_headers(self, http: web.BaseRequest) -> dict[str, str]:
        return {**super().stream_headers(http), "Content-Type": "application/json"}


class _ChunkedTwice(web.StreamResponse):
    async def _write_headers(self) -> None:
        self.headers["Transfer-Encoding"] = "chunked, chunked"  # aiohttp has set the first by now
        await super()._write_headers()


class ChunkedTwice(Fault, name="chunked-twice", breaks=headers.transfer_coding):
    """Sets Transfer-Encoding in the framework and in a proxy, but only one of them sends chunks."""

    def stream_response(self, http: web.BaseRequest) -> web.StreamResponse:
        return _ChunkedTwice(headers=self.stream_headers(http))


class GzipInName(Fault, name="gzip-in-name", breaks=headers.decodable):
    """Keeps Content-Encoding from an upstream response that it has already decompressed."""

    def stream_headers(self, http: web.BaseRequest) -> dict[str, str]:
        return {**super().stream_headers(http), "Content-Encoding": "gzip"}


class _Compressed(web.StreamResponse):
    def __init__(self, *, headers: dict[str, str]) -> None:
        super().__init__(headers=headers)
        self._gzip = zlib.compressobj(wbits=16 + zlib.MAX_WBITS)

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        await super().write(self._gzip.compress(data) + self._gzip.flush(zlib.Z_SYNC_FLUSH))

    async def write_eof(self, data: bytes = b"") -> None:
        await super().write_eof(self._gzip.compress(data) + self._gzip.flush())


class GzipUnasked(Fault, name="gzip-unasked", breaks=headers.content_coding):
    """Compresses every stream, whatever the request accepts."""

    def stream_headers(self, http: web.BaseRequest) -> dict[str, str]:
        return {**super().stream_headers(http), "Content-Encoding": "gzip"}

    def stream_response(self, http: web.BaseRequest) -> web.StreamResponse:
        return _Compressed(headers=self.stream_headers(http))


class Latin1Charset(Fault, name="latin-1-charset", breaks=headers.charset):
    """Declares ISO-8859-1 but sends UTF-8."""

    def stream_headers(self, http: web.BaseRequest) -> dict[str, str]:
        return {**super().stream_headers(http), "Content-Type": "text/event-stream; charset=ISO-8859-1"}


class NoLastChunk(Fault, name="no-last-chunk", breaks=headers.complete):
    """Closes the connection after the terminal event without the last chunk."""

    async def complete(self, http: web.BaseRequest, response: web.StreamResponse) -> None:  # noqa: ARG002
        if http.transport is not None:
            http.transport.close()


class AnswersTwice(Fault, name="answers-twice", breaks=headers.nothing_after):
    """Sends an error page after the stream, from an error handler that does not know that a response was sent."""

    async def complete(self, http: web.BaseRequest, response: web.StreamResponse) -> None:
        await super().complete(http, response)
        if http.transport is not None:
            http.transport.write(b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 4\r\n\r\noops")


class Cacheable(Fault, name="cacheable", breaks=headers.no_cache):
    """Lets shared caches store the stream for a minute."""

    def stream_headers(self, http: web.BaseRequest) -> dict[str, str]:
        return {**super().stream_headers(http), "Cache-Control": "public, max-age=60"}


class BufferedStream(Fault, name="buffered-stream", breaks=headers.incremental):
    """Buffers the stream like a proxy: everything arrives at the end."""

    async def chunks(self, reader: Connection) -> AsyncGenerator[bytes, None]:
        chunks = super().chunks(reader)
        yield b"".join([chunk async for chunk in chunks])


class _HoldsBack(Fault):
    """Collects the bytes of a stream like a proxy; each fault says when it lets go of them."""

    def due_in_s(self, held_s: float, held: bytes, sent: bytes) -> float | None:
        """In how many seconds to send `held`, the first of which came `held_s` ago; None to wait for more."""
        raise NotImplementedError

    def split(self, held: bytes) -> int:
        """How many of the bytes to send."""
        return len(held)

    async def chunks(self, reader: Connection) -> AsyncGenerator[bytes, None]:
        held, sent, since_s = b"", b"", 0.0
        async with aclosing(super().chunks(reader)) as source:
            following = asyncio.ensure_future(anext(source, None))
            try:
                while True:
                    wait_s = self.due_in_s(time.monotonic() - since_s, held, sent) if held else None
                    done, _ = await asyncio.wait({following}, timeout=wait_s)
                    if not done:
                        count = self.split(held)
                        yield held[:count]
                        held, sent, since_s = held[count:], sent + held[:count], time.monotonic()
                        continue
                    chunk = following.result()
                    if chunk is None:
                        break
                    if not held:
                        since_s = time.monotonic()
                    held += chunk
                    following = asyncio.ensure_future(anext(source, None))
            finally:
                following.cancel()
                await asyncio.wait({following})
        if held:
            yield held


class _HoldsFor(_HoldsBack):
    """Lets go of the bytes some time after the first of them."""

    hold_s: ClassVar[float]

    def due_in_s(self, held_s: float, held: bytes, sent: bytes) -> float | None:  # noqa: ARG002
        return max(0.0, self.hold_s - held_s)


class ProxyHolds300Ms(_HoldsFor, name="proxy-holds-300-ms", breaks=headers.incremental):
    """Collects events for 0.3 s before it sends them, like a proxy that saves packets."""

    hold_s = 0.3


class ProxyHolds1S(_HoldsFor, name="proxy-holds-1-s", breaks=headers.incremental):
    """Collects events for a second before it sends them."""

    hold_s = 1.0


class ProxyHoldsHalfKb(_HoldsBack, name="proxy-holds-512-bytes", breaks=headers.incremental):
    """Fills a buffer of 512 bytes before it sends it, and cuts events where it is full."""

    def due_in_s(self, held_s: float, held: bytes, sent: bytes) -> float | None:  # noqa: ARG002
        return 0.0 if len(held) >= 512 else None

    def split(self, held: bytes) -> int:
        return min(len(held), 512)


class ProxyHoldsHalf(_HoldsBack, name="proxy-holds-first-half", breaks=headers.incremental):
    """Fills one buffer before it sends anything, and then passes everything on: the first half of a run is late."""

    def due_in_s(self, held_s: float, held: bytes, sent: bytes) -> float | None:  # noqa: ARG002
        return 0.0 if sent or len(held) >= 700 else None


class ProxyHoldsUntimed(_HoldsFor, name="proxy-holds-untimed", breaks=headers.flushed):
    """Collects events for 0.3 s, and all ids of a run have the time of its start, so that they don't tell it."""

    hold_s = 0.3

    def event_id(self, run: Run) -> StreamId:
        first = run.events[0].id if run.events else None
        return super().event_id(run) if first is None else StreamId(first.ms, len(run.events))


class GetAnswered(Fault, name="get-answered", breaks=headers.method):
    """Answers every method with 200, from a catch-all route."""

    def wrong_method(self, http: web.BaseRequest) -> web.StreamResponse:  # noqa: ARG002
        return web.Response(text="ok", headers=self.common_headers())


class NoAllow(Fault, name="no-allow", breaks=headers.method):
    """Rejects a wrong method without an Allow header."""

    def reject(self, http: web.BaseRequest, rejection: Rejection) -> web.StreamResponse:
        answer = super().reject(http, rejection)
        answer.headers.popall("Allow", None)
        return answer
