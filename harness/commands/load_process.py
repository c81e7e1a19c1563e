"""The load as a Locust process: its command, its exit code and its log."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from harness.atomic_file import open_log, temporary_folder
from harness.commands import output_dir
from harness.commands.output_dir import LOAD_LOG
from harness.commands.processes import ChildProcesses, clean_environment, private_settings
from harness.config.settings import Settings
from harness.errors import SettingsError
from harness.exit_codes import NOT_TESTED
from harness.formatting import counted
from harness.load.bounds.limits import limits_here, refuse_impossible
from harness.load.locust.command import DEFAULT_USERS, RemoteWorkers, load_command, load_environment
from harness.results.reader import Results
from harness.terminal.output import Output
from harness.terminal.snapshot import read_document


@dataclass(frozen=True, slots=True)
class FinishedLoad:
    """A load whose process ended. exit_code: as of `load_exit_code`. problem: as of `load_problem`."""

    path: Path
    exit_code: int
    problem: str


def run_load_process(
    title: str,
    settings: Settings,
    folder: Path,
    children: ChildProcesses,
    output: Output,
    *,
    remote: RemoteWorkers | None = None,
    locustfile: Path | None = None,
) -> FinishedLoad:
    """Run the configured load with its results in `folder`, and wait for its end.

    title: of the live numbers. The end of its log is printed if it could not run.
    """
    path = output_dir.begin(folder, settings)
    with (
        private_settings(settings.private_text()) as settings_file,
        temporary_folder() as shared,
        open_log(folder / LOAD_LOG) as log,
    ):
        live = shared / "live.json"
        environment = load_environment(settings_file, clean_environment())
        command = load_command_for(settings, folder, live, remote, locustfile)
        with output.watch(title, live, None, lambda: children.interrupted) as poll:
            process = children.start(command, environment, log)
            exit_code = load_exit_code(children.wait(process, poll), path, children)
            problem = load_problem(live)
    show_load_log(output, exit_code, folder)
    return FinishedLoad(path, exit_code, problem)


MOST_WORKERS = 100_000
"""Workers of one test. A larger number is a mistake."""


def refuse_impossible_load(settings: Settings, remote: RemoteWorkers | None) -> None:
    """Raises SettingsError for a load that is impossible, here or with these workers."""
    if remote is None:
        refuse_impossible(settings.load)
        return
    if settings.load.processes > 1:
        raise SettingsError(
            "--workers are processes that harness worker starts, so --processes (load.processes) cannot be set too; "
            "leave it out, and start more workers"
        )
    if settings.gate.rerun_inconclusive:
        raise SettingsError(
            "workers end with their test, so a test with --workers cannot be repeated; leave out --rerun-inconclusive "
            "(gate.rerun_inconclusive), and start the test again"
        )
    if remote.count > MOST_WORKERS:
        raise SettingsError(
            f"--workers: no test has more than {MOST_WORKERS:,}; give the number of those you start"
        )
    refuse_impossible(settings.load, limits=limits_here(remote.count, local=False))


def describe_load(settings: Settings, remote: RemoteWorkers | None = None) -> str:
    """The load in one phrase: "5 runs/s for 120 s in 2 processes"."""
    load = settings.load
    users_or_rate = load.describe or counted(load.users or DEFAULT_USERS, "user")
    where = counted(load.processes, "process", "processes")
    if remote is not None:
        where = f"{counted(remote.count, 'worker')}, which connect to port {remote.port}"
    return f"{users_or_rate} for {load.duration:g} s in {where}"


def load_command_for(
    settings: Settings,
    folder: Path,
    live: Path,
    remote: RemoteWorkers | None = None,
    locustfile: Path | None = None,
    restarts: Path | None = None,
) -> list[str]:
    """The command that runs the configured load. live: the file for its live numbers. The others are those of
    `load_command`.
    """
    return load_command(
        settings.load,
        out=folder,
        host=settings.target.base_url,
        run_budget_s=settings.budgets.run,
        live=live,
        remote=remote,
        file=locustfile,
        restarts=restarts,
    )


def describe_restart(settings: Settings) -> str | None:
    """When and by whom the server is restarted during the load, in a phrase; None if it is not."""
    at_s = settings.load.restart_at
    if at_s is None:
        return None
    if settings.target.restart_command is None:
        return f"restart the server yourself after {at_s:g} s of the load"
    return f"after {at_s:g} s of the load, by target.restart_command"


def load_exit_code(code: int, path: Path, children: ChildProcesses) -> int:
    """Locust's exit code, or NOT_TESTED if the load ended on its own and scheduled no stream.

    Locust has no exit code for a test that it could not start.
    """
    if code < 0 or children.interrupted:
        return code
    with Results(path) as results:
        return code if results.ledger().scheduled else NOT_TESTED


def load_problem(live: Path) -> str:
    """Why a load could not start or write its results, from its last live numbers; empty if they name nothing."""
    document = read_document(live)
    return str(document["problem"] or "") if document is not None else ""


def show_load_log(output: Output, load_code: int, folder: Path) -> None:
    """Print the end of the log of a load that could not run."""
    if load_code == NOT_TESTED:
        output.show_tail(folder / LOAD_LOG)
