"""The metrics of one test against a baseline: those that the gate compares, with its verdicts, and more of them."""

from __future__ import annotations

from dataclasses import dataclass, replace

from harness.gate.comparison import Comparison
from harness.gate.evaluate import evaluate
from harness.gate.objective import GOODPUT, SESSION_SUCCESS, SHARES, Objective, recorded_objectives
from harness.gate.recorded import recorded_terms
from harness.gate.usual_comparisons import comparable, short_note, usual_comparisons
from harness.results.metrics import METRICS
from harness.results.reader import Results

COMPARED = ("ttft_ms", "inter_token_ms", "stall_ms", "duration_ms", "resume_ms", "conflict_ms")
COMPARED_PERCENTILES = ("p50", "p95", "p99")

_SHARE_LABELS = {"error_rate": "Error rate", GOODPUT: "Goodput", SESSION_SUCCESS: "Session success"}
_KEYS = (
    *(
        f"{metric.removesuffix('_ms')}_{percentile}_ms"
        for metric in COMPARED
        for percentile in COMPARED_PERCENTILES
    ),
    *SHARES,
)


@dataclass(frozen=True, slots=True)
class ComparedMetrics:
    """The comparisons of one test. heading: of the intervals' column."""

    rows: tuple[Comparison, ...]
    heading: str
    notes: tuple[str, ...]


def compare_metrics(baseline: Results, test: Results) -> ComparedMetrics:
    """Compare a test with the baseline as the gate does: with the test's own objectives and smallest effects.

    More comparisons need wider intervals, so the page's other metrics are not among the gate's. Raises ResultsError.
    """
    terms = replace(recorded_terms(test), usual=False)
    objectives = recorded_objectives(test)
    added, _ = usual_comparisons(objectives, [test], [baseline])
    gate = evaluate(test, [*objectives, *added], baseline=baseline, terms=terms)
    named = {row.key for row in gate.comparisons}
    more, short = comparable([key for key in _KEYS if key not in named], [test], [baseline])
    rest = evaluate(test, [*objectives, *added, *more], baseline=baseline, terms=terms)
    rows = [row for row in gate.comparisons if row.value is not None or row.baseline is not None]
    others = [row for row in rest.comparisons if row.key not in named]
    levels = [f"{report.confidence * 100:.3g}%" for report in (gate, rest)]
    return ComparedMetrics(
        tuple(sorted([*rows, *others], key=_place)),
        f"{' or '.join(dict.fromkeys(levels if others and rows else levels[1:]))} interval",
        (*gate.notes, short_note(short)) if short else gate.notes,
    )


def _place(row: Comparison) -> int:
    return _KEYS.index(row.key) if row.key in _KEYS else len(_KEYS)


def label_of(name: str) -> tuple[str, str]:
    """What an objective's name is about, with its journey, and the percentile."""
    journey, _, key = name.rpartition(".")
    objective = Objective(key, 0.0)
    label, percentile = _SHARE_LABELS.get(key, key), ""
    if objective.percentile is not None:
        metric, percentile = objective.percentile
        label = METRICS[metric].label
    return f"{journey}: {label}" if journey else label, percentile
