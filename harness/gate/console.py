"""Prints a gate report as tables, for terminals and CI logs."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from harness.formatting import NOT_MEASURED, counted
from harness.gate.comparison import Comparison
from harness.gate.objective import SHARES
from harness.gate.report import SATURATED_ROW, GateReport, GateRow

_STYLES = {
    "passed": "green",
    "better": "green",
    "same": "green",
    "failed": "bold red",
    "worse": "bold red",
    "not measured": "bold yellow",
    "nothing tested": "bold yellow",
    "inconclusive": "bold yellow",
}
_SENTENCES = {
    "passed": "Gate: passed.",
    "failed": "Gate: failed.",
    "inconclusive": "Gate: inconclusive (exit 1): the measurement is not sound.",
    "not measured": "Gate: not passed (exit 1): an objective was not measured.",
    "nothing tested": "Gate: nothing was tested (exit 2).",
}
MULTIPLES_FROM = 4
"""A limit exceeded by this many times itself is shown as a multiple, because percentages of thousands mean little."""

UNKNOWN = "unknown"
"""Instead of an interval without information, and where there is too little data for one."""
SHOWN_CHANGE_AT_MOST = 10.0
"""An end of an interval above this change, +1,000%, is not shown as a number."""

_WHOLE_MS = 99.95  # changes from here on are shown without decimals
_WIDE = 100  # columns from which on the numbers get padding
_COMPARISONS_INCONCLUSIVE = "Gate: inconclusive (exit 1): too little data to compare with the baseline."


def print_report(report: GateReport, console: Console) -> None:
    """Print the rows as a table, the comparisons with a baseline (if any) as another, and the outcome as a sentence.

    To fit into 80 columns, details are below the table and latencies have no unit: their names end in _ms.
    """
    table = _table(console, "Gate", "value", "limit", "95% interval", "headroom")
    for row in report.rows:
        table.add_row(*_cells(row))
    _print(console, table, [(row.name, row.detail) for row in report.rows if row.name != SATURATED_ROW])
    if report.comparisons:
        level = f"{report.confidence * 100:.3g}% interval"
        title = f"Against the baseline ({compared_tests(report.comparisons)})"
        comparisons = _table(console, title, "before", "after", "change", level, "smallest\neffect")
        for comparison in report.comparisons:
            comparisons.add_row(*_comparison_cells(comparison))
        _print(
            console, comparisons, [(comparison.key, comparison.detail) for comparison in report.comparisons]
        )
    for note in report.notes:
        console.print(Text(f"Note: {note}.", "yellow"))
    if report.saturation:
        console.print(Text(f"The harness was saturated: {'; '.join(report.saturation)}.", "yellow"))
    console.print(Text(outcome_sentence(report), _STYLES[report.outcome]))


def outcome_sentence(report: GateReport) -> str:
    """The outcome in a sentence, with what the comparison with the baseline found, the worst first."""
    if report.outcome == "inconclusive" and all(row.verdict != "inconclusive" for row in report.rows):
        return _COMPARISONS_INCONCLUSIVE
    clauses = []
    for verdict in ("worse", "better", "same", "inconclusive"):
        found = [_found(comparison) for comparison in report.comparisons if comparison.verdict == verdict]
        if found:
            clauses.append(f"{verdict} in {', '.join(found)}")
    against = f" Against the baseline: {'; '.join(clauses)}." if clauses else ""
    return _SENTENCES[report.outcome] + against


def _found(comparison: Comparison) -> str:
    if comparison.verdict in ("worse", "better"):
        return f"{comparison.key} ({format_change(comparison, comparison.difference)})"
    return comparison.key


def _table(console: Console, title: str, *headings: str) -> Table:
    table = Table(
        title=title,
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 1 if console.width >= _WIDE else 0, 0, 0),
        show_edge=False,
    )
    table.add_column("verdict", no_wrap=True)
    table.add_column("objective", overflow="fold", min_width=10)
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    return table


def _print(console: Console, table: Table, details: list[tuple[str, str]]) -> None:
    console.print(table)
    for name, detail in details:
        if detail:
            console.print(Text.assemble((name, "bold"), f": {detail}"))
    console.print()


def _cells(row: GateRow) -> tuple[Text, ...]:
    return (
        Text(row.verdict, _STYLES[row.verdict]),
        Text(row.name),
        Text(_number(row.name, row.value)),
        Text(f"{'≥' if row.at_least else '≤'} {_number(row.name, row.limit)}"),
        Text(format_interval(row)),
        Text(format_headroom(row)),
    )


def _comparison_cells(comparison: Comparison) -> tuple[Text, ...]:
    return (
        Text(comparison.verdict, _STYLES[comparison.verdict]),
        Text(comparison.key),
        Text(_number(comparison.key, comparison.baseline)),
        Text(_number(comparison.key, comparison.value)),
        Text(format_change(comparison, comparison.difference)),
        Text(format_change_interval(comparison, unit_once=True)),
        Text(format_smallest_effect(comparison)),
    )


def _between(low: str, high: str) -> str:
    """Both ends of an interval, with the unit once."""
    for unit in ("%", " pp", " ms"):
        if low.endswith(unit) and high.endswith(unit):
            low = low.removesuffix(unit)
    return f"{low} to {high}"


def _number(name: str, value: float | None) -> str:
    """A value or limit to about four digits; latencies without a unit."""
    if value is None:
        return NOT_MEASURED
    if _key(name) in SHARES:
        return f"{value * 100:.4g}%"
    decimals = 0 if value == int(value) or value >= 1000 else 1 if value >= 100 else 2
    return f"{value:,.{decimals}f}"


def format_interval(row: GateRow) -> str:
    """Both ends of the interval of a row, latencies in ms without a unit; empty if it has none."""
    return "" if row.interval is None else _between(*(_number(row.name, end) for end in row.interval))


def format_headroom(row: GateRow) -> str:
    """The distance to the limit in percent of the limit; as a multiple if far beyond it; empty without one."""
    if row.headroom is None:
        return ""
    if row.headroom > -MULTIPLES_FROM:
        return f"{row.headroom:.0%}"
    return f"{round(1 - row.headroom):,}x the limit"


def format_change(comparison: Comparison, change: float | None) -> str:
    """A change in percent, or in percentage points for a share; empty if there is none.

    In ms if the smallest effect is: a percentage of next to nothing says little.
    """
    if change is None:
        return ""
    change_ms = comparison.in_ms(change)
    if change_ms is not None:
        return f"{change_ms:+,.{1 if abs(change_ms) < _WHOLE_MS else 0}f} ms"
    return f"{change * 100:+.1f}%" if comparison.relative else f"{change * 100:+.2f} pp"


def format_smallest_effect(comparison: Comparison) -> str:
    """The smallest effect in ms, percent or percentage points; empty if there is none."""
    if comparison.smallest_effect_ms is not None:
        return f"{comparison.smallest_effect_ms:g} ms"
    return format_change(comparison, comparison.smallest_effect).removeprefix("+")


def format_change_interval(comparison: Comparison, *, unit_once: bool = False) -> str:
    """Both ends of the interval of a change; UNKNOWN if there is none, empty if nothing was compared."""
    if comparison.low is None or comparison.high is None:
        return "" if comparison.difference is None else UNKNOWN
    low, high = (_end(comparison, end) for end in (comparison.low, comparison.high))
    return _between(low, high) if unit_once else f"{low} to {high}"


def _end(comparison: Comparison, end: float) -> str:
    """One end of an interval, without digits that mean nothing."""
    if comparison.relative and end > SHOWN_CHANGE_AT_MOST and comparison.in_ms(end) is None:
        return f"more than {SHOWN_CHANGE_AT_MOST:+,.0%}"
    return format_change(comparison, end)


def compared_tests(comparisons: tuple[Comparison, ...]) -> str:
    """How many tests a comparison has on each side. There must be at least one comparison."""
    now, then = max(comparison.runs for comparison in comparisons)
    return f"{counted(then, 'test')} before, {now} now"


def format_value(name: str, value: float | None) -> str:
    """A value or limit of the row with that name, with its unit."""
    if value is None:
        return NOT_MEASURED
    key = _key(name)
    if key in SHARES:
        return f"{value:.3%}"
    return f"{value:,.2f} ms" if key.endswith("_ms") else f"{value:,.0f}"


def _key(name: str) -> str:
    """The objective's key in the name of a row, for example "repeat 2: resume.resume_p99_ms"."""
    return name.rpartition(" ")[2].rpartition(".")[2]
