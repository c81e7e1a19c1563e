"""The main job: load and conformance suite against one target at the same time, then report and gate."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from pathlib import Path

from rich.text import Text

from harness.ci.artifacts import Artifacts
from harness.ci.github import suspend_workflow_commands
from harness.commands import output_dir
from harness.commands.conformance import exit_code, suite_command
from harness.commands.gate import NO_ARTIFACTS
from harness.commands.load import command_for, load_exit_code, show_load_log
from harness.commands.processes import ChildProcesses, clean_environment, private_settings
from harness.commands.reference_process import ReferenceServer
from harness.commands.repeats import (
    FinishedTest,
    describe_load,
    report_and_gate,
    require_readable,
    run_with_repeats,
)
from harness.config.settings import Settings
from harness.load.locust.command import load_environment
from harness.reference.settings import demo_config
from harness.suite.preflight import ensure_testable
from harness.suite.terminal_report import TABLE_TITLE
from harness.terminal.output import Output

_SUITE_ARGS = ("-q", "--no-header", "--no-summary")
_BROKEN_OFF = ("!!!", "INTERNALERROR>", "Traceback ")
"""How pytest's own words on an interruption begin."""


def run_check(
    settings: Settings,
    out: Path | None,
    artifacts: Artifacts = NO_ARTIFACTS,
    baseline: Path | None = None,
    screen: Output | None = None,
) -> int:
    """Test the target, or the embedded server where none is named. Returns the exit code.

    baseline: earlier results to compare with. While that says nothing, the test is repeated as often as the
    settings allow, the whole of it: under the same load and beside the same suite.
    Raises PreflightError when the target cannot be tested, SettingsError for artifacts that cannot be written.
    """
    artifacts.ensure_writable()
    require_readable(baseline)
    screen = screen or Output()
    console = screen.console
    with ExitStack() as stack:
        stack.enter_context(
            suspend_workflow_commands(sys.stdout, "harness check: load and conformance suite")
        )
        if settings.target.base_url is None:
            server = stack.enter_context(ReferenceServer())
            settings = _with_embedded(settings, server.base_url)
            console.print(f"no target given: testing the embedded server on {server.base_url}")
        ensure_testable(settings)
        folder = out or output_dir.default_folder()
        children = ChildProcesses()
        stack.enter_context(children.signals())
        console.print(
            f"load: {describe_load(settings)}, every stream judged (log: {folder / output_dir.LOAD_LOG})"
        )
        console.print("conformance: the whole suite, meanwhile")
        tests = run_with_repeats(_load_and_suite, settings, folder, baseline, children, screen)
    return report_and_gate("check", tests, settings, baseline, children, screen, artifacts)


def _load_and_suite(
    settings: Settings, folder: Path, children: ChildProcesses, screen: Output
) -> FinishedTest:
    """Load and suite at once, into a folder."""
    path = output_dir.begin(folder, settings, has_suite=True)
    with (
        private_settings(settings) as settings_file,
        (folder / output_dir.LOAD_LOG).open("wb") as log,
        (folder / output_dir.SUITE_LOG).open("wb") as words,
    ):
        environment = load_environment(settings_file, clean_environment())
        live, progress = settings_file.with_name("live.json"), settings_file.with_name("progress.json")
        with screen.watch("harness check", live, progress, lambda: children.interrupted) as look:
            load = children.start(command_for(settings, folder, live), environment, log)
            command = suite_command(
                settings_file,
                results_file=path,
                progress_file=progress,
                pytest_args=(*_SUITE_ARGS, f"--color={'yes' if screen.is_colourful else 'no'}"),
            )
            suite_code = exit_code(children.wait(children.start(command, clean_environment(), words), look))
            _show_suite(screen, folder / output_dir.SUITE_LOG, interrupted=children.interrupted)
            if load.poll() is None and not children.interrupted:
                screen.print("conformance has ended; the load goes on to its end")
            load_code = load_exit_code(children.wait(load, look), path, children)
        show_load_log(screen, load_code, folder)
    report = output_dir.finish(path, interrupted=children.interrupted or load_code < 0)
    return FinishedTest(path, report, (suite_code, load_code))


def _show_suite(screen: Output, log: Path, *, interrupted: bool) -> None:
    """What the suite said; of one that was broken off the verdicts alone, without pytest's words on how it fell."""
    said = log.read_text(encoding="utf-8", errors="replace").rstrip()
    if interrupted:
        said = verdicts_in(said) or "conformance was broken off before it had a verdict"
        said += f" (log: {log})"
    screen.show(said)


def verdicts_in(log: str) -> str:
    """The table of verdicts, and the lines below it, in what pytest said; empty where there is none."""
    found: list[str] = []
    for line in log.splitlines():
        plain = Text.from_ansi(line).plain
        if found and plain.startswith(_BROKEN_OFF):
            break
        if found or f" {TABLE_TITLE} " in plain:
            found.append(line)
    return "\n".join(found)


def _with_embedded(settings: Settings, base_url: str) -> Settings:
    """The settings pointed at the embedded server; load plan and objectives stay."""
    demo = Settings.model_validate(demo_config(base_url))
    return settings.model_copy(update={"target": demo.target, "budgets": demo.budgets})
