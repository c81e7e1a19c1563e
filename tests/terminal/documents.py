"""Live documents as harness.load.stats.live makes them: made by it, of deltas that a test says."""

from __future__ import annotations

from typing import Any

from harness.gate.objective import parse_objectives
from harness.load.stats.live import LiveStats
from harness.load.stats.stats_batch import StatsBatch

START_S = 1_700_000_000
WORKER = "local"


def live(**objectives: float) -> LiveStats:
    """A test that began at START_S, and whose clock stands 20 s later."""
    return LiveStats(
        "run",
        lambda _: None,
        target="http://127.0.0.1:8080",
        objectives=parse_objectives(objectives),
        clock=lambda: START_S + 20.0,
    )


def told(
    one: LiveStats, *, seconds: int = 12, failed: int = 0, violations: dict[str, int] | None = None
) -> LiveStats:
    """After so many seconds with ten streams each, whose TTFT was 10 ms in the first, 20 in the second, and so on."""
    one.started(START_S * 1_000_000_000, None)
    delta = StatsBatch()
    for at in range(seconds):
        second = START_S + at
        delta.ledger[second, "fresh", "scheduled"] += 10
        delta.ledger[second, "fresh", "done"] += 10
        delta.record_many("ttft_ms", "fresh", second, [10.0 * (at + 1)] * 10)
        delta.record_many("inter_token_ms", "fresh", second, [50.0] * 10)
        delta.tallies[second, "fresh", "judged"] += 10
        delta.tallies[second, "fresh", "runs"] += 10
        delta.tallies[second, "fresh", "good"] += 10
    delta.tallies[START_S, "fresh", "failed"] += failed
    for name, count in (violations or {}).items():
        delta.violations[name, "fresh"] += count
    one.add(delta, WORKER)
    one.close("finished", [])
    return one


def running(one: LiveStats, **changes: Any) -> dict[str, Any]:
    """Its document, as if it still went on."""
    return {**one.snapshot(), "state": "running", "plan": "6 users", "left_s": 40.0, **changes}
