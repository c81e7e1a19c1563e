"""Loads from remote workers: what cannot work is refused before anything is sent."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.commands.load_process import describe_load, refuse_impossible_load
from harness.config.settings import Settings
from harness.config.sources import settings_alone
from harness.errors import SettingsError
from harness.load.locust.command import RemoteWorkers
from tests.forked import embedded_server
from tests.integration.commands import assert_one_sentence, demo_settings, harness
from tests.ports import free_port

TWO = RemoteWorkers(2)


def settings(**tables: dict[str, object]) -> Settings:
    return settings_alone(tables, "the test")


@pytest.mark.parametrize(
    ("tables", "words"),
    [
        ({"load": {"processes": 2}}, "--processes"),
        ({"gate": {"rerun_inconclusive": 1}}, "--rerun-inconclusive"),
        ({"load": {"rate": 1e9}}, "arrivals per second are far more than 2 processes can send"),
    ],
)
def test_what_cannot_work_is_refused(tables: dict[str, dict[str, object]], words: str) -> None:
    with pytest.raises(SettingsError) as problem:
        refuse_impossible_load(settings(**tables), TWO)
    assert words in str(problem.value)


def test_the_limits_of_this_machine_do_not_bound_other_machines() -> None:
    refuse_impossible_load(settings(load={"rate": 1000.0}), RemoteWorkers(1000))


def test_the_load_is_described_with_its_workers() -> None:
    assert describe_load(settings(load={"rate": 5.0, "duration": 60}), TWO) == (
        "5 runs/s for 60 s in 2 workers, which connect to port 5557"
    )


@pytest.mark.parametrize("verb", [("load", "--workers", "1", "--target", "http://127.0.0.1:9"), ("worker",)])
def test_a_locustfile_that_is_missing_is_one_sentence(tmp_path: Path, verb: tuple[str, ...]) -> None:
    done = harness(*verb, "--locustfile", "missing.py", folder=tmp_path)
    assert_one_sentence(done, "cannot read the locustfile", "missing.py")


@pytest.mark.slow
def test_workers_that_do_not_come_are_exit_code_2(tmp_path: Path) -> None:
    with embedded_server() as base_url:
        demo_settings(tmp_path, base_url)
        port = str(free_port())
        done = harness(
            "load", "--workers", "1", "--workers-wait", "1s", "--master-port", port, folder=tmp_path
        )
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Gave up waiting for workers" in done.stdout + done.stderr
