"""The gate's answer for whoever reads a terminal or a CI log: what was held against what, and the outcome."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from harness.gate.comparison import Comparison
from harness.gate.objective import SHARES
from harness.gate.report import GateReport, GateRow

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
    "inconclusive": "Gate: inconclusive, which is no pass: the measurement itself was not sound.",
    "not measured": "Gate: not held, because an objective was not measured.",
    "nothing tested": "Gate: nothing was tested, so nothing is held.",
}
_WIDE = 100  # columns, from which on there is room between the numbers
_UNSURE = "Gate: inconclusive, which is no pass: the comparison with the baseline says too little."


def print_report(report: GateReport, console: Console) -> None:
    """Print a gate report as a table, one more where there was a baseline, and the outcome in a sentence.

    What is said of a row stands below its table, and latencies are in ms without saying so (their names do),
    so that the numbers fit into 80 columns.
    """
    table = _table(console, "Gate", "value", "limit", "95% interval", "headroom")
    for row in report.rows:
        table.add_row(*_cells(row))
    _print(console, table, [(row.name, row.detail) for row in report.rows])
    if report.comparisons:
        level = f"{report.confidence * 100:.3g}% interval"
        title = f"Against the baseline ({_runs(report.comparisons)})"
        comparisons = _table(console, title, "before", "after", "change", level, "smallest\neffect")
        for comparison in report.comparisons:
            comparisons.add_row(*_comparison_cells(comparison))
        _print(console, comparisons, [(one.key, one.detail) for one in report.comparisons])
    for note in report.notes:
        console.print(Text(f"Note: {note}.", "yellow"))
    if report.saturation:
        console.print(Text(f"The harness was saturated: {'; '.join(report.saturation)}.", "yellow"))
    console.print(Text(outcome_sentence(report), _STYLES[report.outcome]))


def outcome_sentence(report: GateReport) -> str:
    """The outcome in a sentence, and what it leaves open."""
    if report.outcome == "inconclusive" and all(row.verdict != "inconclusive" for row in report.rows):
        return _UNSURE
    unknown = [one.key for one in report.comparisons if one.verdict == "inconclusive"]
    if report.outcome == "passed" and unknown:
        return f"Gate: passed, but whether {', '.join(unknown)} changed cannot be told."
    return _SENTENCES[report.outcome]


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
        Text(interval_said(row)),
        Text("" if row.headroom is None else f"{row.headroom:.0%}"),
    )


def _comparison_cells(one: Comparison) -> tuple[Text, ...]:
    ends = (change_said(one, end) for end in (one.low, one.high))
    return (
        Text(one.verdict, _STYLES[one.verdict]),
        Text(one.key),
        Text(_number(one.key, one.baseline)),
        Text(_number(one.key, one.value)),
        Text(change_said(one, one.difference)),
        Text("" if one.low is None else _between(*ends)),
        Text(change_said(one, one.smallest_effect).removeprefix("+")),
    )


def _between(low: str, high: str) -> str:
    """Both ends of an interval, with their unit once."""
    for unit in ("%", " pp"):
        if low.endswith(unit) and high.endswith(unit):
            low = low.removesuffix(unit)
    return f"{low} to {high}"


def _number(name: str, value: float | None) -> str:
    """A value or a limit to about four digits; of a latency without its unit."""
    if value is None:
        return "-"
    if _key(name) in SHARES:
        return f"{value * 100:.4g}%"
    decimals = 0 if value == int(value) or value >= 1000 else 1 if value >= 100 else 2
    return f"{value:,.{decimals}f}"


def interval_said(row: GateRow) -> str:
    """Both ends of a row's interval; of a latency in ms, without saying so. Empty where there is none."""
    return "" if row.interval is None else _between(*(_number(row.name, end) for end in row.interval))


def change_said(comparison: Comparison, change: float | None) -> str:
    """A difference in percent, or, of a share, in percentage points."""
    if change is None:
        return ""
    return f"{change * 100:+.1f}%" if comparison.relative else f"{change * 100:+.2f} pp"


def _runs(comparisons: tuple[Comparison, ...]) -> str:
    now, then = max(one.runs for one in comparisons)
    return f"{then} run{'' if then == 1 else 's'} before, {now} now"


def quantity(name: str, value: float | None) -> str:
    """A value or a limit of the gate's row of that name, with its unit; also of a journey's, or a repeat's."""
    if value is None:
        return "-"
    key = _key(name)
    if key in SHARES:
        return f"{value:.3%}"
    return f"{value:,.2f} ms" if key.endswith("_ms") else f"{value:,.0f}"


def _key(name: str) -> str:
    """The objective's key in a row's name, "repeat 2: resume.resume_p99_ms"."""
    return name.rpartition(" ")[2].rpartition(".")[2]
