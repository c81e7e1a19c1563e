"""Runs the load only, without a web page."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

from harness.ci.artifacts import NO_ARTIFACTS, Artifacts
from harness.ci.workflow_commands import suspend_workflow_commands
from harness.commands import output_dir
from harness.commands.evaluation import require_readable, too_short_for
from harness.commands.listening import ensure_free
from harness.commands.load_process import (
    describe_load,
    describe_restart,
    refuse_impossible_load,
    run_load_process,
)
from harness.commands.processes import ChildProcesses
from harness.commands.publication import evaluate_and_publish
from harness.commands.repeats import FinishedTest, run_with_repeats
from harness.config.settings import Settings
from harness.exit_codes import PASSED
from harness.formatting import shown_path
from harness.input_file import SETTINGS_BYTES, ensure_readable
from harness.load.locust.command import RemoteWorkers
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
    if remote is not None:
        ensure_free(remote.host, remote.port, what="the master", option="--master-port")
    folder = out or output_dir.default_folder()
    if warning := too_short_for(baseline, settings):
        output.console.print(warning, markup=False)
    output.console.print(
        f"load: {describe_load(settings, remote)}, every stream checked "
        f"(log: {shown_path(folder / output_dir.LOAD_LOG)})"
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
    load = run_load_process(
        "harness load", settings, folder, children, output, remote=remote, locustfile=locustfile
    )
    report = output_dir.finish(load.path, interrupted=children.interrupted or load.exit_code < 0)
    return FinishedTest(load.path, report, PASSED, load.exit_code, load.problem)
