"""``harness doctor``: runs the checks of machine and target, prints them as text or JSON, sets the exit code."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
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
from harness.setup.machine_checks import check_machine
from harness.setup.target_checks import check_target
from harness.terminal.safe_console import SafeConsole

_STYLES = {Status.OK: "green", Status.WARN: "bold yellow", Status.FAIL: "bold red"}


def run_checks(settings: Settings, out: Path | None) -> Iterator[tuple[str, SetupFinding]]:
    """Each finding with its subject: "machine", or "target" if one is configured. Raises SettingsError."""
    plan = settings.load
    users = plan.max_in_flight or plan.users or DEFAULT_USERS
    for finding in check_machine(plan, users, out or DEFAULT_FOLDER):
        yield "machine", finding
    if settings.target.base_url is not None:
        for finding in check_target(settings):
            yield "target", finding


def run_doctor(settings: Settings, out: Path | None, *, as_json: bool) -> int:
    """Print every finding. Returns the exit code: 1 if a check failed, 0 if none did. Raises SettingsError."""
    console = SafeConsole(highlight=False)
    results = list(_printed(run_checks(settings, out), console, quiet=as_json))
    findings = [finding for _, finding in results]
    failed = any(finding.status is Status.FAIL for finding in findings)
    if as_json:
        print(json.dumps(document(results), indent=2, ensure_ascii=False))
    else:
        console.print(_summary(findings, has_target=settings.target.base_url is not None))
    return int(failed)


def document(results: Sequence[tuple[str, SetupFinding]]) -> dict[str, Any]:
    """The output of ``--json``."""
    counts = {str(status): sum(finding.status is status for _, finding in results) for status in Status}
    rows = [
        {
            "of": subject,
            "name": finding.name,
            "standing": finding.status,
            "found": finding.detail,
            "advice": finding.advice,
        }
        for subject, finding in results
    ]
    return {"counts": counts, "rows": rows}


def _printed(
    results: Iterable[tuple[str, SetupFinding]], console: Console, *, quiet: bool
) -> Iterator[tuple[str, SetupFinding]]:
    """Pass the findings on, and print each as soon as its check is done."""
    previous = ""
    for subject, finding in results:
        if not quiet:
            if subject != previous:
                console.print(Text(subject, "bold"))
            console.print(_row(finding))
        previous = subject
        yield subject, finding


def _row(finding: SetupFinding) -> Table:
    grid = Table.grid(padding=(0, 1), expand=True)
    grid.add_column(width=2)
    grid.add_column(width=4, no_wrap=True)
    grid.add_column(width=14, no_wrap=True)
    grid.add_column(ratio=1, overflow="fold")
    text = Text(finding.detail)
    if finding.advice:
        text.append(f"\n→ {finding.advice}", _STYLES[finding.status])
    grid.add_row("", Text(finding.status, _STYLES[finding.status]), Text(finding.name), text)
    return grid


def _summary(findings: Sequence[SetupFinding], *, has_target: bool) -> str:
    failed = [finding.name for finding in findings if finding.status is Status.FAIL]
    warned = [finding.name for finding in findings if finding.status is Status.WARN]
    hint = "" if has_target else " No target configured: use --target, or run harness init."
    if failed:
        return escape(f"Doctor: fix before a test: {', '.join(failed)}.{hint}")
    if warned:
        return escape(f"Doctor: ready for a test, with warnings: {', '.join(warned)}.{hint}")
    return escape(f"Doctor: ready for a test.{hint}")
