"""Many streams on asyncio, each begun anew when it has ended."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable


def arguments() -> tuple[str, int, float]:
    """Base URL, streams, and the seconds over which they come up, from the command line."""
    base_url, streams, ramp_s = sys.argv[1:]
    return base_url, int(streams), float(ramp_s)


async def crowd(streams: int, ramp_s: float, run: Callable[[], Awaitable[None]]) -> None:
    """Run that many at once, without end. Raises what the first that fails raises."""

    async def one(number: int) -> None:
        await asyncio.sleep(ramp_s * number / streams)
        while True:
            await run()

    async with asyncio.TaskGroup() as group:
        for number in range(streams):
            group.create_task(one(number))
