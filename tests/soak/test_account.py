"""The ledger of sessions and cancels agrees with the embedded server's own account, run by run."""

from __future__ import annotations

import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import gevent
import pytest
from gevent.pool import Pool

from harness.config.settings import Settings
from harness.load.journeys.builtin import JOURNEYS
from harness.results.records import StreamRecord
from tests.load.journeys.rig import JourneyRig
from tests.mutants.kill_matrix import serving
from tests.soak.account import ServersRun, compare, stored_runs

SESSIONS, CANCELS = 50, 12


@pytest.mark.slow
def test_the_server_counts_the_same_at_each_step(tmp_path: Path) -> None:
    with serving(None, tmp_path / "server", shared=True) as demo:
        demo["journeys"] = {"workflow": {"steps": ["echo", "success", "recall"]}}
        rig = JourneyRig(Settings.model_validate(demo), None)
        pool = Pool(8)
        for journey in ["workflow"] * SESSIONS + ["cancel"] * CANCELS:
            pool.spawn(JOURNEYS[journey], rig.runner)
        pool.join(raise_error=True)
        gevent.sleep(0)
    rows = rig.collector.take().rows
    runs = stored_runs(tmp_path / "server.db")
    account = compare(rows, runs)
    assert account.agrees, "\n".join(account.lines())
    started = {step: counts["started"] for step, counts in account.servers.items()}
    assert started == {**{f"workflow.step{n}": SESSIONS for n in (1, 2, 3)}, "cancel": CANCELS}
    assert account.ours["cancel"]["cancelled"] > 0

    with closing(
        sqlite3.connect(tmp_path / "server.db")
    ) as database:  # as if the server had cancelled one more
        database.execute(
            "UPDATE events SET type = 'cancelled' WHERE rowid = (SELECT min(rowid) FROM events WHERE type = 'done')"
        )
        database.commit()
    other = compare(rows, stored_runs(tmp_path / "server.db"))
    assert len(other.differences) == 1
    assert not other.agrees


def row(key: str, **other: Any) -> StreamRecord:
    given: dict[str, Any] = {
        "journey": "fresh",
        "step": "run",
        "worker": "w",
        "intended_ns": 0,
        "outcome": "done",
        "run_id": f"run {key}",
        "events": 3,
        "idempotency_key": key,
    }
    return StreamRecord(**{**given, **other})


RUNS = {key: ServersRun(key, f"run {key}", "done", 3) for key in "ab"}


@pytest.mark.parametrize(
    ("rows", "runs", "preflights", "differences"),
    [
        ([row("a"), row("b"), row("b", step="retry")], RUNS, 0, 0),
        ([row("a")], RUNS, 1, 0),
        ([row("a")], RUNS, 0, 1),
        ([row("a"), row("b"), row("c")], RUNS, 0, 1),
        ([row("a"), row("b", outcome="cancelled")], RUNS, 0, 1),
        ([row("a"), row("b", events=2)], RUNS, 0, 1),
        ([row("a"), row("b", run_id="another")], RUNS, 0, 1),
    ],
    ids=[
        "equal",
        "a preflight",
        "one more there",
        "one more here",
        "another end",
        "an event lost",
        "another run",
    ],
)
def test_every_difference_is_found(
    rows: list[StreamRecord], runs: dict[str, ServersRun], preflights: int, differences: int
) -> None:
    account = compare(rows, runs, preflights=preflights)
    assert (len(account.differences), account.agrees) == (differences, not differences)


def test_a_table_names_each_step_on_both_sides() -> None:
    lines = list(compare([row("a"), row("b")], RUNS).lines())
    assert [line.split()[:3] for line in lines[1:3]] == [["fresh", "harness", "2"], ["fresh", "server", "2"]]
    assert Counter(lines)["every run is the same on both sides"] == 1
