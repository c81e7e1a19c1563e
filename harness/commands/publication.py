"""Prints the results of a finished test, evaluates its gate, publishes the outcome and returns the exit code."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from harness.ci.artifacts import Artifacts, publish
from harness.ci.outcome import outcome_of
from harness.ci.workflow_commands import suspend_workflow_commands
from harness.commands import output_dir
from harness.commands.evaluation import print_evaluation
from harness.commands.processes import ChildProcesses
from harness.commands.repeats import FinishedTest
from harness.config.settings import Settings
from harness.exit_codes import ABORTED, FAILED, INTERRUPTED, NOT_TESTED
from harness.formatting import counted, number, share, shown_path
from harness.gate.report import GateReport
from harness.results import metrics
from harness.results.ledger import outcome_label
from harness.results.reader import Results
from harness.results.restart_cost import RestartCost
from harness.results.summary import summarize
from harness.terminal.output import Output
from harness.terminal.result_document import verdict_document, verdict_line
from harness.terminal.what_broke import what_broke


def evaluate_and_publish(
    verb: str,
    tests: Sequence[FinishedTest],
    settings: Settings,
    baseline: Path | None,
    children: ChildProcesses,
    output: Output,
    artifacts: Artifacts,
) -> int:
    """Print and evaluate a test and its repeats, and publish the outcome. Returns the exit code."""
    path, report, *_ = tests[0]
    with suspend_workflow_commands(sys.stdout, ""):
        _print_load(output.console, path)
        gate = print_evaluation(
            [test.results for test in tests], settings.objectives, baseline, settings.gate
        )
        with Results(path) as results:
            for sentence in what_broke(results):
                output.console.print(sentence, style="red", markup=False)
        if baseline is not None:
            write_report_of(path, report, gate)
        output.console.print(f"results: {shown_path(path)}\nreport:  {shown_path(report)}")
    code, problems = _exit_code(gate, tests, interrupted=children.interrupted)
    return publish_outcome(verb, output, path, report, gate, code, problems, artifacts)


def write_report_of(path: Path, report: Path, gate: GateReport) -> None:
    """Write the report again, with the comparisons of the gate: it was written before there were any."""
    from harness.reports.html import write_report

    write_report(path, report, gate)


def publish_outcome(
    verb: str,
    output: Output,
    path: Path,
    report: Path | None,
    gate: GateReport,
    code: int,
    problems: tuple[str, ...],
    artifacts: Artifacts,
) -> int:
    """Print problems and verdict, and write the CI artifacts. Returns the exit code.

    code, problems: the exit code of the test, and sentences that explain one that differs from the gate's.
    """
    for problem in problems:
        output.print(f"harness: {problem}")
    with Results(path) as results:
        outcome = outcome_of(results, gate, code, problems=problems, report=report)
    code = publish(outcome, artifacts, out=output.for_ci)
    output.verdict(verdict_line(outcome, code))
    output.emit_json(verdict_document(verb, outcome, code))
    return code


def _worst_codes(tests: Sequence[FinishedTest]) -> tuple[int, int]:
    """The worst exit codes of suite and load. A killed load (a negative code) is worse than one that could not run."""
    loads = [test.load_code for test in tests]
    return max(test.suite_code for test in tests), min(loads) if min(loads) < 0 else max(loads)


def _exit_code(
    gate: GateReport, tests: Sequence[FinishedTest], *, interrupted: bool
) -> tuple[int, tuple[str, ...]]:
    """The exit code of a test and its repeats, and the problems that explain one that differs from the gate's."""
    if interrupted:
        return INTERRUPTED, ("the test was interrupted; its results until then are kept",)
    suite_code, load_code = _worst_codes(tests)
    code, problems = gate.exit_code or suite_code, []
    if load_code == ABORTED:
        code = ABORTED
        with Results(tests[-1].results) as results:
            problems.append(f"{results.load_aborted}; its results until then are kept")
    if load_code < 0:  # never a success, even if the gate passed
        code = code or FAILED
        problems.append(f"the load was killed by signal {-load_code}; its results until then are kept")
    logs = {
        "the conformance suite": (suite_code, output_dir.SUITE_LOG),
        "the load": (load_code, output_dir.LOAD_LOG),
    }
    for part, (part_code, log) in logs.items():
        if part_code == NOT_TESTED:
            code = NOT_TESTED
            problems.append(f"{part} could not run; see above and {tests[0].results.with_name(log)}")
    problems += [
        f"{test.load_problem}; {output_dir.readable_before(test.results)}"
        for test in tests
        if test.load_problem
    ]
    return code, tuple(problems)


def _print_load(console: Console, path: Path) -> None:
    with Results(path) as results:
        summary = summarize(results)
        adds_up = results.ledger().adds_up
        notes = results.manifest.get("load_notes") or []
        restart = RestartCost.in_manifest(results.manifest)
    counts = {word: count for word, count in summary["ledger"].items() if count}
    if not counts:
        console.print("load: no stream was started")
        return
    streams = ", ".join(f"{count} {outcome_label(word)}" for word, count in counts.items())
    console.print(f"streams: {streams} ({'adds up' if adds_up else 'DOES NOT ADD UP'})")
    if summary["goodput"]["share"] is not None:
        runs = counted(summary["goodput"]["runs"], metrics.RUN_STREAM, metrics.RUN_STREAMS)
        console.print(f"goodput: {share(summary['goodput']['share'])} of {runs}")
    table = Table("ms", *metrics.PERCENTILES, "count", title="load")
    for column in table.columns:
        column.no_wrap = True
    for name, values in summary["metrics"].items():
        if values["count"]:
            label = name.removesuffix("_ms").replace("_per_s", "/s")
            cells = (number(values[percentile]) for percentile in metrics.PERCENTILES)
            table.add_row(label, *cells, str(values["count"]))
    console.print(table)
    for sentence in [] if restart is None else restart.sentences():
        console.print(f"restart: {sentence}", markup=False)
    for note in notes:
        console.print(f"note: {note}", style="yellow", markup=False)
    for sentence in summary["harness"]["why"]:
        console.print(f"client-saturated: {sentence}", style="yellow")
    if summary["harness"]["faults"]["streams"]:
        console.print(
            f"harness fault: {summary['harness']['faults']['sentence']}", style="bold yellow", markup=False
        )
