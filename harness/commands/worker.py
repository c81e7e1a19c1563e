"""Runs one worker of a load until its master ends it."""

from __future__ import annotations

from pathlib import Path

from harness.commands.processes import ChildProcesses, clean_environment, private_settings
from harness.config.settings import Settings
from harness.exit_codes import INTERRUPTED, NOT_TESTED, PASSED
from harness.input_file import SETTINGS_BYTES, ensure_readable
from harness.load.locust.command import load_environment, worker_command


def run_worker(settings: Settings, master: str, port: int, locustfile: Path | None = None) -> int:
    """Run the worker. Returns 0 if the master ended it, whatever the verdict on its streams; 2 if it found no master.

    Raises SettingsError for a locustfile that cannot be read.
    """
    if locustfile is not None:
        ensure_readable(locustfile, "the locustfile", SETTINGS_BYTES)
    children = ChildProcesses()
    with private_settings(settings.private_text()) as file, children.signals():
        command = worker_command(master, port, locustfile)
        code = children.wait(children.start(command, load_environment(file, clean_environment())))
    if children.interrupted:
        return INTERRUPTED
    return PASSED if code == 0 else NOT_TESTED
