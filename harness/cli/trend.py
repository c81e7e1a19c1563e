"""``harness trend``: the history of a baseline folder."""

from __future__ import annotations

from pathlib import Path

import click

from .options import smallest_effect_options


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option(
    "--out", type=click.Path(path_type=Path), default="trend.html", show_default=True, help="HTML file."
)
@smallest_effect_options
def trend(folder: Path, out: Path, **effects: float | None) -> None:
    """Show how the metrics of a baseline FOLDER changed, and since which commit.

    Finds drift of many steps that are each too small to fail. This is for information only.

    \b
    Example: harness trend baselines/main --out trend.html
    """
    from harness.commands.trend import run_trend
    from harness.config.settings import GateSettings

    given = {name: value for name, value in effects.items() if value is not None}
    click.echo(f"trend: {run_trend(folder, out, GateSettings(**given).terms.effects)}")
