"""Serves Locust's web page for the configured target until Ctrl-C; tests are started from the page."""

from __future__ import annotations

import socket
import subprocess
import time
import tomllib
from contextlib import suppress
from pathlib import Path

import tomlkit

from harness.commands import output_dir
from harness.commands.processes import ChildProcesses, clean_environment, private_settings
from harness.config.settings import Settings
from harness.errors import SettingsError
from harness.load.bounds.limits import refuse_impossible
from harness.load.locust.command import load_environment, page_command
from harness.suite.preflight import ensure_testable
from harness.terminal.safe_console import SafeConsole

HOST = "127.0.0.1"
_POLL_S = 0.1
_DERIVED = ("duration", "seed")  # load settings that are computed for each test, unless the user sets them


def run_load_web(settings: Settings, out: Path | None, port: int) -> int:
    """Serve the page and print its URL. Returns Locust's exit code, 130 if a test was interrupted.

    Raises PreflightError if the target cannot be tested, SettingsError if the port is in use or the load impossible.
    """
    console = SafeConsole(highlight=False, soft_wrap=True)
    refuse_impossible(settings.load)
    ensure_testable(settings)
    _ensure_free(port)
    folder = out or output_dir.default_folder()
    children = ChildProcesses()
    with private_settings(_page_settings(settings)) as file, children.signals():
        command = page_command(settings.load, out=folder, host=settings.target.base_url, port=port)
        page = children.start(command, load_environment(file, clean_environment()))
        if _wait_until_up(page, port):
            console.print(f"page:   http://{HOST}:{port} (Ctrl-C stops it)")
            console.print(f"charts: http://{HOST}:{port}/harness/charts")
        code = children.wait(page)
    for results in sorted(folder.glob("results*.sqlite")):
        console.print(f"results: {results} (for a report: harness report {results})")
    return code


def _page_settings(settings: Settings) -> str:
    """The settings file without the derived load settings, which the page's form can set."""
    document = tomllib.loads(settings.private_text())
    for name in set(_DERIVED) - settings.load.model_fields_set:
        document["load"].pop(name, None)
    return tomlkit.dumps(document)


def _ensure_free(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as problem:
            raise SettingsError(
                f"the page cannot listen on port {port}: {problem.strerror}; choose one with --web-port"
            ) from None


def _wait_until_up(page: subprocess.Popen[bytes], port: int) -> bool:
    """Wait until the page accepts connections; False if its process ended first."""
    while page.poll() is None:
        with suppress(OSError), socket.create_connection((HOST, port), timeout=1):
            return True
        time.sleep(_POLL_S)
    return False
