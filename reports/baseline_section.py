"""The gate's comparison with a baseline: a row per metric, what got worse first."""

from __future__ import annotations

from dataclasses import dataclass

from harness.gate.comparison import Comparison
from harness.gate.console import compared_tests, format_change_interval, format_smallest_effect
from harness.gate.report import GateReport

from .comparison_sentences import change_text, most_changed_first
from .objectives_section import value_text
from .text import NOTHING

NO_BASELINE = "No baseline was compared."


@dataclass(frozen=True, slots=True)
class BaselineRow:
    """One metric now and in the baseline. verdict: worse, better, same or inconclusive. key: its objective's name."""

    key: str
    before: str
    after: str
    change: str
    interval: str
    smallest_effect: str
    verdict: str
    detail: str


@dataclass(frozen=True, slots=True)
class BaselineView:
    """The comparison. tests: how many were compared. heading: of the intervals' column. notes: in sentences.

    Without a baseline there is nothing but the fact.
    """

    tests: str
    heading: str
    rows: tuple[BaselineRow, ...]
    notes: tuple[str, ...]

    @property
    def compared(self) -> bool:
        return bool(self.rows)


def baseline_view(gate: GateReport) -> BaselineView:
    """The comparisons of a gate: what is worse, then what is inconclusive, what is better, and what is the same."""
    order = ("worse", "inconclusive", "better", "same")
    rows = sorted(most_changed_first(gate.comparisons), key=lambda row: order.index(row.verdict))
    return BaselineView(
        compared_tests(gate.comparisons) if rows else "",
        f"{gate.confidence * 100:.3g}% interval",
        tuple(_row(row) for row in rows),
        tuple(f"{note[:1].upper()}{note[1:]}." for note in gate.notes),
    )


def _row(comparison: Comparison) -> BaselineRow:
    return BaselineRow(
        comparison.key,
        value_text(comparison.key, comparison.baseline),
        value_text(comparison.key, comparison.value),
        change_text(comparison) or NOTHING,
        format_change_interval(comparison) or NOTHING,
        format_smallest_effect(comparison) or NOTHING,
        comparison.verdict,
        comparison.detail,
    )
