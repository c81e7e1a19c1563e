"""Writes the results file of a large load, to measure how long writing and reading take.

python -m tests.results.large_file build/large.sqlite --runs 1000000 --report build/large.html
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from harness.load.stats.stats_batch import StatsBatch
from harness.reports.html import write_report
from harness.results.histogram import Histogram
from harness.results.metrics import METRICS
from harness.results.records import ProcessRecord, StreamRecord
from harness.results.writer import ResultsWriter

START = 1_790_000_000
JOURNEYS = ("fresh", "replay", "resume", "join", "conflict", "race", "abandon", "slow_reader")
WORKERS = ("worker-0", "worker-1")
TOKENS = 40
FAIL_EVERY = 200


def write_large_file(path: Path, *, runs: int, seconds: int, keep_streams: int | None = None) -> None:
    """Write a load of `runs` runs over `seconds` seconds, by second and worker, as the harness does."""
    rng = np.random.default_rng(7)
    with ResultsWriter(path, keep_streams=keep_streams) as writer:
        writer.set_manifest(
            started_at=datetime.fromtimestamp(START, UTC).isoformat(),
            ended_at=datetime.fromtimestamp(START + seconds, UTC).isoformat(),
            state="finished",
            receive_stamp="kernel",
            settings={"objectives": {"ttft_p95_ms": 800, "error_rate": 0.01}},
        )
        for second in range(seconds):
            due = runs * (second + 1) // seconds - runs * second // seconds
            for place, worker in enumerate(WORKERS):
                count = due // 2 + (due % 2) * (1 - place)
                _second(rng, worker, START + second, count).write_to(writer, worker)


def _second(rng: np.random.Generator, worker: str, second: int, count: int) -> StatsBatch:
    batch = StatsBatch(open={})
    for place, journey in enumerate(JOURNEYS):
        rows = list(_rows(rng, worker, second, journey, count // 8 + (place < count % 8)))
        failed = sum(row.reason is not None for row in rows)
        batch.ledger[second, journey, "scheduled"] += len(rows)
        batch.ledger[second, journey, "done"] += len(rows) - failed
        batch.ledger[second, journey, "truncated"] += failed
        batch.failures[second, journey] += failed
        batch.rate_counts[second, journey, "judged"] += len(rows)
        batch.rate_counts[second, journey, "failed"] += failed
        batch.rows += rows
        for metric in METRICS:
            size = len(rows) * (TOKENS if metric in ("inter_token_ms", "receive_lag_ms") else 1)
            scale = 0.5 if metric.endswith(("lag_ms", "delay_ms")) else 50.0
            histogram = batch.histograms[metric, journey, second] = Histogram()
            histogram.record_many(rng.lognormal(np.log(scale), 0.4, size))
    batch.processes.append(
        ProcessRecord(worker=worker, second=second, cpu=0.5, rss_bytes=10**8, open_streams=count)
    )
    return batch


def _rows(
    rng: np.random.Generator, worker: str, second: int, journey: str, count: int
) -> Iterator[StreamRecord]:
    for ttft_ms, due_ns, chance in zip(
        rng.lognormal(5, 0.3, count).tolist(),
        rng.integers(0, 10**9, count).tolist(),
        rng.integers(0, FAIL_EVERY, count).tolist(),
        strict=True,
    ):
        intended_ns = second * 10**9 + due_ns
        failed = chance == 0
        yield StreamRecord(
            journey=journey,
            step="run",
            worker=worker,
            intended_ns=intended_ns,
            sent_ns=intended_ns,
            outcome="truncated" if failed else "done",
            status=200,
            reason=f"truncated: the connection was reset after {due_ns % 977} bytes" if failed else None,
            ttft_ms=ttft_ms,
            service_ttft_ms=ttft_ms,
            duration_ms=ttft_ms * 10,
            events=TOKENS + 1,
            tokens=TOKENS,
            idempotency_key=f"{intended_ns:032x}",
            run_id=f"{intended_ns:032x}",
        )


def main() -> None:
    """Write the file and print how long it took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path", type=Path)
    parser.add_argument("--runs", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=int, default=600)
    parser.add_argument("--keep-streams", type=int, default=None)
    parser.add_argument("--report", type=Path, default=None)
    options = parser.parse_args()
    began = time.monotonic()
    write_large_file(
        options.path, runs=options.runs, seconds=options.seconds, keep_streams=options.keep_streams
    )
    size = options.path.stat().st_size / 2**20
    print(
        f"{options.path}: {options.runs:,} runs, {size:,.0f} MiB, written in {time.monotonic() - began:.1f} s"
    )
    if options.report is not None:
        began = time.monotonic()
        size = write_report(options.path, options.report).stat().st_size / 2**20
        print(f"{options.report}: {size:.1f} MiB, made in {time.monotonic() - began:.1f} s")


if __name__ == "__main__":
    main()
