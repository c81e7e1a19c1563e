"""The raw server behind limits: a queue, a rate limit, a moment of overload. Each is allowed, and none is a defect.

The last options are defects that look like limits: a certain request gets 429 however long the client waits.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from itertools import count
from typing import Literal

from tests.conformance.raw_server import RawServer, Request, Wire, read_request


@dataclass(frozen=True, slots=True)
class Limit:
    """How a server limits what it accepts.

    queue: how many requests it serves at a time; others wait. queue_runs: how many runs it executes at a time.
    rate: requests per second, in bursts of `burst`. every: each such request gets 503. retry_after: the form of the
    header, None for no header. refuses: which requests get 429 for ever, a defect.
    """

    queue: int | None = None
    queue_runs: int | None = None
    rate: float | None = None
    burst: int = 5
    every: int | None = None
    retry_after: Literal["seconds", "date"] | None = "seconds"
    refuses: Literal["nothing", "retries", "joins", "conflicts", "everything after 60"] = "nothing"

    def __str__(self) -> str:
        usual = Limit()
        names = [name for name in Limit.__dataclass_fields__ if getattr(self, name) != getattr(usual, name)]
        return ", ".join(f"{name}={getattr(self, name)!r}" for name in names)


class LimitedServer(RawServer):
    """A correct server with a limit."""

    long_interval_s = 0.05  # a queue lets one long run after another wait

    def __init__(self, limit: Limit) -> None:
        super().__init__()
        self.limit = limit
        self.requests = 0
        self.rejected = 0
        self._numbers = count(1)
        self._slots = asyncio.Semaphore(limit.queue or limit.queue_runs or 1)
        self._tokens = float(limit.burst)
        self._filled_s = 0.0

    async def converse(self, connection: socket.socket) -> None:
        request = await read_request(connection)
        if request is None:
            return
        self.requests += 1
        status = self._rejection(request)
        if status is not None:
            self.rejected += 1
            await self._loop.sock_sendall(connection, self._rejecting(status))
            return
        wire = Wire(connection, self.style, next(self._answers))
        is_queued = self.limit.queue is not None or (
            self.limit.queue_runs is not None and self._is_new(request)
        )
        if not is_queued:
            await self._answer(request, wire)
            return
        async with self._slots:
            await self._answer(request, wire)

    def _rejection(self, request: Request) -> str | None:
        limit = self.limit
        if limit.every is not None and next(self._numbers) % limit.every == 0:
            return "503 Service Unavailable"
        if limit.rate is not None and not self._take_token(limit.rate):
            return "429 Too Many Requests"
        return "429 Too Many Requests" if self._is_refused(request) else None

    def _take_token(self, rate: float) -> bool:
        now_s = self._loop.time()
        self._tokens = min(float(self.limit.burst), self._tokens + (now_s - self._filled_s) * rate)
        self._filled_s = now_s
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    def _is_refused(self, request: Request) -> bool:
        if self.limit.refuses == "everything after 60":
            return self.requests > 60
        run = next(
            (run for (_, _, key), run in self._runs.items() if key == request.header("idempotency-key")), None
        )
        if run is None or self.limit.refuses == "nothing":
            return False
        try:
            differs = run.fingerprint != self._fingerprint(
                request.body or b"", json.loads(request.body or b"")
            )
        except ValueError:
            return False
        return {"retries": not differs, "joins": not differs and not run.ended, "conflicts": differs}[
            self.limit.refuses
        ]

    def _is_new(self, request: Request) -> bool:
        return not any(key == request.header("idempotency-key") for _, _, key in self._runs)

    def _rejecting(self, status: str) -> bytes:
        lines = [f"HTTP/1.1 {status}", "Content-Type: application/problem+json"]
        if self.limit.retry_after == "seconds":
            lines.append("Retry-After: 1")
        elif self.limit.retry_after == "date":
            lines.append(
                f"Retry-After: {format_datetime(datetime.now(UTC) + timedelta(seconds=2), usegmt=True)}"
            )
        body = json.dumps({"title": status, "detail": "try again later"}).encode()
        return (
            "\r\n".join([*lines, f"Content-Length: {len(body)}", "Connection: close", "", ""]).encode() + body
        )


@contextmanager
def serving_limited(limit: Limit) -> Iterator[LimitedServer]:
    with LimitedServer(limit) as server:
        yield server
