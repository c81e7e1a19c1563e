"""Locustfile for the cycles: the shipped users, an independent request count in each process, and a test starter.

At the end of each test, every process appends its count from Locust's events to TRUTH_CYCLES/<pid>.jsonl. If
TRUTH_CYCLE_S is set, the master starts and stops TRUTH_CYCLE_COUNT tests of that length without a web page.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import gevent
from locust import events
from locust.env import Environment
from locust.runners import MasterRunner, WorkerRunner

from harness.locustfiles.agent_runs import AgentRuns

__all__ = ["AgentRuns"]

_WHERE = Path(os.environ["TRUTH_CYCLES"])
_CYCLE_S = os.environ.get("TRUTH_CYCLE_S")


class RequestCount:
    """Counts requests from Locust's events, and writes the count to the file when a test has stopped."""

    def __init__(self, environment: Environment, runner: Any) -> None:
        self._runner = runner
        self._stats = environment.stats
        self._tests = 0
        self._counts: Counter[str] = Counter()
        locust_events: Any = environment.events
        locust_events.test_start.add_listener(self._on_start)
        locust_events.test_stop.add_listener(self._on_stop)
        locust_events.request.add_listener(self._on_request)

    def _on_start(self, **_: Any) -> None:
        self._tests += 1
        self._counts.clear()

    def _on_request(self, exception: Exception | None, **_: Any) -> None:
        self._counts["requests"] += 1
        self._counts["failures"] += exception is not None

    def _on_stop(self, **_: Any) -> None:
        is_worker = isinstance(self._runner, WorkerRunner)
        counts = {
            "process": f"worker-{self._runner.worker_index}" if is_worker else "master",
            "test": self._tests,
            "requests": self._counts["requests"] if is_worker else self._stats.total.num_requests,
            "failures": self._counts["failures"] if is_worker else self._stats.total.num_failures,
        }
        with (_WHERE / f"{os.getpid()}.jsonl").open("a", encoding="utf-8") as file:
            file.write(f"{json.dumps(counts)}\n")


def _cycle(runner: MasterRunner, users: int, spawn_rate: float, cycle_s: float) -> None:
    """Start and stop tests. Locust has already started the first, because it runs without a page."""
    workers = 0  # counted while they run, because Locust drops them while they stop
    for number in range(int(os.environ["TRUTH_CYCLE_COUNT"])):
        if number:
            while len(runner.clients.ready) < workers:
                gevent.sleep(0.02)
            runner.start(users, spawn_rate)
        while runner.state != "running":
            gevent.sleep(0.02)
        workers = len(runner.clients.all)
        gevent.sleep(cycle_s)
        runner.stop()
    runner.quit()


@events.init.add_listener
def _on_init(environment: Environment, runner: Any, **_: Any) -> None:
    environment.truth_count = RequestCount(environment, runner)  # type: ignore[attr-defined]
    options: Any = environment.parsed_options
    if _CYCLE_S is not None and isinstance(runner, MasterRunner):
        starting = gevent.spawn(_cycle, runner, options.num_users, options.spawn_rate, float(_CYCLE_S))
        starting.link_exception(lambda _: os._exit(70))  # rather than a session that hangs
