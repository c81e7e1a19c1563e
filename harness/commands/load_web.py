"""Locust's web page for the configured target: tests are started there, until Ctrl-C ends it."""

from __future__ import annotations

import socket
import subprocess
import tempfile
import time
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import tomlkit
from rich.console import Console

from harness.commands import output_dir
from harness.commands.processes import ChildProcesses, clean_environment
from harness.config.settings import Settings
from harness.errors import SettingsError
from harness.load.locust.command import load_environment, page_command
from harness.suite.preflight import ensure_testable

HOST = "127.0.0.1"
_LOOK_AGAIN_S = 0.1
_UNSAID = ("duration", "seed")  # load settings that follow from others, or are drawn for each test


def run_load_web(settings: Settings, out: Path | None, port: int) -> int:
    """Serve the page, and say where it is. Returns Locust's exit code; a test that was broken off makes it 130.

    Raises PreflightError when the target cannot be tested, SettingsError when the port is taken.
    """
    console = Console(highlight=False, soft_wrap=True)
    ensure_testable(settings)
    _ensure_free(port)
    folder = out or output_dir.default_folder()
    children = ChildProcesses()
    with _settings_file(settings) as file, children.signals():
        command = page_command(settings.load, out=folder, host=settings.target.base_url, port=port)
        page = children.start(command, load_environment(file, clean_environment()))
        if _is_up(page, port):
            console.print(f"page:   http://{HOST}:{port} (Ctrl-C ends it)")
            console.print(f"charts: http://{HOST}:{port}/harness/charts")
        code = children.wait(page)
    for results in sorted(folder.glob("results*.sqlite")):
        console.print(f"results: {results} (harness report {results} makes its report)")
    return code


@contextmanager
def _settings_file(settings: Settings) -> Iterator[Path]:
    """The settings in a file that only this user can read, with what nobody said left open for the form."""
    with tempfile.TemporaryDirectory(prefix="harness-") as folder:
        path = Path(folder) / "harness.toml"
        settings.write_private(path)
        plain = tomllib.loads(path.read_text(encoding="utf-8"))
        for name in set(_UNSAID) - settings.load.model_fields_set:
            plain["load"].pop(name, None)
        path.write_text(tomlkit.dumps(plain), encoding="utf-8")
        yield path


def _ensure_free(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as problem:
            raise SettingsError(
                f"the page cannot listen on port {port}: {problem.strerror}; give another with --web-port"
            ) from None


def _is_up(page: subprocess.Popen[bytes], port: int) -> bool:
    """Wait until it answers; False when it ended before."""
    while page.poll() is None:
        with suppress(OSError), socket.create_connection((HOST, port), timeout=1):
            return True
        time.sleep(_LOOK_AGAIN_S)
    return False
