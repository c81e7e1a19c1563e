"""What is measured and by which formula: written once, printed by the report, held by the gate."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from harness.results.histogram import Histogram
from harness.results.store import VERDICTS, Results

SATURATION_LAG_MS = 10.0
"""A p99 of receive or schedule lag above this says that the harness was too busy to be believed."""

PERCENTILES = {"p50": 50.0, "p90": 90.0, "p95": 95.0, "p99": 99.0, "p999": 99.9, "max": 100.0}
"""The percentiles that summaries show and objectives name."""

ALWAYS_SUMMARISED = ("ttft_ms", "inter_token_ms", "duration_ms", "resume_ms")


@dataclass(frozen=True, slots=True)
class Metric:
    """One measured quantity: its name in the results file, unit, label for people, and formula in words."""

    name: str
    unit: str
    label: str
    formula: str


METRICS: dict[str, Metric] = {
    name: Metric(name, "ms", label, formula)
    for name, label, formula in (
        (
            "ttft_ms",
            "Time to first token (TTFT)",
            "arrival of the first token event with content - intended start",
        ),
        (
            "service_ttft_ms",
            "Service TTFT",
            "arrival of the first token event with content - actual send",
        ),
        ("first_event_ms", "Time to first event", "arrival of the first event - intended start"),
        ("head_ms", "Time to head", "arrival of the response's status and headers - actual send"),
        ("connect_ms", "Connect time", "connection ready (TCP, and TLS where used) - start of connecting"),
        (
            "inter_token_ms",
            "Inter-token latency (ITL)",
            "gap between the arrivals of two successive token events of a run",
        ),
        ("stall_ms", "Stall", "largest gap between successive token arrivals of a run"),
        ("duration_ms", "Run duration", "arrival of the terminal event - intended start"),
        (
            "resume_ms",
            "Resume latency",
            "arrival of the first event on the new connection - send of the resuming request",
        ),
        ("conflict_ms", "Conflict latency", "arrival of the rejection - send of the conflicting request"),
        ("schedule_lag_ms", "Schedule lag", "start of the sending - intended start (open loop)"),
        ("receive_lag_ms", "Receive lag", "time at which the harness had the bytes - kernel's receive time"),
    )
}
"""Every metric by name, in the order in which they are shown."""

ERROR_RATE_FORMULA = "streams that ended otherwise than their step wanted / streams that ended, unless by us"
VIOLATIONS_FORMULA = "violations that judges found in streams under load + failed MUST checks"


def error_rate(results: Results) -> float | None:
    """Share of failed streams, 0 to 1, by ERROR_RATE_FORMULA; None when no stream ended."""
    judged = results.ledger().judged
    return results.failures() / judged if judged else None


def violations(results: Results) -> dict[str, int]:
    """Violations by requirement id, by VIOLATIONS_FORMULA; requirements without one are left out."""
    counts = Counter(results.violation_counts())
    counts.update(check.id for check in results.checks() if check.verdict == "fail" and check.level == "MUST")
    return {requirement: count for requirement, count in sorted(counts.items()) if count}


def is_saturated(results: Results) -> bool:
    """Whether the p99 of receive lag or of schedule lag is above SATURATION_LAG_MS."""
    lags = (results.histogram(name).percentile(99) for name in ("receive_lag_ms", "schedule_lag_ms"))
    return any(lag is not None and lag > SATURATION_LAG_MS for lag in lags)


def summary(results: Results) -> dict[str, Any]:
    """What summary.json says: ledger, metrics in ms, violations, the harness's own error, check verdicts.

    The metrics of ALWAYS_SUMMARISED are there with count 0 and nulls when nothing was measured; the others
    only when they have data.
    """
    measured = set(results.metrics())
    shown = [name for name in METRICS if name in measured or name in ALWAYS_SUMMARISED]
    verdicts = Counter(check.verdict for check in results.checks())
    receive_lag = results.histogram("receive_lag_ms")
    return {
        "ledger": results.ledger().as_dict(),
        "metrics": {name: _distribution(results.histogram(name)) for name in shown},
        "violations": violations(results),
        "harness": {
            "lag_ms": {word: receive_lag.percentile(PERCENTILES[word]) for word in ("p50", "p99", "max")},
            "saturated": is_saturated(results),
            "receive_stamp": results.manifest.get("receive_stamp"),
        },
        "checks": {verdict: verdicts[verdict] for verdict in VERDICTS},
    }


def _distribution(histogram: Histogram) -> dict[str, float | int | None]:
    return {
        "count": histogram.count,
        **{word: histogram.percentile(percent) for word, percent in PERCENTILES.items()},
    }
