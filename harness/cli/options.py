"""Options that several verbs share, and the settings made from them.

The parsers are imported when an option is parsed, which keeps pydantic out of ``--help``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from . import complete

if TYPE_CHECKING:
    from harness.config.settings import Settings
    from harness.gate.objective import Objective

_CommandFunction = TypeVar("_CommandFunction", bound=Callable[..., Any])


class DurationType(click.ParamType[float]):
    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        from harness.config.parsing import parse_duration_s

        try:
            return float(parse_duration_s(value))
        except ValueError as problem:
            self.fail(str(problem), param, ctx)


class ConditionType(click.ParamType[str]):
    """A condition that aborts a load, kept as text."""

    name = "condition"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        from harness.gate.expressions import parse_abort_condition

        try:
            parse_abort_condition(str(value))
        except ValueError as problem:
            self.fail(str(problem), param, ctx)
        return str(value)


class RateType(click.ParamType[float]):
    """A number per second: finite and above 0."""

    name = "rate"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            rate = float(value)
        except ValueError:
            rate = math.nan
        if not 0 < rate < math.inf:
            self.fail(f"{str(value)!r} is not a number above 0", param, ctx)
        return rate


class ShareType(click.ParamType[float]):
    """A share as in the settings file: a number up to 1, or in percent. at_least: the lowest; 0 is never allowed."""

    name = "share"

    def __init__(self, at_least: float = 0.0) -> None:
        self._at_least = at_least

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        from harness.config.parsing import parse_share

        try:
            share = float(parse_share(str(value)))
        except ValueError:
            share = -1.0
        if not (0 < share <= 1 and share >= self._at_least):
            lowest = f"from {self._at_least:.0%}" if self._at_least else "above 0"
            self.fail(f"{str(value)!r} is not a share {lowest} to 100%; write for example 10%", param, ctx)
        return share


class MillisecondsType(click.ParamType[float]):
    """A number of milliseconds from 0 on."""

    name = "ms"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            number_ms = float(value)
        except ValueError:
            number_ms = -1.0
        if not 0 <= number_ms < math.inf:
            self.fail(
                f"{str(value)!r} is not a number of milliseconds from 0 on; write for example 10", param, ctx
            )
        return number_ms


class ObjectiveType(click.ParamType["Objective"]):
    name = "objective"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Objective:
        from harness.gate.expressions import parse_expression

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


class VariableType(click.ParamType[tuple[str, Any]]):
    """A variable of a profile: NAME=TEXT, or NAME:=JSON."""

    name = "variable"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, Any]:
        from harness.config.parsing import parse_variable

        try:
            return parse_variable(str(value))
        except ValueError as problem:
            self.fail(str(problem), param, ctx)


path_option = click.option(
    "--path", metavar="PATH", help="Path of the endpoint.  [default: that of the profile]"
)
profile_options = _options(
    click.option(
        "--profile",
        metavar="NAME",
        shell_complete=complete.profiles,
        help="The target's API: a name from harness profile list, or a file of yours.  [default: workflow-actions]",
    ),
    click.option("--model", metavar="NAME", help="Short for --var model=NAME."),
    click.option(
        "--var",
        "variables",
        type=VariableType(),
        multiple=True,
        metavar="NAME=VALUE",
        help="A variable that the profile needs; NAME:=JSON for a value that is not a text. Repeatable.",
    ),
)
organization_option = click.option("--organization", metavar="ORG", help="Organization of the token.")
token_file_option = click.option(
    "--token-file", type=click.Path(path_type=Path), help="File that contains the bearer token."
)
target_options = _options(
    click.option("--target", metavar="URL", help="Server under test, for example https://agent.example.com."),
    profile_options,
    path_option,
    organization_option,
    token_file_option,
    click.option(
        "--config", type=click.Path(path_type=Path), help="Settings file.  [default: ./harness.toml]"
    ),
)
max_concurrency_option = click.option(
    "--max-concurrency",
    "--harness-max-concurrency",
    "max_concurrency",
    type=click.IntRange(min=1),
    metavar="N",
    help="Conformance suite: at most N connections at a time, for a target that limits requests; what needs more is "
    "not tested.  [default: no limit]",
)
read_only_option = click.option(
    "--read-only",
    "--harness-read-only",
    "read_only",
    is_flag=True,
    help="Conformance suite: no races and no hostile input, for a shared target; what needs them is not tested.",
)
by_hand_option = click.option(
    "--restart-by-hand",
    "--harness-restart",
    "restart_by_hand",
    is_flag=True,
    help="Conformance suite: ask on the terminal to restart the server, for the tests of a restart without "
    "target.restart_command.",
)
budget_requests_option = click.option(
    "--budget-requests",
    "--harness-budget-requests",
    "budget_requests",
    type=click.IntRange(min=1),
    metavar="N",
    help="Conformance suite: at most N requests in all, for an API that costs money; what they do not cover is "
    "inconclusive. Those of a load are not counted.  [default: no limit]",
)
locustfile_option = click.option(
    "--locustfile",
    type=click.Path(path_type=Path),
    shell_complete=complete.files,
    help="Your own locustfile, with your own journeys.  [default: the shipped one]",
)
out_option = click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for results, summary and report.  [default: harness-results/TIME]",
)
_arrivals_option = click.option(
    "--arrivals",
    type=click.Choice(["constant", "poisson"]),
    help="Open loop: constant or exponentially distributed gaps between arrivals.  [default: constant]",
)
_seed_option = click.option(
    "--seed", type=click.IntRange(min=0), help="Open loop: repeat the schedule of this seed."
)
_journey_option = click.option(
    "--journey",
    multiple=True,
    metavar="NAME=WEIGHT",
    shell_complete=complete.journeys,
    help="Run only these journeys, with these relative weights.  [default: all]",
)
_processes_option = click.option(
    "--processes", type=click.IntRange(min=1), help="Locust worker processes.  [default: 1]"
)
_keep_streams_option = click.option(
    "--keep-streams",
    type=click.IntRange(min=0),
    help="Stream rows to keep; more streams are sampled down to this number.  [default: 1000000]",
)
_abort_on_option = click.option(
    "--abort-on",
    type=ConditionType(),
    multiple=True,
    metavar="CONDITION",
    help='End the load when a metric stays beyond a limit, for example "error_rate > 20% for 10s"; exit code 3. '
    "Repeatable. In place of the conditions of the settings.",
)
load_options = _options(
    click.option("--users", type=click.IntRange(min=1), help="Closed loop: concurrent users.  [default: 10]"),
    click.option(
        "--rate",
        type=RateType(),
        help="Open loop: arrivals per second. Refused if far beyond what this machine can send (harness doctor).",
    ),
    _arrivals_option,
    click.option("--ramp", metavar="FROM:TO:OVER", help="Open loop: a rising rate, for example 1:100:60s."),
    click.option(
        "--steps", metavar="RATE:FOR,…", help="Open loop: one rate after another, for example 10:30s,20:30s."
    ),
    click.option(
        "--spike", metavar="BASE:PEAK:AT:FOR", help="Open loop: a burst, for example 10:100:20s:5s."
    ),
    click.option(
        "--trace",
        metavar="FILE",
        shell_complete=complete.files,
        help="Open loop: a file of arrival times in seconds, one per line.",
    ),
    _seed_option,
    click.option(
        "--max-in-flight",
        type=click.IntRange(min=1),
        help="Open loop: drop arrivals above this number of streams in flight.",
    ),
    click.option(
        "--duration",
        type=DurationType(),
        help="Duration, for example 90, 90s, 5m or 1h.  [default: that of ramp, steps, spike or trace, or 20s]",
    ),
    click.option("--warmup", type=DurationType(), help="Exclude this time at the start.  [default: 0]"),
    _abort_on_option,
    _journey_option,
    click.option(
        "--spawn-rate",
        type=RateType(),
        help="Closed loop: users started per second.  [default: all at once]",
    ),
    _processes_option,
    _keep_streams_option,
    click.option(
        "--otlp-endpoint",
        metavar="URL",
        help="Push metrics to an OpenTelemetry collector during the test, for example http://localhost:4318.",
    ),
    click.option(
        "--otlp-traces-endpoint",
        metavar="URL",
        help="Send traces of the slowest and of the failed journeys to an OpenTelemetry collector.",
    ),
)
restart_at_option = click.option(
    "--restart-at",
    type=DurationType(),
    metavar="TIME",
    help="Restart the server at this time of the load, by target.restart_command, or by hand without it; runs that it "
    "interrupts are read again.",
)
step_options = _options(
    _arrivals_option,
    _seed_option,
    click.option(
        "--max-in-flight",
        type=click.IntRange(min=1),
        help="Drop arrivals above this number of streams in flight.  [default: 5000 per process]",
    ),
    click.option(
        "--warmup",
        type=DurationType(),
        help="Warm-up before each step, excluded from its results.  [default: 3s]",
    ),
    _abort_on_option,
    _journey_option,
    _processes_option,
    _keep_streams_option,
)
objective_option = click.option(
    "--objective",
    "objectives",
    type=ObjectiveType(),
    multiple=True,
    metavar="EXPRESSION",
    help='An objective, for example "ttft_p95_ms < 800" or "resume.resume_p99_ms < 1.5s". Repeatable. Added to the '
    "objectives of the settings.",
)
baseline_option = click.option(
    "--baseline",
    type=click.Path(path_type=Path),
    help="Earlier results to compare with: a file, or a folder of results.",
)
smallest_effect_options = _options(
    click.option(
        "--smallest-effect",
        type=ShareType(),
        help="Against the baseline: ignore slowdowns below this share.  [default: 5%]",
    ),
    click.option(
        "--smallest-effect-ms",
        type=MillisecondsType(),
        help="Ignore slowdowns of a median below this, and of a higher percentile below twice this.  [default: 5]",
    ),
    click.option(
        "--smallest-effect-inter-token-ms",
        type=MillisecondsType(),
        help="The same for inter-token latency.  [default: 1]",
    ),
    click.option(
        "--smallest-effect-share",
        type=ShareType(),
        help="The same for error_rate and goodput, of all streams or runs.  [default: 0.5%]",
    ),
)
gate_options = _options(
    objective_option,
    baseline_option,
    click.option(
        "--rerun-inconclusive",
        type=click.IntRange(min=0),
        metavar="N",
        help="Repeat the test up to N times while the comparison is inconclusive.  [default: 0]",
    ),
    smallest_effect_options,
)


def settings_from_options(
    target: str | None,
    path: str | None,
    organization: str | None,
    token_file: Path | None,
    config: Path | None,
    profile: str | None = None,
    model: str | None = None,
    variables: Sequence[tuple[str, Any]] = (),
    journey: Sequence[str] = (),
    overrides: Mapping[str, None] | None = None,
    objectives: Sequence[Objective] = (),
    rerun_inconclusive: int | None = None,
    smallest_effect: float | None = None,
    smallest_effect_ms: float | None = None,
    smallest_effect_inter_token_ms: float | None = None,
    smallest_effect_share: float | None = None,
    otlp_endpoint: str | None = None,
    otlp_traces_endpoint: str | None = None,
    budget_requests: int | None = None,
    abort_on: Sequence[str] = (),
    **load: Any,
) -> Settings:
    """The settings of a verb that has a target. overrides: load settings that win over the settings file.

    Raises SettingsError.
    """
    from harness.config.load_settings import parse_journeys
    from harness.config.sources import load_settings, read_token
    from harness.gate.objective import limits_with

    flags: dict[str, dict[str, Any]] = {
        "target": {
            "base_url": target,
            "profile": profile,
            "variables": {**dict(variables), **({} if model is None else {"model": model})} or None,
            "path": path,
            "organization_id": organization,
            "token": read_token(token_file) if token_file else None,
        },
        "load": {
            **load,
            "journeys": parse_journeys(journey) if journey else None,
            "abort_on": list(abort_on) or None,
        },
        "gate": {
            "rerun_inconclusive": rerun_inconclusive,
            "smallest_effect": smallest_effect,
            "smallest_effect_ms": smallest_effect_ms,
            "smallest_effect_inter_token_ms": smallest_effect_inter_token_ms,
            "smallest_effect_share": smallest_effect_share,
        },
        "export": {"otlp_endpoint": otlp_endpoint, "otlp_traces_endpoint": otlp_traces_endpoint},
        "limits": {"budget_requests": budget_requests},
    }
    set_flags = {
        section: {name: value for name, value in values.items() if value is not None}
        for section, values in flags.items()
    }
    set_flags["load"] = {**(overrides or {}), **set_flags["load"]}
    settings = load_settings(config, set_flags)
    if settings.export.otlp_endpoint is not None:
        from harness.export.otel import ensure_installed

        ensure_installed()
    if settings.export.otlp_traces_endpoint is not None:
        from harness.export.otel_traces import ensure_traces_installed

        ensure_traces_installed()
    return settings.model_copy(update={"objectives": limits_with(settings.objectives, objectives)})
