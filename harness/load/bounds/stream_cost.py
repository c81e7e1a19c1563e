"""Measures the CPU time of one short stream in a load process, in about a second: ``python -m`` this module.

The load's own client and rules run against the embedded server. The server runs in another thread, and only the CPU
time of this thread counts. The cheapest of some rounds counts, since it was disturbed least.
"""

from __future__ import annotations

import asyncio
import random
import threading
import time

import gevent.pool

from harness.config.sources import settings_alone
from harness.config.target import Target
from harness.load.journeys.builtin import JOURNEYS
from harness.load.journeys.cpu_yield import CpuYield
from harness.load.journeys.stream_runner import StreamRunner
from harness.load.stats.collector import Collector
from harness.reference.server import running
from harness.reference.settings import demo_config
from harness.transport.gevent_client import GeventClient

ROUNDS = 3
STREAMS = 60  # per round
_JOURNEY = "fresh"


class _Server:
    """The embedded server in a thread, until this process ends."""

    def __init__(self) -> None:
        self._listening = threading.Event()
        self.base_url = ""
        threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True).start()
        self._listening.wait()

    async def _serve(self) -> None:
        async with running() as server:
            self.base_url = server.base_url
            self._listening.set()
            await asyncio.Event().wait()


def measure() -> float:
    """CPU seconds of one stream in this thread."""
    settings = settings_alone(demo_config(_Server().base_url), "the embedded server's settings")
    target = Target(settings)
    collector = Collector("measurement")
    client = GeventClient(target.endpoint, settings.expectations.budgets, reuse=False)
    runner = StreamRunner(
        client,
        target,
        collector,
        stopping=lambda: False,
        rng=random.Random(0),  # noqa: S311 - chooses cuts, not secrets
        run_lengths={},
        run_times={},
        cpu_yield=CpuYield(),
    )
    return min(_round_s(runner, collector) for _ in range(ROUNDS))


def _round_s(runner: StreamRunner, collector: Collector) -> float:
    pool = gevent.pool.Pool(STREAMS)
    began_ns = time.thread_time_ns()
    for _ in range(STREAMS):
        pool.spawn(JOURNEYS[_JOURNEY], runner, None)
    pool.join()
    collector.take()
    return (time.thread_time_ns() - began_ns) / STREAMS / 1e9


if __name__ == "__main__":
    print(measure())
