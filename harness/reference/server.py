"""The embedded server's sockets, HTTP-level errors and signals; harness.reference.api answers the requests."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http_parser import RawRequestMessage
from aiohttp.streams import StreamReader

from harness.reference.api import ReferenceApi, Rejection, common_headers, problem_response
from harness.reference.faults import faulty_api
from harness.reference.settings import ServerSettings, demo_config

__all__ = ["RunningServer", "ServerSettings", "demo_config", "running", "serve"]

SHUTDOWN_GRACE_S = 1.0
_CONNECTION_GRACE_S = 0.4


class _Connection(web.RequestHandler):
    """Answers invalid HTTP with a problem document, like every other refusal."""

    __slots__ = ()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 - contains the client's bytes
    ) -> web.StreamResponse:
        if isinstance(exc, ConnectionError):  # the client is gone; aiohttp closes the connection
            raise exc
        if status >= 500:
            self.log_exception("unexpected exception in the embedded server", exc_info=exc)
        if request.writer.output_size > 0:
            raise ConnectionError("the response has started; an error can only close the connection")
        if status >= 500:
            rejection = Rejection(status, "internal", "Internal error.")
        else:
            rejection = Rejection(
                status, "bad_http", "The request is not valid HTTP/1.1, or a header is too large."
            )
        response = problem_response(rejection, common_headers())
        response.force_close()
        return response


class _Listener(web.Server):
    """Creates the handler of each connection, with the configured body limit."""

    def __init__(self, api: ReferenceApi) -> None:
        super().__init__(api.handle, request_factory=self._request)
        self._max_body_bytes = api.settings.max_body_bytes

    def __call__(self) -> web.RequestHandler:
        return _Connection(
            self,
            loop=asyncio.get_running_loop(),
            access_log=None,  # type: ignore[arg-type]  # documented, but missing in the annotation
            auto_decompress=False,
            lingering_time=2.0,
        )

    def _request(
        self,
        message: RawRequestMessage,
        payload: StreamReader,
        protocol: web.RequestHandler,
        writer: AbstractStreamWriter,
        task: asyncio.Task[None],
    ) -> web.BaseRequest:
        return web.BaseRequest(
            message,
            payload,
            protocol,
            writer,
            task,
            asyncio.get_running_loop(),
            client_max_size=self._max_body_bytes,
        )


@dataclass(frozen=True, slots=True)
class RunningServer:
    """The address of a running server, and its API."""

    host: str
    port: int
    api: ReferenceApi

    @property
    def base_url(self) -> str:
        """The URL to use as target."""
        return f"http://{self.host}:{self.port}"


@asynccontextmanager
async def running(
    settings: ServerSettings | None = None,
    faults: Iterable[str] = (),
    *,
    grace_s: float = SHUTDOWN_GRACE_S,
) -> AsyncIterator[RunningServer]:
    """Run a server in this event loop until the block ends.

    At the end, runs may finish for `grace_s` seconds; then they end with an `error` event, and streams still open half
    a second later are closed. Raises ValueError for an unknown fault, OSError if the port is not available.
    """
    settings = settings or ServerSettings()
    api = faulty_api(faults, settings.profile)(settings)
    runner = web.ServerRunner(_Listener(api), shutdown_timeout=_CONNECTION_GRACE_S)
    await runner.setup()
    site = web.TCPSite(
        runner, settings.host, settings.port, backlog=1024, reuse_port=settings.shares_port or None
    )
    try:
        api.open()
        await site.start()
        host, port = runner.addresses[0][:2]
        yield RunningServer(host, port, api)
    finally:
        try:
            await api.close(grace_s)
        finally:
            await runner.cleanup()


def serve(
    settings: ServerSettings | None = None,
    faults: Iterable[str] = (),
    *,
    on_ready: Callable[[int], None] | None = None,
) -> None:
    """Serve until SIGINT or SIGTERM. on_ready: called with the port once it listens. Raises like `running`.

    Signals work only in the main thread; in any other thread it serves until the process ends.
    """
    asyncio.run(_serve(settings, faults, on_ready))


async def _serve(
    settings: ServerSettings | None, faults: Iterable[str], on_ready: Callable[[int], None] | None
) -> None:
    stop = asyncio.Event()
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with running(settings, faults) as server:
        if on_ready is not None:
            on_ready(server.port)
        stopping = asyncio.create_task(stop.wait())
        following = server.api.registry.following
        ended, _ = await asyncio.wait(
            {stopping, following} if following else {stopping}, return_when=asyncio.FIRST_COMPLETED
        )
        for task in ended:
            task.result()  # raises what the store has raised
