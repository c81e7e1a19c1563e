"""``harness compare``: two or more results side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from harness.errors import SettingsError


@click.command()
@click.argument("results", type=click.Path(path_type=Path), nargs=-1, required=True)
@click.option(
    "--out", type=click.Path(path_type=Path), default="compare.html", show_default=True, help="HTML file."
)
def compare(results: Sequence[Path], out: Path) -> None:
    """Lay two or more RESULTS side by side: what changed in conformance, which numbers differ and how surely.

    All are compared with the first. It informs and decides nothing: `harness gate --baseline` does that.

    \b
    Example: harness compare harness-results/before harness-results/after --out compare.html
    """
    from rich.console import Console

    from harness.commands.output_dir import results_file
    from harness.reports.comparison_console import print_comparison
    from harness.reports.comparison_page import MOST_TESTS, compare_files
    from harness.reports.html import write_comparison

    if not 2 <= len(results) <= MOST_TESTS:
        raise SettingsError(f"compare takes 2 to {MOST_TESTS} results files or folders, not {len(results)}")
    page = compare_files([results_file(one) for one in results])
    written = write_comparison(page, out)  # first: who reads the table may close the pipe
    print_comparison(page, Console(highlight=False))
    click.echo(f"comparison: {written}")
