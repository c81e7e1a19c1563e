"""A small third-party server with its own path, organization, tools and conflict form.

It uses aiohttp and no code of the harness. With ``drop_every``, every Nth first connection to a run lacks one event,
which its retry has.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
import uuid
import zoneinfo
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any

from aiohttp import web

PATH = "/v2/assistants/runs"
TOKEN = "acme-7f3d9a"
ORGANIZATION = "acme-eu"
MAX_BODY = 500_000
HEARTBEAT_S = 0.5

_ZONES = zoneinfo.available_timezones()
_TEXTS = {"fileThreadId": str, "userTimezone": str, "runId": str, "source": str}
_TOOLS = ("summarise", "crawl", "break")


@dataclass
class Run:
    run_id: str
    body_hash: str
    events: list[tuple[str, str]] = field(default_factory=list)
    over: bool = False
    news: asyncio.Condition = field(default_factory=asyncio.Condition)
    readers: int = 0


class Refused(Exception):  # noqa: N818 - an answer
    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class Acme:
    def __init__(self, drop_every: int = 0) -> None:
        self.runs: dict[tuple[str, str], Run] = {}
        self.started = 0
        self.requests = 0
        self.drop_every = drop_every
        self._tasks: set[asyncio.Task[None]] = set()

    def app(self) -> web.Application:
        app = web.Application(client_max_size=MAX_BODY)
        app.router.add_route("*", "/{anything:.*}", self.handle)
        return app

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.requests += 1
        try:
            key, body = await self._read(request)
            run, conflict = self._run_of(key, body)
        except Refused as refused:
            return self._refusal(refused)
        if conflict:
            clash = Run("", "", [(f"{time.time_ns() // 1_000_000}-0", CLASH)], over=True)
            return await self._stream(request, clash, 0, drop=False)
        at = 0
        named = request.headers.get("Last-Event-ID")
        ids = [event_id for event_id, _ in run.events]
        if named in ids:
            at = ids.index(named) + 1
        run.readers += 1
        drop = bool(self.drop_every) and run.readers == 1 and self.started % self.drop_every == 0
        return await self._stream(request, run, at, drop=drop)

    async def _read(self, request: web.Request) -> tuple[str | None, dict[str, Any]]:
        if request.path != PATH:
            raise Refused(404, "there is nothing here")
        if request.method != "POST":
            raise Refused(405, "POST it")
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or token.strip() != TOKEN:
            raise Refused(401, "this needs a token of yours")
        if request.content_type != "application/json":
            raise Refused(415, "send application/json")
        try:
            body = json.loads((await request.read()).decode())
        except web.HTTPRequestEntityTooLarge:
            raise Refused(413, "too much") from None
        except (ValueError, RecursionError):
            raise Refused(400, "this is not JSON") from None
        _check(body)
        keys = request.headers.getall("Idempotency-Key", [])
        if keys and (len(keys) > 1 or not 0 < len(keys[0]) <= 200 or not keys[0].isprintable()):
            raise Refused(400, "Idempotency-Key must be one short text")
        return (keys[0] if keys else None), body

    def _run_of(self, key: str | None, body: dict[str, Any]) -> tuple[Run, bool]:
        """The run, and whether the request conflicts with it."""
        place = ("key", key) if key else ("runId", body["runId"]) if "runId" in body else None
        digest = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
        found = self.runs.get(place) if place else None
        if found is not None:
            return found, found.body_hash != digest
        run = Run(body.get("runId") or str(uuid.uuid4()), digest)
        if place:
            self.runs[place] = run
        self.started += 1
        task = asyncio.create_task(self._work(run, body["workflowAction"]["toolId"]))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return run, False

    async def _work(self, run: Run, tool: str) -> None:
        words = [f"word {number} " for number in range(12 if tool == "summarise" else 18)]
        for word in words[: 2 if tool == "break" else None]:
            await self._put(run, {"type": "token", "content": word})
            await asyncio.sleep(0.07 if tool == "crawl" else 0.002)
        end = {"type": "done", "runId": run.run_id}
        if tool == "break":
            end = {"type": "error", "code": "broken", "message": "the tool broke"}
        await self._put(run, end, last=True)

    async def _put(self, run: Run, payload: dict[str, str], *, last: bool = False) -> None:
        now_ms, number = time.time_ns() // 1_000_000, 0
        if run.events:
            before_ms, before = map(int, run.events[-1][0].split("-"))
            if now_ms <= before_ms:
                now_ms, number = before_ms, before + 1
        async with run.news:
            run.events.append((f"{now_ms}-{number}", json.dumps(payload)))
            run.over = last
            run.news.notify_all()

    async def _stream(self, request: web.Request, run: Run, at: int, *, drop: bool) -> web.StreamResponse:
        headers = {
            "Content-Type": "text/event-stream; charset=utf-8",
            "Cache-Control": "no-store",
            "X-Content-Type-Options": "nosniff",
        }
        answer = web.StreamResponse(headers=headers)
        await answer.prepare(request)
        try:
            async for place, block in _blocks(run, at):
                if not (drop and place == 3):
                    await answer.write(block)
            await answer.write_eof()
        except ConnectionError:
            pass  # the client disconnected; the run continues
        return answer

    def _refusal(self, refused: Refused) -> web.Response:
        headers = {"X-Content-Type-Options": "nosniff"}
        if refused.status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        if refused.status == 405:
            headers["Allow"] = "POST"
        return web.json_response({"message": str(refused)}, status=refused.status, headers=headers)


CLASH = json.dumps({"type": "error", "status": 409, "message": "this key is taken by another body"})


async def _blocks(run: Run, at: int) -> AsyncIterator[tuple[int, bytes]]:
    """Each event from that index on, with its index; heartbeat comments have index -1."""
    while True:
        while at < len(run.events):
            event_id, data = run.events[at]
            yield at, f"id: {event_id}\ndata: {data}\n\n".encode()
            at += 1
        if run.over:
            return
        async with run.news:
            if len(run.events) > at or run.over:
                continue
            try:
                await asyncio.wait_for(run.news.wait(), HEARTBEAT_S)
            except TimeoutError:
                yield -1, b": still here\n\n"


def _check(body: Any) -> None:
    if not isinstance(body, dict):
        raise Refused(400, "send an object")
    wanted = {"organizationId": str, "sessionId": str, "workflowAction": dict}
    for name, kind in wanted.items():
        if not isinstance(body.get(name), kind):
            raise Refused(422, f"{name} is missing or wrong")
    if body["organizationId"] != ORGANIZATION:
        raise Refused(403, "this token is of another organization")
    _check_options(body)
    action = body["workflowAction"]
    for name in ("toolId", "toolName", "aiDescription", "runtimeScope"):
        if not isinstance(action.get(name), str):
            raise Refused(422, f"workflowAction.{name} is missing or wrong")
    if action["toolId"] not in _TOOLS:
        raise Refused(422, f"workflowAction.toolId: acme has {', '.join(_TOOLS)}")


def _check_options(body: dict[str, Any]) -> None:
    for name, kind in _TEXTS.items():
        if name in body and not isinstance(body[name], kind):
            raise Refused(422, f"{name} is wrong")
    previous = body.get("previousOutputs", [])
    if not isinstance(previous, list) or not all(isinstance(output, dict) for output in previous):
        raise Refused(422, "previousOutputs is wrong")
    if body.get("source", "api") not in ("automation", "api", "other"):
        raise Refused(422, "source is wrong")
    if "userTimezone" in body and body["userTimezone"] not in _ZONES:
        raise Refused(422, "userTimezone is wrong")


def serve_in(parent: Connection, drop_every: int) -> None:
    """Serve until the other end of the connection is closed. Sends the base URL first."""

    async def serve() -> None:
        runner = web.AppRunner(Acme(drop_every).app(), access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        parent.send(f"http://127.0.0.1:{runner.addresses[0][1]}")
        await asyncio.get_running_loop().run_in_executor(None, parent.poll, None)

    asyncio.run(serve())
