"""``harness doctor``: the rows on machine and target, for people and for programs, and the exit code."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from harness.commands.output_dir import DEFAULT_FOLDER
from harness.config.settings import Settings
from harness.load.locust.command import DEFAULT_USERS
from harness.setup.finding import SetupFinding, Status
from harness.setup.machine_checks import machine_rows
from harness.setup.target_checks import target_rows

_STYLES = {Status.OK: "green", Status.WARN: "bold yellow", Status.FAIL: "bold red"}


def examine(settings: Settings, out: Path | None) -> Iterator[tuple[str, SetupFinding]]:
    """Each row, with the part that it is of: machine, and target where one is named. Raises SettingsError."""
    plan = settings.load
    users = plan.max_in_flight or plan.users or DEFAULT_USERS
    for row in machine_rows(plan, users, out or DEFAULT_FOLDER):
        yield "machine", row
    if settings.target.base_url is not None:
        for row in target_rows(settings):
            yield "target", row


def run_doctor(settings: Settings, out: Path | None, *, as_json: bool) -> int:
    """Print every row. Returns the exit code: 0 nothing failed, 1 something did. Raises SettingsError."""
    console = Console(highlight=False)
    found = list(_shown(examine(settings, out), console, quiet=as_json))
    rows = [row for _, row in found]
    failed = any(row.standing is Status.FAIL for row in rows)
    if as_json:
        print(json.dumps(document(found), indent=2, ensure_ascii=False))
    else:
        console.print(_verdict(rows, has_target=settings.target.base_url is not None))
    return int(failed)


def document(found: Sequence[tuple[str, SetupFinding]]) -> dict[str, Any]:
    """The rows for a program."""
    rows = [row for _, row in found]
    counts = {str(standing): sum(row.standing is standing for row in rows) for standing in Status}
    return {"counts": counts, "rows": [{"of": of, **asdict(row)} for of, row in found]}


def _shown(
    found: Iterable[tuple[str, SetupFinding]], console: Console, *, quiet: bool
) -> Iterator[tuple[str, SetupFinding]]:
    """The same rows, each printed as soon as it is known."""
    part = ""
    for of, row in found:
        if not quiet:
            if of != part:
                console.print(Text(of, "bold"))
            console.print(_line(row))
        part = of
        yield of, row


def _line(row: SetupFinding) -> Table:
    grid = Table.grid(padding=(0, 1), expand=True)
    grid.add_column(width=2)
    grid.add_column(width=4, no_wrap=True)
    grid.add_column(width=14, no_wrap=True)
    grid.add_column(ratio=1, overflow="fold")
    said = Text(row.found)
    if row.advice:
        said.append(f"\n→ {row.advice}", _STYLES[row.standing])
    grid.add_row("", Text(row.standing, _STYLES[row.standing]), Text(row.name), said)
    return grid


def _verdict(rows: Sequence[SetupFinding], *, has_target: bool) -> str:
    failed = [row.name for row in rows if row.standing is Status.FAIL]
    warned = [row.name for row in rows if row.standing is Status.WARN]
    more = "" if has_target else " No target is named: --target, or harness init."
    if failed:
        return escape(f"Doctor: {', '.join(failed)} must be put right before a test.{more}")
    if warned:
        return escape(f"Doctor: a test can be done; mind {', '.join(warned)}.{more}")
    return escape(f"Doctor: nothing stands in the way of a test.{more}")
