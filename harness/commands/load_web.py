"""Serves Locust's web page for the configured target until Ctrl-C; tests are started from the page."""

from __future__ import annotations

import os
import socket
import subprocess
import time
import tomllib
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import tomlkit

from harness.commands import output_dir
from harness.commands.listening import ensure_free
from harness.commands.load_process import refuse_impossible_load
from harness.commands.processes import ChildProcesses, clean_environment, private_settings
from harness.config.settings import PASSWORD_VARIABLE, Settings
from harness.errors import SettingsError
from harness.formatting import shown_path
from harness.input_file import SETTINGS_BYTES, ensure_readable
from harness.load.locust.command import RemoteWorkers, load_environment, page_command
from harness.load.web.login import checked_password, new_password
from harness.load.web.origin import LOOPBACK, is_loopback
from harness.suite.preflight import ensure_testable
from harness.terminal.safe_console import SafeConsole

_EVERY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - and an address that reaches it
_POLL_S = 0.1
_DERIVED = ("duration", "seed")  # load settings that are computed for each test, unless the user sets them


@dataclass(frozen=True, slots=True)
class PageAddress:
    """Where the page listens. has_login: whether it asks for a password."""

    host: str = LOOPBACK
    port: int = 8089
    has_login: bool = False

    @property
    def reached_at(self) -> str:
        """An address of this machine that reaches the page."""
        return _EVERY_ADDRESS.get(self.host, self.host)

    @property
    def url(self) -> str:
        """The page's URL on this machine."""
        host = self.reached_at
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}"


def run_load_web(
    settings: Settings,
    out: Path | None,
    address: PageAddress,
    *,
    remote: RemoteWorkers | None = None,
    locustfile: Path | None = None,
) -> int:
    """Serve the page and print its URL. Returns Locust's exit code, 130 if a test was interrupted.

    remote, locustfile: as of `run_load`.
    The password is that of HARNESS_WEB_PASSWORD, or a random one, which is printed. Raises PreflightError if the
    target cannot be tested, SettingsError if the port is in use, if the load is impossible, or if other machines
    could use the page without a password.
    """
    console = SafeConsole(highlight=False, soft_wrap=True)
    if not address.has_login and not is_loopback(address.host):
        raise SettingsError(
            f"with --web-host {address.host} other machines could start tests and see the results; add --web-login, "
            "which asks for a password"
        )
    password = _password() if address.has_login else None
    refuse_impossible_load(settings, remote)
    if locustfile is not None:
        ensure_readable(locustfile, "the locustfile", SETTINGS_BYTES)
    ensure_testable(settings)
    ensure_free(address.host, address.port, what="the page", option="--web-port")
    folder = out or output_dir.default_folder()
    children = ChildProcesses()
    with private_settings(_page_settings(settings)) as file, children.signals():
        command = page_command(
            settings.load,
            out=folder,
            host=settings.target.base_url,
            address=address.host,
            port=address.port,
            login=address.has_login,
            remote=remote,
            file=locustfile,
        )
        environment = load_environment(file, clean_environment())
        if password is not None:
            environment[PASSWORD_VARIABLE] = password
        page = children.start(command, environment)
        if _wait_until_up(page, address):
            console.print(f"page:   {address.url} (Ctrl-C stops it)")
            console.print(f"charts: {address.url}/harness/charts")
            if password is not None:
                given = os.environ.get(PASSWORD_VARIABLE)
                console.print(f"login:  {f'the password in {PASSWORD_VARIABLE}' if given else password}")
        code = children.wait(page)
    for results in sorted(folder.glob("results*.sqlite")):
        console.print(f"results: {shown_path(results)} (for a report: harness report {shown_path(results)})")
    return code


def _password() -> str:
    """The login's password. Raises SettingsError if it is short."""
    given = os.environ.get(PASSWORD_VARIABLE)
    return checked_password(given) if given else new_password()


def _page_settings(settings: Settings) -> str:
    """The settings file without the derived load settings, which the page's form can set."""
    document = tomllib.loads(settings.private_text())
    for name in set(_DERIVED) - settings.load.model_fields_set:
        document["load"].pop(name, None)
    return tomlkit.dumps(document)


def _wait_until_up(page: subprocess.Popen[bytes], address: PageAddress) -> bool:
    """Wait until the page accepts connections; False if its process ended first."""
    while page.poll() is None:
        with suppress(OSError), socket.create_connection((address.reached_at, address.port), timeout=1):
            return True
        time.sleep(_POLL_S)
    return False
