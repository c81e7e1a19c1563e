"""The verbs that read results: report, gate, judge."""

from __future__ import annotations

from pathlib import Path

import click


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
    from harness.commands.output_dir import results_file
    from harness.reports.html import write_report

    found = results_file(results)
    click.echo(f"report: {write_report(found, out or found.with_name('report.html'))}")
