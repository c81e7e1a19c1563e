"""Prints the trend of a baseline folder's history and writes its page."""

from __future__ import annotations

from pathlib import Path

from rich.table import Table
from rich.text import Text

from harness.formatting import counted, visible
from harness.gate.equivalence import Effects
from harness.gate.history import read_history
from harness.gate.trend import trend_of
from harness.reports.html import write_trend
from harness.reports.trend_page import TrendPage, trend_page
from harness.terminal.safe_console import SafeConsole

_STYLES = {"worse": "bold red", "better": "green"}
_TONES = {"good": "green", "bad": "bold red", "warn": "bold yellow", "none": "yellow"}


def run_trend(folder: Path, out: Path, effects: Effects) -> Path:
    """Print the trend and write the page. Returns its path. Raises ResultsError and FileWriteError."""
    page = trend_page(trend_of(read_history(folder), effects), folder.name or str(folder))
    written: Path = write_trend(page, out)
    _print(page, SafeConsole(highlight=False))
    return written


def _print(page: TrendPage, console: SafeConsole) -> None:
    if page.drifts:
        table = Table(title="Changes of the level", title_justify="left", pad_edge=False)
        for heading in ("metric", "began with", "before", "after", "change", "in", ""):
            table.add_column(heading, overflow="fold")
        for drift in page.drifts:
            cells = (drift.key, drift.commit, drift.before, drift.after, drift.change, drift.steps)
            table.add_row(
                *(Text(visible(cell)) for cell in cells), Text(drift.verdict, _STYLES[drift.verdict])
            )
        console.print(table)
    for note in page.headline.notes:
        console.print(Text(visible(note), "yellow"))
    console.print(f"{counted(page.tests, 'test')} in the history.")
    console.print(Text(visible(f"{page.headline.title}."), _TONES[page.headline.tone]))
