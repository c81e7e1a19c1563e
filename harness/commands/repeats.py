"""Runs a test, and repeats it while its comparison with the baseline is inconclusive."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from harness.commands.evaluation import evaluate_results
from harness.commands.output_dir import subfolder
from harness.commands.processes import ChildProcesses
from harness.config.settings import Settings
from harness.exit_codes import ABORTED
from harness.gate.baseline_store import REPEAT_PREFIX
from harness.terminal.output import Output


class FinishedTest(NamedTuple):
    """A test that has ended: its results file, its report, and the exit codes of its suite and its load.

    load_problem: why the load's results are not complete, as a clause; empty if nothing is known.
    """

    results: Path
    report: Path
    suite_code: int
    load_code: int
    load_problem: str = ""


def run_with_repeats(
    test: Callable[[Settings, Path, ChildProcesses, Output], FinishedTest],
    settings: Settings,
    folder: Path,
    baseline: Path | None,
    children: ChildProcesses,
    output: Output,
) -> list[FinishedTest]:
    """Run a test in `folder`, and its repeats in subfolders. Returns the test and its repeats."""
    finished = [test(settings, folder, children, output)]
    limit = 0 if baseline is None else settings.gate.rerun_inconclusive
    for number in range(1, limit + 1):
        paths = [run.results for run in finished]
        if (
            children.interrupted
            or finished[-1].load_code == ABORTED
            or not evaluate_results(paths, settings.objectives, baseline, settings.gate).repeats_may_decide
        ):
            break
        output.print(f"the comparison with the baseline is inconclusive: repeat {number} of at most {limit}")
        # A different seed, because identical arrivals would hide the effect that the arrivals have.
        repeat = settings.model_copy(update={"load": settings.load.reseeded(number)})
        finished.append(test(repeat, subfolder(folder, f"{REPEAT_PREFIX}{number}"), children, output))
    return finished
