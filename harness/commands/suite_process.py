"""The conformance suite as a pytest process.

A separate process, because Locust patches the interpreter that imports it, and because a user's pytest settings must
not affect the verdicts.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from rich.text import Text

import harness.conformance
from harness.commands.output_dir import SUITE_LOG
from harness.config.settings import Settings
from harness.errors import SettingsError
from harness.exit_codes import FAILED, INTERRUPTED, NOT_TESTED, PASSED
from harness.formatting import shown_path
from harness.results.reader import Results
from harness.suite.stored_verdicts import write_stored_verdicts
from harness.suite.terminal_report import LineWriter
from harness.terminal.output import Output

SUITE = Path(harness.conformance.__file__).resolve().parent
USAGE_ERROR = 4
"""pytest's exit code for arguments that it does not accept: no test ran."""
_VERDICT_CODES = {
    PASSED,
    FAILED,
    INTERRUPTED,
}  # pytest's codes 0 and 1, and the plugin's for an interrupted run


def suite_command(
    settings_file: Path,
    *,
    results_file: Path | None = None,
    json_file: Path | None = None,
    progress_file: Path | None = None,
    strict: bool = False,
    pytest_args: Sequence[str] = (),
) -> list[str]:
    """The command that runs the suite. progress_file: see harness.suite.progress.

    Loads only two pytest plugins, the harness and xdist, and those that pytest_args name with -p. Other installed
    plugins could, for example, repeat tests until they pass.
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


def own_terminal() -> str:
    """The path of the terminal for questions to the user. Raises SettingsError if there is none."""
    for descriptor in (0, 1, 2):
        if os.isatty(descriptor):
            return os.ttyname(descriptor)
    raise SettingsError(
        "--harness-restart asks on the terminal, and there is none: configure target.restart_command in its place"
    )


def suite_exit_code(pytest_code: int) -> int:
    """The harness's exit code for pytest's: NOT_TESTED if the suite could not run, crashed or selected no test."""
    return pytest_code if pytest_code in _VERDICT_CODES else NOT_TESTED


def print_verdicts(output: Output, path: Path, settings: Settings, code: int, *, interrupted: bool) -> None:
    """Print the verdicts of a suite that has ended, from its results file. code: of suite_exit_code.

    For a suite that crashed, print the end of its log too.
    """
    log = path.with_name(SUITE_LOG)
    terminal = LineWriter(lambda line, style: output.show(Text(line, style)))
    with Results(path) as results:
        has_verdicts = write_stored_verdicts(terminal, results, settings)
    if interrupted:
        when = "" if has_verdicts else " before its first verdict"
        output.show(f"conformance was interrupted{when} (log: {shown_path(log)})")
    elif code == NOT_TESTED:
        output.show_tail(log)
