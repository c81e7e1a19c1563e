"""Runs the load alone, in a Locust process."""

from __future__ import annotations

import sys
from pathlib import Path

from harness.ci.artifacts import Artifacts
from harness.ci.github import suspend_workflow_commands
from harness.commands import output_dir
from harness.commands.gate import NO_ARTIFACTS
from harness.commands.processes import ChildProcesses, clean_environment, private_settings
from harness.commands.repeats import (
    FinishedTest,
    describe_load,
    report_and_gate,
    require_readable,
    run_with_repeats,
)
from harness.config.settings import Settings
from harness.exit_codes import NOT_TESTED
from harness.load.locust.command import load_command, load_environment
from harness.results.reader import Results
from harness.suite.preflight import ensure_testable
from harness.terminal.output import Output

_LAST_WORDS = 12  # lines of a log


def _load_alone(settings: Settings, folder: Path, children: ChildProcesses, screen: Output) -> FinishedTest:
    path = output_dir.begin(folder, settings)
    with private_settings(settings) as settings_file, (folder / output_dir.LOAD_LOG).open("wb") as log:
        environment = load_environment(settings_file, clean_environment())
        live = settings_file.with_name("live.json")
        with screen.watch("harness load", live, None, lambda: children.interrupted) as look:
            load = children.start(command_for(settings, folder, live), environment, log)
            load_code = load_exit_code(children.wait(load, look), path, children)
        show_load_log(screen, load_code, folder)
    report = output_dir.finish(path, interrupted=children.interrupted or load_code < 0)
    return FinishedTest(path, report, (0, load_code))


def load_exit_code(code: int, path: Path, children: ChildProcesses) -> int:
    """The load's exit code; where it came to an end without one stream scheduled, that it could not be done.

    Locust has no code of its own for a test that it could not start.
    """
    if code < 0 or children.interrupted:
        return code
    with Results(path) as results:
        return code if results.ledger().scheduled else NOT_TESTED


def show_load_log(screen: Output, load_code: int, folder: Path) -> None:
    """What a load that could not be done said last."""
    if load_code == NOT_TESTED:
        said = (folder / output_dir.LOAD_LOG).read_text(encoding="utf-8", errors="replace").splitlines()
        screen.show("\n".join(said[-_LAST_WORDS:]))


def command_for(settings: Settings, folder: Path, live: Path) -> list[str]:
    return load_command(
        settings.load, out=folder, host=settings.target.base_url, run_budget_s=settings.budgets.run, live=live
    )


def run_load(
    settings: Settings,
    out: Path | None,
    artifacts: Artifacts = NO_ARTIFACTS,
    baseline: Path | None = None,
    screen: Output | None = None,
) -> int:
    """Drive the load alone. Returns the exit code. Raises, and repeats, as run_check does."""
    artifacts.ensure_writable()
    require_readable(baseline)
    screen = screen or Output()
    console = screen.console
    ensure_testable(settings)
    folder = out or output_dir.default_folder()
    console.print(
        f"load: {describe_load(settings)}, every stream judged (log: {folder / output_dir.LOAD_LOG})"
    )
    children = ChildProcesses()
    with suspend_workflow_commands(sys.stdout, "harness load"), children.signals():
        tests = run_with_repeats(_load_alone, settings, folder, baseline, children, screen)
    return report_and_gate("load", tests, settings, baseline, children, screen, artifacts)
