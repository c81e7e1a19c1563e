"""The verbs that test a server: check, conformance, load, capacity."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from harness.ci.artifacts import Artifacts
from harness.config.settings import SettingsError
from harness.gate.evaluate import Objective
from harness.terminal.output import Screen

from .artifact_options import artifact_options
from .options import (
    Duration,
    Share,
    gate_options,
    load_options,
    objective_option,
    out_option,
    settings_of,
    step_options,
    target_options,
)
from .output_options import verdicts_on, voice_options

_OTHER_LOOPS = dict.fromkeys(("users", "ramp", "steps", "spike", "trace", "spawn_rate"))
"""What a settings file may drive a load with, and a search for a rate does not."""

_SHORTEST_STEP_S = 2.0  # so that whole seconds lie in it
_LONG_ENOUGH_S = 86_400.0  # for any warm-up; each step's own duration follows from that


@click.command()
@target_options
@load_options
@out_option
@gate_options
@artifact_options
@voice_options
def check(
    out: Path | None, artifacts: Artifacts, baseline: Path | None, screen: Screen, **options: Any
) -> None:
    """Drive concurrent runs and judge the contract at the same time; then report and gate.

    Without a target the embedded server is started, tested and stopped.

    \b
    Example: harness check --target https://agent.example.com --users 20 --duration 60s
    """
    from harness.commands.check import run_check

    sys.exit(run_check(settings_of(**options), out, artifacts, baseline, screen))


@click.command(context_settings={"ignore_unknown_options": True, "allow_extra_args": True})
@target_options
@out_option
@click.option(
    "--json",
    "json_file",
    type=click.Path(path_type=Path, allow_dash=True),
    help="Write the verdicts as JSON; - is standard output, and all else then goes to stderr.",
)
@click.option("--quiet", is_flag=True, help="Only the verdict, in one line.")
@click.option("--baseline", type=click.Path(path_type=Path), help="List of known failures.")
@click.option("--baseline-update", is_flag=True, help="Write that list from this run.")
@click.option("--strict", is_flag=True, help="Warnings and inconclusive MUSTs fail too.")
@artifact_options
@click.argument("pytest_args", nargs=-1, type=click.UNPROCESSED)
def conformance(
    out: Path | None,
    json_file: Path | None,
    quiet: bool,
    artifacts: Artifacts,
    baseline: Path | None,
    baseline_update: bool,
    strict: bool,
    pytest_args: Sequence[str],
    **options: Any,
) -> None:
    """Run the conformance suite alone. Further arguments go to pytest: -k, -x, -m, -n, -v, …

    \b
    Example: harness conformance --target https://agent.example.com -k resume -x --json verdicts.json
    """
    from harness.commands.conformance import run_conformance, write_untested

    if baseline is not None:
        pytest_args = ["--harness-baseline", str(baseline), *pytest_args]
    if baseline_update:
        if baseline is None:
            raise SettingsError("--baseline-update needs --baseline FILE: where to write the list")
        pytest_args = ["--harness-baseline-update", *pytest_args]
    with verdicts_on(json_file, quiet=quiet) as (screen, file):
        try:
            settings = settings_of(**options)
        except SettingsError as problem:
            if file is not None:
                write_untested(file, str(problem))
            raise
        code = run_conformance(
            settings,
            out=out,
            json_file=file,
            artifacts=artifacts,
            strict=strict,
            pytest_args=pytest_args,
            screen=screen,
        )
    sys.exit(code)


@click.command()
@target_options
@load_options
@out_option
@gate_options
@artifact_options
@voice_options
@click.option("--web", is_flag=True, help="Serve Locust's web page, and start tests there.")
@click.option(
    "--web-port",
    type=click.IntRange(1, 65535),
    default=8089,
    show_default=True,
    help="Port of that page, on this machine alone.",
)
def load(
    out: Path | None,
    artifacts: Artifacts,
    baseline: Path | None,
    screen: Screen,
    web: bool,
    web_port: int,
    **options: Any,
) -> None:
    """Drive concurrent runs with headless Locust, or in its web page, judging every stream.

    \b
    Example: harness load --target https://agent.example.com --rate 5 --duration 2m --processes 2
    """
    from harness.commands.check import run_load

    if web:
        from harness.commands.load_web import run_page

        if baseline is not None or artifacts.junit or artifacts.badges or artifacts.summary_md:
            raise SettingsError(
                "--web starts tests by hand, and gives no verdict: leave baseline and artifacts out"
            )
        sys.exit(run_page(settings_of(**options), out, web_port))
    sys.exit(run_load(settings_of(**options), out, artifacts, baseline, screen))


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
    "--step-duration", type=Duration(), default="15s", show_default=True, help="How long at each rate."
)
@click.option(
    "--repeats",
    type=click.IntRange(min=2),
    default=3,
    show_default=True,
    help="Runs at either end of the answer that must agree: 3 make it 75% sure, 5 94%.",
)
@click.option(
    "--precision", type=Share(), default="10%", show_default=True, help="How far the ends may lie apart."
)
@click.option(
    "--time-budget", type=Duration(), default="30m", show_default=True, help="How long it may take in all."
)
@target_options
@step_options
@out_option
@voice_options
def capacity(
    out: Path | None,
    objectives: Sequence[Objective],
    lowest: float,
    highest: float,
    step_duration: float,
    repeats: int,
    precision: float,
    time_budget: float,
    screen: Screen,
    **options: Any,
) -> None:
    """Find the highest arrival rate at which the objectives hold, and how sure that is.

    Exit codes: 0 found, 1 not found or not for sure.

    \b
    Example: harness capacity --target https://agent.example.com --objective "ttft_p95_ms < 800" --to 100
    """
    from harness.capacity.runner import run_capacity
    from harness.capacity.search import Plan

    if highest <= lowest:
        raise SettingsError(
            f"--to {highest:g} is not above --from {lowest:g}: there is no rate to search for"
        )
    if step_duration < _SHORTEST_STEP_S:
        raise SettingsError(
            f"--step-duration {step_duration:g}s is too short to measure a rate; give 2s or more"
        )
    settings = settings_of(rate=lowest, duration=_LONG_ENOUGH_S, without=_OTHER_LOOPS, **options)
    plan = Plan(lowest, highest, repeats, precision)
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
