"""Evaluates results files against objectives and a baseline, and publishes the outcome."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from rich.console import Console

from harness.ci.artifacts import Artifacts, publish
from harness.ci.github import suspend_workflow_commands
from harness.ci.outcome import outcome_of
from harness.config.settings import GateSettings
from harness.gate.baseline_store import baseline_files, has_baseline, repeats_of, update_baseline
from harness.gate.console import print_report
from harness.gate.evaluate import evaluate
from harness.gate.objective import Objective, limits_with, parse_objectives
from harness.gate.report import GateReport
from harness.results.reader import Results
from harness.results.schema import ResultsError
from harness.terminal.output import Output
from harness.terminal.result_document import verdict_document, verdict_line

NO_ARTIFACTS = Artifacts()


def publish_outcome(
    verb: str,
    screen: Output,
    path: Path,
    report: Path | None,
    gate: GateReport,
    code: int,
    problems: tuple[str, ...],
    artifacts: Artifacts,
) -> int:
    """Say what went wrong with the test itself, write what a CI is to have, and return the exit code."""
    for problem in problems:
        screen.print(f"harness: {problem}")
    with Results(path) as results:
        account = outcome_of(results, gate, code, problems=problems, report=report)
    code = publish(account, artifacts, out=screen.for_ci)
    screen.verdict(verdict_line(account, code))
    screen.emit_json(verdict_document(verb, account, code))
    return code


def gate_results(
    paths: Sequence[Path],
    objectives: Mapping[str, float] | None,
    baseline: Path | None,
    artifacts: Artifacts = NO_ARTIFACTS,
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
    with suspend_workflow_commands(sys.stdout, ""):
        gate = gate_report(paths, limits_with(objectives, given), before, terms)
    console = Console(highlight=False, soft_wrap=True)
    if update and baseline is not None:
        if gate.may_join_baseline:
            said = update_baseline(paths, baseline, terms.keep)
        else:
            said = [f"the gate did not hold, so the baseline {baseline} stays as it is"]
        for line in said:
            console.print(f"baseline: {line}", markup=False)
    return publish_outcome("gate", Output(), paths[0], None, gate, gate.exit_code, (), artifacts)


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


def evaluate_results(
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
        return evaluate(
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
    report = evaluate_results(paths, objectives, baseline, terms, intervals=True)
    print_report(report, Console(highlight=False))
    return report
