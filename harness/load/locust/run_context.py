"""A running test in a process that has users: its target, its collector, and what its users share."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import gevent
from gevent.event import Event

from harness.config.settings import Settings
from harness.config.target import Target
from harness.contract.evidence.redaction import Redactor
from harness.gate.goodput import journey_limits, run_limits
from harness.gate.objective import parse_objectives
from harness.load.journeys.cpu_yield import CpuYield
from harness.load.journeys.moments import RunTimes
from harness.load.journeys.stream_runner import StreamRunner
from harness.load.locust.options import path_option
from harness.load.restarts.server_restart import moment_of
from harness.load.restarts.watch import RestartWatch
from harness.load.schedule.pacer import Schedule
from harness.load.schedule.plan import LoadPlan
from harness.load.stats.collector import Collector, PendingStream
from harness.load.stats.process_monitor import ProcessMonitor
from harness.load.stats.stats_batch import StatsBatch
from harness.load.stats.trace_sampler import TraceSampler
from harness.transport.gevent_client import GeventClient
from harness.transport.gevent_poller import Poller

if TYPE_CHECKING:
    from locust.env import Environment  # which patches the interpreter

_LOCUST_ROWS = (("ttft_ms", "TTFT"), ("duration_ms", "run duration"), ("resume_ms", "resume"))


class StreamFailedError(Exception):
    """A failed stream in Locust's table of failures, which groups by repr."""

    def __repr__(self) -> str:
        return str(self)


class RunContext:
    """One running test.

    schedule: this process's arrivals; None in a closed loop, or if it has no share. pacer: the greenlet that
    follows the schedule, once a user has started it. arrivals_finished: to be called when all arrivals have
    started and ended.
    """

    def __init__(
        self,
        environment: Environment,
        settings: Settings,
        plan: LoadPlan,
        worker: str,
        arrivals_finished: Callable[[], None],
    ) -> None:
        settings = settings.model_copy(update={"load": plan.load, "objectives": dict(plan.objectives)})
        self.settings = settings
        self.schedule = Schedule.of(plan)
        self.pacer: gevent.Greenlet | None = None  # starts the arrivals of an open loop
        self.arrivals_finished = arrivals_finished
        self.target = Target(settings)
        self.monitor = ProcessMonitor(worker, lambda: self.collector.open_streams)
        redact = Redactor(settings.secrets())
        self._sampler = (
            None
            if plan.trace_share is None
            else TraceSampler(
                plan.trace_share,
                measured_from=plan.measured_from,
                address=settings.target.base_url or "",
                redact=redact,
            )
        )
        objectives = parse_objectives(settings.objectives)
        self.collector = Collector(
            worker,
            settings.secrets(),
            run_limits=run_limits(objectives),
            journey_limits=journey_limits(objectives),
            extra_stats=self._report_to,
            base_url=settings.target.base_url or "",
            on_finalized=self._on_finalized,
            excuses=self._is_cost,
        )
        moment = moment_of(
            plan.load, path_option(environment.parsed_options, "harness_restarts"), plan.start_wall_ns
        )
        self._restart = (
            None if moment is None else RestartWatch(moment, settings.budgets.restart, self.stream_runner)
        )
        self._shown_path = redact.sentence(settings.target.path)
        self.stopping = Event()
        self.test = plan.test
        self._environment = environment
        self._client = GeventClient(
            self.target.endpoint,
            settings.expectations.budgets,
            reuse=settings.target.connections == "reuse",
            memory=settings.limits.load_budget,
            profile=self.target.profile,
        )
        self._rng = random.Random()  # noqa: S311 - it chooses cuts and journeys, not secrets
        self._run_lengths: dict[str, int] = {}
        self._run_times: dict[str, RunTimes] = {}
        self.cpu_yield = CpuYield(pulse=Poller.for_current_hub().pulse)

    def start(self) -> None:
        """Begin to watch the process, and the restart of the server if there is one."""
        self.monitor.start()
        if self._restart is not None:
            self._restart.start()

    def close(self) -> None:
        """End the test: close the collector and the idle connections."""
        self.monitor.stop()
        if self._restart is not None:
            self._restart.stop()
        if self.pacer is not None:
            self.pacer.kill()  # records what is still in flight
        self.collector.close()
        if self._sampler is not None:
            self._sampler.close()
        self._client.close()

    def stream_runner(self) -> StreamRunner:
        """A runner for one journey. Call its `end`."""
        return StreamRunner(
            self._client,
            self.target,
            self.collector,
            stopping=self.stopping.is_set,
            rng=self._rng,
            run_lengths=self._run_lengths,
            run_times=self._run_times,
            cpu_yield=self.cpu_yield,
            wait_for_stop=self.stopping.wait,
            is_traced=self.settings.load.traceparent,
            sampler=self._sampler,
            **({} if self._restart is None else {"excuses": self._restart.excuses}),
        )

    def _report_to(self, batch: StatsBatch) -> None:
        self.monitor.report_to(batch)
        if self._sampler is not None:
            self._sampler.report_to(batch)
        if self._restart is not None:
            self._restart.report_to(batch)

    def _is_cost(self, stream: PendingStream) -> bool:
        return self._restart is not None and self._restart.is_cost(stream)

    def _on_finalized(self, stream: PendingStream) -> None:
        if self._restart is not None:
            self._restart.observe(stream)
        self._report_to_locust(stream)

    def _report_to_locust(self, stream: PendingStream) -> None:
        exchange = stream.exchange
        if exchange is None:
            return
        events: Any = self._environment.events
        # After a harness fault, decoding itself may raise.
        over_ns = None if stream.harness_fault else exchange.over_ns
        events.request.fire(
            request_type="POST",
            name=f"{self._shown_path} [{stream.journey}: {stream.step.name}]",
            response_time=max(0, (over_ns or exchange.timing.ended_ns) - exchange.timing.intended_ns) / 1e6,
            response_length=exchange.size_bytes,
            response=None,
            context={},
            exception=None if stream.kind is None or stream.at_restart else StreamFailedError(stream.kind),
            start_time=stream.intended_wall_ns / 1e9,
        )
        # Logged directly: as request events they would count twice in Locust's totals.
        for metric, row in _LOCUST_ROWS:
            value_ms = stream.measured.values.get(metric)
            if value_ms is not None:
                self._environment.stats.get(row, "SSE").log(value_ms, 0)  # type: ignore[arg-type]
