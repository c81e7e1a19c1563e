"""The ``harness`` command. Each verb gathers its settings and hands on; what it does stands elsewhere."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import click
from rich.console import Console
from rich.table import Table

from harness import __version__
from harness.contract.judges import JUDGES
from harness.contract.requirements import CATALOGUE
from harness.gate.objectives import Objective, parse_expression
from harness.settings import (
    Settings,
    SettingsError,
    load_settings,
    parse_duration_s,
    parse_journeys,
    read_token,
)

EXIT_HELD = 0
EXIT_MISSED = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130

_Command = TypeVar("_Command", bound=Callable[..., Any])


class _Duration(click.ParamType[float]):
    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            return float(parse_duration_s(value))
        except ValueError as problem:
            self.fail(str(problem), param, ctx)


class _Share(click.ParamType[float]):
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


class _Expression(click.ParamType[Objective]):
    name = "objective"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Objective:
        try:
            return parse_expression(str(value))
        except ValueError as problem:
            self.fail(str(problem), param, ctx)


def _options(*options: Callable[[_Command], _Command]) -> Callable[[_Command], _Command]:
    def apply(command: _Command) -> _Command:
        for option in reversed(options):
            command = option(command)
        return command

    return apply


_target_options = _options(
    click.option("--target", metavar="URL", help="Server under test, for example https://agent.example.com."),
    click.option("--path", metavar="PATH", help="Path of the endpoint.  [default: /agent/workflow-actions]"),
    click.option("--organization", metavar="ORG", help="The organization that the token belongs to."),
    click.option("--token-file", type=click.Path(path_type=Path), help="File that holds the bearer token."),
    click.option(
        "--config", type=click.Path(path_type=Path), help="Settings file.  [default: ./harness.toml]"
    ),
)
_out_option = click.option(
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
_load_options = _options(
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
        type=_Duration(),
        help="How long, as 90, 90s, 5m or 1h.  [default: that of ramp, steps, spike or trace, or 20s]",
    ),
    click.option("--warmup", type=_Duration(), help="Leave so much of the beginning out.  [default: 0]"),
    _journey_option,
    click.option(
        "--spawn-rate",
        type=click.FloatRange(min=0, min_open=True),
        help="Users begun per second.  [default: all]",
    ),
    _processes_option,
    _keep_runs_option,
)
_step_options = _options(
    _arrivals_option,
    _seed_option,
    click.option(
        "--max-in-flight",
        type=click.IntRange(min=1),
        help="Drop arrivals beyond so many.  [default: 5000 a process]",
    ),
    click.option("--warmup", type=_Duration(), help="Before each step, and left out of it.  [default: 3s]"),
    _journey_option,
    _processes_option,
    _keep_runs_option,
)
_OTHER_LOOPS = dict.fromkeys(("users", "ramp", "steps", "spike", "trace", "spawn_rate"))
"""What a settings file may drive a load with, and a search for a rate does not."""

_SHORTEST_STEP_S = 2.0  # so that whole seconds lie in it
_LONG_ENOUGH_S = 86_400.0  # for any warm-up; each step's own duration follows from that


def _fail(sentence: str) -> NoReturn:
    click.echo(f"harness: {sentence}", err=True)
    sys.exit(EXIT_USAGE)


def _settings(
    target: str | None,
    path: str | None,
    organization: str | None,
    token_file: Path | None,
    config: Path | None,
    journey: Sequence[str] = (),
    without: Mapping[str, None] | None = None,
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
    return load_settings(config, {"target": given, "load": plan})


class _Verbs(click.Group):
    """Any misuse is one sentence and exit code 2."""

    def invoke(self, ctx: click.Context) -> Any:
        from harness.embedded import EmbeddedServerError
        from harness.preflight import PreflightError
        from harness.results.store import ResultsError

        try:
            return super().invoke(ctx)
        except (SettingsError, PreflightError, ResultsError, EmbeddedServerError) as problem:
            _fail(str(problem))


@click.group(cls=_Verbs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="harness")
def main() -> None:
    """Load and conformance harness for APIs that stream an AI agent's run over Server-Sent Events.

    \b
    harness check                                   try it, on the embedded server
    harness check --target https://agent.example.com
    harness conformance --target URL -k resume      the conformance suite alone
    harness load --target URL --users 50            the load alone
    harness capacity --objective "ttft_p95_ms<800"  the highest rate that it can take

    The bearer token comes from HARNESS_TARGET__TOKEN, the settings file or --token-file.
    Exit codes: 0 all held, 1 a violation, a missed objective, or a measurement too poor to tell, 2 usage,
    target unreachable or nothing tested, 130 interrupted.
    """


@main.command()
@_target_options
@_load_options
@_out_option
def check(out: Path | None, **options: Any) -> None:
    """Drive concurrent runs and judge the contract at the same time; then report and gate.

    Without a target the embedded server is started, tested and stopped.

    \b
    Example: harness check --target https://agent.example.com --users 20 --duration 60s
    """
    from harness.check import run_check

    sys.exit(run_check(_settings(**options), out))


@main.command(context_settings={"ignore_unknown_options": True, "allow_extra_args": True})
@_target_options
@_out_option
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write the verdicts as JSON.")
@click.option(
    "--junit", "junit_file", type=click.Path(path_type=Path), help="Write the verdicts as JUnit XML."
)
@click.option("--baseline", type=click.Path(path_type=Path), help="List of known failures.")
@click.option("--baseline-update", is_flag=True, help="Write that list from this run.")
@click.option("--strict", is_flag=True, help="Warnings and inconclusive MUSTs fail too.")
@click.argument("pytest_args", nargs=-1, type=click.UNPROCESSED)
def conformance(
    out: Path | None,
    json_file: Path | None,
    junit_file: Path | None,
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
    from harness.conformance_run import run_conformance, write_untested

    if baseline is not None:
        pytest_args = ["--harness-baseline", str(baseline), *pytest_args]
    if baseline_update:
        if baseline is None:
            raise SettingsError("--baseline-update needs --baseline FILE: where to write the list")
        pytest_args = ["--harness-baseline-update", *pytest_args]
    try:
        settings = _settings(**options)
    except SettingsError as problem:
        if json_file is not None:
            write_untested(json_file, str(problem))
        raise
    sys.exit(
        run_conformance(
            settings,
            out=out,
            json_file=json_file,
            junit_file=junit_file,
            strict=strict,
            pytest_args=pytest_args,
        )
    )


@main.command()
@_target_options
@_load_options
@_out_option
def load(out: Path | None, **options: Any) -> None:
    """Drive concurrent runs with headless Locust, judging every stream.

    \b
    Example: harness load --target https://agent.example.com --rate 5 --duration 2m --processes 2
    """
    from harness.check import run_load

    sys.exit(run_load(_settings(**options), out))


@main.command()
@click.option(
    "--objective",
    "objectives",
    type=_Expression(),
    multiple=True,
    metavar="EXPRESSION",
    help='What has to hold, as "ttft_p95_ms < 800"; repeat it for more. Those of the settings hold too.',
)
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
    "--step-duration", type=_Duration(), default="15s", show_default=True, help="How long at each rate."
)
@click.option(
    "--repeats",
    type=click.IntRange(min=2),
    default=3,
    show_default=True,
    help="Runs at either end of the answer that must agree: 3 make it 75% sure, 5 94%.",
)
@click.option(
    "--precision", type=_Share(), default="10%", show_default=True, help="How far the ends may lie apart."
)
@click.option(
    "--time-budget", type=_Duration(), default="30m", show_default=True, help="How long it may take in all."
)
@_target_options
@_step_options
@_out_option
def capacity(
    out: Path | None,
    objectives: Sequence[Objective],
    lowest: float,
    highest: float,
    step_duration: float,
    repeats: int,
    precision: float,
    time_budget: float,
    **options: Any,
) -> None:
    """Find the highest arrival rate at which the objectives hold, and how sure that is.

    Exit codes: 0 found, 1 not found or not for sure.

    \b
    Example: harness capacity --target https://agent.example.com --objective "ttft_p95_ms < 800" --to 100
    """
    from harness.capacity.run import run_capacity
    from harness.capacity.search import Plan

    if highest <= lowest:
        raise SettingsError(
            f"--to {highest:g} is not above --from {lowest:g}: there is no rate to search for"
        )
    if step_duration < _SHORTEST_STEP_S:
        raise SettingsError(
            f"--step-duration {step_duration:g}s is too short to measure a rate; give 2s or more"
        )
    settings = _settings(rate=lowest, duration=_LONG_ENOUGH_S, without=_OTHER_LOOPS, **options)
    plan = Plan(lowest, highest, repeats, precision)
    sys.exit(
        run_capacity(settings, plan, objectives, step_s=step_duration, time_budget_s=time_budget, out=out)
    )


@main.command()
@click.argument("results", type=click.Path(path_type=Path))
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="HTML file.  [default: report.html beside it]",
)
def report(results: Path, out: Path | None) -> None:
    """Make the HTML report of a results file.

    \b
    Example: harness report harness-results/latest/results.sqlite
    """
    from harness.reports.html import write_report
    from harness.run_folder import results_file

    found = results_file(results)
    click.echo(f"report: {write_report(found, out or found.with_name('report.html'))}")


@main.command()
@click.argument("results", type=click.Path(path_type=Path))
@click.option("--baseline", type=click.Path(path_type=Path), help="Earlier results to compare with.")
@click.option("--config", type=click.Path(path_type=Path), help="Settings file whose objectives are held.")
def gate(results: Path, baseline: Path | None, config: Path | None) -> None:
    """Judge a results file by the objectives: those it was made with, or those of --config.

    \b
    Example: harness gate results.sqlite --baseline main.sqlite
    """
    from harness.check import gate_results
    from harness.run_folder import results_file

    objectives = load_settings(config).objectives if config else None
    sys.exit(gate_results(results_file(results), objectives, results_file(baseline) if baseline else None))


@main.command("judge")
@click.argument("results", type=click.Path(path_type=Path))
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write the verdicts as JSON.")
def judge_again(results: Path, json_file: Path | None) -> None:
    """Judge the Exchanges in a results file again, offline, with today's judges.

    \b
    Example: harness judge harness-results/demo
    """
    from harness.rejudge import rejudge
    from harness.run_folder import results_file
    from harness.verdict_report import Lines, write_summary
    from harness.verdicts import failing

    verdicts, changed = rejudge(results_file(results))
    write_summary(Lines(), verdicts)
    for before, now in changed:
        click.echo(f"changed: {before.test}: {before.verdict} -> {now.verdict}: {now.detail}")
        for place in now.evidence:
            click.echo(f"    at {place['exchange']}, event {place['event']}")
    if json_file is not None:
        json_file.write_text(json.dumps(verdicts.to_json({}), indent=2) + "\n", encoding="utf-8")
    sys.exit(EXIT_MISSED if failing(verdicts.checks) else EXIT_HELD)


@main.command()
@click.option(
    "--port", default=8080, show_default=True, type=click.IntRange(0, 65535), help="0 takes a free one."
)
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--fault", "faults", multiple=True, metavar="NAME", help="Switch a defect on (see --faults).")
@click.option("--faults", "list_faults", is_flag=True, help="List the defects there are.")
@click.option("--first-token-delay", type=_Duration(), default=0.0, help="Delay every run's first event.")
@click.option("--config-out", type=click.Path(path_type=Path), help="Write a harness.toml that points at it.")
@click.option(
    "--config", type=click.Path(path_type=Path), help="Settings file whose token it shall accept too."
)
@click.option(
    "--stop-with-stdin", is_flag=True, help="Stop when standard input ends: with the parent process."
)
def serve(
    port: int,
    host: str,
    faults: Sequence[str],
    list_faults: bool,
    first_token_delay: float,
    config_out: Path | None,
    config: Path | None,
    stop_with_stdin: bool,
) -> None:
    """Run the embedded server: a correct implementation of the API, or one with chosen defects.

    \b
    Example: harness serve --port 8080 --fault two-terminals
    """
    from harness.embedded import LISTENING
    from harness.reference.faults import FAULTS, RARE_FAULTS
    from harness.reference.server import serve as run_server
    from harness.reference.settings import DEMO_PRINCIPALS, ServerSettings, demo_config

    if list_faults:
        for name, fault in sorted((FAULTS | RARE_FAULTS).items()):
            click.echo(f"{name:28} {fault.breaks:28} {(fault.__doc__ or '').strip().splitlines()[0]}")
        return
    settings = load_settings(config)
    principals = dict(DEMO_PRINCIPALS)
    if settings.target.token is not None:
        principals[settings.target.token.get_secret_value()] = settings.target.organization_id
    server = ServerSettings(
        host=host,
        port=port,
        principals=principals,
        first_token_delay_s=first_token_delay,
        path=settings.target.path,
    )

    def on_ready(taken: int) -> None:
        url = f"http://{host}:{taken}"
        click.echo(f"embedded server {LISTENING}{url} (Ctrl-C stops it)")
        if config_out is not None:
            import tomlkit

            config_out.write_text(tomlkit.dumps(demo_config(url)), encoding="utf-8")
            click.echo(f"try: harness conformance --config {config_out}")
        else:
            click.echo(f"try: harness conformance --target {url}")
        sys.stdout.flush()
        if stop_with_stdin:
            threading.Thread(target=_stop_at_end_of_input, daemon=True).start()

    try:
        run_server(server, faults, on_ready=on_ready)
    except (ValueError, OSError) as problem:
        _fail(f"cannot serve on {host}:{port}: {problem}" if isinstance(problem, OSError) else str(problem))


def _stop_at_end_of_input() -> None:
    while os.read(sys.stdin.fileno(), 1):  # the buffered reader's lock would outlive the interpreter
        pass
    os.kill(os.getpid(), signal.SIGTERM)


@main.command()
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def requirements(as_json: bool) -> None:
    """Print the requirement catalogue: what is checked, at which level, and why.

    \b
    Example: harness requirements --json
    """
    rows = [
        {
            "id": row.id,
            "level": str(row.level),
            "requirement": row.text,
            "why": row.why,
            "source": row.source,
            "needs": row.needs,
            "status": "implemented" if row.id in JUDGES else "not implemented",
        }
        for row in CATALOGUE.values()
    ]
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    table = Table("id", "level", "requirement", "source", "status", title=f"{len(rows)} requirements")
    for row in rows:
        table.add_row(row["id"], row["level"], row["requirement"], row["source"], row["status"])
    Console().print(table)
