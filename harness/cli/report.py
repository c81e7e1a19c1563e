"""``harness report``: the HTML report of a results file."""

from __future__ import annotations

from pathlib import Path

import click

from harness.formatting import shown_path


@click.command()
@click.argument("results", type=click.Path(path_type=Path))
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="HTML file.  [default: report.html next to the results file]",
)
def report(results: Path, out: Path | None) -> None:
    """Write the HTML report of RESULTS.

    \b
    Example: harness report harness-results/latest/results.sqlite
    """
    from harness.commands.output_dir import REPORT_FILE, results_file
    from harness.reports.html import write_report

    path = results_file(results)
    click.echo(f"report: {shown_path(write_report(path, out or path.with_name(REPORT_FILE)))}")
