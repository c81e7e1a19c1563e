"""Faults that violate the headers requirements."""

from __future__ import annotations

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
