"""An objective: a metric, its limit, and the journeys it applies to."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Self

from harness.booleans import is_number
from harness.gate.confidence_intervals import percentile_interval, share_interval
from harness.results import metrics
from harness.results.journeys import is_known
from harness.results.metrics import ShareName
from harness.results.reader import Results

_PERCENTILE_KEYS = {
    f"{metric.removesuffix('_ms')}_{percentile}_ms": (metric, percentile)
    for metric in metrics.METRICS
    if metrics.METRICS[metric].unit == "ms"
    for percentile in metrics.PERCENTILES
}

GOODPUT = "goodput"

SESSION_SUCCESS = "session_success"

AT_LEAST = (GOODPUT, SESSION_SUCCESS)
"""The shares whose limit is a lower one."""

SHARES = ("error_rate", *AT_LEAST)
_SHARE_OF = {"error_rate": "streams", GOODPUT: "runs", SESSION_SUCCESS: "sessions"}

KEYS = (*_PERCENTILE_KEYS, *SHARES, "violations")
"""Every objective that can be set, for one journey or for all."""


@dataclass(frozen=True, slots=True)
class Objective:
    """A limit on a metric: upper, except for those in AT_LEAST.

    limit: in ms for a percentile, 0 to 1 for SHARES, a count for violations. journey: None for all; with a dot, a step.
    """

    key: str
    limit: float
    journey: str | None = None

    @classmethod
    def parse(cls, name: str, limit: float) -> Self:
        """The objective with that name: a key, or journey and key ("resume.resume_p99_ms").

        A journey may have a step: "workflow.step2.ttft_p95_ms".

        Raises ValueError for a key that is not in KEYS, with the closest match, and for a limit that is negative or
        not a finite number.
        """
        journey, _, key = name.rpartition(".")
        if journey.count(".") > 1:
            raise ValueError(
                f"objective {name}: a journey name has at most one dot, before a step; write for example "
                "resume.resume_p99_ms or workflow.step2.ttft_p95_ms"
            )
        if key not in KEYS:
            closest = get_close_matches(key.lower(), KEYS, n=1, cutoff=0)[0]
            raise ValueError(f"unknown objective {key!r}; did you mean {closest!r}?")
        if not is_number(limit) or not 0 <= limit < math.inf:
            raise ValueError(f"objective {key}: the limit must be a number >= 0, not {limit!r}")
        if limit > sys.float_info.max:  # an integer that is too large for a float
            raise ValueError(f"objective {key}: the limit must be below 1e308")
        if key in SHARES and limit > 1:
            raise ValueError(
                f"objective {key}: the limit is a share of the {_SHARE_OF[key]}, from 0 to 1, not {limit!r}"
            )
        return cls(key, float(limit), journey or None)

    @property
    def name(self) -> str:
        """The key, prefixed by the journey if it has one: resume.resume_p99_ms."""
        return f"{self.journey}.{self.key}" if self.journey else self.key

    @property
    def at_least(self) -> bool:
        """Whether the limit is a lower one."""
        return self.key in AT_LEAST

    @property
    def limit_text(self) -> str:
        """The limit with its unit, as in an expression: 800 ms, 0.1%, 0."""
        if self.key in SHARES:
            return f"{self.limit * 100:.12g}%"
        return f"{self.limit:.12g} ms" if self.percentile is not None else f"{self.limit:.12g}"

    @property
    def expression(self) -> str:
        """The objective in the syntax of harness.gate.expressions: ttft_p95_ms <= 800 ms."""
        return f"{self.name} {'>=' if self.at_least else '<='} {self.limit_text}"

    @property
    def percentile(self) -> tuple[str, str] | None:
        """Metric and key of PERCENTILES, ("ttft_ms", "p95"); None for rates and violations."""
        return _PERCENTILE_KEYS.get(self.key)

    @property
    def share(self) -> ShareName | None:
        """The share; None for percentiles and violations."""
        return next((share for share in metrics.SHARE_FORMULAS if share == self.key), None)

    def value(self, results: Results) -> float | None:
        """The value in the results, in the unit of the limit; None if it was not measured."""
        if self.percentile is not None:
            metric, percentile = self.percentile
            return results.histogram(metric, self.journey).percentile(metrics.PERCENTILES[percentile])
        share = self.share
        if share is not None:
            return metrics.SHARE_FORMULAS[share](results, self.journey)
        if not is_known(self.journey, results.journeys()):
            return None
        return float(sum(metrics.violations(results, self.journey).values()))

    def interval(self, results: Results) -> tuple[float, float] | None:
        """The confidence interval of the value, in the unit of the limit.

        None if there is too little data, and for violations, which are counted, not estimated.
        """
        if self.percentile is not None:
            metric, percentile = self.percentile
            return percentile_interval(results, metric, metrics.PERCENTILES[percentile], self.journey)
        share = self.share
        return None if share is None else share_interval(results, share, self.journey)


def parse_objectives(limits: Mapping[str, float]) -> tuple[Objective, ...]:
    """Objectives from limits by name, as in the settings. Raises ValueError like Objective.parse."""
    return tuple(Objective.parse(key, limit) for key, limit in limits.items())


def recorded_objectives(results: Results) -> tuple[Objective, ...]:
    """The objectives of a test; none if it has none, or those of a version that this one cannot read."""
    settings = results.manifest.get("settings")
    limits = settings.get("objectives") if isinstance(settings, dict) else None
    try:
        return parse_objectives(limits) if isinstance(limits, dict) else ()
    except ValueError:
        return ()


def limits_with(limits: Mapping[str, float], overrides: Iterable[Objective]) -> dict[str, float]:
    """Limits by name, as in the settings, with overrides added or replaced."""
    return {**limits, **{objective.name: objective.limit for objective in overrides}}
