"""The gate's result: a row for each objective and comparison, and the overall outcome."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from harness.gate.comparison import Comparison, Effects
from harness.gate.confidence_intervals import CONFIDENCE

RowVerdict = Literal["passed", "failed", "inconclusive", "not measured"]


GateOutcome = Literal["passed", "failed", "inconclusive", "not measured", "nothing tested"]


@dataclass(frozen=True, slots=True)
class GateRow:
    """One thing that was held against a limit. detail says in words what the number does not.

    at_least: the limit is a lower one. interval: the value's confidence interval, in its unit; None where it
    was not asked for, and where there is none.
    """

    name: str
    value: float | None
    limit: float
    verdict: RowVerdict
    detail: str = ""
    at_least: bool = False
    interval: tuple[float, float] | None = None

    @property
    def headroom(self) -> float | None:
        """How far the value is on the right side of its limit, as a share of the limit: 0.25 is a quarter to
        spare, below 0 is missed. None when nothing was measured or the limit is 0.
        """
        if self.value is None or self.limit == 0:
            return None
        below = 1 - self.value / self.limit
        return -below if self.at_least else below


@dataclass(frozen=True, slots=True)
class GateReport:
    """The gate's rows, the comparisons with a baseline where there was one, and what follows from them.

    saturation: why the harness was too busy for its latencies to be judged; empty when it was not. notes: what
    else a reader of the comparisons has to know. inconclusive_fails: whether a single comparison that is
    inconclusive is one too many. confidence: of each comparison's interval.
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
        """The whole in a word: "passed" only when something was tested and every row held."""
        verdicts = {row.verdict for row in self.rows}
        if not self.tested:
            return "nothing tested"
        if "failed" in verdicts or any(comparison.verdict == "worse" for comparison in self.comparisons):
            return "failed"
        if "inconclusive" in verdicts or self.unsure:
            return "inconclusive"
        return "not measured" if "not measured" in verdicts else "passed"

    @property
    def unsure(self) -> bool:
        """Whether the comparisons say too little: none of them has an interval, so that none could ever have
        been worse; or a single one is inconclusive where none may be.
        """
        if self.inconclusive_fails:
            return any(one.verdict == "inconclusive" for one in self.comparisons)
        return bool(self.comparisons) and all(one.low is None for one in self.comparisons)

    @property
    def may_join_baseline(self) -> bool:
        """Whether these results are fit for a baseline: the gate held, or nothing stands in its way but that the
        baseline is still too small to tell, which only grows by such results.
        """
        if self.outcome != "inconclusive":
            return self.outcome == "passed"
        rows_held = all(row.verdict == "passed" for row in self.rows)
        unknown = [one for one in self.comparisons if one.verdict == "inconclusive"]
        return rows_held and all(one.repeats_may_tell or is_maximum(one.key) for one in unknown)

    @property
    def undecided(self) -> bool:
        """Whether repeating the test may decide something: nothing is missed, and something is unknown."""
        return self.outcome in ("passed", "inconclusive") and any(
            one.repeats_may_tell for one in self.comparisons
        )

    @property
    def exit_code(self) -> int:
        """0 held, 2 nothing tested, 1 everything between: missed, inconclusive, an objective not measured."""
        return {"passed": 0, "nothing tested": 2}.get(self.outcome, 1)


@dataclass(frozen=True, slots=True)
class ComparisonTerms:
    """How a gate compares with a baseline.

    effects: what is worth failing for. looks: how often it may look while repeats come in, the last one
    included. inconclusive_fails: see GateReport.
    """

    effects: Effects = field(default_factory=Effects)
    looks: int = 1
    inconclusive_fails: bool = False

    def confidence(self, comparisons: int) -> float:
        """The confidence of each interval: so high that all those comparisons, at all looks, call no equal
        servers worse with more than 1 - CONFIDENCE (Bonferroni: one end of each interval counts for that).
        """
        return max(CONFIDENCE, 1 - 2 * (1 - CONFIDENCE) / max(1, comparisons * self.looks))


USUAL_TERMS = ComparisonTerms()


def is_maximum(key: str) -> bool:
    return key.endswith("_max_ms")
