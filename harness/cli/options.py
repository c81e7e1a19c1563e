"""Options that several verbs share, and the settings that they make."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from harness.config.load_settings import parse_journeys
from harness.config.parsing import parse_duration_s
from harness.config.settings import Settings
from harness.config.sources import load_settings, read_token
from harness.export.otel import ensure_installed
from harness.gate.expressions import parse_expression
from harness.gate.objective import Objective, limits_with

_CommandFunction = TypeVar("_CommandFunction", bound=Callable[..., Any])


class DurationType(click.ParamType[float]):
    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            return float(parse_duration_s(value))
        except ValueError as problem:
            self.fail(str(problem), param, ctx)


class ShareType(click.ParamType[float]):
    name = "share"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        text = str(value).strip()
        try:
            share = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
        except ValueError:
            share = -1.0
        if not 0.01 <= share <= 1:
            self.fail(f"{text!r} is no share from 1% to 100%; write for example 10%", param, ctx)
        return share


class ExpressionType(click.ParamType[Objective]):
    name = "objective"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Objective:
        try:
            return parse_expression(str(value))
        except ValueError as problem:
            self.fail(str(problem), param, ctx)


def _options(
    *options: Callable[[_CommandFunction], _CommandFunction],
) -> Callable[[_CommandFunction], _CommandFunction]:
    def apply(command: _CommandFunction) -> _CommandFunction:
        for option in reversed(options):
            command = option(command)
        return command

    return apply


target_options = _options(
    click.option("--target", metavar="URL", help="Server under test, for example https://agent.example.com."),
    click.option("--path", metavar="PATH", help="Path of the endpoint.  [default: /agent/workflow-actions]"),
    click.option("--organization", metavar="ORG", help="The organization that the token belongs to."),
    click.option("--token-file", type=click.Path(path_type=Path), help="File that holds the bearer token."),
    click.option(
        "--config", type=click.Path(path_type=Path), help="Settings file.  [default: ./harness.toml]"
    ),
)
out_option = click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), help="Folder for results, summary and report."
)
_arrivals_option = click.option(
    "--arrivals",
    type=click.Choice(["constant", "poisson"]),
    help="Open loop: gaps all alike, or random.  [default: constant]",
)
_seed_option = click.option(
    "--seed", type=click.IntRange(min=0), help="Open loop: repeats the schedule of that seed."
)
_journey_option = click.option(
    "--journey",
    multiple=True,
    metavar="NAME=WEIGHT",
    help="Travel only the journeys so named, as often as they weigh.",
)
_processes_option = click.option(
    "--processes", type=click.IntRange(min=1), help="Locust worker processes.  [default: 1]"
)
_keep_runs_option = click.option(
    "--keep-runs",
    type=click.IntRange(min=0),
    help="Run rows to keep, sampled from more.  [default: 1000000]",
)
load_options = _options(
    click.option("--users", type=click.IntRange(min=1), help="Closed loop: concurrent users.  [default: 10]"),
    click.option(
        "--rate", type=click.FloatRange(min=0, min_open=True), help="Open loop: runs begun per second."
    ),
    _arrivals_option,
    click.option("--ramp", metavar="FROM:TO:OVER", help="Open loop: a rising rate, as 1:100:60s."),
    click.option("--steps", metavar="RATE:FOR,…", help="Open loop: rates in turn, as 10:30s,20:30s."),
    click.option(
        "--spike", metavar="BASE:PEAK:AT:FOR", help="Open loop: a burst in a rate, as 10:100:20s:5s."
    ),
    click.option("--trace", metavar="FILE", help="Open loop: arrival times in seconds, one a line."),
    _seed_option,
    click.option(
        "--max-in-flight", type=click.IntRange(min=1), help="Open loop: drop arrivals beyond so many."
    ),
    click.option(
        "--duration",
        type=DurationType(),
        help="How long, as 90, 90s, 5m or 1h.  [default: that of ramp, steps, spike or trace, or 20s]",
    ),
    click.option("--warmup", type=DurationType(), help="Leave so much of the beginning out.  [default: 0]"),
    _journey_option,
    click.option(
        "--spawn-rate",
        type=click.FloatRange(min=0, min_open=True),
        help="Users begun per second.  [default: all]",
    ),
    _processes_option,
    _keep_runs_option,
    click.option(
        "--otlp-endpoint",
        metavar="URL",
        help="Push metrics to an OpenTelemetry collector meanwhile, as http://localhost:4318.",
    ),
)
step_options = _options(
    _arrivals_option,
    _seed_option,
    click.option(
        "--max-in-flight",
        type=click.IntRange(min=1),
        help="Drop arrivals beyond so many.  [default: 5000 a process]",
    ),
    click.option(
        "--warmup", type=DurationType(), help="Before each step, and left out of it.  [default: 3s]"
    ),
    _journey_option,
    _processes_option,
    _keep_runs_option,
)


objective_option = click.option(
    "--objective",
    "objectives",
    type=ExpressionType(),
    multiple=True,
    metavar="EXPRESSION",
    help='What has to hold, as "ttft_p95_ms < 800" or "resume.resume_p99_ms < 1.5s"; repeat it for more. '
    "Those that are set otherwise hold too.",
)
smallest_effect_option = click.option(
    "--smallest-effect", type=ShareType(), help="Slower by less is no failure.  [default: 5%, and 1 ms]"
)
gate_options = _options(
    objective_option,
    click.option(
        "--baseline",
        type=click.Path(path_type=Path),
        help="Earlier results to compare with: a file, or a folder of a branch's.",
    ),
    click.option(
        "--rerun-inconclusive",
        type=click.IntRange(min=0),
        metavar="N",
        help="Repeat the test up to N times while a comparison says nothing.  [default: 0]",
    ),
    smallest_effect_option,
)


def settings_of(
    target: str | None,
    path: str | None,
    organization: str | None,
    token_file: Path | None,
    config: Path | None,
    journey: Sequence[str] = (),
    without: Mapping[str, None] | None = None,
    objectives: Sequence[Objective] = (),
    rerun_inconclusive: int | None = None,
    smallest_effect: float | None = None,
    otlp_endpoint: str | None = None,
    **load: Any,
) -> Settings:
    """Settings of a verb that has a target. without: load settings to pass over. Raises SettingsError."""
    flags: dict[str, Any] = {
        "base_url": target,
        "path": path,
        "organization_id": organization,
        "token": read_token(token_file) if token_file else None,
    }
    given = {name: value for name, value in flags.items() if value is not None}
    plan = {**(without or {}), **{name: value for name, value in load.items() if value is not None}}
    if journey:
        plan["journeys"] = parse_journeys(journey)
    gate = {"rerun_inconclusive": rerun_inconclusive, "smallest_effect": smallest_effect}
    gate_given = {name: value for name, value in gate.items() if value is not None}
    export = {} if otlp_endpoint is None else {"otlp_endpoint": otlp_endpoint}
    settings = load_settings(config, {"target": given, "load": plan, "gate": gate_given, "export": export})
    if settings.export.otlp_endpoint is not None:
        ensure_installed()
    return settings.model_copy(update={"objectives": limits_with(settings.objectives, objectives)})
