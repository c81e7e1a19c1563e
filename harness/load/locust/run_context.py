"""A test that is going on, as one process with users sees it: its target, its books, what its users share."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from gevent.event import Event
from locust.env import Environment

from harness.config.settings import Settings
from harness.config.target import Target
from harness.gate.goodput import journey_limits, run_limits
from harness.gate.objective import parse_objectives
from harness.load.journeys.cpu_yield import CpuYield
from harness.load.journeys.stream_runner import StreamRunner
from harness.load.schedule.pacer import Schedule
from harness.load.schedule.plan import LoadPlan
from harness.load.stats.collector import Collector, PendingStream
from harness.load.stats.process_monitor import ProcessMonitor
from harness.transport.gevent_client import GeventClient

_ROWS = (("ttft_ms", "TTFT"), ("duration_ms", "run duration"), ("resume_ms", "resume"))


class StreamFailedError(Exception):
    """Why a stream failed, as Locust's table of failures shows and groups it."""

    def __repr__(self) -> str:
        return str(self)


class RunContext:
    """A test that is going on, in a process that has users.

    timetable: of this process's arrivals; None in a closed loop, and where it has no share of them.
    has_pump: whether somebody follows it. pumped: to be called when they have all begun, and ended.
    """

    def __init__(
        self,
        environment: Environment,
        settings: Settings,
        plan: LoadPlan,
        worker: str,
        pumped: Callable[[], None],
    ) -> None:
        settings = settings.model_copy(update={"load": plan.load, "objectives": dict(plan.objectives)})
        self.settings = settings
        self.timetable = Schedule.of(plan)
        self.has_pump = False
        self.pumped = pumped
        self.target = Target(settings)
        self.health = ProcessMonitor(worker, lambda: self.collector.open_streams)
        self.collector = Collector(
            worker,
            settings.secrets(),
            run_limits=run_limits(parse_objectives(settings.objectives)),
            journey_limits=journey_limits(parse_objectives(settings.objectives)),
            beside=self.health.report_to,
            base_url=settings.target.base_url or "",
            on_settled=self._tell_locust,
        )
        self.stopping = Event()
        self.test = plan.test
        self._environment = environment
        self._client = GeventClient(
            self.target.endpoint,
            settings.expectations.budgets,
            reuse=settings.target.connections == "reuse",
        )
        self._rng = random.Random()  # noqa: S311 - it chooses cuts and journeys, not secrets
        self._usual_events: dict[str, int] = {}
        self._turns = CpuYield()

    def close(self) -> None:
        """The test is over: close its books, and the connections that are not in use."""
        self.health.stop()
        self.collector.close()
        self._client.close()

    def stream_runner(self) -> StreamRunner:
        """What one user, or one arrival, travels with."""
        return StreamRunner(
            self._client,
            self.target,
            self.collector,
            stopping=self.stopping.is_set,
            rng=self._rng,
            usual_events=self._usual_events,
            turns=self._turns,
        )

    def _tell_locust(self, stream: PendingStream) -> None:
        exchange = stream.exchange
        if exchange is None:
            return
        events: Any = self._environment.events
        # Of one that we broke on, its decoding may be what broke.
        over_ns = None if stream.unjudged else exchange.summary.terminal_ns
        events.request.fire(
            request_type="POST",
            name=f"{self.settings.target.path} [{stream.journey}: {stream.step.name}]",
            response_time=max(0, (over_ns or exchange.timing.ended_ns) - exchange.timing.intended_ns) / 1e6,
            response_length=exchange.size_bytes,
            response=None,
            context={},
            exception=None if stream.kind is None else StreamFailedError(stream.kind),
            start_time=stream.intended_wall_ns / 1e9,
        )
        # Straight into the table: as requests they would count twice in what Locust adds up.
        for metric, row in _ROWS:
            value_ms = stream.measured.per_run.get(metric)
            if value_ms is not None:
                self._environment.stats.get(row, "SSE").log(value_ms, 0)  # type: ignore[arg-type]
