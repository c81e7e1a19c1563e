"""The cost of a restart, in the manifest and in sentences."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness.reports.load_section import ledger_view
from harness.results.breakage import breakages
from harness.results.reader import Results
from harness.results.records import StreamRecord
from harness.results.restart_cost import RestartCost
from harness.results.schema import ResultsError
from harness.results.summary import summarize
from harness.results.writer import ResultsWriter

COST = RestartCost.of(
    {"interrupted": 7, "resumed": 2, "ended": 1, "twice": 1, "lost": 2, "turned_away": 3, "errors": 1},
    at_ns=5_000_000_000,
    how="command",
    command_s=0.5,
    problem=None,
)


def stored(path: Path, restart: Any) -> Results:
    with ResultsWriter(path) as writer:
        writer.set_manifest(restart=restart, state="finished")
        writer.add_ledger("w", 5, "fresh", "scheduled", 1)
        writer.add_ledger("w", 5, "fresh", "done", 1)
    return Results(path)


def test_the_parts_of_the_interrupted_runs_are_all_of_them() -> None:
    assert COST.unread == 1
    assert COST.interrupted == COST.resumed + COST.ended + COST.twice + COST.lost + COST.unread


def test_report_and_summary_say_what_it_cost(tmp_path: Path) -> None:
    cost = RestartCost(**{**COST.document(), "lost_after_ms": 80.0, "first_good_ms": 1234.5})
    with stored(tmp_path / "results.sqlite", cost.document()) as results:
        assert RestartCost.in_manifest(results.manifest) == cost
        assert summarize(results)["restart"] == cost.document()
        view = ledger_view(results)
    assert view is not None
    assert view.notes == (
        "The server was restarted by target.restart_command, which interrupted 7 runs (2 ended with done when read "
        "again, 1 ended with another terminal event, 1 ran twice, 2 lost, 1 not read again), ended 1 run with an error "
        "event and turned 3 runs away.",
        "The first good run after it ended 1.23 s after the restart began.",
    )


def test_without_a_restart_nothing_is_said(tmp_path: Path) -> None:
    with stored(tmp_path / "results.sqlite", None) as results:
        view = ledger_view(results)
        assert summarize(results)["restart"] is None
    assert view is not None
    assert view.notes == ()


def test_a_restart_after_which_nothing_was_good() -> None:
    cost = RestartCost(**{**COST.document(), "lost_after_ms": 80.0})
    assert cost.sentences()[1] == "no run that was sent after it was good"


@pytest.mark.parametrize(
    "restart",
    [
        [],
        {"how": "command"},
        {"at_ns": -1, "how": "command"},
        {"at_ns": 1, "how": "command", "interrupted": "many"},
        {"at_ns": 1, "how": "x" * 100},
        {"at_ns": 1, "how": "hand", "first_good_ms": 1e300},
    ],
)
def test_a_damaged_entry_is_refused(tmp_path: Path, restart: Any) -> None:
    with pytest.raises(ResultsError), stored(tmp_path / "results.sqlite", restart) as results:
        summarize(results)


def test_unknown_entries_of_a_later_version_are_left_out() -> None:
    assert RestartCost.in_manifest({"restart": {**COST.document(), "later": 1}}) == COST


def test_what_a_restart_broke_is_not_what_broke(tmp_path: Path) -> None:
    path = tmp_path / "results.sqlite"
    with ResultsWriter(path) as writer:
        given = {"journey": "fresh", "step": "run", "worker": "w", "intended_ns": 1, "outcome": "truncated"}
        reasons = (
            "at the restart: truncated: closed",
            "truncated: closed",
            "harness fault while reading it: x",
        )
        writer.add_streams([StreamRecord(**given, reason=reason) for reason in reasons])
    with Results(path) as results:
        assert [(row.reason, row.rows) for row in results.failure_reasons(9)[0]] == [("truncated: closed", 1)]
        assert [broken.name for broken in breakages(results)] == ["truncated: closed"]
