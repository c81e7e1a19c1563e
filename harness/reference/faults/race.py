"""Faults that violate the race requirements."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass
from typing import ClassVar
from weakref import WeakKeyDictionary, WeakSet

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter

from harness.contract.rules import race
from harness.reference.actions import Tokens
from harness.reference.api import (
    HEARTBEAT,
    Connection,
    Payload,
    Submission,
)
from harness.reference.faults.base import Fault
from harness.reference.runs import Run
from harness.reference.settings import ServerSettings


@dataclass(slots=True, eq=False)
class _Crowd:
    """The requests with one new key that arrive before the first of them has stored it. most: at the same time."""

    present: int = 0
    most: int = 0


_CROWD: ContextVar[_Crowd | None] = ContextVar("_CROWD", default=None)  # of the request


class LateIndex(Fault):
    """Stores a new key some time after looking it up, under a lock that keeps two requests apart, but not three.

    The order of events decides what a request overlooks, not its time: a run that a request of the same crowd started.
    So a single retry before the first event is not a race, however slow the machine is.
    """

    too_many: ClassVar[int] = 3
    lag_s: ClassVar[float] = 0.03  # for clients that do not send their requests together
    turns: ClassVar[int] = 50  # of the event loop: enough to accept a connection and to read what it has sent

    def __init__(self, settings: ServerSettings) -> None:
        super().__init__(settings)
        self._crowds: dict[str, _Crowd] = {}
        self._started_in: WeakKeyDictionary[Run, _Crowd] = WeakKeyDictionary()

    async def read_body(self, http: web.BaseRequest) -> bytes:
        key = http.headers.get("Idempotency-Key")
        if key is None or self._is_stored(key):
            _CROWD.set(None)
            return await super().read_body(http)
        crowd = self._crowds.setdefault(key, _Crowd())
        _CROWD.set(crowd)
        crowd.present += 1
        crowd.most = max(crowd.most, crowd.present)
        try:
            body = await super().read_body(http)
            await asyncio.sleep(self.lag_s)
            for _ in range(self.turns):
                await asyncio.sleep(0)
        finally:
            crowd.present -= 1
            if not crowd.present:
                del self._crowds[key]
        return body

    def _is_stored(self, key: str) -> bool:
        return any(
            self.registry.find((organization, "key", key))
            for organization in self.settings.principals.values()
        )

    def start(self, submission: Submission, key: str | None, action: Callable[[], Tokens]) -> Run:
        run = super().start(submission, key, action)
        crowd = _CROWD.get()
        if crowd is not None:
            self._started_in[run] = crowd
        return run

    def find(self, submission: Submission, key: str | None) -> Run | None:
        run = super().find(submission, key)
        crowd = _CROWD.get()
        if run is None or crowd is None or crowd.most < self.too_many or not self.is_of_crowd(run, crowd):
            return run
        return None if self.overlooks(run, submission) else run

    def is_of_crowd(self, run: Run, crowd: object) -> bool:
        """Whether a request of the same crowd has started the run."""
        return self._started_in.get(run) is crowd

    def overlooks(self, run: Run, submission: Submission) -> bool:  # noqa: ARG002 - each fault adds its own
        """Whether a request overlooks the run that another one of its crowd has started."""
        return False


class RacingPostsBothRun(LateIndex, name="racing-posts-both-run", breaks=race.same_body):
    """Looks up the key and stores it in two steps, so that equal requests fit in between: three or more all run."""

    def overlooks(self, run: Run, submission: Submission) -> bool:
        return super().overlooks(run, submission) or not self.conflicts(run, submission)


class TwoWinners(LateIndex, name="two-winners", breaks=race.different_bodies):
    """Makes key and body unique together, so that three or more racing bodies all win."""

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
    """Writes to all readers in one loop, and pads events against buffering: a stalled reader blocks them all."""

    # A reader is stalled while its buffers are full. A long run fits into usual ones, so a reader that is only late, as
    # on a slow machine, blocks nobody. A replay and a short run are not padded.
    patience_s: ClassVar[float] = 1.5  # per event: the others get much slower, but do not fail
    padding: ClassVar[bytes] = b":" + b" " * 0x800 + b"\n"
    buffer_bytes: ClassVar[int] = 0x2000

    def __init__(self, settings: ServerSettings) -> None:
        super().__init__(settings)
        self._writing = 0
        self._none_writing = asyncio.Event()
        self._long: WeakSet[Run] = WeakSet()
        self._writers: WeakKeyDictionary[web.StreamResponse, AbstractStreamWriter] = WeakKeyDictionary()

    def start(self, submission: Submission, key: str | None, action: Callable[[], Tokens]) -> Run:
        run = super().start(submission, key, action)
        if submission.request.workflowAction.toolId == "long":
            self._long.add(run)
        return run

    def _pads(self, reader: Connection) -> bool:
        return reader.started_run and reader.run in self._long

    async def stream(self, http: web.BaseRequest, reader: Connection) -> web.StreamResponse:
        if self._pads(reader) and http.transport is not None:
            http.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, self.buffer_bytes)
            http.transport.set_write_buffer_limits(0)  # a write returns when the kernel has taken all of it
        return await super().stream(http, reader)

    def stream_response(self, http: web.BaseRequest) -> web.StreamResponse:
        response = super().stream_response(http)
        self._writers[response] = http.writer
        return response

    async def chunks(self, reader: Connection) -> AsyncGenerator[bytes, None]:
        async for chunk in super().chunks(reader):
            yield self.padding + chunk if self._pads(reader) and chunk != HEARTBEAT else chunk

    async def write(self, response: web.StreamResponse, chunk: bytes) -> None:
        if chunk == HEARTBEAT:
            await super().write(response, chunk)
            return
        for event in chunk.split(b"\n\n")[:-1]:
            await self._wait_for_turn()
            self._writing += 1
            self._none_writing.clear()
            try:
                await super().write(response, event + b"\n\n")
                await self._writers[response].drain()
            finally:
                self._writing -= 1
                if not self._writing:
                    self._none_writing.set()

    async def _wait_for_turn(self) -> None:
        if self._writing:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._none_writing.wait(), self.patience_s)
