"""Runs the conformance suite only."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from harness.atomic_file import ensure_writable, temporary_folder, write_text
from harness.ci.artifacts import Artifacts, publish
from harness.ci.outcome import outcome_of
from harness.ci.workflow_commands import suspend_workflow_commands
from harness.commands import output_dir
from harness.commands.processes import ChildProcesses, clean_environment, private_settings
from harness.commands.suite_process import USAGE_ERROR, suite_command, suite_exit_code
from harness.config.settings import Settings
from harness.contract.verdicts import Verdicts
from harness.errors import SettingsError
from harness.exit_codes import PASSED
from harness.formatting import shown_path
from harness.gate.evaluate import evaluate
from harness.results.reader import Results
from harness.suite.preflight import PreflightError, ensure_testable
from harness.terminal.output import Output
from harness.terminal.result_document import verdict_line


def run_conformance(
    settings: Settings,
    *,
    out: Path | None,
    json_file: Path | None,
    artifacts: Artifacts,
    strict: bool,
    pytest_args: Sequence[str],
    output: Output | None = None,
) -> int:
    """Run the suite. Returns the exit code.

    Raises PreflightError if the target cannot be tested, SettingsError for wrong settings or arguments of pytest; the
    JSON file then contains the reason, and nothing is kept in `out`.
    """
    artifacts.ensure_writable()
    if json_file is not None:
        ensure_writable(json_file)
    output = output or Output()
    try:
        if settings.limits.budget_requests is None:  # else only the suite asks: all that is sent counts
            ensure_testable(settings)
    except (PreflightError, SettingsError) as problem:
        if json_file is not None:
            write_untested(json_file, str(problem))
        raise
    children = ChildProcesses()
    with ExitStack() as stack:
        # The artifacts are made from a results file, so one is needed even if it is not kept.
        folder = out or stack.enter_context(temporary_folder())
        path = output_dir.begin(folder, settings, has_suite=True, has_load=False)
        with (
            suspend_workflow_commands(sys.stdout, "harness conformance"),
            private_settings(settings.private_text()) as settings_file,
            children.signals(),
            output.child_output() as child_output,
        ):
            command = suite_command(
                settings_file,
                results_file=path,
                json_file=json_file,
                strict=strict,
                pytest_args=pytest_args,
            )
            suite = children.start(command, clean_environment(), child_output)
            pytest_code = children.wait(suite)
        if pytest_code == USAGE_ERROR:
            output_dir.discard(path)
            reason = "pytest did not accept the arguments, so nothing was tested; see its message above"
            if json_file is not None:
                write_untested(json_file, reason)
            raise SettingsError(reason)
        code = suite_exit_code(pytest_code)
        if code == PASSED and not _has_run(path):  # for example --collect-only
            output_dir.discard(path)
            return code
        report = output_dir.finish(path, interrupted=children.interrupted) if out is not None else None
        if report is not None:
            output.print(f"results: {shown_path(path)}\nreport:  {shown_path(report)}")
        with Results(path) as results:
            gate = evaluate(results, ())
            outcome = outcome_of(results, gate, code, report=report, strict=strict, kept=out is not None)
        code = publish(outcome, artifacts, out=output.for_ci)
        output.verdict(verdict_line(outcome, code))
        return code


def _has_run(path: Path) -> bool:
    """Whether the suite has stored its end."""
    with Results(path) as results:
        return bool(results.manifest.get("suite_state") != "running")


def write_untested(json_file: Path, reason: str) -> None:
    """Write the JSON report of a suite that could not start: every requirement, untested for this reason."""
    write_text(json_file, json.dumps(Verdicts(untested=reason).to_json({}), indent=2) + "\n")
