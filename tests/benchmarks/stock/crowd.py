"""Many concurrent streams on asyncio, each restarted when it ends."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable


def arguments() -> tuple[str, int, float]:
    """Base URL, number of streams, and ramp in seconds, from the command line."""
    base_url, streams, ramp_s = sys.argv[1:]
    return base_url, int(streams), float(ramp_s)


async def crowd(streams: int, ramp_s: float, run: Callable[[], Awaitable[None]]) -> None:
    """Keep that many streams running forever. Raises the exception of the first one that fails."""

    async def loop(number: int) -> None:
        await asyncio.sleep(ramp_s * number / streams)
        while True:
            await run()

    async with asyncio.TaskGroup() as group:
        for number in range(streams):
            group.create_task(loop(number))
