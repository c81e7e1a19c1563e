"""``harness capacity``: the highest arrival rate that meets the objectives."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from harness.errors import SettingsError

from .options import (
    DurationType,
    RateType,
    ShareType,
    objective_option,
    out_option,
    settings_from_options,
    step_options,
    target_options,
)
from .output_options import output_options

if TYPE_CHECKING:
    from harness.gate.objective import Objective
    from harness.terminal.output import Output

_OTHER_LOADS = dict.fromkeys(("users", "ramp", "steps", "spike", "trace", "spawn_rate", "restart_at"))
"""Load settings of a settings file that a search for a rate ignores."""

_MIN_STEP_S = 2.0  # a step must contain whole seconds
_PLACEHOLDER_DURATION_S = 86_400.0  # longer than any warm-up; run_capacity sets each step's own duration


@click.command()
@objective_option
@click.option(
    "--from",
    "lowest",
    type=RateType(),
    default=1.0,
    show_default=True,
    help="Arrivals per second to start with.",
)
@click.option(
    "--to",
    "highest",
    type=RateType(),
    default=200.0,
    show_default=True,
    help="Highest rate to try, in arrivals per second.",
)
@click.option(
    "--step-duration", type=DurationType(), default="15s", show_default=True, help="Duration of each step."
)
@click.option(
    "--repeats",
    type=click.IntRange(min=2),
    default=3,
    show_default=True,
    help="Runs at each end of the result that must agree: 3 give 75% confidence, 5 give 94%.",
)
@click.option(
    "--precision",
    type=ShareType(at_least=0.01),
    default="10%",
    show_default=True,
    help="Largest distance between the two ends of the result.",
)
@click.option(
    "--time-budget",
    type=DurationType(),
    default="30m",
    show_default=True,
    help="Time limit for the whole search.",
)
@target_options
@step_options
@out_option
@output_options
def capacity(
    out: Path | None,
    objectives: Sequence[Objective],
    lowest: float,
    highest: float,
    step_duration: float,
    repeats: int,
    precision: float,
    time_budget: float,
    output: Output,
    **options: Any,
) -> None:
    """Find the highest arrival rate that meets the objectives.

    Prints the confidence of the result too. Exit codes: 0 found, 1 not found or not with enough confidence, 3 aborted.

    \b
    Example: harness capacity --target https://agent.example.com --objective "ttft_p95_ms < 800" --to 100
    """
    from harness.capacity.search import SearchPlan
    from harness.commands.capacity import run_capacity

    if highest <= lowest:
        raise SettingsError(f"--to {highest:g} must be above --from {lowest:g}")
    if step_duration < _MIN_STEP_S:
        raise SettingsError(
            f"--step-duration {step_duration:g}s is too short to measure a rate; use 2s or more"
        )
    settings = settings_from_options(
        rate=lowest, duration=_PLACEHOLDER_DURATION_S, overrides=_OTHER_LOADS, **options
    )
    plan = SearchPlan(lowest, highest, repeats, precision)
    sys.exit(
        run_capacity(
            settings,
            plan,
            objectives,
            step_s=step_duration,
            time_budget_s=time_budget,
            out=out,
            output=output,
        )
    )
