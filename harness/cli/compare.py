"""``harness compare``: two or more results side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from harness.errors import SettingsError
from harness.formatting import shown_path


@click.command()
@click.argument("results", type=click.Path(path_type=Path), nargs=-1, required=True)
@click.option(
    "--out", type=click.Path(path_type=Path), default="compare.html", show_default=True, help="HTML file."
)
def compare(results: Sequence[Path], out: Path) -> None:
    """Show two or more RESULTS side by side.

    Lists the verdicts and numbers that differ from the first RESULTS, and how certain each difference is. This is
    for information only; `harness gate --baseline` sets an exit code.

    \b
    Example: harness compare harness-results/before harness-results/after --out compare.html
    """
    from harness.commands.output_dir import results_file
    from harness.reports.comparison_console import print_comparison
    from harness.reports.comparison_page import MOST_TESTS, compare_files
    from harness.reports.html import write_comparison
    from harness.terminal.safe_console import SafeConsole

    if not 2 <= len(results) <= MOST_TESTS:
        raise SettingsError(f"compare takes 2 to {MOST_TESTS} results files or folders, not {len(results)}")
    page = compare_files([results_file(path) for path in results])
    written = write_comparison(
        page, out
    )  # before the table: the reader of standard output may close the pipe
    print_comparison(page, SafeConsole(highlight=False))
    click.echo(f"comparison: {shown_path(written)}")
