"""Servers for tests, each on an event loop in a thread, so that commands can be called synchronously."""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

from aiohttp import web

from tests.setup.acme_server import Acme

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@contextmanager
def serving(app: web.Application, tls: ssl.SSLContext | None = None) -> Iterator[str]:
    """Serve an application; yields its base URL."""
    loop = asyncio.new_event_loop()
    ready = threading.Event()
    ports: list[int] = []

    async def start() -> web.AppRunner:
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
        ports.append(runner.addresses[0][1])
        return runner

    runners: list[web.AppRunner] = []

    def run() -> None:
        asyncio.set_event_loop(loop)
        runners.append(loop.run_until_complete(start()))
        ready.set()
        loop.run_forever()
        loop.run_until_complete(runners[0].cleanup())
        tasks = asyncio.all_tasks(loop)
        for task in tasks:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()

    thread = threading.Thread(target=run)
    thread.start()
    assert ready.wait(10)
    try:
        yield f"{'https' if tls else 'http'}://127.0.0.1:{ports[0]}"
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)


@contextmanager
def acme(drop_every: int = 0) -> Iterator[tuple[Acme, str]]:
    server = Acme(drop_every)
    with serving(server.app()) as url:
        yield server, url


@contextmanager
def answering(handler: Handler, tls: ssl.SSLContext | None = None) -> Iterator[str]:
    """A server that passes every request to `handler`."""
    app = web.Application()
    app.router.add_route("*", "/{anything:.*}", handler)
    with serving(app, tls) as url:
        yield url
