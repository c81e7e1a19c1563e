"""The gate's answer for whoever reads a terminal or a CI log: what was held against what, and the outcome."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from harness.gate.baseline import Comparison
from harness.gate.objectives import GateReport, GateRow

_STYLES = {
    "held": "green",
    "better": "green",
    "same": "green",
    "missed": "bold red",
    "worse": "bold red",
    "not measured": "bold yellow",
    "nothing tested": "bold yellow",
    "inconclusive": "bold yellow",
}
_SENTENCES = {
    "held": "Gate: held.",
    "missed": "Gate: missed.",
    "inconclusive": "Gate: inconclusive, which is no pass: the measurement itself was not sound.",
    "not measured": "Gate: not held, because an objective was not measured.",
    "nothing tested": "Gate: nothing was tested, so nothing is held.",
}


def print_report(report: GateReport, console: Console) -> None:
    """Print a gate report as a table, one more where there was a baseline, and the outcome in a sentence."""
    table = Table(title="Gate", title_justify="left")
    table.add_column("objective", overflow="fold")
    table.add_column("value", justify="right")
    table.add_column("limit", justify="right")
    table.add_column("")
    table.add_column("headroom", justify="right")
    table.add_column("detail", overflow="fold")
    for row in report.rows:
        table.add_row(*_cells(row))
    console.print(table)
    if report.comparisons:
        console.print(_comparison_table(report.comparisons))
    if report.saturation:
        console.print(Text(f"The harness was saturated: {'; '.join(report.saturation)}.", "yellow"))
    console.print(Text(_SENTENCES[report.outcome], _STYLES[report.outcome]))


def _cells(row: GateRow) -> tuple[Text, ...]:
    return (
        Text(row.name),
        Text(quantity(row.name, row.value)),
        Text(f"{'at least ' if row.at_least else ''}{quantity(row.name, row.limit)}"),
        Text(row.verdict, _STYLES[row.verdict]),
        Text("" if row.headroom is None else f"{row.headroom:.0%}"),
        Text(row.detail),
    )


def _comparison_table(comparisons: tuple[Comparison, ...]) -> Table:
    table = Table("objective", title="Against the baseline", title_justify="left")
    for heading in ("baseline", "value", "difference", "95% interval"):
        table.add_column(heading, justify="right")
    table.add_column("")
    table.add_column("detail", overflow="fold")
    for comparison in comparisons:
        interval = ""
        if comparison.low is not None and comparison.high is not None:
            interval = f"{comparison.low:+.1%} to {comparison.high:+.1%}"
        table.add_row(
            Text(comparison.key),
            Text(quantity(comparison.key, comparison.baseline)),
            Text(quantity(comparison.key, comparison.value)),
            Text("" if comparison.difference is None else f"{comparison.difference:+.1%}"),
            Text(interval),
            Text(comparison.verdict, _STYLES[comparison.verdict]),
            Text(comparison.detail),
        )
    return table


def quantity(name: str, value: float | None) -> str:
    """A value or a limit of the gate's row of that name, with its unit."""
    if value is None:
        return "-"
    if name in ("error_rate", "goodput"):
        return f"{value:.3%}"
    return f"{value:,.2f} ms" if name.endswith("_ms") else f"{value:,.0f}"
