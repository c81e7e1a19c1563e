"""The main job: load and conformance suite against one target at the same time, then report and gate."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError
from rich.console import Console
from rich.table import Table
from rich.text import Text

from harness.ci.artifacts import Artifacts, publish
from harness.ci.github import words_of_others
from harness.ci.outcome import account_of
from harness.commands import output_dir
from harness.commands.conformance import clean_environment, exit_code, private_settings, suite_command
from harness.commands.processes import Children
from harness.commands.reference_process import EmbeddedServer
from harness.config.settings import GateSettings, Settings
from harness.gate.baseline_store import REPEAT, baseline_files, has_baseline, repeats_of, update_baseline
from harness.gate.console import print_report
from harness.gate.evaluate import GateReport, Objective, judge, limits_with, parse_objectives
from harness.load.locust.command import DEFAULT_USERS, load_command, load_environment
from harness.reference.settings import demo_config
from harness.results import metrics
from harness.results.reader import Results
from harness.results.schema import ResultsError
from harness.suite.preflight import ensure_testable
from harness.suite.terminal_report import TABLE_TITLE
from harness.terminal.output import Screen
from harness.terminal.result_document import verdict_document, verdict_line

_EXIT_MISSED = 1
_EXIT_UNTESTED = 2
_EXIT_INTERRUPTED = 130
_SUITE_ARGS = ("-q", "--no-header", "--no-summary")
_BROKEN_OFF = ("!!!", "INTERNALERROR>", "Traceback ")
"""How pytest's own words on an interruption begin."""
_LAST_WORDS = 12  # lines of a log
LOAD_LOG, SUITE_LOG = "load.log", "suite.log"
_NO_ARTIFACTS = Artifacts()


def _plan(settings: Settings) -> str:
    plan = settings.load
    loop = plan.said or f"{plan.users or DEFAULT_USERS} users"
    return f"{loop} for {plan.duration:g} s in {plan.processes} process{'es' if plan.processes > 1 else ''}"


def run_check(
    settings: Settings,
    out: Path | None,
    artifacts: Artifacts = _NO_ARTIFACTS,
    baseline: Path | None = None,
    screen: Screen | None = None,
) -> int:
    """Test the target, or the embedded server where none is named. Returns the exit code.

    baseline: earlier results to compare with. While that says nothing, the test is repeated as often as the
    settings allow, the whole of it: under the same load and beside the same suite.
    Raises PreflightError when the target cannot be tested, SettingsError for artifacts that cannot be written.
    """
    artifacts.ensure_writable()
    _ensure_readable(baseline)
    screen = screen or Screen()
    console = screen.console
    with ExitStack() as stack:
        stack.enter_context(words_of_others(sys.stdout, "harness check: load and conformance suite"))
        if settings.target.base_url is None:
            server = stack.enter_context(EmbeddedServer())
            settings = _with_embedded(settings, server.base_url)
            console.print(f"no target given: testing the embedded server on {server.base_url}")
        ensure_testable(settings)
        folder = out or output_dir.default_folder()
        children = Children()
        stack.enter_context(children.signals())
        console.print(f"load: {_plan(settings)}, every stream judged (log: {folder / LOAD_LOG})")
        console.print("conformance: the whole suite, meanwhile")
        tests = _tested(_load_and_suite, settings, folder, baseline, children, screen)
    return _finish("check", tests, settings, baseline, children, screen, artifacts)


def _ensure_readable(baseline: Path | None) -> None:
    """Raises ResultsError for a baseline that is none, now and not when the test is over."""
    for file in [] if baseline is None else baseline_files(baseline):
        Results(file).close()


_Codes = tuple[int, int]
"""Exit codes of suite and load."""


class _Tested(NamedTuple):
    """What one test left behind: results file, report, exit codes."""

    path: Path
    report: Path
    codes: _Codes


def _load_and_suite(settings: Settings, folder: Path, children: Children, screen: Screen) -> _Tested:
    """Load and suite at once, into a folder."""
    path = output_dir.begin(folder, settings, has_suite=True)
    with (
        private_settings(settings) as settings_file,
        (folder / LOAD_LOG).open("wb") as log,
        (folder / SUITE_LOG).open("wb") as words,
    ):
        environment = load_environment(settings_file, clean_environment())
        live, progress = settings_file.with_name("live.json"), settings_file.with_name("progress.json")
        with screen.watch("harness check", live, progress, lambda: children.interrupted) as look:
            load = children.start(_load_command(settings, folder, live), environment, log)
            command = suite_command(
                settings_file,
                results_file=path,
                progress_file=progress,
                pytest_args=(*_SUITE_ARGS, f"--color={'yes' if screen.is_colourful else 'no'}"),
            )
            suite_code = exit_code(children.wait(children.start(command, clean_environment(), words), look))
            _show_suite(screen, folder / SUITE_LOG, interrupted=children.interrupted)
            if load.poll() is None and not children.interrupted:
                screen.tell("conformance has ended; the load goes on to its end")
            load_code = _of_load(children.wait(load, look), path, children)
        _show_why(screen, load_code, folder)
    report = output_dir.finish(path, interrupted=children.interrupted or load_code < 0)
    return _Tested(path, report, (suite_code, load_code))


def _load_alone(settings: Settings, folder: Path, children: Children, screen: Screen) -> _Tested:
    path = output_dir.begin(folder, settings)
    with private_settings(settings) as settings_file, (folder / LOAD_LOG).open("wb") as log:
        environment = load_environment(settings_file, clean_environment())
        live = settings_file.with_name("live.json")
        with screen.watch("harness load", live, None, lambda: children.interrupted) as look:
            load = children.start(_load_command(settings, folder, live), environment, log)
            load_code = _of_load(children.wait(load, look), path, children)
        _show_why(screen, load_code, folder)
    report = output_dir.finish(path, interrupted=children.interrupted or load_code < 0)
    return _Tested(path, report, (0, load_code))


def _of_load(code: int, path: Path, children: Children) -> int:
    """The load's exit code; where it came to an end without one stream scheduled, that it could not be done.

    Locust has no code of its own for a test that it could not start.
    """
    if code < 0 or children.interrupted:
        return code
    with Results(path) as results:
        return code if results.ledger().scheduled else _EXIT_UNTESTED


def _show_suite(screen: Screen, log: Path, *, interrupted: bool) -> None:
    """What the suite said; of one that was broken off the verdicts alone, without pytest's words on how it fell."""
    said = log.read_text(encoding="utf-8", errors="replace").rstrip()
    if interrupted:
        said = verdicts_in(said) or "conformance was broken off before it had a verdict"
        said += f" (log: {log})"
    screen.show(said)


def verdicts_in(log: str) -> str:
    """The table of verdicts, and the lines below it, in what pytest said; empty where there is none."""
    found: list[str] = []
    for line in log.splitlines():
        plain = Text.from_ansi(line).plain
        if found and plain.startswith(_BROKEN_OFF):
            break
        if found or f" {TABLE_TITLE} " in plain:
            found.append(line)
    return "\n".join(found)


def _show_why(screen: Screen, load_code: int, folder: Path) -> None:
    """What a load that could not be done said last."""
    if load_code == _EXIT_UNTESTED:
        said = (folder / LOAD_LOG).read_text(encoding="utf-8", errors="replace").splitlines()
        screen.show("\n".join(said[-_LAST_WORDS:]))


def _load_command(settings: Settings, folder: Path, live: Path) -> list[str]:
    return load_command(
        settings.load, out=folder, host=settings.target.base_url, run_budget_s=settings.budgets.run, live=live
    )


def _tested(
    test: Callable[[Settings, Path, Children, Screen], _Tested],
    settings: Settings,
    folder: Path,
    baseline: Path | None,
    children: Children,
    screen: Screen,
) -> list[_Tested]:
    """Run a test, and repeat it while its comparison with the baseline is undecided."""
    done = [test(settings, folder, children, screen)]
    limit = 0 if baseline is None else settings.gate.rerun_inconclusive
    for number in range(1, limit + 1):
        paths = [one.path for one in done]
        if children.interrupted or not judged(paths, settings.objectives, baseline, settings.gate).undecided:
            break
        screen.tell(f"the comparison with the baseline is inconclusive: repeat {number} of at most {limit}")
        done.append(test(_of_repeat(settings, number), folder / f"{REPEAT}{number}", children, screen))
    return done


def _of_repeat(settings: Settings, number: int) -> Settings:
    """With another seed: the same arrivals again would show nothing of what arrivals do."""
    seed = settings.load.seed
    update = {"seed": None if seed is None else (seed + number) % 2**63}
    return settings.model_copy(update={"load": settings.load.model_copy(update=update)})


def _worst(codes: Sequence[_Codes]) -> _Codes:
    """The exit codes of a test and its repeats as one: a killed load over a load that could not be done."""
    suites, loads = zip(*codes, strict=True)
    return max(suites), min(loads) if min(loads) < 0 else max(loads)


def run_load(
    settings: Settings,
    out: Path | None,
    artifacts: Artifacts = _NO_ARTIFACTS,
    baseline: Path | None = None,
    screen: Screen | None = None,
) -> int:
    """Drive the load alone. Returns the exit code. Raises, and repeats, as run_check does."""
    artifacts.ensure_writable()
    _ensure_readable(baseline)
    screen = screen or Screen()
    console = screen.console
    ensure_testable(settings)
    folder = out or output_dir.default_folder()
    console.print(f"load: {_plan(settings)}, every stream judged (log: {folder / LOAD_LOG})")
    children = Children()
    with words_of_others(sys.stdout, "harness load"), children.signals():
        tests = _tested(_load_alone, settings, folder, baseline, children, screen)
    return _finish("load", tests, settings, baseline, children, screen, artifacts)


def _finish(
    verb: str,
    tests: Sequence[_Tested],
    settings: Settings,
    baseline: Path | None,
    children: Children,
    screen: Screen,
    artifacts: Artifacts,
) -> int:
    """Say what came of a test and its repeats, and hold them to the objectives. Returns the exit code."""
    path, report, _ = tests[0]
    with words_of_others(sys.stdout, ""):
        _print_load(screen.console, path)
        gate = gate_report([one.path for one in tests], settings.objectives, baseline, settings.gate)
        screen.console.print(f"results: {path}\nreport:  {report}")
    codes = _worst([one.codes for one in tests])
    code, problems = _ended(gate, codes, path.parent, interrupted=children.interrupted)
    return _conclude(verb, screen, path, report, gate, code, problems, artifacts)


def _ended(
    gate: GateReport, codes: tuple[int, int], folder: Path, *, interrupted: bool
) -> tuple[int, tuple[str, ...]]:
    """The exit code of a test, and what else than the gate there is to say for it. codes: of suite and load."""
    if interrupted:
        return _EXIT_INTERRUPTED, ("the test was interrupted; what had been counted until then is kept",)
    suite_code, load_code = codes
    code, problems = gate.exit_code or suite_code, []
    if load_code < 0:  # no success, whatever it had measured until then
        code = code or _EXIT_MISSED
        problems.append(f"the load was killed by signal {-load_code}; what it had counted until then is kept")
    if _EXIT_UNTESTED in codes:
        code = _EXIT_UNTESTED
        problems.append(f"a part of the test could not be done; see above and {folder / LOAD_LOG}")
    return code, tuple(problems)


def _conclude(
    verb: str,
    screen: Screen,
    path: Path,
    report: Path | None,
    gate: GateReport,
    code: int,
    problems: tuple[str, ...],
    artifacts: Artifacts,
) -> int:
    """Say what went wrong with the test itself, write what a CI is to have, and return the exit code."""
    for problem in problems:
        screen.tell(f"harness: {problem}")
    with Results(path) as results:
        account = account_of(results, gate, code, problems=problems, report=report)
    code = publish(account, artifacts, out=screen.for_ci)
    screen.verdict(verdict_line(account, code))
    screen.give(verdict_document(verb, account, code))
    return code


def gate_results(
    paths: Sequence[Path],
    objectives: Mapping[str, float] | None,
    baseline: Path | None,
    artifacts: Artifacts = _NO_ARTIFACTS,
    *,
    given: Sequence[Objective] = (),
    terms: GateSettings | None = None,
    flags: Mapping[str, Any] | None = None,
    update: bool = False,
) -> int:
    """Print how results stand to their objectives, write the artifacts, and return the exit code.

    paths: of the results, and of their repeats; of a single one the repeats beside it are found. objectives,
    terms: those to hold; None takes those that the test was made with. given: objectives besides, and flags:
    gate settings besides. update: whether results that hold become the baseline. Raises ResultsError, and
    SettingsError for artifacts that cannot be written.
    """
    artifacts.ensure_writable()
    paths = paths if len(paths) > 1 else [*paths, *repeats_of(paths[0])]
    with Results(paths[0]) as results:
        made_with = results.manifest.get("settings", {})
    if objectives is None:
        objectives = made_with.get("objectives", {})
    terms = terms or _terms_of(paths[0], made_with, flags or {})
    before = baseline if not update or (baseline is not None and has_baseline(baseline)) else None
    with words_of_others(sys.stdout, ""):
        gate = gate_report(paths, limits_with(objectives, given), before, terms)
    console = Console(highlight=False, soft_wrap=True)
    if update and baseline is not None:
        if gate.may_join_baseline:
            said = update_baseline(paths, baseline, terms.keep)
        else:
            said = [f"the gate did not hold, so the baseline {baseline} stays as it is"]
        for line in said:
            console.print(f"baseline: {line}", markup=False)
    return _conclude("gate", Screen(), paths[0], None, gate, gate.exit_code, (), artifacts)


def _terms_of(path: Path, made_with: Mapping[str, Any], flags: Mapping[str, Any]) -> GateSettings:
    """The gate settings that a test was made with, and flags before them."""
    try:
        return GateSettings.model_validate({**made_with.get("gate", {}), **flags})
    except ValidationError as problem:
        first = problem.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise ResultsError(
            f"{path}: its gate settings are not of this version: {place}: {first['msg']}; give --config"
        ) from None


def judged(
    paths: Sequence[Path],
    objectives: Mapping[str, float],
    baseline: Path | None,
    terms: GateSettings,
    *,
    intervals: bool = False,
) -> GateReport:
    """How results, and their repeats, stand to objectives and baseline. Raises ResultsError."""
    with ExitStack() as stack:
        results, *repeats = [stack.enter_context(Results(path)) for path in paths]
        files = [] if baseline is None else baseline_files(baseline)
        before = [stack.enter_context(Results(file)) for file in files]
        looks = max(terms.terms.looks, len(paths))
        try:
            wanted = parse_objectives(objectives)
        except ValueError as problem:
            raise ResultsError(
                f"{paths[0]}: {problem}; give --config with objectives of this version"
            ) from None
        return judge(
            results,
            wanted,
            before,
            repeats=repeats,
            terms=replace(terms.terms, looks=looks),
            intervals=intervals,
        )


def gate_report(
    paths: Sequence[Path], objectives: Mapping[str, float], baseline: Path | None, terms: GateSettings
) -> GateReport:
    """How results stand to objectives and baseline, printed. Raises ResultsError."""
    report = judged(paths, objectives, baseline, terms, intervals=True)
    print_report(report, Console(highlight=False))
    return report


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
    if summary["harness"]["faults"]["streams"]:
        console.print(
            f"harness fault: {summary['harness']['faults']['sentence']}", style="bold yellow", markup=False
        )
