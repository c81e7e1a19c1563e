"""Evaluates existing results and updates the baseline."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from harness.ci.artifacts import NO_ARTIFACTS, Artifacts
from harness.ci.commit import current_commit
from harness.ci.workflow_commands import suspend_workflow_commands
from harness.commands.evaluation import print_evaluation
from harness.commands.publication import publish_outcome
from harness.config.settings import GateSettings
from harness.formatting import shortened
from harness.gate.baseline_store import has_baseline, repeats_of, update_baseline
from harness.gate.history import add_to_history, read_history
from harness.gate.objective import Objective, limits_with
from harness.gate.trend import trend_of
from harness.reports.trend_page import drift_sentences
from harness.results.reader import Results
from harness.results.schema import ResultsError
from harness.terminal.output import Output


def run_gate(
    paths: Sequence[Path],
    objectives: Mapping[str, float] | None,
    baseline: Path | None,
    artifacts: Artifacts = NO_ARTIFACTS,
    output: Output | None = None,
    *,
    extra_objectives: Sequence[Objective] = (),
    gate_settings: GateSettings | None = None,
    flags: Mapping[str, Any] | None = None,
    update: bool = False,
    commit: str | None = None,
) -> int:
    """Evaluate results, print the report and write the artifacts. Returns the exit code.

    paths: a results file and those of its repeats; the repeats of a single file are found. objectives, gate_settings:
    None uses those of the test, with `flags` applied to the gate settings. extra_objectives: added to the objectives.
    update: whether results that pass are added to the baseline, and to the history of its folder with the commit (None
    for the current one); what drifted over the history is then printed, too. Raises ResultsError, and SettingsError for
    artifacts that cannot be written.
    """
    artifacts.ensure_writable()
    output = output or Output()
    paths = paths if len(paths) > 1 else [*paths, *repeats_of(paths[0])]
    with Results(paths[0]) as results:
        test_settings = results.manifest.get("settings") or {}
    if objectives is None:
        objectives = test_settings.get("objectives") or {}
    gate_settings = gate_settings or _gate_settings_of(paths[0], test_settings, flags or {})
    before = baseline if not update or (baseline is not None and has_baseline(baseline)) else None
    with suspend_workflow_commands(sys.stdout, ""):
        gate = print_evaluation(paths, limits_with(objectives, extra_objectives), before, gate_settings)
    if update and baseline is not None:
        if gate.may_join_baseline:
            lines = update_baseline(paths, baseline, gate_settings.keep)
            if baseline.is_dir():
                add_to_history(baseline, paths, current_commit(os.environ) if commit is None else commit)
                lines += drift_sentences(trend_of(read_history(baseline), gate_settings.terms.effects))
        else:
            lines = [f"the gate did not pass, so {baseline} is unchanged"]
        for line in lines:
            output.console.print(f"baseline: {line}", markup=False)
    return publish_outcome("gate", output, paths[0], None, gate, gate.exit_code, (), artifacts)


def _gate_settings_of(path: Path, test_settings: Mapping[str, Any], flags: Mapping[str, Any]) -> GateSettings:
    """The gate settings of a test, overridden by flags."""
    try:
        return GateSettings.model_validate({**(test_settings.get("gate") or {}), **flags})
    except ValidationError as problem:
        first = problem.errors(include_url=False)[0]
        place = shortened(".".join(map(str, first["loc"])))
        raise ResultsError(
            f"{path}: its gate settings are not of this version: {place}: {first['msg']}; give --config"
        ) from None
