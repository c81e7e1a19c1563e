"""Runs load and conformance suite against one target at the same time, then evaluates the gate."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from harness.atomic_file import open_log, temporary_folder
from harness.ci.artifacts import NO_ARTIFACTS, Artifacts
from harness.ci.workflow_commands import suspend_workflow_commands
from harness.commands import output_dir
from harness.commands.evaluation import require_readable, too_short_for
from harness.commands.load_process import (
    describe_load,
    load_command_for,
    load_exit_code,
    load_problem,
    show_load_log,
)
from harness.commands.processes import ChildProcesses, clean_environment, private_settings
from harness.commands.publication import evaluate_and_publish
from harness.commands.reference_process import ReferenceServer
from harness.commands.repeats import FinishedTest, run_with_repeats
from harness.commands.suite_process import own_terminal, print_verdicts, suite_command, suite_exit_code
from harness.config.settings import Actions, Settings
from harness.config.sources import settings_alone
from harness.errors import SettingsError
from harness.formatting import counted, duration, shown_path
from harness.load.bounds.limits import refuse_impossible
from harness.load.locust.command import load_environment
from harness.reference.settings import demo_config
from harness.suite.preflight import ensure_testable
from harness.terminal.output import Output

_PYTEST_ARGS = ("-q", "--no-header", "--no-summary", "--color=no")


def run_check(
    settings: Settings,
    out: Path | None,
    artifacts: Artifacts = NO_ARTIFACTS,
    baseline: Path | None = None,
    output: Output | None = None,
    *,
    max_concurrency: int | None = None,
    read_only: bool = False,
    restart_by_hand: bool = False,
) -> int:
    """Test the target, or the embedded server if none is set. Returns the exit code.

    baseline: earlier results to compare with. While the comparison is inconclusive, load and suite are repeated, as
    often as the settings allow. max_concurrency: the most connections of the suite; None for no limit.
    read_only: whether the suite leaves out races and hostile input. restart_by_hand: whether it asks on the terminal to
    restart the target.

    Raises PreflightError if the target cannot be tested, SettingsError for artifacts that cannot be written and for
    an impossible load.
    """
    artifacts.ensure_writable()
    require_readable(baseline)
    refuse_impossible(settings.load)
    refuse_repeats(settings, baseline)
    _refuse_restart(settings)
    output = output or Output()
    with ExitStack() as stack:
        stack.enter_context(
            suspend_workflow_commands(sys.stdout, "harness check: load and conformance suite")
        )
        if settings.target.base_url is None:
            if settings.target.actions != Actions():
                raise SettingsError(
                    "the settings have [target.actions], but no target: use --target URL or the setting target.base_url"
                )
            server = stack.enter_context(ReferenceServer())
            settings = _with_embedded(settings, server.base_url)
            output.console.print(f"no target set: testing the embedded server on {server.base_url}")
        ensure_testable(settings)
        folder = out or output_dir.default_folder()
        children = ChildProcesses()
        stack.enter_context(children.signals())
        if warning := too_short_for(baseline, settings):
            output.console.print(warning, markup=False)
        output.console.print(
            f"load: {describe_load(settings)}, every stream checked (log: {shown_path(folder / output_dir.LOAD_LOG)})"
        )
        budget = settings.limits.budget_requests
        limit = "" if budget is None else f", with at most {counted(budget, 'request')}"
        output.console.print(
            f"conformance: the whole suite at the same time, for at most {_suite_time(settings)}{limit} "
            f"(log: {shown_path(folder / output_dir.SUITE_LOG)}; it begins with how many requests it sends)"
        )
        pytest_args = list(_PYTEST_ARGS)
        if max_concurrency is not None:
            pytest_args += ["--harness-max-concurrency", str(max_concurrency)]
        if read_only:
            pytest_args.append("--harness-read-only")
        if restart_by_hand:
            pytest_args += ["--harness-restart", own_terminal()]
            output.leave_terminal()
        test = partial(_load_and_suite, pytest_args)
        tests = run_with_repeats(test, settings, folder, baseline, children, output)
    return evaluate_and_publish("check", tests, settings, baseline, children, output, artifacts)


def refuse_repeats(settings: Settings, baseline: Path | None) -> None:
    """Raises SettingsError if the suite has a budget of requests, and its repeats would exceed it."""
    limited = settings.limits.budget_requests is not None
    if limited and baseline is not None and settings.gate.rerun_inconclusive:
        raise SettingsError(
            "--rerun-inconclusive would send the requests of limits.budget_requests again: leave out one of them"
        )


def _refuse_restart(settings: Settings) -> None:
    """Raises SettingsError if the load would restart the server: the suite would take it for a defect."""
    if settings.load.restart_at is not None:
        raise SettingsError(
            "load.restart_at restarts the server while the suite tests it: leave it out, and the suite restarts the "
            "server at its end, under the load; or use harness load"
        )


def _suite_time(settings: Settings) -> str:
    return duration(settings.limits.suite_s(settings.budgets) * 1000)


def _load_and_suite(
    pytest_args: Sequence[str], settings: Settings, folder: Path, children: ChildProcesses, output: Output
) -> FinishedTest:
    """Run load and suite at the same time."""
    path = output_dir.begin(folder, settings, has_suite=True)
    with (
        private_settings(settings.private_text()) as settings_file,
        temporary_folder() as shared,
        open_log(folder / output_dir.LOAD_LOG) as load_log,
        open_log(folder / output_dir.SUITE_LOG) as suite_log,
    ):
        environment = load_environment(settings_file, clean_environment())
        live, progress = shared / "live.json", shared / "progress.json"
        restarts = shared / "restart"
        with output.watch("harness check", live, progress, lambda: children.interrupted) as poll:
            load_command = load_command_for(settings, folder, live, restarts=restarts)
            load = children.start(load_command, environment, load_log)
            command = suite_command(
                settings_file,
                results_file=path,
                progress_file=progress,
                pytest_args=[*pytest_args, "--harness-restarts", str(restarts)],
            )
            suite = children.start(command, clean_environment(), suite_log)
            suite_code = suite_exit_code(children.wait(suite, poll))
            print_verdicts(output, path, settings, suite_code, interrupted=children.interrupted)
            if load.poll() is None and not children.interrupted:
                output.print("conformance has ended; the load is still running")
            load_code = load_exit_code(children.wait(load, poll), path, children)
            problem = load_problem(live)
        show_load_log(output, load_code, folder)
    report = output_dir.finish(path, interrupted=children.interrupted or load_code < 0)
    return FinishedTest(path, report, suite_code, load_code, problem)


def _with_embedded(settings: Settings, base_url: str) -> Settings:
    """The settings with the embedded server as the target. Load and objectives stay."""
    demo = settings_alone(demo_config(base_url), "the embedded server's settings")
    return settings.model_copy(update={"target": demo.target, "budgets": demo.budgets})
