"""Runs the shipped conformance suite in a pytest process of its own.

Of its own, because Locust patches the interpreter that it is loaded into, and because a user's pytest
settings must not reach into a verdict about a server.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path

import harness.conformance
from harness.ci.artifacts import Artifacts, publish
from harness.ci.github import suspend_workflow_commands
from harness.ci.outcome import outcome_of
from harness.commands import output_dir
from harness.commands.processes import ChildProcesses, clean_environment, private_settings
from harness.config.settings import Settings
from harness.contract.verdicts import Verdicts
from harness.errors import SettingsError
from harness.exit_codes import FAILED, INTERRUPTED, PASSED
from harness.gate.evaluate import evaluate
from harness.results.reader import Results
from harness.suite.preflight import PreflightError, ensure_testable
from harness.terminal.output import Output
from harness.terminal.result_document import verdict_line

SUITE = Path(harness.conformance.__file__).resolve().parent
_PYTEST_VERDICTS = {
    PASSED,
    FAILED,
    INTERRUPTED,
}  # all held, something failed; the third is the plugin's for an interrupted run


def suite_command(
    settings_file: Path,
    *,
    results_file: Path | None = None,
    json_file: Path | None = None,
    progress_file: Path | None = None,
    strict: bool = False,
    pytest_args: Sequence[str] = (),
) -> list[str]:
    """The command that runs the suite by the settings in a file. progress_file: harness.suite.progress.

    Of pytest's plugins only ours and xdist are loaded, and what pytest_args name with -p: one that happens to be
    installed beside us could repeat tests until they pass.
    """
    command = [sys.executable, "-m", "pytest", "--disable-plugin-autoload", "-p", "harness"]
    if find_spec("xdist") is not None:
        command += ["-p", "xdist"]
    command += [str(SUITE), "--harness-config", str(settings_file)]
    if results_file is not None:
        command += ["--harness-results", str(results_file)]
    if json_file is not None:
        command += ["--harness-json", str(json_file)]
    if progress_file is not None:
        command += ["--harness-progress", str(progress_file)]
    if strict:
        command.append("--harness-strict")
    return [*command, *pytest_args]


def exit_code(pytest_code: int) -> int:
    """Our exit code for pytest's: 2 where the suite could not be run, had nothing to run, broke down or was killed."""
    return pytest_code if pytest_code in _PYTEST_VERDICTS else 2


def run_conformance(
    settings: Settings,
    *,
    out: Path | None,
    json_file: Path | None,
    artifacts: Artifacts,
    strict: bool,
    pytest_args: Sequence[str],
    screen: Output | None = None,
) -> int:
    """Run the suite alone; returns the exit code.

    Raises PreflightError or SettingsError when the target cannot be tested; the JSON says so too.
    """
    artifacts.ensure_writable()
    screen = screen or Output()
    try:
        ensure_testable(settings)
    except (PreflightError, SettingsError) as problem:
        if json_file is not None:
            write_untested(json_file, str(problem))
        raise
    children = ChildProcesses()
    with ExitStack() as stack:
        # Artifacts are made of a results file, also where nobody wants to keep it.
        folder = out or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="harness-")))
        path = output_dir.begin(folder, settings, has_suite=True)
        with (
            suspend_workflow_commands(sys.stdout, "harness conformance"),
            private_settings(settings) as settings_file,
            children.signals(),
            screen.output() as output,
        ):
            command = suite_command(
                settings_file,
                results_file=path,
                json_file=json_file,
                strict=strict,
                pytest_args=pytest_args,
            )
            code = exit_code(children.wait(children.start(command, clean_environment(), output)))
        report = output_dir.finish(path, interrupted=children.interrupted) if out is not None else None
        if report is not None:
            screen.print(f"results: {path}\nreport:  {report}")
        with Results(path) as results:
            gate = evaluate(results, ())
            account = outcome_of(results, gate, code, report=report, strict=strict, kept=out is not None)
        code = publish(account, artifacts, out=screen.for_ci)
        screen.verdict(verdict_line(account, code))
        return code


def write_untested(json_file: Path, sentence: str) -> None:
    """The JSON report of a run that could not begin: every requirement is there, and none was decided."""
    json_file.parent.mkdir(parents=True, exist_ok=True)
    json_file.write_text(
        json.dumps(Verdicts(untested=sentence).to_json({}), indent=2) + "\n", encoding="utf-8"
    )
