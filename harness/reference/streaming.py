"""Streams a run's events over one HTTP response."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field

from aiohttp import web

from harness.profiles.workflow_actions.event_id import StreamId
from harness.reference.responses import ApiBase
from harness.reference.runs import Event, Run

HEARTBEAT = b": heartbeat\n\n"
EVENT_STREAM = "text/event-stream"


@dataclass(slots=True, eq=False, weakref_slot=True)
class Connection:
    """One stream of a run.

    index: position in the run's events of the next one to send. started_run: this request started the run. joined: it
    found the run in flight. opened_s: monotonic clock.
    """

    run: Run
    index: int
    started_run: bool
    joined: bool
    opened_s: float = field(default_factory=time.monotonic)


class RunStreaming(ApiBase):
    """Sends a run's past and future events until its terminal event; heartbeats during silence."""

    def stream_headers(self, http: web.BaseRequest) -> dict[str, str]:  # noqa: ARG002 - used by faults
        return {**self.common_headers(), "Content-Type": EVENT_STREAM, "X-Accel-Buffering": "no"}

    def resume_index(self, run: Run, last_seen: StreamId | None) -> int:
        """Index after the event with that id; 0 without an id, or with one that this run does not have."""
        index = None if last_seen is None else run.index_after(last_seen)
        return 0 if index is None else index

    def stream_response(self, http: web.BaseRequest) -> web.StreamResponse:
        """The response that carries a stream, before its head is sent."""
        return web.StreamResponse(headers=self.stream_headers(http))

    async def stream(self, http: web.BaseRequest, reader: Connection) -> web.StreamResponse:
        response = self.stream_response(http)
        try:
            await response.prepare(http)
            async with aclosing(self.chunks(reader)) as chunks:
                async for chunk in chunks:
                    await self.write(response, chunk)
            await self.complete(http, response)
        except ConnectionError:
            self.on_disconnect(reader)
        return response

    async def write(self, response: web.StreamResponse, chunk: bytes) -> None:
        """Send; blocks only this stream while the client's buffers are full."""
        await response.write(chunk)

    async def chunks(self, reader: Connection) -> AsyncGenerator[bytes, None]:
        """The stream's bytes, as soon as they are available."""
        run = reader.run
        while True:
            due = self.due(reader)
            reader.index = max(reader.index, len(run.events))
            if due:
                yield b"".join([self.encode_frame(event) for event in due])
            if run.ended and reader.index >= len(run.events):
                return
            if not await run.more_than(reader.index, self.settings.heartbeat_s):
                yield self.heartbeat(run)

    def due(self, reader: Connection) -> list[Event]:
        """The next events to send."""
        return reader.run.events[reader.index :]

    def encode_frame(self, event: Event) -> bytes:
        return f"id: {event.id}\ndata: {event.data}\n\n".encode()

    def heartbeat(self, run: Run) -> bytes:  # noqa: ARG002 - used by faults
        return HEARTBEAT

    async def complete(self, http: web.BaseRequest, response: web.StreamResponse) -> None:  # noqa: ARG002
        """End the HTTP message."""
        await response.write_eof()

    def on_disconnect(self, reader: Connection) -> None:
        """Called when the client disconnects; the run continues."""
