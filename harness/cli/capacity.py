"""``harness capacity``: the highest arrival rate at which the objectives hold."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from harness.errors import SettingsError
from harness.gate.objective import Objective
from harness.terminal.output import Output

from .options import (
    DurationType,
    ShareType,
    objective_option,
    out_option,
    settings_of,
    step_options,
    target_options,
)
from .output_options import output_options

_OTHER_LOOPS = dict.fromkeys(("users", "ramp", "steps", "spike", "trace", "spawn_rate"))
"""What a settings file may drive a load with, and a search for a rate does not."""


_SHORTEST_STEP_S = 2.0  # so that whole seconds lie in it


_LONG_ENOUGH_S = 86_400.0  # for any warm-up; each step's own duration follows from that


@click.command()
@objective_option
@click.option(
    "--from",
    "lowest",
    type=click.FloatRange(min=0, min_open=True),
    default=1.0,
    show_default=True,
    help="Arrivals per second to begin with.",
)
@click.option(
    "--to",
    "highest",
    type=click.FloatRange(min=0, min_open=True),
    default=200.0,
    show_default=True,
    help="Arrivals per second to go up to.",
)
@click.option(
    "--step-duration", type=DurationType(), default="15s", show_default=True, help="How long at each rate."
)
@click.option(
    "--repeats",
    type=click.IntRange(min=2),
    default=3,
    show_default=True,
    help="Runs at either end of the answer that must agree: 3 make it 75% sure, 5 94%.",
)
@click.option(
    "--precision", type=ShareType(), default="10%", show_default=True, help="How far the ends may lie apart."
)
@click.option(
    "--time-budget",
    type=DurationType(),
    default="30m",
    show_default=True,
    help="How long it may take in all.",
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
    screen: Output,
    **options: Any,
) -> None:
    """Find the highest arrival rate at which the objectives hold, and how sure that is.

    Exit codes: 0 found, 1 not found or not for sure.

    \b
    Example: harness capacity --target https://agent.example.com --objective "ttft_p95_ms < 800" --to 100
    """
    from harness.capacity.search import SearchPlan
    from harness.commands.capacity import run_capacity

    if highest <= lowest:
        raise SettingsError(
            f"--to {highest:g} is not above --from {lowest:g}: there is no rate to search for"
        )
    if step_duration < _SHORTEST_STEP_S:
        raise SettingsError(
            f"--step-duration {step_duration:g}s is too short to measure a rate; give 2s or more"
        )
    settings = settings_of(rate=lowest, duration=_LONG_ENOUGH_S, without=_OTHER_LOOPS, **options)
    plan = SearchPlan(lowest, highest, repeats, precision)
    sys.exit(
        run_capacity(
            settings,
            plan,
            objectives,
            step_s=step_duration,
            time_budget_s=time_budget,
            out=out,
            screen=screen,
        )
    )
