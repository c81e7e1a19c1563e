"""Headless Locust as a command line, for a subprocess: its monkey patching must not reach the caller."""

from __future__ import annotations

import math
import os
import socket
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

from harness.config.load_settings import LoadSettings
from harness.config.settings import CONFIG_VARIABLE, BudgetSettings

DEFAULT_USERS = 10
STOP_TIMEOUT_S = 5
"""How long streams may go on when the test is over; after that they count as in flight."""

_STREAMS_A_JOURNEY = 6
"""More than a journey has one after the other, so that its budgets end it before Locust does."""

_STARTING_S = 30
"""More than workers take to be ready for an open loop's first arrival."""

_LOCUST = (sys.executable, "-m", "harness.load.locust.main", "-f")
_RUN_BUDGET_S: float = BudgetSettings().run
_LOOPBACK = "127.0.0.1"


def locustfile() -> Path:
    """The shipped locustfile, in a checkout as in an installation."""
    spec = find_spec("harness.locustfiles.agent_runs")
    if spec is None or spec.origin is None:
        raise FileNotFoundError("harness.locustfiles is not installed")
    return Path(spec.origin)


def load_command(
    plan: LoadSettings,
    *,
    out: Path | None = None,
    host: str | None = None,
    run_budget_s: float = _RUN_BUDGET_S,
    live: Path | None = None,
) -> list[str]:
    """The command that runs `plan` without a web page. live: a file to keep up to date (harness.load.stats.live).

    It takes the other settings from the environment that `load_environment` makes. Exit codes: 0 every
    stream went as it should, 1 some failed, 2 wrong settings or results that could not be written,
    130 interrupted.

    A closed loop is ended by Locust, which counts its run time in whole seconds, so the duration is rounded
    up. An open loop ends itself, when its last stream has ended; run_budget_s, what the budgets allow a run,
    says when Locust is to end one that does not.
    """
    run_time_s = plan.duration
    users, spawn_rate = plan.users or DEFAULT_USERS, plan.spawn_rate
    if plan.is_open:
        users, spawn_rate = plan.processes, None  # a pump each
        run_time_s += _STARTING_S + _STREAMS_A_JOURNEY * run_budget_s
    command = [*_LOCUST, str(locustfile()), "--headless", "--only-summary"]
    command += _users(users, spawn_rate)
    command += ["--run-time", f"{math.ceil(run_time_s)}s", *_processes(plan)]
    if host is not None:
        command += ["--host", host]
    if out is not None:
        command += ["--harness-out", str(out)]
    if live is not None:
        command += ["--harness-live", str(live)]
    return command


def page_command(plan: LoadSettings, *, out: Path, host: str | None, port: int) -> list[str]:
    """The command that serves Locust's page on that port of this machine, its form filled in with `plan`.

    Exit codes: 0, 1 when streams of the last test failed, 2 wrong settings, 130 when it was broken off.
    """
    users = plan.processes if plan.is_open else plan.users or DEFAULT_USERS
    command = [*_LOCUST, str(locustfile()), "--web-host", _LOOPBACK, "--web-port", str(port)]
    command += [*_users(users, plan.spawn_rate), *_processes(plan), "--harness-out", str(out)]
    return command if host is None else [*command, "--host", host]


def _users(users: int, spawn_rate: float | None) -> list[str]:
    return ["--users", str(users), "--spawn-rate", f"{spawn_rate or users:g}"]


def _processes(plan: LoadSettings) -> list[str]:
    command = ["--stop-timeout", str(STOP_TIMEOUT_S)]
    if plan.processes > 1:
        port = str(_free_port())
        command += ["--processes", str(plan.processes), "--master-bind-host", _LOOPBACK]
        command += ["--master-bind-port", port, "--master-host", _LOOPBACK, "--master-port", port]
    return command


def load_environment(settings_file: Path, base: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment for that command. settings_file: what every one of its processes reads."""
    return {**(os.environ if base is None else base), CONFIG_VARIABLE: str(settings_file.absolute())}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((_LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port
