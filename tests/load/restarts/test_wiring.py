"""The restart of a test reaches its results, and every process's streams are watched."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from gevent import sleep

from harness.commands.check import run_check
from harness.config.load_settings import LoadSettings
from harness.config.settings import Settings
from harness.contract.exchange import Ending
from harness.errors import SettingsError
from harness.load.locust.run_context import RunContext
from harness.load.schedule.plan import LoadPlan, WorkerShare
from harness.load.stats.collector import Collector
from harness.load.stats.run_recording import RunRecording
from harness.load.stats.stats_batch import StatsBatch
from harness.load.stats.stream_metrics import RUN
from harness.reference.settings import demo_config
from harness.results.reader import Results
from harness.results.records import StreamRecord
from harness.results.restart_cost import RestartCost
from harness.run_clock import RUN_CLOCK
from tests.contract.exchanges import run, token
from tests.load.restarts.test_server_restart import settings


def test_the_cost_and_the_time_to_the_first_good_run_are_in_the_results(tmp_path: Path) -> None:
    path = tmp_path / "results.sqlite"
    given = settings(command=f"touch {tmp_path}/restarted")
    shown: list[Any] = []
    recording = RunRecording(given, path, list, publish=shown.append)
    began_ns = RUN_CLOCK.wall_ns()
    recording.started(began_ns)
    until_s = time.monotonic() + 60
    while not (tmp_path / "restarted").exists():
        assert time.monotonic() < until_s
        sleep(0.01)
    sent_ns = began_ns + 2_000_000_000
    good = StreamRecord(
        journey="fresh",
        step="run",
        worker="w",
        intended_ns=sent_ns,
        sent_ns=sent_ns,
        outcome="done",
        duration_ms=500.0,
    )
    recording.add(
        StatsBatch(
            lost_at=Counter({began_ns + 1_000_000_000: 1}), restart=Counter(interrupted=1), rows=[good]
        ),
        "w",
    )
    recording.close("finished", [])
    with Results(path) as results:
        cost = RestartCost.in_manifest(results.manifest)
        measured = results.histogram("recovery_ms", "restart")
    assert cost is not None
    assert (cost.interrupted, cost.unread, cost.how, cost.problem) == (1, 1, "command", None)
    assert cost.first_good_ms == pytest.approx(2500, abs=2)
    assert measured.count == 1
    assert [document["restarted_s"] for document in (shown[0], shown[-1])] == [None, cost.at_ns / 1e9]
    assert (tmp_path / "summary.json").read_text().count('"interrupted": 1') == 1


def test_streams_that_a_restart_broke_are_in_no_rate() -> None:
    broken = run(token(0), ending=Ending.RESET, detail="the connection broke")

    def counts(excused: bool) -> tuple[Any, ...]:
        collector = Collector("w", excuses=lambda _: excused)
        stream = collector.schedule("fresh", RUN)
        collector.end(stream, broken)
        collector.finalize(stream, [])
        batch = collector.take()
        rates = {counter for *_, counter in batch.rate_counts}
        return stream.is_judged, rates, sum(batch.failures.values()), batch.rows[0].reason

    assert counts(excused=False) == (
        True,
        {"judged", "failed", "runs"},
        1,
        "truncated: the connection broke",
    )
    assert counts(excused=True) == (False, set(), 0, "at the restart: truncated: the connection broke")


def test_each_process_watches_the_restart_of_its_plan() -> None:
    def context(load: LoadSettings) -> RunContext:
        plan = LoadPlan("test", RUN_CLOCK.wall_ns() - 10**9, load, WorkerShare(0, 1))
        environment: Any = SimpleNamespace(parsed_options=SimpleNamespace(), events=None, stats=None)
        return RunContext(
            environment, Settings.model_validate(demo_config("http://127.0.0.1:9")), plan, "w", lambda: None
        )

    watched = context(LoadSettings.model_validate({"duration": 30, "restart_at": 0.001}))
    lost = run(token(0), ending=Ending.RESET, detail="the connection broke")
    runner = watched.stream_runner()
    assert watched._restart is not None
    assert runner.shows_nothing(lost) == watched._restart.excuses(lost)
    assert runner._excuses == watched._restart.excuses
    assert watched.collector._excuses == watched._is_cost
    without = context(LoadSettings.model_validate({"duration": 30}))
    assert without._restart is None
    assert not without.stream_runner().shows_nothing(lost)


def test_check_does_not_let_the_load_restart_what_the_suite_tests() -> None:
    given = Settings.model_validate({"load": {"restart_at": 5, "duration": 30}})
    with pytest.raises(SettingsError, match=r"load\.restart_at restarts the server while the suite tests it"):
        run_check(given, None)
