"""Metric families for dashboards: names, units, labels and values, independent of the export format.

Names and units are those of OpenTelemetry ("agent.run.ttft", "s"). Prometheus names follow from them by the rules that
a collector uses ("agent_run_ttft_seconds").
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, Self

import numpy as np

from harness.results.histogram import Histogram

PREFIX = "agent.run."

BOUNDS: tuple[float, ...] = (
    *(step * 10.0**decade for decade in range(-1, 5) for step in (1, 2, 3, 5)),
    100_000.0,
)
"""Upper bounds of the buckets of a distribution: 0.1 ms to 100 s; for token rates the same numbers in tokens/s."""

# 1e-12 is room for the rounding of powers of ten.
_BOUNDS_MS = np.array(BOUNDS) * (1 + 1e-12)

BOUND_ERROR = 0.004
"""How far below its bound a bucket can end, as a share: the width of a histogram bucket (0.01 if it is a wide one)."""

MetricKind = Literal["counter", "gauge", "histogram"]
Labels = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Distribution:
    """Number of values per bucket. `counts` has one more entry than `bounds`, for values above them all.

    A value is counted in the first bucket whose bound is not below it, or, if it is within BOUND_ERROR below that
    bound, possibly in the next. So a value above a bound is never counted below it. The sum is in the unit of the
    bounds.
    """

    bounds: tuple[float, ...]
    counts: tuple[int, ...]
    sum: float
    min: float
    max: float

    @property
    def count(self) -> int:
        """Number of values."""
        return sum(self.counts)

    @classmethod
    def of(cls, histogram: Histogram, scale: float) -> Self:
        """A histogram in the buckets of BOUNDS, values multiplied by `scale`. Raises ValueError if it is empty."""
        if histogram.min is None or histogram.max is None:
            raise ValueError("an empty histogram has no distribution")
        edges_ms, counts = histogram.buckets()
        last = np.searchsorted(edges_ms, _BOUNDS_MS, side="right") - 1  # whose edge is not above the bound
        below = np.cumsum(counts)[last]
        parts = np.diff(np.concatenate(([0], below, [histogram.count])))
        return cls(
            tuple(float(f"{bound * scale:.12g}") for bound in BOUNDS),
            tuple(int(part) for part in parts),
            histogram.sum * scale,
            histogram.min * scale,
            histogram.max * scale,
        )


@dataclass(frozen=True, slots=True)
class MetricSample:
    """One value with its labels."""

    labels: Labels
    value: float | Distribution


@dataclass(frozen=True, slots=True)
class Family:
    """A metric family: name, kind, unit (UCUM, as in OpenTelemetry), help text and values."""

    name: str
    kind: MetricKind
    unit: str
    help: str
    samples: tuple[MetricSample, ...]


def make_family(
    name: str,
    kind: MetricKind,
    unit: str,
    help: str,  # noqa: A002 - the format's name
    values: Iterable[tuple[Labels, float | Distribution]],
    target: str,
) -> Family:
    """A family with PREFIX in its name and `target` in all labels."""
    samples = (MetricSample(_labels({**labels, "target": target}), value) for labels, value in values)
    return Family(PREFIX + name, kind, unit, help, tuple(samples))


def _labels(labels: Labels) -> Labels:
    # An empty value means no label. No format can encode lone surrogates, which a command line can contain.
    return {name: text.encode("utf-8", "backslashreplace").decode() for name, text in labels.items() if text}
