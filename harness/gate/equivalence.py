"""When a difference counts: the smallest effects, and the one rule of the four verdicts.

A *smallest effect* is the smallest change for which a release would be stopped. It has a relative and an absolute part;
the larger one applies, because nobody notices 5% of a few milliseconds.

The rule (`verdict_of`) asks two questions about the interval of a difference, in which the harness's own delays are
included at both ends:

- Is it different? *Worse* if the difference is at least the smallest effect however the harness's own delays are
  spread, and the whole interval is on that side of 0; *better* the other way round. The interval has the confidence of
  the gate, corrected for the number of metrics and looks, so that equal servers are hardly ever called worse.
- Is it equivalent? *Same* if a second, narrower interval lies wholly within plus and minus the equivalence margin. This
  is the test of equivalence by two one-sided tests at 5% each, whose interval has a confidence of 90% (Schuirmann,
  Journal of Pharmacokinetics and Biopharmaceutics 15, 1987). To call all metrics the same, each needs its own test and
  none a correction for their number (intersection-union test: Berger, Technometrics 24, 1982); looks do need one.

Both can be false: then the data say too little, and the verdict is *inconclusive*.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

ComparisonVerdict = Literal["better", "same", "worse", "inconclusive"]
Interval = tuple[float, float]

PER_TOKEN = frozenset({"inter_token_ms"})
"""Metrics for which a user waits with every token, and not once."""
_MEDIAN = 50.0
EQUIVALENCE_ERROR = 0.05
"""Probability of calling a latency or a share the same although it changed by the equivalence margin or more."""
MARGIN = 2.0
"""The equivalence margin, in smallest effects. With the margin at the smallest effect itself, a server with a change
just below it would be called the same half of the time, and one test against another, whose noise is assumed to be
2%, could never exclude a change of 5%."""
TAIL = 2.0
"""The absolute effect on a percentile above the median, in those on the median: a few slow streams decide about it."""


@dataclass(frozen=True, slots=True)
class Effect:
    """The smallest effect on one metric, in ms for a latency, as a share for a share.

    is_absolute: whether the absolute part applies.
    """

    smallest: float
    is_absolute: bool = False

    @property
    def margin(self) -> float:
        """The equivalence margin: a change that is certainly below it is none."""
        return MARGIN * self.smallest


@dataclass(frozen=True, slots=True)
class Effects:
    """The smallest differences worth failing for.

    relative: of a latency, as a share of the baseline value. ms: of a median that a user waits for once, and
    inter_token_ms of one for which it waits with every token, in ms; TAIL times as much of a higher percentile. share:
    of error_rate and goodput; 0.005 is half a percentage point. docs/gate.md justifies the defaults.
    """

    relative: float = 0.05
    ms: float = 5.0
    share: float = 0.005
    inter_token_ms: float = 1.0

    def of_latency(self, metric: str, percent: float, baseline_ms: float) -> Effect:
        """The smallest effect on a percentile with that baseline value."""
        least_ms = self.inter_token_ms if metric in PER_TOKEN else self.ms
        if percent > _MEDIAN:
            least_ms *= TAIL
        relative_ms = self.relative * baseline_ms
        return Effect(max(relative_ms, least_ms), least_ms > relative_ms)

    def of_share(self) -> Effect:
        """The smallest effect on a share."""
        return Effect(self.share, is_absolute=True)


USUAL_EFFECTS = Effects()


@dataclass(frozen=True, slots=True)
class Difference:
    """A difference for which higher is worse, in the unit of its effect.

    measured: without the harness's delays that are known for each stream. possible: its ends if the other delays are
    as small or as large as they can be. noise: its interval without these. interval: with both. narrow: the same at the
    confidence of the test of equivalence.
    """

    measured: float
    possible: Interval
    noise: Interval
    interval: Interval
    narrow: Interval

    def worse_is_lower(self) -> Difference:
        """The same difference with the opposite sign."""
        return Difference(
            -self.measured,
            _negated(self.possible),
            _negated(self.noise),
            _negated(self.interval),
            _negated(self.narrow),
        )


def _negated(ends: Interval) -> Interval:
    return -ends[1], -ends[0]


def verdict_of(difference: Difference, effect: Effect) -> ComparisonVerdict:
    """The verdict on a difference for which higher is worse; see the module's text."""
    if difference.possible[0] >= effect.smallest and difference.interval[0] > 0:
        return "worse"
    if difference.possible[1] <= -effect.smallest and difference.interval[1] < 0:
        return "better"
    is_small = abs(difference.measured) < effect.smallest
    return "same" if is_small and is_within(difference.narrow, effect.margin) else "inconclusive"


def is_within(ends: Interval, margin: float) -> bool:
    """Whether the whole interval is within plus and minus a margin."""
    return -margin < ends[0] and ends[1] < margin


def is_found(difference: Difference, effect: Effect) -> bool:
    """Whether the noise alone does not explain the difference, and it is as large as the smallest effect."""
    is_large = abs(difference.measured) >= effect.smallest
    return is_large and not difference.noise[0] <= 0 <= difference.noise[1]


def confidence_of_equivalence(looks: int) -> float:
    """The confidence of the interval for `Difference.narrow`: each look is one more chance of a wrong *same*."""
    return 1 - 2 * EQUIVALENCE_ERROR / max(1, looks)


def largest_change(ends: Sequence[float]) -> float:
    """The largest change in an interval, in either direction."""
    return max(abs(end) for end in ends)
