"""Evaluates results files against objectives and a baseline."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from harness.config.settings import GateSettings, Settings
from harness.gate.baseline_store import baseline_files
from harness.gate.confidence_intervals import LEAST_S
from harness.gate.console import print_report
from harness.gate.evaluate import evaluate
from harness.gate.noise import LEAST_FREEDOM
from harness.gate.objective import parse_objectives
from harness.gate.report import GateReport
from harness.results.reader import Results
from harness.results.schema import ResultsError
from harness.terminal.safe_console import SafeConsole


def require_readable(baseline: Path | None) -> None:
    """Raise ResultsError for an unreadable baseline, before the test instead of after it."""
    for file in [] if baseline is None else baseline_files(baseline):
        Results(file).close()


def too_short_for(baseline: Path | None, settings: Settings) -> str:
    """Why no latency of the test to come can be compared with the baseline; empty if that is not certain.

    From four files on, the spread between them counts, and not the seconds within them. Raises ResultsError.
    """
    measured_s = settings.load.duration - settings.load.warmup
    files = 0 if baseline is None else len(baseline_files(baseline))
    if not files or measured_s >= LEAST_S or files + 1 >= LEAST_FREEDOM + 2:
        return ""
    enough_s = 5 * math.ceil((LEAST_S + settings.load.warmup) / 5)
    return (
        f"{measured_s:g} s are too short to compare with the baseline: at least {LEAST_S} s without warm-up are "
        f"needed; use --duration {enough_s}s"
    )


def evaluate_results(
    paths: Sequence[Path],
    objectives: Mapping[str, float],
    baseline: Path | None,
    settings: GateSettings,
    *,
    intervals: bool = False,
) -> GateReport:
    """Evaluate a test. paths: its results file, then those of its repeats. Raises ResultsError.

    intervals: whether to compute confidence intervals of the values.
    """
    with ExitStack() as stack:
        results, *repeats = [stack.enter_context(Results(path)) for path in paths]
        stack.enter_context(results.snapshot())  # the test may be running
        files = [] if baseline is None else baseline_files(baseline)
        before = [stack.enter_context(Results(file)) for file in files]
        try:
            parsed = parse_objectives(objectives)
        except ValueError as problem:
            raise ResultsError(
                f"{paths[0]}: {problem}; give --config with objectives of this version"
            ) from None
        return evaluate(
            results,
            parsed,
            before,
            repeats=repeats,
            terms=replace(settings.terms, looks=max(settings.terms.looks, len(paths))),
            intervals=intervals,
        )


def print_evaluation(
    paths: Sequence[Path], objectives: Mapping[str, float], baseline: Path | None, settings: GateSettings
) -> GateReport:
    """Evaluate a test, as evaluate_results does, and print the report. Raises ResultsError."""
    report = evaluate_results(paths, objectives, baseline, settings, intervals=True)
    print_report(report, SafeConsole(highlight=False))
    return report
