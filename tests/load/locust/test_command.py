from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from harness.commands.processes import clean_environment
from harness.config.load_settings import LoadSettings
from harness.load.locust.command import (
    RemoteWorkers,
    load_command,
    load_environment,
    locustfile,
    page_command,
    worker_command,
)
from tests.forked import run_module


def option(command: list[str], name: str) -> str:
    return command[command.index(name) + 1]


def test_the_locustfile_is_the_shipped_one() -> None:
    assert locustfile().name == "agent_runs.py"
    assert locustfile().is_file()


def test_a_closed_loop() -> None:
    command = load_command(LoadSettings(users=30, duration=12.2), out=Path("o"), host="http://h")
    assert command[:3] == [sys.executable, "-m", "harness.load.locust.main"]
    assert option(command, "-f") == str(locustfile())
    assert "--headless" in command
    assert option(command, "--users") == option(command, "--spawn-rate") == "30"
    assert option(command, "--run-time") == "13s"
    assert option(command, "--stop-timeout") == "5"
    assert option(command, "--host") == "http://h"
    assert option(command, "--harness-out") == "o"
    assert "--processes" not in command


FILES = {
    "locust.conf": "host = http://of-the-file\n",
    "pyproject.toml": '[tool.locust]\ntags = ["of-the-file"]\n',
    "home/.locust.conf": "host = http://of-the-home\n",
}


@pytest.mark.parametrize("name", FILES)
def test_no_settings_file_of_locust_is_read(tmp_path: Path, name: str) -> None:
    """Plain Locust shows the file's settings, or does not start because of them."""
    (tmp_path / "home").mkdir()
    (tmp_path / name).write_text(FILES[name], encoding="utf-8")
    (tmp_path / "show.py").write_text(SHOW, encoding="utf-8")
    command = load_command(LoadSettings(users=1, duration=1))
    command[command.index("-f") + 1] = "show.py"
    environment = {**clean_environment(), "HOME": str(tmp_path / "home")}
    output = {}
    for module in ("locust", "harness.load.locust.main"):
        command[2] = module
        done = run_module(command[2:], folder=tmp_path, environment=environment, timeout_s=60)
        output[module] = f"{done.returncode} {done.stdout}"
    assert output["harness.load.locust.main"] == "7 host None tags None users 1\n"
    assert output["locust"] != output["harness.load.locust.main"]


SHOW = """
import sys
from locust import User, events


class NoUser(User):
    pass


@events.init.add_listener
def show(environment, **_):
    options = environment.parsed_options
    print("host", options.host, "tags", options.tags, "users", options.num_users, flush=True)
    sys.exit(7)
"""


def test_defaults() -> None:
    command = load_command(LoadSettings())
    assert option(command, "--users") == option(command, "--spawn-rate") == "10"
    assert option(command, "--run-time") == "20s"
    assert "--harness-out" not in command
    assert "--host" not in command


def test_a_slow_ramp() -> None:
    assert option(load_command(LoadSettings(users=10, spawn_rate=0.5)), "--spawn-rate") == "0.5"


@pytest.mark.parametrize("shape", [{"rate": 100}, {"ramp": "1:100:20s"}, {"steps": "5:20s"}])
def test_an_open_loop_has_one_user_per_process(shape: dict[str, Any]) -> None:
    command = load_command(LoadSettings(**shape, processes=3, spawn_rate=1))
    assert (
        option(command, "--users") == option(command, "--spawn-rate") == option(command, "--processes") == "3"
    )


@pytest.mark.parametrize("run_budget_s", [5, 120])
def test_an_open_loop_ends_itself_before_locust_does(run_budget_s: float) -> None:
    command = load_command(LoadSettings(rate=100, duration=12.2), run_budget_s=run_budget_s)
    longest_journey_s = 4 * run_budget_s  # a run cut three times
    run_time_s = int(option(command, "--run-time").removesuffix("s"))
    assert 12.2 + longest_journey_s + 10 < run_time_s < 12.2 + 10 * run_budget_s + 60


def test_a_closed_loop_has_the_planned_duration() -> None:
    assert option(load_command(LoadSettings(users=1, duration=9), run_budget_s=500), "--run-time") == "9s"


def test_processes_stay_on_this_machine() -> None:
    command = load_command(LoadSettings(processes=2))
    assert option(command, "--master-bind-host") == option(command, "--master-host") == "127.0.0.1"
    assert option(command, "--master-bind-port") == option(command, "--master-port")


def test_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    environment = load_environment(Path("s.toml"), {"A": "b", "HARNESS_CONFIG": "old"})
    assert environment == {"A": "b", "HARNESS_CONFIG": str(tmp_path / "s.toml")}


def test_workers_of_other_machines() -> None:
    remote = RemoteWorkers(3, "10.0.0.1", 6000, wait_s=90.5)
    command = load_command(LoadSettings(rate=100), remote=remote, file=Path("mine.py"))
    assert "--master" in command
    assert "--processes" not in command
    assert option(command, "-f") == "mine.py"
    assert option(command, "--expect-workers") == option(command, "--users") == "3"
    assert option(command, "--expect-workers-max-wait") == "91"
    assert option(command, "--master-bind-host") == "10.0.0.1"
    assert option(command, "--master-bind-port") == "6000"
    page = page_command(
        LoadSettings(rate=100), out=Path("o"), host=None, address="::1", port=1, login=True, remote=remote
    )
    assert "--expect-workers" not in page  # tests are started by hand, when the workers are there
    assert option(page, "--users") == "3"
    worker = worker_command("10.0.0.1", 6000, Path("mine.py"))
    assert "--worker" in worker
    assert option(worker, "-f") == "mine.py"
    assert (option(worker, "--master-host"), option(worker, "--master-port")) == ("10.0.0.1", "6000")
    assert option(worker, "--exit-code-on-error") == "0"  # the master has the verdict
