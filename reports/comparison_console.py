"""Prints a comparison on a terminal: the page's content without its charts."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from harness.reports.comparison_page import ComparisonPage, ComparisonView

from .text import bounded, counted, visible

CELL_LIMIT = 120
"""Characters of one cell of the table of conformance changes."""

_STYLES = {
    "better": "green",
    "same": "green",
    "fixed": "green",
    "pass": "green",
    "worse": "bold red",
    "broke": "bold red",
    "fail": "bold red",
    "error": "bold red",
    "inconclusive": "yellow",
    "warn": "yellow",
}
_FOLDED = ("same", "inconclusive")
"""Verdicts of which the terminal only names the metrics if others changed; the page has the numbers."""
_TONES = {"good": "green", "bad": "bold red", "warn": "bold yellow"}


def print_comparison(page: ComparisonPage, console: Console) -> None:
    """Print conformance changes, what changed in each test against the baseline, a summary, and limitations."""
    if page.changes:
        console.print(_changes(page))
    console.print(
        f"Conformance: {counted(len(page.changes), 'change')}, {counted(page.unchanged, 'requirement')} unchanged."
    )
    for comparison in page.comparisons:
        if comparison.rows:
            console.print(_metrics(comparison, page.tests[0].name))
        for verdict in _FOLDED if comparison.changed else ():
            keys = [row.key for row in comparison.unchanged if row.verdict == verdict]
            if keys:
                console.print(Text.assemble((f"  {verdict}", _STYLES[verdict]), f": {', '.join(keys)}"))
        for detail, keys in _details(comparison).items():
            console.print(Text.assemble((f"  {', '.join(keys)}", "bold"), f": {visible(detail)}"))
    for comparison in page.comparisons:
        console.print(Text(visible(comparison.sentence), _STYLES[comparison.verdict]))
    for note in page.headline.notes:
        console.print(Text(visible(note), "yellow"))
    console.print(Text(f"{page.headline.title}.", _TONES[page.headline.tone]))


def _changes(page: ComparisonPage) -> Table:
    table = Table(title="Conformance changes", title_justify="left", pad_edge=False)
    table.add_column("requirement", overflow="fold", min_width=22)
    table.add_column("", no_wrap=True)
    for test in page.tests:
        table.add_column(Text(visible(test.name)), overflow="fold")
    for change in page.changes:
        cells = [
            Text(
                bounded(visible(": ".join(filter(None, (verdict, detail)))), CELL_LIMIT),
                _STYLES.get(verdict, ""),
            )
            for verdict, detail in change.results
        ]
        table.add_row(Text(visible(change.id)), Text(change.kind, _STYLES.get(change.kind, "")), *cells)
    return table


def _metrics(comparison: ComparisonView, baseline: str) -> Table:
    title = Text(visible(f"{comparison.name} against {baseline}"))
    table = Table(title=title, title_justify="left", pad_edge=False)
    table.add_column("metric", no_wrap=True)
    for heading in (*comparison.columns, "change", comparison.heading):
        table.add_column(heading, justify="right", overflow="fold")
    table.add_column("", no_wrap=True)
    for row in comparison.changed or comparison.rows:
        table.add_row(
            Text(row.key),
            Text(row.before),
            Text(row.after),
            Text(row.difference),
            Text(row.interval),
            Text(row.verdict, _STYLES[row.verdict]),
        )
    return table


def _details(comparison: ComparisonView) -> dict[str, list[str]]:
    """Keys of the metrics by the detail they share; "all" if all of them share one."""
    keys: dict[str, list[str]] = {}
    for row in comparison.changed or comparison.rows:
        if row.detail:
            keys.setdefault(row.detail, []).append(row.key)
    if len(keys) == 1 and len(comparison.changed or comparison.rows) == len(*keys.values()):
        return {detail: ["all"] for detail in keys}
    return keys
