"""Runs the load only, without a web page."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

from harness.atomic_file import open_log, temporary_folder
from harness.ci.artifacts import NO_ARTIFACTS, Artifacts
from harness.ci.workflow_commands import suspend_workflow_commands
from harness.commands import output_dir
from harness.commands.evaluation import require_readable, too_short_for
from harness.commands.load_process import (
    describe_load,
    describe_restart,
    load_command_for,
    load_exit_code,
    load_problem,
    refuse_impossible_load,
    show_load_log,
)
from harness.commands.processes import ChildProcesses, clean_environment, private_settings
from harness.commands.publication import evaluate_and_publish
from harness.commands.repeats import FinishedTest, run_with_repeats
from harness.config.settings import Settings
from harness.exit_codes import PASSED
from harness.input_file import SETTINGS_BYTES, ensure_readable
from harness.load.locust.command import RemoteWorkers, load_environment
from harness.suite.preflight import ensure_testable
from harness.terminal.output import Output


def run_load(
    settings: Settings,
    out: Path | None,
    artifacts: Artifacts = NO_ARTIFACTS,
    baseline: Path | None = None,
    output: Output | None = None,
    *,
    remote: RemoteWorkers | None = None,
    locustfile: Path | None = None,
) -> int:
    """Run the load. Returns the exit code. Errors and repeats: as run_check.

    remote: the workers to wait for; None starts processes on this machine. locustfile: None is the shipped one.
    """
    artifacts.ensure_writable()
    require_readable(baseline)
    output = output or Output()
    refuse_impossible_load(settings, remote)
    if locustfile is not None:
        ensure_readable(locustfile, "the locustfile", SETTINGS_BYTES)
    ensure_testable(settings)
    folder = out or output_dir.default_folder()
    if warning := too_short_for(baseline, settings):
        output.console.print(warning, markup=False)
    output.console.print(
        f"load: {describe_load(settings, remote)}, every stream checked (log: {folder / output_dir.LOAD_LOG})"
    )
    if restart := describe_restart(settings):
        output.console.print(f"restart: {restart}", markup=False)
    children = ChildProcesses()
    with suspend_workflow_commands(sys.stdout, "harness load"), children.signals():
        test = partial(_load_only, remote, locustfile)
        tests = run_with_repeats(test, settings, folder, baseline, children, output)
    return evaluate_and_publish("load", tests, settings, baseline, children, output, artifacts)


def _load_only(
    remote: RemoteWorkers | None,
    locustfile: Path | None,
    settings: Settings,
    folder: Path,
    children: ChildProcesses,
    output: Output,
) -> FinishedTest:
    path = output_dir.begin(folder, settings)
    with (
        private_settings(settings.private_text()) as settings_file,
        temporary_folder() as shared,
        open_log(folder / output_dir.LOAD_LOG) as log,
    ):
        environment = load_environment(settings_file, clean_environment())
        live = shared / "live.json"
        with output.watch("harness load", live, None, lambda: children.interrupted) as poll:
            command = load_command_for(settings, folder, live, remote, locustfile)
            load = children.start(command, environment, log)
            load_code = load_exit_code(children.wait(load, poll), path, children)
            problem = load_problem(live)
        show_load_log(output, load_code, folder)
    report = output_dir.finish(path, interrupted=children.interrupted or load_code < 0)
    return FinishedTest(path, report, PASSED, load_code, problem)
