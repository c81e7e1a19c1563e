"""Command lines that run Locust in a subprocess, so that its monkey patching does not affect the caller."""

from __future__ import annotations

import math
import os
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from harness.config.load_settings import LoadSettings
from harness.config.settings import CONFIG_VARIABLE, BudgetSettings

DEFAULT_USERS = 10
STOP_TIMEOUT_S = 5
"""How long streams may continue at the end of the test. After that they count as in flight."""

_STREAMS_PER_JOURNEY = 6
"""More than any journey has in sequence, so that the budgets end a journey before Locust does."""

_STARTUP_S = 30
"""More than workers need until the first arrival of an open loop."""

_LOCUST = (sys.executable, "-m", "harness.load.locust.main", "-f")
_RUN_BUDGET_S: float = BudgetSettings().run
_LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class RemoteWorkers:
    """Workers that `harness worker` starts, on other machines too: the load begins when `count` have connected.

    host, port: where the master listens for them; "*" is every address. wait_s: the load is given up after that time.
    """

    count: int
    host: str = "*"
    port: int = 5557
    wait_s: float = 300.0


def locustfile() -> Path:
    """The shipped locustfile, in a checkout or an installation. Raises FileNotFoundError."""
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
    remote: RemoteWorkers | None = None,
    file: Path | None = None,
    restarts: Path | None = None,
) -> list[str]:
    """The command that runs `plan` without a web page.

    remote: the workers of the load, if they are not processes of this command. file: the locustfile; None is the
    shipped one.
    live: file for the live snapshot (harness.load.stats.live). restarts: the file by which the suite tells that it
    restarts the server. The other settings come from the environment that
    `load_environment` builds. Exit codes: 0 every stream ended as expected, 1 some failed, 2 wrong settings or
    results that cannot be written, 130 interrupted.

    Locust ends a closed loop. Its run time is in whole seconds, so the duration is rounded up. An open loop ends
    itself when its last stream has ended; run_budget_s, the run budget, sets when Locust ends one that hangs.
    """
    run_time_s = plan.duration
    users, spawn_rate = plan.users or DEFAULT_USERS, plan.spawn_rate
    if plan.is_open:
        users, spawn_rate = _worker_count(plan, remote), None  # one pacer per process
        run_time_s += _STARTUP_S + _STREAMS_PER_JOURNEY * run_budget_s
    command = [*_LOCUST, str(file or locustfile()), "--headless", "--only-summary"]
    command += _users(users, spawn_rate)
    command += ["--run-time", f"{math.ceil(run_time_s)}s", *_processes(plan, remote)]
    if remote is not None:
        command += ["--expect-workers", str(remote.count)]
        command += ["--expect-workers-max-wait", str(math.ceil(remote.wait_s))]
    if host is not None:
        command += ["--host", host]
    if out is not None:
        command += ["--harness-out", str(out)]
    if live is not None:
        command += ["--harness-live", str(live)]
    if restarts is not None:
        command += ["--harness-restarts", str(restarts)]
    return command


def page_command(
    plan: LoadSettings,
    *,
    out: Path,
    host: str | None,
    address: str,
    port: int,
    login: bool,
    remote: RemoteWorkers | None = None,
    file: Path | None = None,
) -> list[str]:
    """The command that serves Locust's page on a port of an address, with `plan` in its form.

    login: whether the page asks for a password, which is in the command's environment. remote, file: as of
    `load_command`; the page does not wait for the workers.
    Exit codes: 0, 1 if streams of the last test failed, 2 wrong settings, 130 if the last test was interrupted.
    """
    users = _worker_count(plan, remote) if plan.is_open else plan.users or DEFAULT_USERS
    command = [*_LOCUST, str(file or locustfile()), "--web-host", address, "--web-port", str(port)]
    command += ["--web-login"] if login else []
    command += [*_users(users, plan.spawn_rate), *_processes(plan, remote), "--harness-out", str(out)]
    return command if host is None else [*command, "--host", host]


def worker_command(master: str, port: int, file: Path | None = None) -> list[str]:
    """The command that runs one worker of a master. file: the locustfile, the same as the master's.

    Exit codes: 0 when the master has ended it, 1 if it found no master, 2 wrong settings. The master has the verdict on
    its streams.
    """
    command = [*_LOCUST, str(file or locustfile()), "--worker", "--exit-code-on-error", "0"]
    return [*command, "--master-host", master, "--master-port", str(port)]


def _worker_count(plan: LoadSettings, remote: RemoteWorkers | None) -> int:
    return plan.processes if remote is None else remote.count


def _users(users: int, spawn_rate: float | None) -> list[str]:
    return ["--users", str(users), "--spawn-rate", f"{spawn_rate or users:g}"]


def _processes(plan: LoadSettings, remote: RemoteWorkers | None) -> list[str]:
    command = ["--stop-timeout", str(STOP_TIMEOUT_S)]
    if remote is not None:
        command += ["--master", "--master-bind-host", remote.host, "--master-bind-port", str(remote.port)]
    elif plan.processes > 1:
        port = str(_free_port())
        command += ["--processes", str(plan.processes), "--master-bind-host", _LOOPBACK]
        command += ["--master-bind-port", port, "--master-host", _LOOPBACK, "--master-port", port]
    return command


def load_environment(settings_file: Path, base: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment for these commands. settings_file: read by each of their processes."""
    return {**(os.environ if base is None else base), CONFIG_VARIABLE: str(settings_file.absolute())}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((_LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port
