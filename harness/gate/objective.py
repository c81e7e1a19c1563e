"""An objective: a metric, its limit, and the journeys it applies to."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Self

from harness.gate.confidence_intervals import percentile_interval, share_interval
from harness.results import metrics
from harness.results.reader import Results

_PERCENTILE_KEYS = {
    f"{metric.removesuffix('_ms')}_{word}_ms": (metric, word)
    for metric in metrics.METRICS
    if metrics.METRICS[metric].unit == "ms"
    for word in metrics.PERCENTILES
}


GOODPUT = "goodput"


SHARES = ("error_rate", GOODPUT)


KEYS = (*_PERCENTILE_KEYS, "error_rate", GOODPUT, "violations")
"""Every objective that can be set, for all journeys or for one."""


@dataclass(frozen=True, slots=True)
class Objective:
    """A limit: in ms for a percentile of a metric, a share for error_rate and goodput, a count for violations.

    It is an upper one, save for goodput. journey: whose streams it is about; None for all.
    """

    key: str
    limit: float
    journey: str | None = None

    @classmethod
    def parse(cls, name: str, limit: float) -> Self:
        """The objective of that name: a key such as ttft_p95_ms, stall_max_ms, error_rate or violations, or one
        of one journey's, such as resume.resume_p99_ms.

        Raises ValueError for a key that is not of KEYS, naming the nearest, and for a limit that is no
        finite number from 0 up.
        """
        journey, _, key = name.rpartition(".")
        if "." in journey:
            raise ValueError(f"objective {name}: a journey's name has no point; write resume.resume_p99_ms")
        if key not in KEYS:
            near = get_close_matches(key.lower(), KEYS, n=1, cutoff=0)[0]
            raise ValueError(f"objective {key!r} is unknown; did you mean {near!r}?")
        if isinstance(limit, bool) or not isinstance(limit, int | float) or not 0 <= limit < math.inf:
            raise ValueError(f"objective {key}: the limit must be a number from 0 up, not {limit!r}")
        if key in SHARES and limit > 1:
            whose = "runs" if key == GOODPUT else "streams"
            raise ValueError(
                f"objective {key}: the limit is a share of the {whose}, from 0 to 1, not {limit!r}"
            )
        return cls(key, float(limit), journey or None)

    @property
    def name(self) -> str:
        """The key, after its journey where it has one: resume.resume_p99_ms."""
        return f"{self.journey}.{self.key}" if self.journey else self.key

    @property
    def at_least(self) -> bool:
        """Whether it is a lower limit: the value must reach it."""
        return self.key == GOODPUT

    @property
    def limit_said(self) -> str:
        """The limit with its unit, as an expression has it: 800 ms, 0.1%, 0."""
        if self.key in SHARES:
            return f"{self.limit * 100:.12g}%"
        return f"{self.limit:.12g} ms" if self.percentile is not None else f"{self.limit:.12g}"

    @property
    def expression(self) -> str:
        """The objective as harness.gate.expressions reads it: ttft_p95_ms <= 800 ms."""
        return f"{self.name} {'>=' if self.at_least else '<='} {self.limit_said}"

    @property
    def percentile(self) -> tuple[str, str] | None:
        """Metric and percentile word, ("ttft_ms", "p95"); None for rates and violations."""
        return _PERCENTILE_KEYS.get(self.key)

    def value(self, results: Results) -> float | None:
        """What the results say of it, in the limit's unit; None when it was not measured."""
        if self.percentile is not None:
            metric, word = self.percentile
            return results.histogram(metric, self.journey).percentile(metrics.PERCENTILES[word])
        if self.key == "error_rate":
            return metrics.error_rate(results, self.journey)
        if self.key == GOODPUT:
            return metrics.goodput(results, self.journey)
        if self.journey is not None and self.journey not in results.journeys():
            return None
        return float(sum(metrics.violations(results, self.journey).values()))

    def interval(self, results: Results) -> tuple[float, float] | None:
        """The confidence interval of that value from harness.gate.confidence_intervals, in the limit's unit; None where
        there is too little for one, and of violations, which are counted and not estimated.
        """
        if self.percentile is not None:
            metric, word = self.percentile
            return percentile_interval(results, metric, metrics.PERCENTILES[word], self.journey)
        if self.key == "error_rate":
            return share_interval(results, "error_rate", self.journey)
        return share_interval(results, "goodput", self.journey) if self.key == GOODPUT else None


def parse_objectives(limits: Mapping[str, float]) -> tuple[Objective, ...]:
    """Objectives from keys and limits, as the settings hold them. Raises ValueError as Objective.parse."""
    return tuple(Objective.parse(key, limit) for key, limit in limits.items())


def limits_with(limits: Mapping[str, float], given: Iterable[Objective]) -> dict[str, float]:
    """Limits by name, as the settings hold them, with those given besides in the place of any of their names."""
    return {**limits, **{one.name: one.limit for one in given}}
