"""Goodput: which runs meet every objective that a single run can be held to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from harness.gate.objective import Objective
from harness.results import metrics

EVERY_RUN_HAS = ("ttft_ms", "service_ttft_ms", "first_event_ms", "duration_ms")
"""Metrics that every run has which comes to its end, where it is first asked for."""


SOME_RUNS_HAVE = ("stall_ms", "resume_ms")
"""Metrics of a single run that need two tokens, or a cut."""


def run_limits(objectives: Iterable[Objective], journey: str | None = None) -> dict[str, float]:
    """What a single run has to meet, by metric, in ms: what goodput asks of it.

    journey: the run's; objectives of another do not count for it.

    Of the percentiles of one metric the highest that is limited counts, as that is the limit nearly every
    run is to meet. A run has many gaps between tokens and no percentile of them that the test's could be
    held against; only their maximum is that of the runs' stalls.
    """
    limits: dict[str, tuple[float, float]] = {}
    for objective in objectives:
        if objective.journey not in (None, journey):
            continue
        metric, word = objective.percentile or ("", "max")
        if (metric, word) == ("inter_token_ms", "max"):
            metric = "stall_ms"
        if metric in EVERY_RUN_HAS or metric in SOME_RUNS_HAVE:
            percent = metrics.PERCENTILES[word]
            highest, limit = limits.get(metric, (-1.0, 0.0))
            if percent == highest:  # inter_token_max_ms beside stall_max_ms
                limits[metric] = percent, min(limit, objective.limit)
            elif percent > highest:
                limits[metric] = percent, objective.limit
    return {metric: limit for metric, (_, limit) in limits.items()}


def journey_limits(objectives: Iterable[Objective]) -> dict[str, dict[str, float]]:
    """The `run_limits` of every journey that has objectives of its own."""
    objectives = tuple(objectives)
    named = dict.fromkeys(one.journey for one in objectives if one.journey is not None)
    return {journey: run_limits(objectives, journey) for journey in named}


def is_good(values_ms: Mapping[str, float], limits: Mapping[str, float], *, begins_run: bool) -> bool:
    """Whether a run that was done and not violating counts for goodput: it meets every limit of `run_limits`.

    values_ms: its stream's metrics. begins_run: whether the run was first asked for by it; then a limited
    metric of EVERY_RUN_HAS that is missing is not met, as nobody saw it met.
    """
    for metric, limit_ms in limits.items():
        value_ms = values_ms.get(metric)
        if value_ms is None and begins_run and metric in EVERY_RUN_HAS:
            return False
        if value_ms is not None and value_ms > limit_ms:
            return False
    return True
