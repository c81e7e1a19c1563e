"""httpx with httpx-sse, as in its documentation."""

from __future__ import annotations

import asyncio
import json
import time

import httpx
from httpx_sse import aconnect_sse

from tests.benchmarks.stock.body import BODY, HEADERS, PATH
from tests.benchmarks.stock.crowd import arguments, crowd
from tests.benchmarks.stock.recorder import Recorder


async def run(client: httpx.AsyncClient, url: str, recorder: Recorder) -> None:
    started_ns, events = time.monotonic_ns(), 0
    async with aconnect_sse(client, "POST", url, content=BODY, headers=HEADERS) as source:
        async for sse in source.aiter_sse():
            event = json.loads(sse.data)
            events += 1
            recorder.parsed(event.get("t"))
            if events == 1:
                recorder.first_token(started_ns)
    recorder.ended(events)


async def main(base_url: str, streams: int, ramp_s: float) -> None:
    recorder = Recorder()
    recorder.listen()
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    async with httpx.AsyncClient(limits=limits, timeout=None) as client:
        await crowd(streams, ramp_s, lambda: run(client, base_url + PATH, recorder))


if __name__ == "__main__":
    asyncio.run(main(*arguments()))
