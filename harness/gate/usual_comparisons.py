"""What the gate compares with a baseline even if no objective names it, and what it leaves out."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence

from harness.gate.comparison import too_few_values
from harness.gate.objective import GOODPUT, SESSION_SUCCESS, Objective
from harness.results import metrics
from harness.results.reader import Results

USUALLY_COMPARED = (
    "ttft_p50_ms",
    "ttft_p95_ms",
    "inter_token_p50_ms",
    "inter_token_p95_ms",
    "duration_p50_ms",
    "duration_p95_ms",
    "error_rate",
)
"""A percentile that few values decide, and one near the tail, of what every client of a stream notices."""

_ALWAYS = ("ttft_p50_ms", "duration_p50_ms", "error_rate")
"""What is compared however short a test is, and inconclusive if it is too short. The rest is then left out."""


def usual_comparisons(
    objectives: Iterable[Objective], now: Sequence[Results], then: Sequence[Results]
) -> tuple[list[Objective], list[str]]:
    """The objectives to add to a comparison, and notes about what is left out.

    Their limits mean nothing. Nothing is added if one side has no load. Raises ResultsError.
    """
    if not all(any(file.rate_counts().judged for file in side) for side in (now, then)):
        return [], []
    named = {objective.name for objective in objectives}
    added, short = comparable([key for key in USUALLY_COMPARED if key not in named], now, then)
    left_out = _left_out({*named, *(objective.name for objective in added)}, short, now, then)
    notes = [f"no objective, and not compared by default: {', '.join(left_out)}"]
    return added, ([short_note(short)] if short else []) + notes


def comparable(
    keys: Iterable[str], now: Sequence[Results], then: Sequence[Results]
) -> tuple[list[Objective], list[str]]:
    """Those of the keys that were measured and can be compared, as objectives, and those with too few values."""
    enough, short = [], []
    for key in keys:
        objective = Objective(key, 0.0)
        if not _measured(objective, now, then):
            continue
        if _too_few(objective, now, then):
            short.append(key)
        else:
            enough.append(objective)
    return enough, short


def short_note(keys: Iterable[str]) -> str:
    """The note about percentiles with too few values."""
    return f"too few values to compare {', '.join(keys)} with the baseline"


def _measured(objective: Objective, now: Sequence[Results], then: Sequence[Results]) -> bool:
    return any(objective.value(file) is not None for file in (*now, *then))


def _too_few(objective: Objective, now: Sequence[Results], then: Sequence[Results]) -> str:
    if objective.percentile is None or objective.key in _ALWAYS:
        return ""
    metric, percentile = objective.percentile
    return too_few_values(now, then, metric, metrics.PERCENTILES[percentile])


def _left_out(
    compared: Collection[str], short: Sequence[str], now: Sequence[Results], then: Sequence[Results]
) -> Iterator[str]:
    """What was measured on both sides and is not compared at all."""
    names = {name.rpartition(".")[2] for name in compared}
    for name in metrics.METRICS:
        stem = name.removesuffix("_ms")
        touched = any(key.startswith(f"{stem}_p") for key in names) or any(
            key.startswith(stem) for key in short
        )
        both = all(any(file.histogram(name).count for file in side) for side in (now, then))
        if (
            both
            and not touched
            and name not in metrics.HARNESS_METRICS
            and metrics.METRICS[name].unit == "ms"
        ):
            yield stem
    if GOODPUT not in names and all(any(file.rate_counts().runs for file in side) for side in (now, then)):
        yield GOODPUT
    has_sessions = all(any(file.rate_counts().sessions for file in side) for side in (now, then))
    if SESSION_SUCCESS not in names and has_sessions:
        yield SESSION_SUCCESS
    yield "violations"
