"""``harness ab``: two servers, alternately under the same load."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .artifact_options import artifact_options
from .options import (
    DurationType,
    RateType,
    max_concurrency_option,
    objective_option,
    out_option,
    read_only_option,
    settings_from_options,
    smallest_effect_options,
    step_options,
    target_options,
)
from .output_options import output_options

if TYPE_CHECKING:
    from harness.ci.artifacts import Artifacts
    from harness.config.settings import Settings
    from harness.gate.objective import Objective
    from harness.terminal.output import Output

DEFAULT_RATE = 10.0
DEFAULT_WARMUP_S = 1.0
_OTHER_LOADS = dict.fromkeys(("users", "ramp", "steps", "spike", "trace", "spawn_rate", "restart_at"))
"""Load settings of a settings file that blocks at a constant rate ignore."""


@click.command()
@click.option(
    "--against",
    metavar="URL",
    required=True,
    help="The baseline: a server with, for example, the last release.",
)
@click.option(
    "--command-a", metavar="COMMAND", help="Start the target with this command, and stop it at the end."
)
@click.option("--command-b", metavar="COMMAND", help="The same for the server of --against.")
@click.option("--rate", type=RateType(), help="Arrivals per second.  [default: that of the settings, or 10]")
@click.option(
    "--block",
    "block_s",
    type=DurationType(),
    default="10s",
    show_default=True,
    help="Duration of a block of load.",
)
@click.option(
    "--max-duration",
    type=DurationType(),
    default="15m",
    show_default=True,
    help="End of the test if it is still not decided; what is not is then inconclusive.",
)
@click.option(
    "--no-conformance", is_flag=True, help="Do not run the conformance suite on both servers first."
)
@max_concurrency_option
@read_only_option
@target_options
@step_options
@objective_option
@smallest_effect_options
@out_option
@artifact_options
@output_options
def ab(
    against: str,
    command_a: str | None,
    command_b: str | None,
    rate: float | None,
    block_s: float,
    max_duration: float,
    no_conformance: bool,
    max_concurrency: int | None,
    read_only: bool,
    out: Path | None,
    artifacts: Artifacts,
    objectives: Sequence[Objective],
    output: Output,
    **options: Any,
) -> None:
    """Compare two servers in alternating blocks of the same load.

    The noise of the machine falls on both alike. Conformance of both is compared first. Stops as soon as something is
    certainly worse, or everything is decided. Exit codes: 0 nothing is worse, 1 worse or inconclusive.

    \b
    Example: harness ab --target http://localhost:8001 --against http://localhost:8000 --rate 10
    """
    from harness.commands.ab import AbPlan, run_ab

    settings = _both(against, rate, block_s, objectives, options)
    plan = AbPlan((command_a, command_b), max_duration, not no_conformance, max_concurrency, read_only)
    sys.exit(run_ab(settings, plan, out, artifacts, output))


def _both(
    against: str, rate: float | None, block_s: float, objectives: Sequence[Objective], options: dict[str, Any]
) -> tuple[Settings, Settings]:
    """The settings of the target and of the other server, with the same load."""
    from harness.config.sources import load_settings
    from harness.errors import SettingsError

    recorded = load_settings(options.get("config"))
    if recorded.target.base_url is None and options.get("target") is None:
        raise SettingsError("ab compares two servers: give --target URL, too")
    rate = rate or recorded.load.rate or DEFAULT_RATE
    if options.get("warmup") is None:
        options["warmup"] = (
            recorded.load.warmup if "warmup" in recorded.load.model_fields_set else DEFAULT_WARMUP_S
        )
    load = {"rate": rate, "duration": block_s + options["warmup"], "overrides": _OTHER_LOADS}
    target = settings_from_options(objectives=objectives, **load, **options)
    other = settings_from_options(objectives=objectives, **load, **{**options, "target": against})
    if other.target.base_url == target.target.base_url:
        raise SettingsError(f"both servers are {against}; give two URLs")
    return target, other.model_copy(update={"load": target.load})
