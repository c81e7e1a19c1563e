"""Faults that violate the headers requirements."""

from __future__ import annotations

import zlib
from collections.abc import AsyncGenerator

from aiohttp import web

from harness.contract.rules import headers
from harness.reference.api import (
    Connection,
    Rejection,
)
from harness.reference.faults.base import Fault


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


class Cacheable(Fault, name="cacheable", breaks=headers.no_cache):
    """Lets shared caches store the stream for a minute."""

    def stream_headers(self, http: web.BaseRequest) -> dict[str, str]:
        return {**super().stream_headers(http), "Cache-Control": "public, max-age=60"}


class BufferedStream(Fault, name="buffered-stream", breaks=headers.incremental):
    """Buffers the stream like a proxy: everything arrives at the end."""

    async def chunks(self, reader: Connection) -> AsyncGenerator[bytes, None]:
        chunks = super().chunks(reader)
        yield b"".join([chunk async for chunk in chunks])


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
