"""The numbers of a test in one JSON document: summary.json."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

from harness.atomic_file import write_text
from harness.results.metrics import METRICS, distribution, violations
from harness.results.reader import Results
from harness.results.records import VERDICTS
from harness.results.restart_cost import RestartCost
from harness.results.saturation import measurement_error
from harness.results.stored_histograms import HistogramPart
from harness.results.totals import store_totals

ALWAYS_SUMMARISED = ("ttft_ms", "inter_token_ms", "duration_ms", "resume_ms")
"""Metrics that the summary always has, with count 0 and nulls if nothing was measured."""


def summarize(results: Results) -> dict[str, Any]:
    """The content of summary.json. Raises ResultsError.

    Everything excludes warm-up, except for "ledger", "violations" and "warmup". Metrics outside
    ALWAYS_SUMMARISED are present only if they have data. Each is in its unit of METRICS.
    """
    verdicts = Counter(check.verdict for check in results.checks() if check.tested)
    kept, seen = results.sample()
    restart = RestartCost.in_manifest(results.manifest)
    return {
        "ledger": results.ledger().as_dict(),
        **_rates(results, "measured"),
        "metrics": _distributions(results, "measured"),
        "violations": violations(results),
        "warmup": _warmup(results),
        "harness": measurement_error(results),
        "restart": None if restart is None else restart.document(),
        "sample": {"seen": seen, "kept": kept},
        "checks": {verdict: verdicts[verdict] for verdict in VERDICTS},
    }


def write_summary(path: Path) -> None:
    """Write the summary of a test that has ended next to its results file: summary.json, or summary-2.json for
    results-2.sqlite. Store the totals first, which it and every later reader need.

    Raises ResultsError and FileWriteError.
    """
    store_totals(path)
    with Results(path) as results:
        text = json.dumps(summarize(results), indent=2)
    name = path.stem.replace("results", "summary")
    write_text(path.with_name(f"{name}.json"), f"{text}\n")


def _rates(results: Results, part: HistogramPart) -> dict[str, Any]:
    counts = results.rate_counts(part=part)
    return {
        "streams": {"judged": counts.judged, "failed": counts.failed, "error_rate": counts.error_rate},
        "goodput": {"runs": counts.runs, "good": counts.good, "share": counts.goodput},
        "sessions": {
            "judged": counts.sessions,
            "succeeded": counts.sessions_succeeded,
            "share": counts.session_success,
        },
    }


def _distributions(results: Results, part: HistogramPart) -> dict[str, Any]:
    """Every metric with data in any part, so that the summary and its "warmup" have the same names."""
    measured = set(results.metrics())
    shown = [name for name in METRICS if name in measured or name in ALWAYS_SUMMARISED]
    return {name: distribution(results.histogram(name, part=part)) for name in shown}


def _warmup(results: Results) -> dict[str, Any] | None:
    """The numbers of the warm-up; None without one."""
    if results.measured_from is None:
        return None
    return {
        "measured_from": results.measured_from,
        "seconds": results.manifest.get("warmup_s"),
        **_rates(results, "warm-up"),
        "metrics": _distributions(results, "warm-up"),
    }
