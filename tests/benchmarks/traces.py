"""What traces cost a load process: CPU time per event with the traceparent field, and with spans too."""

from __future__ import annotations

import gc
import random
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from typing import Any

import gevent
import gevent.pool

from harness.config.sources import settings_alone
from harness.config.target import Target as LoadTarget
from harness.export.otel import resource_of
from harness.export.otel_traces import sdk_spans
from harness.load.journeys.builtin import fresh
from harness.load.journeys.cpu_yield import CpuYield
from harness.load.journeys.stream_runner import StreamRunner
from harness.load.locust.process import tune
from harness.load.stats.collector import Collector
from harness.load.stats.trace_sampler import TraceSampler
from harness.transport.gevent_client import GeventClient
from tests.benchmarks.harness_load import target_settings
from tests.benchmarks.target import Rhythm, Target

PACED_RUNS = Rhythm(tokens=100, first_token_us=20_000, gap_us=5_000)
SHORT_RUNS = Rhythm(tokens=20)
STREAMS = 200  # of a round, at the same time
SHARE = 0.01  # the setting's default
RATE = 100
"""The journeys per second of the load that a round stands for: each 10 s have as many slowest ones at any rate."""

LIMIT = 1.03
"""The most CPU time per event with traces, relative to that without them."""

VARIANTS = ("without", "traceparent", "spans")


class Load:
    """A load of one kind: "without" traces, with the "traceparent" field alone, or with "spans" too."""

    def __init__(self, target: Target, variant: str) -> None:
        settings = settings_alone({"target": target_settings(target)}, "the benchmark's settings")
        self._target = LoadTarget(settings)
        self._events = STREAMS * (target.rhythm.tokens + 1)
        self._is_traced = variant != "without"
        self._now_s = 0.0
        self._sampler = (
            TraceSampler(SHARE, address=target.base_url, clock=lambda: self._now_s)
            if variant == "spans"
            else None
        )
        self._collector = Collector(
            "benchmark",
            extra_stats=(lambda _: None) if self._sampler is None else self._sampler.report_to,
        )
        self._client = GeventClient(
            self._target.endpoint, settings.expectations.budgets, reuse=True, profile=self._target.profile
        )
        self._cpu_yield = CpuYield()
        self._rng = random.Random(0)
        self._resource = resource_of()
        self.traces = 0

    def round_us(self) -> float:
        """CPU time of this thread per event, in microseconds: from the request to the message with what was counted.

        The chosen traces are encoded too, which a load does in the process that writes the results.
        """
        pool = gevent.pool.Pool(STREAMS)
        began_ns = time.thread_time_ns()
        for _ in range(STREAMS):
            pool.spawn(self._journey)
        pool.join()
        self._now_s += STREAMS / RATE
        batch = self._collector.take()
        batch.to_message()
        if batch.traces:
            self._encode(batch.traces)
        cpu_ns = time.thread_time_ns() - began_ns
        failed = [row.reason for row in batch.rows if row.reason is not None]
        if failed or len(batch.rows) != STREAMS:
            raise RuntimeError(f"{len(failed)} of {len(batch.rows)} streams failed: {failed[:1]}")
        self.traces += len(batch.traces)
        return cpu_ns / 1000 / self._events

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _journey(self) -> None:
        runner = StreamRunner(
            self._client,
            self._target,
            self._collector,
            stopping=lambda: False,
            rng=self._rng,
            run_lengths={},
            run_times={},
            cpu_yield=self._cpu_yield,
            is_traced=self._is_traced,
            sampler=self._sampler,
        )
        try:
            fresh(runner, time.monotonic_ns())
        finally:
            runner.end()

    def _encode(self, traces: list[Any]) -> None:
        from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans

        spans = [span for trace in traces for span in sdk_spans(trace, self._resource)]
        encode_spans(spans).SerializeToString()


@contextmanager
def tuned() -> Iterator[None]:
    """The interpreter as a load process sets it, with its rare garbage collections; restored afterwards."""
    thresholds, switch_interval_s = gc.get_threshold(), sys.getswitchinterval()
    was_frozen = gc.get_freeze_count() > 0
    tracks_greenlets = gevent.config.track_greenlet_tree
    tune()
    try:
        yield
    finally:
        if not was_frozen:
            gc.unfreeze()
        gc.set_threshold(*thresholds)
        sys.setswitchinterval(switch_interval_s)
        gevent.config.track_greenlet_tree = tracks_greenlets


def measure_traces(target: Target, rounds: int) -> dict[str, Any]:
    """The smallest CPU time per event of each variant, measured in turns, in a process like that of a load."""
    with tuned(), ExitStack() as stack:
        loads = {variant: Load(target, variant) for variant in VARIANTS}
        for load in loads.values():
            stack.callback(load.close)
        return _measure(loads, target, rounds)


def _measure(loads: Mapping[str, Load], target: Target, rounds: int) -> dict[str, Any]:
    for load in loads.values():
        load.round_us()  # opens the connections
    best = dict.fromkeys(VARIANTS, float("inf"))
    for number in range(rounds):
        first = number % len(VARIANTS)  # in a different order each time
        for variant in VARIANTS[first:] + VARIANTS[:first]:
            best[variant] = min(best[variant], loads[variant].round_us())
    return {
        "rhythm": asdict(target.rhythm),
        "cpu_us_per_event": best,
        "rounds": rounds,
        "traces": loads["spans"].traces,
        "journeys": rounds * STREAMS,
    }


def ratio(case: dict[str, Any], variant: str) -> float:
    """The CPU time per event of a variant, relative to that of a load without traces."""
    found: dict[str, float] = case["cpu_us_per_event"]
    return found[variant] / found["without"]
