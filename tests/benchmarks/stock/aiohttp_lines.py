"""aiohttp, line by line, as an asyncio user would write it."""

from __future__ import annotations

import asyncio
import json
import time

import aiohttp

from tests.benchmarks.stock.body import BODY, HEADERS, PATH
from tests.benchmarks.stock.crowd import arguments, crowd
from tests.benchmarks.stock.recorder import Recorder


async def run(session: aiohttp.ClientSession, url: str, recorder: Recorder) -> None:
    started_ns, events = time.monotonic_ns(), 0
    async with session.post(url, data=BODY, headers=HEADERS) as response:
        async for line in response.content:
            if not line.startswith(b"data:"):
                continue
            event = json.loads(line[5:])
            events += 1
            recorder.parsed(event.get("t"))
            if events == 1:
                recorder.first_token(started_ns)
    recorder.ended(events)


async def main(base_url: str, streams: int, ramp_s: float) -> None:
    recorder = Recorder()
    recorder.listen()
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(total=None)
    ) as session:
        await crowd(streams, ramp_s, lambda: run(session, base_url + PATH, recorder))


if __name__ == "__main__":
    asyncio.run(main(*arguments()))
