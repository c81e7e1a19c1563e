"""Goodput: which runs meet every per-run objective."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from harness.gate.objective import Objective
from harness.results import metrics
from harness.results.journeys import belongs, parent

METRICS_OF_EVERY_RUN = ("ttft_ms", "service_ttft_ms", "first_event_ms", "duration_ms")
"""Metrics that every completed run has, in the stream that starts it."""

METRICS_OF_SOME_RUNS = ("stall_ms", "resume_ms")
"""Metrics of a single run that need two tokens, or a cut."""


def run_limits(objectives: Iterable[Objective], journey: str | None = None) -> dict[str, float]:
    """The limits that a good run must meet, by metric, in ms.

    journey: the journey of the run; objectives of other journeys do not apply.

    If several percentiles of a metric have limits, the highest percentile counts, because nearly every run has to
    meet that limit. Of the inter-token objectives only the maximum applies to a single run: it is the run's stall.
    """
    limits: dict[str, tuple[float, float]] = {}
    for objective in objectives:
        if objective.journey is not None and (journey is None or not belongs(journey, objective.journey)):
            continue
        metric, percentile = objective.percentile or ("", "max")
        if (metric, percentile) == ("inter_token_ms", "max"):
            metric = "stall_ms"
        if metric in METRICS_OF_EVERY_RUN or metric in METRICS_OF_SOME_RUNS:
            percent = metrics.PERCENTILES[percentile]
            highest, limit = limits.get(metric, (-1.0, 0.0))
            if percent == highest:  # both inter_token_max_ms and stall_max_ms are set
                limits[metric] = percent, min(limit, objective.limit)
            elif percent > highest:
                limits[metric] = percent, objective.limit
    return {metric: limit for metric, (_, limit) in limits.items()}


def journey_limits(objectives: Iterable[Objective]) -> dict[str, dict[str, float]]:
    """`run_limits` of each journey that has its own objectives."""
    objectives = tuple(objectives)
    journeys = dict.fromkeys(objective.journey for objective in objectives if objective.journey is not None)
    return {journey: run_limits(objectives, journey) for journey in journeys}


def limits_of(
    journey: str, all_runs: Mapping[str, float], by_journey: Mapping[str, Mapping[str, float]]
) -> Mapping[str, float]:
    """The limits for runs of a journey or step. all_runs: `run_limits`. by_journey: `journey_limits`."""
    own = by_journey.get(journey)
    if own is None:
        own = by_journey.get(parent(journey) or "")
    return all_runs if own is None else own


def is_good(values_ms: Mapping[str, float], limits: Mapping[str, float], *, begins_run: bool) -> bool:
    """Whether a completed run without a violation is good: it meets every limit of `run_limits`.

    values_ms: metrics of its stream. begins_run: whether this stream started the run; if so, a missing metric of
    METRICS_OF_EVERY_RUN counts as missed.
    """
    for metric, limit_ms in limits.items():
        value_ms = values_ms.get(metric)
        if value_ms is None and begins_run and metric in METRICS_OF_EVERY_RUN:
            return False
        if value_ms is not None and value_ms > limit_ms:
            return False
    return True
