"""Runs a test, repeats it while its comparison with the baseline is inconclusive, and reports the outcome."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

from harness.ci.artifacts import Artifacts
from harness.ci.github import suspend_workflow_commands
from harness.commands import output_dir
from harness.commands.gate import evaluate_results, gate_report, publish_outcome
from harness.commands.processes import ChildProcesses
from harness.config.settings import Settings
from harness.exit_codes import FAILED, INTERRUPTED, NOT_TESTED
from harness.gate.baseline_store import REPEAT, baseline_files
from harness.gate.report import GateReport
from harness.load.locust.command import DEFAULT_USERS
from harness.results import metrics
from harness.results.reader import Results
from harness.terminal.output import Output


def describe_load(settings: Settings) -> str:
    plan = settings.load
    loop = plan.describe or f"{plan.users or DEFAULT_USERS} users"
    return f"{loop} for {plan.duration:g} s in {plan.processes} process{'es' if plan.processes > 1 else ''}"


def require_readable(baseline: Path | None) -> None:
    """Raises ResultsError for a baseline that is none, now and not when the test is over."""
    for file in [] if baseline is None else baseline_files(baseline):
        Results(file).close()


_Codes = tuple[int, int]
"""Exit codes of suite and load."""


class FinishedTest(NamedTuple):
    """What one test left behind: results file, report, exit codes."""

    path: Path
    report: Path
    codes: _Codes


def run_with_repeats(
    test: Callable[[Settings, Path, ChildProcesses, Output], FinishedTest],
    settings: Settings,
    folder: Path,
    baseline: Path | None,
    children: ChildProcesses,
    screen: Output,
) -> list[FinishedTest]:
    """Run a test, and repeat it while its comparison with the baseline is undecided."""
    done = [test(settings, folder, children, screen)]
    limit = 0 if baseline is None else settings.gate.rerun_inconclusive
    for number in range(1, limit + 1):
        paths = [one.path for one in done]
        if (
            children.interrupted
            or not evaluate_results(paths, settings.objectives, baseline, settings.gate).undecided
        ):
            break
        screen.print(f"the comparison with the baseline is inconclusive: repeat {number} of at most {limit}")
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


def report_and_gate(
    verb: str,
    tests: Sequence[FinishedTest],
    settings: Settings,
    baseline: Path | None,
    children: ChildProcesses,
    screen: Output,
    artifacts: Artifacts,
) -> int:
    """Say what came of a test and its repeats, and hold them to the objectives. Returns the exit code."""
    path, report, _ = tests[0]
    with suspend_workflow_commands(sys.stdout, ""):
        _print_load(screen.console, path)
        gate = gate_report([one.path for one in tests], settings.objectives, baseline, settings.gate)
        screen.console.print(f"results: {path}\nreport:  {report}")
    codes = _worst([one.codes for one in tests])
    code, problems = _ended(gate, codes, path.parent, interrupted=children.interrupted)
    return publish_outcome(verb, screen, path, report, gate, code, problems, artifacts)


def _ended(
    gate: GateReport, codes: tuple[int, int], folder: Path, *, interrupted: bool
) -> tuple[int, tuple[str, ...]]:
    """The exit code of a test, and what else than the gate there is to say for it. codes: of suite and load."""
    if interrupted:
        return INTERRUPTED, ("the test was interrupted; what had been counted until then is kept",)
    suite_code, load_code = codes
    code, problems = gate.exit_code or suite_code, []
    if load_code < 0:  # no success, whatever it had measured until then
        code = code or FAILED
        problems.append(f"the load was killed by signal {-load_code}; what it had counted until then is kept")
    if NOT_TESTED in codes:
        code = NOT_TESTED
        problems.append(f"a part of the test could not be done; see above and {folder / output_dir.LOAD_LOG}")
    return code, tuple(problems)


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
