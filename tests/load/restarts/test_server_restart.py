"""The restart of the server in the process that writes the results."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from harness.config.load_settings import LoadSettings
from harness.config.settings import Settings
from harness.load.restarts.moment import PlannedRestart, RestartBySuite
from harness.load.restarts.server_restart import ServerRestart, moment_of
from harness.load.stats.stats_batch import StatsBatch
from harness.results.records import StreamRecord
from harness.run_clock import RUN_CLOCK
from harness.shell_command import CommandError


def settings(command: str | None = "restart it", restart_at: float | None = 0.001) -> Settings:
    target: dict[str, Any] = {"base_url": "http://localhost", "token": "t", "organization_id": "o"}
    if command is not None:
        target |= {"own": True, "restart_command": command}
    load = {"duration": 30, **({} if restart_at is None else {"restart_at": restart_at})}
    return Settings.model_validate({"target": target, "load": load})


def restart_of(given: Settings, run: Any = None, **how: Any) -> ServerRestart:
    def forbidden(*_: Any) -> None:
        raise AssertionError("no command may run")

    restart = ServerRestart(given, run=run or forbidden, **how)
    restart.started(RUN_CLOCK.wall_ns() - 1_000_000_000)
    if given.load.restart_at is not None and given.load.restart_at < 1 and restart._greenlet is not None:
        restart._greenlet.join(60)
    return restart


def lost_and_good(restart: ServerRestart) -> StatsBatch:
    now_ns = RUN_CLOCK.wall_ns()
    good = StreamRecord(
        journey="fresh",
        step="run",
        worker="w",
        intended_ns=now_ns + 2,
        sent_ns=now_ns + 2,
        outcome="done",
        duration_ms=250.0,
    )
    return StatsBatch(lost_at=Counter({now_ns + 1: 1}), restart=Counter(interrupted=1, ended=1), rows=[good])


def test_the_command_runs_at_its_time_and_the_cost_is_measured() -> None:
    ran: list[tuple[str, float]] = []
    restart = restart_of(settings(), lambda *how: ran.append(how))
    assert ran == [("restart it", 60.0)]
    restart.add(lost_and_good(restart))
    restart.stop()
    batch = restart.measured()
    ((metric, journey, second),) = batch.histograms
    document = restart.document()["restart"]
    assert (metric, journey, second) == ("recovery_ms", "restart", document["at_ns"] // 1_000_000_000)
    assert (document["how"], document["problem"], document["interrupted"]) == ("command", None, 1)
    assert batch.histograms["recovery_ms", "restart", second].count == 1


def test_a_command_that_fails_measures_nothing_and_says_why() -> None:
    def fails(*_: Any) -> None:
        raise CommandError("ended with code 1")

    restart = restart_of(settings(), fails)
    cost = restart.cost
    assert cost is not None
    assert cost.sentences() == ["the server was not restarted: target.restart_command ended with code 1"]
    assert not restart.measured().histograms


def test_what_the_command_prints_is_recorded_without_the_token(caplog: pytest.LogCaptureFixture) -> None:
    given = settings("echo token-4b1c9 is wrong; exit 1")
    target = {**given.target.model_dump(), "token": "token-4b1c9"}
    restart = ServerRestart(Settings.model_validate({**given.model_dump(), "target": target}))
    restart.started(RUN_CLOCK.wall_ns() - 1_000_000_000)
    assert restart._greenlet is not None
    restart._greenlet.join(60)
    problem = restart.document()["restart"]["problem"]
    assert problem == "ended with code 1: '*********** is wrong'"
    assert "token-4b1c9" not in caplog.text


def test_without_a_command_it_is_by_hand() -> None:
    restart = restart_of(settings(command=None))
    restart.add(lost_and_good(restart))
    assert restart.document()["restart"]["how"] == "hand"
    assert restart.measured().histograms


def test_without_a_restart_there_is_nothing() -> None:
    restart = restart_of(settings(restart_at=None))
    restart.add(lost_and_good(restart))
    restart.stop()
    assert (restart.cost, restart.document(), bool(restart.measured())) == (None, {}, False)


def test_a_restart_that_has_not_come_when_the_load_ends_is_none() -> None:
    restart = restart_of(settings(restart_at=20))
    restart.stop()
    assert restart.document() == {}


def test_the_suite_tells_by_a_file_that_it_restarts_the_server(tmp_path: Path) -> None:
    file = tmp_path / "restart"
    restart = restart_of(settings(restart_at=None), by_suite=file)
    assert restart.cost is None
    began_ns = time.monotonic_ns()
    file.write_text(str(began_ns))
    restart.add(lost_and_good(restart))
    assert restart.document()["restart"]["how"] == "suite"
    assert restart.document()["restart"]["at_ns"] == RUN_CLOCK.wall_ns(began_ns)
    assert restart.measured().histograms


def test_every_process_knows_the_moment_from_the_plan(tmp_path: Path) -> None:
    load = LoadSettings.model_validate({"duration": 30, "restart_at": "20s"})
    planned = moment_of(LoadSettings.from_message(load.to_message()), None, 5_000_000_000)
    assert isinstance(planned, PlannedRestart)
    assert planned.at_wall_ns == 25_000_000_000
    assert planned.begun_ns() == planned.at_wall_ns
    assert PlannedRestart(RUN_CLOCK.wall_ns() + 10**12).begun_ns() is None
    assert isinstance(moment_of(load, tmp_path / "file", 0), RestartBySuite)
    assert moment_of(LoadSettings(), None, 0) is None


@pytest.mark.parametrize("load", [{"restart_at": 40}, {"restart_at": 2, "warmup": 5}])
def test_the_restart_comes_after_the_warmup_and_before_the_end(load: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=r"restart_at, \d+ s, is not between the warmup"):
        LoadSettings.model_validate({"duration": 30, **load})
