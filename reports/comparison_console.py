"""The comparison of several results files for whoever reads a terminal: what the page says, without pictures."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from harness.reports.comparison_page import AgainstView, ComparePage

from .text import bounded, counted, visible

_STYLES = {
    "better": "green",
    "same": "green",
    "mended": "green",
    "pass": "green",
    "worse": "bold red",
    "broke": "bold red",
    "fail": "bold red",
    "error": "bold red",
    "inconclusive": "yellow",
    "warn": "yellow",
}
_TONES = {"good": "green", "bad": "bold red", "warn": "bold yellow"}


def print_comparison(page: ComparePage, console: Console) -> None:
    """Print conformance changes first, then for each test its numbers beside the first one's, then what limits it."""
    if page.changes:
        console.print(_changes(page))
    console.print(
        f"Conformance: {counted(len(page.changes), 'change')}, {counted(page.unchanged, 'requirement')} alike."
    )
    for one in page.against:
        if one.rows:
            console.print(_numbers(one, page.files[0].name))
        for detail, keys in _details(one).items():
            console.print(Text.assemble((f"  {', '.join(keys)}", "bold"), f": {visible(detail)}"))
    for one in page.against:
        console.print(Text(visible(one.sentence), _STYLES[one.word]))
    for note in page.headline.notes:
        console.print(Text(visible(note), "yellow"))
    console.print(Text(f"{page.headline.word}.", _TONES[page.headline.tone]))


def _changes(page: ComparePage) -> Table:
    table = Table(title="Conformance changes", title_justify="left", pad_edge=False)
    table.add_column("requirement", overflow="fold", min_width=22)
    table.add_column("", no_wrap=True)
    for one in page.files:
        table.add_column(Text(visible(one.name)), overflow="fold")
    for change in page.changes:
        cells = [
            Text(bounded(visible(": ".join(filter(None, (verdict, said)))), 120), _STYLES.get(verdict, ""))
            for verdict, said in change.found
        ]
        table.add_row(Text(visible(change.id)), Text(change.kind, _STYLES.get(change.kind, "")), *cells)
    return table


def _numbers(one: AgainstView, first: str) -> Table:
    table = Table(title=Text(visible(f"{one.name} against {first}")), title_justify="left", pad_edge=False)
    table.add_column("number", no_wrap=True)
    for heading in ("before", "after", "change", one.heading):
        table.add_column(heading, justify="right", overflow="fold")
    table.add_column("", no_wrap=True)
    for row in one.rows:
        table.add_row(
            Text(row.key),
            Text(row.before),
            Text(row.after),
            Text(row.difference),
            Text(row.interval),
            Text(row.verdict, _STYLES[row.verdict]),
        )
    return table


def _details(one: AgainstView) -> dict[str, list[str]]:
    """What is said of the numbers, and of which."""
    said: dict[str, list[str]] = {}
    for row in one.rows:
        if row.detail:
            said.setdefault(row.detail, []).append(row.key)
    if len(said) == 1 and len(one.rows) == len(*said.values()):
        return {detail: ["all"] for detail in said}
    return said
