"""Live documents, made by harness.load.stats.live from numbers that a test chooses."""

from __future__ import annotations

from typing import Any

from harness.gate.objective import parse_objectives
from harness.load.stats.live import LiveStats
from harness.load.stats.stats_batch import StatsBatch

START_S = 1_700_000_000
WORKER = "local"


def live(**objectives: float) -> LiveStats:
    """A test that started at START_S, 20 s ago."""
    return LiveStats(
        "run",
        lambda _: None,
        target="http://127.0.0.1:8080",
        objectives=parse_objectives(objectives),
        clock=lambda: START_S + 20.0,
    )


def with_streams(
    one: LiveStats, *, seconds: int = 12, failed: int = 0, violations: dict[str, int] | None = None
) -> LiveStats:
    """Add seconds with ten streams each. Their TTFT is 10 ms in the first second, 20 ms in the second, and so on."""
    one.started(START_S * 1_000_000_000, None)
    batch = StatsBatch()
    for at in range(seconds):
        second = START_S + at
        batch.ledger[second, "fresh", "scheduled"] += 10
        batch.ledger[second, "fresh", "done"] += 10
        batch.record_many("ttft_ms", "fresh", second, [10.0 * (at + 1)] * 10)
        batch.record_many("inter_token_ms", "fresh", second, [50.0] * 10)
        batch.rate_counts[second, "fresh", "judged"] += 10
        batch.rate_counts[second, "fresh", "runs"] += 10
        batch.rate_counts[second, "fresh", "good"] += 10
    batch.rate_counts[START_S, "fresh", "failed"] += failed
    for name, count in (violations or {}).items():
        batch.violations[name, "fresh"] += count
    one.add(batch, WORKER)
    one.close("finished", [])
    return one


def running(one: LiveStats, **changes: Any) -> dict[str, Any]:
    """Its document, as if the test were still running."""
    return {**one.snapshot(), "state": "running", "plan": "6 users", "left_s": 40.0, **changes}
