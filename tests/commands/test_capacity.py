"""`harness capacity` against a server with a known capacity."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import tomlkit
from click.testing import CliRunner

from harness.capacity.record import Record
from harness.cli import main
from harness.commands import capacity
from harness.commands.capacity import MAX_IN_FLIGHT_PER_PROCESS, step_settings
from harness.commands.load_process import FinishedLoad
from harness.commands.output_dir import begin
from harness.config.settings import Settings
from harness.exit_codes import NOT_TESTED
from harness.gate.objective import Objective
from harness.results.reader import Results
from tests.capacity.slot_server import slot_server
from tests.forked_process import start
from tests.integration.commands import environment, harness
from tests.load.run_server import config, run_server

#: Other programs on this machine may delay the harness. That ends a search, rightly, but this tests the search.
NEVER_SATURATED = {
    "harness.results.saturation.LEAST_LATE_MS": 1e6,
    "harness.results.saturation.USERS_WAIT": 1.0,
}
QUICK = ["--step-duration", "2s", "--warmup", "1s", "--repeats", "2"]


def configured(folder: Path, base_url: str, **load: Any) -> Path:
    file = folder / "harness.toml"
    file.write_text(tomlkit.dumps(config(base_url, journeys={"fresh": 1}, **load)))
    return file


def read(folder: Path) -> Record:
    return Record.of(json.loads((folder / "capacity.json").read_text()))


@pytest.mark.slow
def test_it_finds_a_known_capacity(tmp_path: Path) -> None:
    """Above its capacity c the queue of the server grows, by 1 - c/rate seconds per second.

    So the p95 of TTFT passes 600 ms within a step of 3 s at 1.26 c, and a delay by other programs does not.
    """
    with slot_server(5, tokens=4, gap_s=0.025) as server:
        assert server.capacity == 50
        configured(tmp_path, server.base_url, users=7)  # ignored by a search
        options = ["--objective", "ttft_p95_ms < 600", "--from", "20", "--to", "160", "--precision", "50%"]
        done = harness("capacity", *options, *QUICK, "--out", "out", folder=tmp_path, patches=NEVER_SATURATED)
        capacity = server.measured_capacity
    assert done.returncode == 0, done.stdout + done.stderr
    found = read(tmp_path / "out")
    assert (found.state, found.objectives["ttft_p95_ms"], found.objectives["error_rate"]) == (
        "finished",
        600,
        0.001,
    )
    assert found.answer is not None
    assert found.answer.outcome == "found"
    assert found.answer.low is not None
    assert found.answer.high is not None
    assert found.answer.low <= 1.26 * 50 * 1.15
    assert found.answer.high >= 1.26 * capacity / 1.15
    assert found.answer.high <= 1.5 * found.answer.low
    assert "The limit is " in done.stdout
    for step in found.steps:
        with Results(tmp_path / "out" / step.folder / "results.sqlite") as results:
            assert results.ledger().adds_up
            assert results.ledger().scheduled == step.streams == round(step.rate * 3)
            assert results.manifest["warmup_s"] == 1
            assert results.manifest["settings"]["load"]["rate"] == step.rate
        assert (tmp_path / "out" / step.folder / "summary.json").is_file()
    over = [step for step in found.steps if step.rate > 75]
    assert over
    assert all(step.completed_per_s == pytest.approx(capacity, rel=0.3) for step in over)
    with Results(tmp_path / "out" / "results.sqlite") as results:
        assert Record.of(results.manifest["capacity"]) == found
    assert "arrivals per second" in (tmp_path / "out" / "report.html").read_text()


@pytest.mark.slow
def test_a_limit_of_the_harness_is_not_reported_as_the_server_s(tmp_path: Path) -> None:
    with slot_server(50, tokens=4, gap_s=0.05) as server:
        configured(tmp_path, server.base_url)
        options = ["--objective", "ttft_p95_ms < 200", "--from", "20", "--to", "40", "--max-in-flight", "1"]
        done = harness("capacity", *options, *QUICK, "--out", "out", folder=tmp_path)
    assert done.returncode == 1, done.stdout + done.stderr
    found = read(tmp_path / "out")
    assert [step.verdict for step in found.steps] == ["saturated", "saturated"]
    assert found.answer is not None
    assert (found.answer.outcome, found.answer.low) == ("harness", None)
    assert "The server's limit was not reached: the harness was saturated even at 20/s." in done.stdout


@pytest.mark.slow
def test_an_interrupted_search_keeps_its_result(tmp_path: Path) -> None:
    with slot_server(50, tokens=4, gap_s=0.01) as server:
        configured(tmp_path, server.base_url)
        command = [sys.executable, "-m", "harness", "capacity", "--from", "5", *QUICK, "--out", "out"]
        with (tmp_path / "printed").open("w+") as printed:
            process = start(command, environment=environment(), folder=tmp_path, output=printed.fileno())
            file = tmp_path / "out" / "capacity.json"
            deadline = time.monotonic() + 60
            while not (file.exists() and read(file.parent).steps):
                assert time.monotonic() < deadline, "no step was ever recorded"
                assert process.poll() is None
                time.sleep(0.2)
            os.kill(process.pid, signal.SIGINT)
            code = process.wait(timeout=100)
            printed.seek(0)  # the process wrote to the same open file
            message = printed.read()
    assert code == 130, message
    found = read(tmp_path / "out")
    assert found.state == "interrupted"
    assert found.answer is not None
    passed = found.steps[0].verdict == "passed"  # on a busy machine the objectives may be missed
    limits = (5, None) if passed else (None, 5)
    assert (found.answer.outcome, found.answer.low, found.answer.high) == ("interrupted", *limits)
    assert all((step.verdict, step.why) == ("invalid", "interrupted") for step in found.steps[1:])
    sentence = "All objectives were met" if passed else "Not all objectives were met"
    assert f"Interrupted.\n{sentence} in 1 of 1 run at 5/s" in message
    assert (tmp_path / "out" / "report.html").exists()


@pytest.mark.parametrize(
    ("exit_code", "problem", "why", "runs"),
    [
        (-9, "", "the load was killed by signal 9", 2),
        (NOT_TESTED, "", "the load could not run", 1),
        (NOT_TESTED, "no port is free", "the load could not run: no port is free", 1),
        (0, "the disk is full", "the load could not run: the disk is full", 2),
    ],
)
def test_a_step_without_a_whole_load_is_invalid(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, exit_code: int, problem: str, why: str, runs: int
) -> None:
    def run_load_process(
        title: str, settings: Settings, folder: Path, children: object, output: object
    ) -> FinishedLoad:
        return FinishedLoad(begin(folder, settings), exit_code, problem)

    monkeypatch.setattr(capacity, "run_load_process", run_load_process)
    monkeypatch.setattr(capacity, "ensure_testable", lambda _: None)
    monkeypatch.setattr(capacity, "IdleWait", lambda *_: Mock())
    configured(tmp_path, "http://127.0.0.1:1")
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(main, ["capacity", "--from", "5", "--repeats", "2", "--out", "out"])
    steps = read(tmp_path / "out").steps
    assert [(step.verdict, step.why) for step in steps] == [("invalid", why)] * runs, done.output
    assert done.exit_code == 1


@pytest.mark.slow
def test_a_condition_stops_the_search(tmp_path: Path) -> None:
    with run_server(fault=lambda _: "truncate") as server:
        configured(tmp_path, server.base_url, abort_on=["violations > 3"])
        options = ["--objective", "ttft_p95_ms < 600", "--from", "20", "--to", "160"]
        done = harness("capacity", *options, *QUICK, "--out", "out", folder=tmp_path)
    assert done.returncode == 3, done.stdout + done.stderr
    found = read(tmp_path / "out")
    assert found.answer is not None
    assert (found.answer.outcome, len(found.steps)) == ("stopped", 1)
    assert "the load was aborted by the condition 'violations > 3 for 10s'" in done.stdout


@pytest.mark.slow
def test_the_time_budget_ends_it(tmp_path: Path) -> None:
    with slot_server(50, tokens=4, gap_s=0.01) as server:
        configured(tmp_path, server.base_url)
        done = harness("capacity", *QUICK, "--time-budget", "3s", "--out", "out", folder=tmp_path)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "No limit found yet: another step would not end within the time budget." in done.stdout
    assert read(tmp_path / "out").steps == []


def settings(**load: Any) -> Settings:
    return Settings.model_validate({**config("http://h"), "load": {"rate": 1, "duration": 86_400, **load}})


def test_a_step_lasts_its_duration_after_the_warm_up() -> None:
    load = step_settings(settings(), [], 15.0).load
    assert (load.warmup, load.duration, load.max_in_flight) == (3.0, 18.0, MAX_IN_FLIGHT_PER_PROCESS)
    load = step_settings(settings(warmup=0, processes=2), [], 15.0).load
    assert (load.warmup, load.duration, load.max_in_flight) == (0.0, 15.0, 2 * MAX_IN_FLIGHT_PER_PROCESS)
    assert step_settings(settings(max_in_flight=7), [], 15.0).load.max_in_flight == 7


def test_command_line_objectives_come_first_and_errors_always_count() -> None:
    given = [Objective("ttft_p95_ms", 800.0), Objective("violations", 5.0)]
    assert list(step_settings(settings(), given, 15.0).objectives.items()) == [
        ("ttft_p95_ms", 800.0),
        ("violations", 5.0),
        ("error_rate", 0.001),
    ]
    own = settings().model_copy(update={"objectives": {"ttft_p95_ms": 100.0}})
    assert step_settings(own, [], 15.0).objectives == {"ttft_p95_ms": 100.0, "error_rate": 0.001}
    lax = [Objective("error_rate", 0.5)]
    assert step_settings(own, lax, 15.0).objectives == {"ttft_p95_ms": 100.0, "error_rate": 0.5}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--objective", "ttft_95 < 3"], "has the unknown name 'ttft_95'; did you mean"),
        (["--objective", "ttft_p95_ms > 800"], "ttft_p95_ms has an upper limit; write ttft_p95_ms <= 800"),
        (["--from", "9", "--to", "9"], "--to 9 must be above --from 9"),
        (["--step-duration", "1s"], "--step-duration 1s is too short to measure a rate; use 2s or more"),
        (["--precision", "0.1%"], "'0.1%' is not a share from 1% to 100%; write for example 10%"),
        (["--precision", "narrow"], "'narrow' is not a share"),
        (["--repeats", "1"], "Invalid value for '--repeats'"),
        (["--users", "3"], "No such option '--users'"),
        ([], "no target is set"),
    ],
)
def test_misuse_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.upper().startswith("HARNESS_")]:
        monkeypatch.delenv(name)
    result = CliRunner().invoke(main, ["capacity", *options])
    assert result.exit_code == 2, result.output
    assert message in " ".join(result.output.split())
    assert list(tmp_path.iterdir()) == []
