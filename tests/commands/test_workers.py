"""Loads from remote workers: what cannot work is refused before anything is sent."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from harness.commands.load_process import describe_load, refuse_impossible_load
from harness.config.settings import Settings
from harness.config.sources import settings_alone
from harness.errors import SettingsError
from harness.load.locust.command import RemoteWorkers
from harness.results.reader import Results
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
def test_a_worker_of_another_target_sends_nothing_and_the_gate_does_not_pass(tmp_path: Path) -> None:
    port = f"--master-port={free_port()}"
    load = ("load", "--workers=2", port, "--rate=10", "--duration=2s", "--journey=fresh=1", "--out=out")
    with embedded_server() as base_url, embedded_server() as other, ThreadPoolExecutor() as threads:
        demo_settings(tmp_path, base_url)
        master = threads.submit(harness, *load, folder=tmp_path)
        same = threads.submit(harness, "worker", port, folder=tmp_path)
        away = threads.submit(harness, "worker", port, f"--target={other}", folder=tmp_path)
        done, good, bad = master.result(), same.result(), away.result()
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Gate: inconclusive" in done.stdout
    assert good.returncode == 0, good.stderr
    assert bad.returncode == 2, bad.stderr
    assert f"the settings of this worker name {other}" in bad.stdout + bad.stderr
    with Results(tmp_path / "out" / "results.sqlite") as results:
        assert len(results.manifest["workers_lost"]) == 1
        assert results.ledger()["done"] == 10


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


def test_more_workers_than_anyone_starts_are_refused() -> None:
    with pytest.raises(SettingsError, match="no test has more than 100,000"):
        refuse_impossible_load(settings(), RemoteWorkers(10**400))
