"""``harness gate``: evaluate results against objectives and a baseline."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import click

from harness.ci.artifacts import Artifacts
from harness.config.sources import load_settings
from harness.errors import SettingsError
from harness.gate.objective import Objective

from .artifact_options import artifact_options
from .options import objective_option, smallest_effect_option


@click.command()
@click.argument("results", type=click.Path(path_type=Path), nargs=-1, required=True)
@objective_option
@click.option(
    "--baseline",
    type=click.Path(path_type=Path),
    help="Earlier results to compare with: a file, or a folder of a branch's.",
)
@click.option("--update-baseline", is_flag=True, help="When the gate holds, put these results there.")
@click.option("--keep", type=click.IntRange(min=1), help="Results that a folder keeps.  [default: 10]")
@smallest_effect_option
@click.option("--config", type=click.Path(path_type=Path), help="Settings file whose objectives are held.")
@artifact_options
def gate(
    results: Sequence[Path],
    objectives: Sequence[Objective],
    baseline: Path | None,
    update_baseline: bool,
    keep: int | None,
    smallest_effect: float | None,
    config: Path | None,
    artifacts: Artifacts,
) -> None:
    """Judge results by the objectives: those they were made with, or those of --config, and --objective.

    Of several RESULTS the first is judged and the others are its repeats; those that a check made of itself
    are found beside it.

    \b
    Example: harness gate harness-results/latest --baseline baselines/main --update-baseline
    """
    from harness.commands.gate import gate_results
    from harness.commands.output_dir import results_file

    if update_baseline and baseline is None:
        raise SettingsError("--update-baseline needs --baseline PATH: the file or folder to put them in")
    given = {"smallest_effect": smallest_effect, "keep": keep}
    flags = {name: value for name, value in given.items() if value is not None}
    settings = load_settings(config, {"gate": flags}) if config else None
    sys.exit(
        gate_results(
            [results_file(one) for one in results],
            settings.objectives if settings else None,
            baseline,
            artifacts,
            given=objectives,
            terms=settings.gate if settings else None,
            flags=flags,
            update=update_baseline,
        )
    )
