"""The main job: load and conformance suite against one target at the same time, then report and gate."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console
from rich.table import Table

from harness import run_folder
from harness.children import Children
from harness.conformance_run import clean_environment, exit_code, private_settings, suite_command
from harness.embedded import EmbeddedServer
from harness.gate.console import print_report
from harness.gate.objectives import judge, parse_objectives
from harness.load.runner import DEFAULT_USERS, load_command, load_environment
from harness.preflight import ensure_testable
from harness.reference.settings import demo_config
from harness.results import metrics
from harness.results.store import Results
from harness.settings import Settings

_EXIT_MISSED = 1
_EXIT_UNTESTED = 2
_EXIT_INTERRUPTED = 130
_SUITE_ARGS = ("-q", "--no-header", "--no-summary")


def _plan(settings: Settings) -> str:
    plan = settings.load
    loop = plan.said or f"{plan.users or DEFAULT_USERS} users"
    return f"{loop} for {plan.duration:g} s in {plan.processes} process{'es' if plan.processes > 1 else ''}"


def run_check(settings: Settings, out: Path | None) -> int:
    """Test the target, or the embedded server where none is named. Returns the exit code.

    Raises PreflightError when the target cannot be tested.
    """
    console = Console(highlight=False, soft_wrap=True)
    with ExitStack() as stack:
        if settings.target.base_url is None:
            server = stack.enter_context(EmbeddedServer())
            settings = _with_embedded(settings, server.base_url)
            console.print(f"no target given: testing the embedded server on {server.base_url}")
        ensure_testable(settings)
        folder = out or run_folder.default_folder()
        path = run_folder.begin(folder, settings)
        settings_file = stack.enter_context(private_settings(settings))
        children = Children()
        stack.enter_context(children.signals())
        console.print(f"load: {_plan(settings)}, every stream judged (log: {folder / 'load.log'})")
        console.print("conformance: the whole suite, meanwhile")
        log = stack.enter_context((folder / "load.log").open("wb"))
        environment = load_environment(settings_file, clean_environment())
        load = children.start(
            load_command(
                settings.load,
                out=folder,
                host=settings.target.base_url,
                run_budget_s=settings.budgets.run,
            ),
            environment,
            log,
        )
        command = suite_command(settings_file, results_file=path, pytest_args=_SUITE_ARGS)
        suite_code = exit_code(children.wait(children.start(command, clean_environment())))
        if load.poll() is None and not children.interrupted:
            console.print("conformance has ended; the load goes on to its end")
        load_code = children.wait(load)
        report = run_folder.finish(path, interrupted=children.interrupted or load_code < 0)
    _print_load(console, path)
    code = gate_results(path, settings.objectives, None)
    console.print(f"results: {path}\nreport:  {report}")
    if children.interrupted:
        return _EXIT_INTERRUPTED
    code = code or _after_signal(console, load_code)
    if _EXIT_UNTESTED in {suite_code, load_code}:
        console.print(f"harness: a part of the test could not be done; see above and {folder / 'load.log'}")
        return _EXIT_UNTESTED
    return code or suite_code


def run_load(settings: Settings, out: Path | None) -> int:
    """Drive the load alone. Returns the exit code. Raises PreflightError when the target cannot be tested."""
    console = Console(highlight=False, soft_wrap=True)
    ensure_testable(settings)
    folder = out or run_folder.default_folder()
    path = run_folder.begin(folder, settings)
    console.print(f"load: {_plan(settings)}, every stream judged")
    children = Children()
    with private_settings(settings) as settings_file, children.signals():
        command = load_command(
            settings.load,
            out=folder,
            host=settings.target.base_url,
            run_budget_s=settings.budgets.run,
        )
        load_code = children.wait(
            children.start(command, load_environment(settings_file, clean_environment()))
        )
        report = run_folder.finish(path, interrupted=children.interrupted or load_code < 0)
    _print_load(console, path)
    code = gate_results(path, settings.objectives, None)
    console.print(f"results: {path}\nreport:  {report}")
    if children.interrupted:
        return _EXIT_INTERRUPTED
    code = code or _after_signal(console, load_code)
    return _EXIT_UNTESTED if load_code == _EXIT_UNTESTED else code


def _after_signal(console: Console, load_code: int) -> int:
    """What follows from a load that was killed: it is no success, whatever it had measured until then."""
    if load_code >= 0:
        return 0
    console.print(
        f"harness: the load was killed by signal {-load_code}; what it had counted until then is kept"
    )
    return _EXIT_MISSED


def gate_results(path: Path, objectives: Mapping[str, float] | None, baseline: Path | None) -> int:
    """Print how a results file stands to its objectives, and return the exit code.

    objectives: those to hold; None takes those that the test was made with. Raises ResultsError.
    """
    with ExitStack() as stack:
        results = stack.enter_context(Results(path))
        before = stack.enter_context(Results(baseline)) if baseline is not None else None
        if objectives is None:
            objectives = results.manifest.get("settings", {}).get("objectives", {})
        report = judge(results, parse_objectives(objectives), before)
    print_report(report, Console(highlight=False))
    return report.exit_code


def _with_embedded(settings: Settings, base_url: str) -> Settings:
    """The settings pointed at the embedded server; load plan and objectives stay."""
    demo = Settings.model_validate(demo_config(base_url))
    return settings.model_copy(update={"target": demo.target, "budgets": demo.budgets})


def _print_load(console: Console, path: Path) -> None:
    with Results(path) as results:
        summary = metrics.summary(results)
        adds_up = results.ledger().adds_up
    counts = {word: count for word, count in summary["ledger"].items() if count}
    if not counts:
        console.print("load: no stream was started")
        return
    words = ", ".join(f"{count} {word}" for word, count in counts.items())
    console.print(f"streams: {words} ({'adds up' if adds_up else 'DOES NOT ADD UP'})")
    if summary["goodput"]["share"] is not None:
        console.print(f"goodput: {summary['goodput']['share']:.1%} of {summary['goodput']['runs']} runs")
    table = Table("ms", *metrics.PERCENTILES, "count", title="load")
    for column in table.columns:
        column.no_wrap = True
    for name, found in summary["metrics"].items():
        if found["count"]:
            unit = metrics.METRICS[name].unit
            label = name.removesuffix("_ms") if unit == "ms" else unit
            cells = (f"{found[word]:.{1 if found[word] < 1000 else 0}f}" for word in metrics.PERCENTILES)
            table.add_row(label, *cells, str(found["count"]))
    console.print(table)
    for sentence in summary["harness"]["why"]:
        console.print(f"client-saturated: {sentence}", style="yellow")
