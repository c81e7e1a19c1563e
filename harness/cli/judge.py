"""``harness judge``: evaluate stored exchanges again, offline."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from harness.exit_codes import FAILED, PASSED


@click.command()
@click.argument("results", type=click.Path(path_type=Path))
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write the verdicts as JSON.")
def judge(results: Path, json_file: Path | None) -> None:
    """Evaluate the stored exchanges of RESULTS again.

    Works offline, with the rules of this version.

    \b
    Example: harness judge harness-results/demo
    """
    from harness.atomic_file import ensure_writable, write_text
    from harness.commands.output_dir import results_file
    from harness.contract.verdicts import failing
    from harness.formatting import visible
    from harness.suite.recheck import recheck
    from harness.suite.terminal_report import LineWriter, write_summary

    if json_file is not None:
        ensure_writable(json_file)
    verdicts, changed = recheck(results_file(results))
    write_summary(LineWriter(), verdicts.checks, len(verdicts.results))
    for before, now in changed:
        click.echo(visible(f"changed: {before.test}: {before.verdict} -> {now.verdict}: {now.detail}"))
        for place in now.evidence:
            click.echo(visible(f"    at {place['exchange']}, event {place['event']}"))
    if json_file is not None:
        write_text(json_file, json.dumps(verdicts.to_json({}), indent=2) + "\n")
    sys.exit(FAILED if failing(verdicts.checks) else PASSED)
