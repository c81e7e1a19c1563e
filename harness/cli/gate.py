"""``harness gate``: evaluate results against objectives and a baseline."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.errors import SettingsError

from .artifact_options import artifact_options
from .options import baseline_option, objective_option, smallest_effect_options
from .output_options import output_options

if TYPE_CHECKING:
    from harness.ci.artifacts import Artifacts
    from harness.gate.objective import Objective
    from harness.terminal.output import Output


@click.command()
@click.argument("results", type=click.Path(path_type=Path), nargs=-1, required=True)
@objective_option
@baseline_option
@click.option(
    "--update-baseline", is_flag=True, help="If the gate passes, add these results to the baseline."
)
@click.option(
    "--commit",
    metavar="NAME",
    help="Commit that the history of the baseline names.  [default: that of the CI system, or of git]",
)
@click.option("--keep", type=click.IntRange(min=1), help="Results that a folder keeps.  [default: 10]")
@smallest_effect_options
@click.option("--config", type=click.Path(path_type=Path), help="Settings file whose objectives to use.")
@artifact_options
@output_options
def gate(
    results: Sequence[Path],
    objectives: Sequence[Objective],
    baseline: Path | None,
    update_baseline: bool,
    commit: str | None,
    keep: int | None,
    config: Path | None,
    artifacts: Artifacts,
    output: Output,
    **effects: float | None,
) -> None:
    """Evaluate RESULTS against objectives and a baseline.

    The objectives are those of the test, or those of --config, plus --objective. The first of several
    RESULTS is evaluated, the others count as its repeats. The repeats that a check made itself are found
    automatically.

    \b
    Example: harness gate harness-results/latest --baseline baselines/main --update-baseline
    """
    from harness.commands.gate import run_gate
    from harness.commands.output_dir import results_file
    from harness.config.sources import load_settings
    from harness.gate.history import is_commit

    if update_baseline and baseline is None:
        raise SettingsError("--update-baseline needs --baseline PATH: the file or folder to update")
    if commit is not None and not is_commit(commit):
        raise SettingsError(
            f"--commit {commit!r} is not a commit: at most 100 printable characters without blanks"
        )
    options = {**effects, "keep": keep}
    flags = {name: value for name, value in options.items() if value is not None}
    settings = load_settings(config, {"gate": flags}) if config else None
    sys.exit(
        run_gate(
            [results_file(path) for path in results],
            settings.objectives if settings else None,
            baseline,
            artifacts,
            output,
            extra_objectives=objectives,
            gate_settings=settings.gate if settings else None,
            flags=flags,
            update=update_baseline,
            commit=commit,
        )
    )
