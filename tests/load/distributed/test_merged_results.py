"""The merged result of eight workers is that of one process for the same schedule."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from harness.config.load_settings import LoadSettings
from harness.results.metrics import METRICS
from tests.load.locust_process import Load
from tests.load.run_server import run_server


def faults(number: int) -> str:
    """By the order of arrival, so that their counts are the same whichever worker started a run."""
    return {3: "truncate", 5: "swap"}.get(number % 8, "none")


def result(folder: Path, processes: int) -> dict[str, Any]:
    """What must not depend on the number of workers."""
    folder.mkdir()
    plan = LoadSettings(
        rate=24, duration=3, seed=11, arrivals="poisson", processes=processes, journeys={"fresh": 1}
    )
    with run_server(fault=faults) as server:
        load = Load(folder, server.base_url, plan).run()
        requests = server.stats.counts["requests"]
    counts = load.counts()
    assert counts["scheduled"] == requests, load.printed
    rows = sorted(load.rows(), key=lambda row: row.intended_ns)
    assert len({row.worker for row in rows}) == processes
    with load.results() as results:
        histograms = {name: results.histogram(name).count for name in METRICS}
        violations = results.violation_counts()
        failures = results.failures()
        assert results.manifest["workers_lost"] == []
    zero_ns = rows[0].intended_ns
    return {
        "exit code": load.code,
        "ledger": counts,
        "locust": load.locusts_count(),
        "due, in ms": [(row.intended_ns - zero_ns) / 1e6 for row in rows],
        "endings": Counter(row.outcome for row in rows),
        "violations": violations,
        "failures": failures,
        "values": {name: histograms[name] for name in ("ttft_ms", "duration_ms", "schedule_lag_ms")},
    }


@pytest.mark.slow
def test_eight_workers_and_one(tmp_path: Path) -> None:
    one, eight = result(tmp_path / "one", 1), result(tmp_path / "eight", 8)
    due_ms = one.pop("due, in ms")
    assert due_ms == pytest.approx(eight.pop("due, in ms"), abs=2)  # converted between two clocks
    made = Counter(map(faults, range(len(due_ms))))
    assert one["ledger"]["truncated"] == made["truncate"] > 0
    assert one["violations"]["ids.increasing"] == made["swap"] > 0
    assert one == eight
