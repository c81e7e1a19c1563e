"""``harness trend``: the history of a baseline folder."""

from __future__ import annotations

from pathlib import Path

import click

from harness.formatting import shown_path

from .options import smallest_effect_options


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option(
    "--out", type=click.Path(path_type=Path), default="trend.html", show_default=True, help="HTML file."
)
@smallest_effect_options
def trend(folder: Path, out: Path, **effects: float | None) -> None:
    """Find slow drift in the history of a baseline FOLDER.

    Shows how each metric changed over all its tests, also in steps that are each too small to fail, and the commit at
    which a change began. This is for information only.

    \b
    Example: harness trend baselines/main --out trend.html
    """
    from harness.commands.trend import run_trend
    from harness.config.settings import GateSettings

    given = {name: value for name, value in effects.items() if value is not None}
    click.echo(f"trend: {shown_path(run_trend(folder, out, GateSettings(**given).terms.effects))}")
