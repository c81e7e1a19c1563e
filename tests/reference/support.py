"""A small client for tests of the embedded server, over real sockets."""

from __future__ import annotations

import asyncio
import io
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from tempfile import TemporaryDirectory
from typing import Any

import aiohttp

from harness.protocol.sse import Frame, SseDecoder
from harness.reference.server import RunningServer, ServerSettings, running

TOKEN = "demo-token"
PATH = "/agent/workflow-actions"


@dataclass(frozen=True, slots=True)
class Answer:
    """One response, read to its end or to where it was cut."""

    status: int
    headers: dict[str, str]
    raw: bytes
    complete: bool = True

    @property
    def frames(self) -> list[Frame]:
        """Frames that dispatch an event."""
        return [frame for frame in SseDecoder().feed(self.raw) if frame.dispatches]

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(frame.data or "") for frame in self.frames]

    @property
    def ids(self) -> list[str | None]:
        return [frame.id for frame in self.frames]

    @property
    def types(self) -> list[str]:
        return [event.get("type", "") for event in self.events]

    @property
    def sequence(self) -> list[tuple[str | None, str | None]]:
        """What a replay must return."""
        return [(frame.id, frame.data) for frame in self.frames]

    @property
    def text(self) -> str:
        return "".join(event["content"] for event in self.events if event["type"] == "token")

    @property
    def problem(self) -> dict[str, Any]:
        assert self.headers["Content-Type"] == "application/problem+json", self
        document: dict[str, Any] = json.loads(self.raw)
        assert list(document) == ["type", "title", "status", "code", "detail"]
        assert document["status"] == self.status
        return document


def action(tool_id: str = "echo", **parameters: Any) -> dict[str, Any]:
    """A workflowAction."""
    return {"toolId": tool_id, "toolName": "n", "aiDescription": "d", "runtimeScope": "s", **parameters}


def body(workflow_action: dict[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
    """A request body; fields set to ... are omitted."""
    default = {"organizationId": "org-1", "sessionId": "s-1", "workflowAction": workflow_action or action()}
    return {name: value for name, value in {**default, **fields}.items() if value is not ...}


@dataclass(frozen=True, slots=True)
class Client:
    """Sends requests to one server. elsewhere: to the other replica, if the server has two."""

    session: aiohttp.ClientSession
    server: RunningServer
    elsewhere: Client | None = None

    @property
    def other(self) -> Client:
        """A client of the other replica."""
        assert self.elsewhere is not None
        return self.elsewhere

    async def post(
        self,
        content: Any = None,
        *,
        key: str | None = None,
        token: str | None = TOKEN,
        path: str = PATH,
        cut_after: int | None = None,
        method: str = "POST",
        **headers: str,
    ) -> Answer:
        """One request. `cut_after` closes the connection after that many events; `content` may be bytes."""
        sent = {"Content-Type": "application/json"}
        if token is not None:
            sent["Authorization"] = f"Bearer {token}"
        if key is not None:
            sent["Idempotency-Key"] = key
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        data = content if isinstance(content, bytes) else json.dumps(content or body()).encode()
        url = self.server.base_url + path
        async with self.session.request(method, url, data=io.BytesIO(data), headers=sent) as response:
            answer = Answer(response.status, dict(response.headers), b"")
            try:
                async for chunk in response.content.iter_any():
                    answer = replace(answer, raw=answer.raw + chunk)
                    if cut_after is not None and len(answer.frames) >= cut_after:
                        response.close()
                        break
            except aiohttp.ClientPayloadError:
                answer = replace(answer, complete=False)
        return answer

    async def cancel(self, run_id: str, token: str | None = TOKEN) -> Answer:
        return await self.post({}, path=f"/agent/runs/{run_id}/cancel", token=token)


@asynccontextmanager
async def client(*faults: str, **settings: Any) -> AsyncIterator[Client]:
    """A client with a new server."""
    async with (
        running(ServerSettings(**settings), faults, grace_s=0.05) as server,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session,
    ):
        yield Client(session, server)


@asynccontextmanager
async def replicas(*faults: str, **settings: Any) -> AsyncIterator[Client]:
    """A client of one of two replicas, with a new store of SQLite unless the settings name one."""
    with TemporaryDirectory() as folder:
        shared = {"store": f"sqlite:{folder}/runs.db", **settings}
        async with (
            client(*faults, **shared, replica="2") as second,
            client(*faults, **shared, replica="1") as first,
        ):
            yield replace(first, elsewhere=second)


def ask(
    scenario: Callable[[Client], Awaitable[None]],
    faults: Iterable[str] = (),
    *,
    shared: bool = False,
    **settings: Any,
) -> None:
    """Run `scenario` against a new server, of two replicas if `shared`; 30 seconds at most."""
    make = replicas if shared else client

    async def bounded() -> None:
        async with asyncio.timeout(30), make(*faults, **settings) as new_client:
            await scenario(new_client)

    asyncio.run(bounded())


async def until(condition: Callable[[], object]) -> None:
    """Wait for `condition`; `ask` limits the time."""
    while not condition():  # noqa: ASYNC110 - the server has no event to wait for
        await asyncio.sleep(0.005)


async def raw_exchange(server: RunningServer, request: bytes, *, half_close: bool = False) -> bytes:
    """Send bytes, return everything until the server closes."""
    reader, writer = await asyncio.open_connection(server.host, server.port)
    writer.write(request)
    if half_close:
        writer.write_eof()
    try:
        return await reader.read()
    finally:
        writer.close()
        await writer.wait_closed()


def http_post(content: Any, *, key: str | None = None, extra: str = "") -> bytes:
    """The documented request as bytes; `extra` header lines end with CRLF."""
    data = json.dumps(content).encode()
    key_line = f"Idempotency-Key: {key}\r\n" if key else ""
    head = (
        f"POST {PATH} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n{key_line}{extra}"
        f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
    )
    return head.encode() + data


async def raw_answer(server: RunningServer, content: Any, *, silent_s: float = 0.2) -> bytes:
    """All bytes of the response to one request, until the server has been silent for a moment."""
    reader, writer = await asyncio.open_connection(server.host, server.port)
    writer.write(http_post(content, key="raw"))
    data = b""
    try:
        while more := await asyncio.wait_for(reader.read(65536), silent_s if data else 5):
            data += more
    except TimeoutError:
        pass
    finally:
        writer.close()
    return data


@asynccontextmanager
async def stalled_connection(server: RunningServer, content: Any, *, key: str) -> AsyncIterator[None]:
    """A client with the smallest receive buffer that sends a request and never reads."""
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        connection.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(connection, (server.host, server.port))
        await loop.sock_sendall(connection, http_post(content, key=key))
        yield
