"""What a comparison says in words: what got worse and by how much, then the rest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from harness.gate.comparison import Comparison
from harness.gate.console import format_change

from .objectives_section import value_text
from .text import agree, counted

NAMED = 3
"""Changes that a sentence names; the rest are counted."""

UNCLEAR = "unclear"
"""Instead of a change whose interval includes 0: as a number it would look like news."""

_SHORT_LABELS = {
    "ttft": "TTFT",
    "inter_token": "ITL",
    "stall": "stall",
    "duration": "duration",
    "resume": "resume latency",
    "conflict": "conflict latency",
}


def most_changed_first(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """What got worse first, then what got better, each by size, then the rest in the given order."""
    order = {"worse": 0, "better": 1}
    return sorted(comparisons, key=lambda row: (order.get(row.verdict, 2), -_size(row)))


def _size(row: Comparison) -> float:
    """The change in smallest effects, so that latencies and shares can be sorted together; 0 if it is not clear."""
    if row.verdict not in ("worse", "better") or row.difference is None:
        return 0.0
    return abs(row.difference) / (row.smallest_effect or 1.0)


def change_text(row: Comparison) -> str:
    """The change of a metric; UNCLEAR if 0 is within its interval and it is not known to be the same."""
    if row.verdict == "inconclusive" and (row.low is None or row.low <= 0 <= (row.high or 0.0)):
        return UNCLEAR if row.difference is not None else ""
    return format_change(row, row.difference)


def changes_sentence(comparisons: Sequence[Comparison], verdict: str) -> str:
    """The metrics with that verdict and their change: TTFT p50 20.6 ms to 170.3 ms (+150 ms), and 2 more."""
    changed = [row for row in most_changed_first(comparisons) if row.verdict == verdict]
    named = [
        f"{_label(row.key)} {value_text(row.key, row.baseline)} to {value_text(row.key, row.value)} "
        f"({format_change(row, row.difference)})"
        for row in changed[:NAMED]
    ]
    more = len(changed) - len(named)
    return ", ".join(named) + (f", and {counted(more, 'more metric')}" if more else "")


def worst_change(comparisons: Sequence[Comparison], verdict: str) -> str:
    """The largest change with that verdict, for a title: TTFT p50 +150 ms. Empty unless it is worse or better."""
    for row in most_changed_first(comparisons):
        if row.verdict == verdict and verdict in ("worse", "better"):
            return f"{_label(row.key)} {format_change(row, row.difference)}"
    return ""


def broken_text(names: Sequence[str], change: str) -> str:
    """Requirements that changed: 2 requirements broke (ids.unique, terminal.last)."""
    shown = ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")
    return f"{counted(len(names), 'requirement')} {change} ({shown})"


def comparison_sentence(
    name: str,
    requirements: Mapping[str, Sequence[str]],
    under_load: Mapping[str, int],
    comparisons: Sequence[Comparison],
    *,
    checked: bool,
) -> str:
    """One comparison in a sentence. requirements: ids that "broke" and that were "fixed". checked: by the suite."""
    clauses = []
    if broke := requirements.get("broke"):
        clauses.append(broken_text(broke, "broke"))
    if under_load["broke"]:
        clauses.append(f"{counted(under_load['broke'], 'requirement')} newly violated under load")
    if worse := changes_sentence(comparisons, "worse"):
        clauses.append(f"worse: {worse}")
    if fixed := requirements.get("fixed"):
        clauses.append(broken_text(fixed, agree(len(fixed), "was fixed", "were fixed")))
    if under_load["fixed"]:
        clauses.append(f"{counted(under_load['fixed'], 'requirement')} no longer violated under load")
    if better := changes_sentence(comparisons, "better"):
        clauses.append(f"better: {better}")
    for verdict in ("same", "inconclusive"):
        times = sum(row.verdict == verdict for row in comparisons)
        if times:
            clauses.append(f"{counted(times, 'metric')} {verdict}")
    if not requirements:
        clauses.append(
            "no requirement broke or was fixed" if checked else "no conformance verdicts to compare"
        )
    return f"{name}: {'; '.join(clauses)}."


def _label(key: str) -> str:
    """A short name of an objective's key: ttft_p50_ms is TTFT p50."""
    stem, _, percentile = key.removesuffix("_ms").rpartition("_")
    return f"{_SHORT_LABELS[stem]} {percentile}" if stem in _SHORT_LABELS else key.replace("_", " ")
