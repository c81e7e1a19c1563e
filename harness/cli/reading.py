"""The verbs that read results: report, gate, judge."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from harness.settings import load_settings

from .exit_codes import HELD, MISSED


@click.command()
@click.argument("results", type=click.Path(path_type=Path))
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="HTML file.  [default: report.html beside it]",
)
def report(results: Path, out: Path | None) -> None:
    """Make the HTML report of a results file.

    \b
    Example: harness report harness-results/latest/results.sqlite
    """
    from harness.reports.html import write_report
    from harness.run_folder import results_file

    found = results_file(results)
    click.echo(f"report: {write_report(found, out or found.with_name('report.html'))}")


@click.command()
@click.argument("results", type=click.Path(path_type=Path))
@click.option("--baseline", type=click.Path(path_type=Path), help="Earlier results to compare with.")
@click.option("--config", type=click.Path(path_type=Path), help="Settings file whose objectives are held.")
def gate(results: Path, baseline: Path | None, config: Path | None) -> None:
    """Judge a results file by the objectives: those it was made with, or those of --config.

    \b
    Example: harness gate results.sqlite --baseline main.sqlite
    """
    from harness.check import gate_results
    from harness.run_folder import results_file

    objectives = load_settings(config).objectives if config else None
    sys.exit(gate_results(results_file(results), objectives, results_file(baseline) if baseline else None))


@click.command("judge")
@click.argument("results", type=click.Path(path_type=Path))
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write the verdicts as JSON.")
def judge_again(results: Path, json_file: Path | None) -> None:
    """Judge the Exchanges in a results file again, offline, with today's judges.

    \b
    Example: harness judge harness-results/demo
    """
    from harness.rejudge import rejudge
    from harness.run_folder import results_file
    from harness.verdict_report import Lines, write_summary
    from harness.verdicts import failing

    verdicts, changed = rejudge(results_file(results))
    write_summary(Lines(), verdicts)
    for before, now in changed:
        click.echo(f"changed: {before.test}: {before.verdict} -> {now.verdict}: {now.detail}")
        for place in now.evidence:
            click.echo(f"    at {place['exchange']}, event {place['event']}")
    if json_file is not None:
        json_file.write_text(json.dumps(verdicts.to_json({}), indent=2) + "\n", encoding="utf-8")
    sys.exit(MISSED if failing(verdicts.checks) else HELD)
