"""The result of the gate: a row per check, a comparison per objective, and the outcome."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from harness.gate.comparison import Comparison
from harness.gate.confidence_intervals import CONFIDENCE
from harness.gate.equivalence import Effects
from harness.results.measurement_error import ErrorBounds

SATURATED_ROW = "saturated"
"""The row of a test whose load was lower than requested because of the harness."""

RowVerdict = Literal["passed", "failed", "inconclusive", "not measured"]

GateOutcome = Literal["passed", "failed", "inconclusive", "not measured", "nothing tested"]


@dataclass(frozen=True, slots=True)
class GateRow:
    """One value checked against a limit.

    detail: explanation for the user. at_least: the limit is a lower one. interval: confidence interval of the value,
    in its unit; None if not requested or not available. error: between which values it is without the harness's own
    delays; None for values that these cannot change.
    """

    name: str
    value: float | None
    limit: float
    verdict: RowVerdict
    detail: str = ""
    at_least: bool = False
    interval: tuple[float, float] | None = None
    error: ErrorBounds | None = None

    @property
    def limit_in_interval(self) -> bool:
        """Whether the limit lies within the value's interval, so that another test could have the other verdict."""
        return self.interval is not None and self.interval[0] <= self.limit <= self.interval[1]

    @property
    def headroom(self) -> float | None:
        """Distance to the limit as a share of the limit, negative if missed.

        None if it would contradict the rest of the row: without a value or a verdict, with a limit of 0, and if the
        limit lies within the interval.
        """
        undecided = self.verdict not in ("passed", "failed") or self.limit_in_interval
        if undecided or self.value is None or self.limit == 0:
            return None
        below = 1 - self.value / self.limit
        return -below if self.at_least else below


@dataclass(frozen=True, slots=True)
class GateReport:
    """The rows of the gate, the comparisons with a baseline if any, and the outcome.

    saturation: why the harness was saturated; empty if it was not. notes: what else a reader of the comparisons needs
    to know. inconclusive_fails: whether a single inconclusive comparison makes the gate inconclusive. confidence: of
    the interval of each comparison.
    """

    rows: tuple[GateRow, ...]
    comparisons: tuple[Comparison, ...]
    tested: bool
    saturation: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    inconclusive_fails: bool = False
    confidence: float = CONFIDENCE

    @property
    def outcome(self) -> GateOutcome:
        """The overall outcome: "passed" only if something was tested and every row passed."""
        verdicts = {row.verdict for row in self.rows}
        if not self.tested:
            return "nothing tested"
        if "failed" in verdicts or any(comparison.verdict == "worse" for comparison in self.comparisons):
            return "failed"
        if "inconclusive" in verdicts or self.comparisons_inconclusive:
            return "inconclusive"
        return "not measured" if "not measured" in verdicts else "passed"

    @property
    def comparisons_inconclusive(self) -> bool:
        """Whether the comparisons are too weak: none has an interval, so none could have been worse.

        Shares do not stand in for latencies: with equal error rates alone, a slower server would pass.

        With inconclusive_fails: whether any of them is inconclusive, or the same only roughly.
        """
        if self.inconclusive_fails:
            return any(
                comparison.verdict == "inconclusive" or comparison.repeats_may_tell
                for comparison in self.comparisons
            )
        latencies = [comparison for comparison in self.comparisons if comparison.relative]
        needed = latencies or self.comparisons
        return bool(needed) and all(comparison.low is None for comparison in needed)

    @property
    def may_join_baseline(self) -> bool:
        """Whether these results may be added to the baseline.

        They may if the gate passed, or if it is inconclusive only because the baseline is still too small: otherwise a
        baseline could never grow.
        """
        if self.outcome != "inconclusive":
            return self.outcome == "passed"
        rows_passed = all(row.verdict == "passed" for row in self.rows)
        inconclusive = [comparison for comparison in self.comparisons if comparison.verdict == "inconclusive"]
        return rows_passed and all(
            comparison.repeats_may_tell or is_maximum(comparison.key) for comparison in inconclusive
        )

    @property
    def repeats_may_decide(self) -> bool:
        """Whether repeating the test may settle a comparison; never if the gate failed already."""
        return self.outcome in ("passed", "inconclusive") and any(
            comparison.repeats_may_tell for comparison in self.comparisons
        )

    @property
    def exit_code(self) -> int:
        """0 passed, 2 nothing tested, 1 otherwise: failed, inconclusive or not measured."""
        return {"passed": 0, "nothing tested": 2}.get(self.outcome, 1)


@dataclass(frozen=True, slots=True)
class ComparisonTerms:
    """How the gate compares with a baseline.

    effects: smallest effects worth failing for. looks: how many times the comparison is evaluated while repeats come
    in, including the last. inconclusive_fails: see GateReport. usual: whether TTFT, inter-token latency, duration and
    error rate are compared without an objective, too.
    """

    effects: Effects = field(default_factory=Effects)
    looks: int = 1
    inconclusive_fails: bool = False
    usual: bool = True

    def confidence(self, comparisons: int) -> float:
        """The confidence of each interval, with Bonferroni correction.

        Over all comparisons and looks, equal servers are called worse with a probability of at most 1 - CONFIDENCE.
        Only one end of each interval counts for that.
        """
        return max(CONFIDENCE, 1 - 2 * (1 - CONFIDENCE) / max(1, comparisons * self.looks))


USUAL_TERMS = ComparisonTerms()


def is_maximum(key: str) -> bool:
    return key.endswith("_max_ms")
