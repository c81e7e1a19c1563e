"""Faults that violate the race requirements."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncGenerator, Callable
from typing import ClassVar
from weakref import WeakKeyDictionary

from aiohttp import web

from harness.contract.rules import race
from harness.reference.actions import Tokens
from harness.reference.api import (
    HEARTBEAT,
    Connection,
    Payload,
    Submission,
)
from harness.reference.faults.base import Fault
from harness.reference.runs import Event, Run
from harness.reference.settings import ServerSettings


class _LateIndex(Fault):
    """Stores a new run's key some time after looking it up, and starts to respond only then."""

    lag_s: ClassVar[float] = 0.03

    def __init__(self, settings: ServerSettings) -> None:
        super().__init__(settings)
        self._stored_s: WeakKeyDictionary[Run, float] = WeakKeyDictionary()

    def start(self, submission: Submission, key: str | None, action: Callable[[], Tokens]) -> Run:
        run = super().start(submission, key, action)
        self._stored_s[run] = time.monotonic() + self.lag_s
        return run

    def find(self, submission: Submission, key: str | None) -> Run | None:
        run = super().find(submission, key)
        stored = run is None or self._stored_s.get(run, 0.0) <= time.monotonic()
        return run if run is None or stored or not self.overlooks(run, submission) else None

    def overlooks(self, run: Run, submission: Submission) -> bool:  # noqa: ARG002 - each fault adds its own
        """Whether the run is not visible to the request yet."""
        return False

    async def stream(self, http: web.BaseRequest, reader: Connection) -> web.StreamResponse:
        if reader.started_run:
            await asyncio.sleep(self.lag_s)
        return await super().stream(http, reader)


class RacingPostsBothRun(_LateIndex, name="racing-posts-both-run", breaks=race.same_body):
    """Looks up the key and stores it in two steps, so that an equal request fits in between."""

    def overlooks(self, run: Run, submission: Submission) -> bool:
        return super().overlooks(run, submission) or not self.conflicts(run, submission)


class TwoWinners(_LateIndex, name="two-winners", breaks=race.different_bodies):
    """Makes key and body unique together, so that racing different bodies all win."""

    def overlooks(self, run: Run, submission: Submission) -> bool:
        return super().overlooks(run, submission) or self.conflicts(run, submission)


class Crosstalk(Fault, name="crosstalk", breaks=race.no_crosstalk):
    """Keeps the current token in a variable shared by all runs; every third token is read too late."""

    def __init__(self, settings: ServerSettings) -> None:
        super().__init__(settings)
        self._shared: tuple[Run, Payload] | None = None
        self._published = 0

    def publish(self, run: Run, payload: Payload) -> None:
        if payload["type"] == "token":
            self._published += 1
            before, self._shared = self._shared, (run, payload)
            raced = before is not None and before[0] is not run and not before[0].ended
            if before is not None and raced and self._published % 3 == 0:
                payload = before[1]
        super().publish(run, payload)


class ClosingOneClosesAll(Fault, name="closing-one-closes-all", breaks=race.close_one):
    """Tears down the run's fan-out when its first reader leaves."""

    def __init__(self, settings: ServerSettings) -> None:
        super().__init__(settings)
        self._sent_s: WeakKeyDictionary[Connection, float] = WeakKeyDictionary()
        self._torn_down_s: WeakKeyDictionary[Run, float] = WeakKeyDictionary()

    def on_disconnect(self, reader: Connection) -> None:
        super().on_disconnect(reader)
        # a reader that came after the last byte sent has its own fan-out: that is a resume
        self._torn_down_s[reader.run] = self._sent_s.get(reader, 0.0)

    async def chunks(self, reader: Connection) -> AsyncGenerator[bytes, None]:
        async for chunk in super().chunks(reader):
            if reader.opened_s < self._torn_down_s.get(reader.run, 0.0):
                return
            yield chunk
            self._sent_s[reader] = time.monotonic()


class StalledReaderBlocksAll(Fault, name="stalled-reader-blocks-all", breaks=race.slow_reader):
    """Writes to all readers in one loop, and pads frames against buffering: a stalled reader blocks them all."""

    patience_s: ClassVar[float] = 2.0  # per write: the others get slow, but do not fail

    def __init__(self, settings: ServerSettings) -> None:
        super().__init__(settings)
        self._turn = asyncio.Lock()

    def encode_frame(self, event: Event) -> bytes:
        return b":" + b" " * 0x4000 + b"\n" + super().encode_frame(event)

    async def stream(self, http: web.BaseRequest, reader: Connection) -> web.StreamResponse:
        http.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 0x1000)
        if http.transport is not None:
            http.transport.set_write_buffer_limits(0)
        return await super().stream(http, reader)

    async def write(self, response: web.StreamResponse, chunk: bytes) -> None:
        try:
            await asyncio.wait_for(self._turn.acquire(), self.patience_s if chunk != HEARTBEAT else 0.0)
        except TimeoutError:
            await super().write(response, chunk)
            return
        try:
            await super().write(response, chunk)
        finally:
            self._turn.release()
