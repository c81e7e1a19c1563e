"""Runs that are kept: an interruption loses none, and what did not hold is run again."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts import write_robustness

from .corpus import CORPUS
from .kept_runs import KeptRuns, alone, sources_digest, spread
from .measure import MOST_S, Run

NAMES = ["heads: a", "heads: b", "heads: c", "heads: d", "tls: a", "tls: b"]


def run(name: str, command: str, *, problem: str = "", seconds: float = 1.0, sources: str = "s") -> Run:
    return Run(name, command, 0, seconds, 100.0, 1.0, "x" * 9000, "1 done", problem, 0.5, sources)


def test_what_held_is_not_run_again(tmp_path: Path) -> None:
    kept = KeptRuns(tmp_path / "runs")
    kept.add(run("heads: a", "load"))
    kept.add(run("heads: b", "load", problem="700 MB"))
    again = KeptRuns(tmp_path / "runs")
    assert again.left(["heads: b", "heads: a"]) == [
        ("heads: b", "conformance"),
        ("heads: a", "conformance"),
        ("heads: b", "load"),
    ]
    again.add(run("heads: b", "load"))
    assert [one.held for one in KeptRuns(tmp_path / "runs").of(["heads: b", "heads: a"])] == [True, True]


def test_a_line_that_was_not_written_to_its_end_is_run_again(tmp_path: Path) -> None:
    path = tmp_path / "runs"
    kept = KeptRuns(path)
    kept.add(run("heads: a", "load"))
    kept.add(run("heads: b", "load"))
    path.write_bytes(path.read_bytes()[:-20])
    assert [one.behaviour for one in KeptRuns(path).of(NAMES)] == ["heads: a"]


def test_output_is_kept_of_what_did_not_hold(tmp_path: Path) -> None:
    kept = KeptRuns(tmp_path / "runs")
    kept.add(run("heads: a", "load"))
    kept.add(run("heads: b", "load", problem="a traceback"))
    assert [len(one.output) for one in kept.of(NAMES)] == [0, 3000]


def test_each_beginning_has_its_share_of_every_kind() -> None:
    assert spread(NAMES) == ["heads: a", "tls: a", "heads: b", "heads: c", "tls: b", "heads: d"]
    kinds = {name.partition(":")[0] for name in CORPUS}
    assert {name.partition(":")[0] for name in spread(list(CORPUS))[:20]} == kinds
    assert sorted(spread(list(CORPUS))) == sorted(CORPUS)


def test_two_measurements_do_not_share_a_file(tmp_path: Path) -> None:
    with alone(tmp_path / "lock"), pytest.raises(BlockingIOError), alone(tmp_path / "lock"):
        pass


def test_the_digest_changes_with_the_sources(tmp_path: Path) -> None:
    (tmp_path / "harness").mkdir()
    source = tmp_path / "harness" / "a.py"
    source.write_text("1")
    before = sources_digest(tmp_path)
    source.write_text("2")
    assert sources_digest(tmp_path) != before


def test_the_page_says_what_was_run_and_what_did_not_hold() -> None:
    page = write_robustness.page(
        [
            run("heads: a", "conformance", seconds=MOST_S + 1),
            run("heads: a", "load", problem="700 MB", sources="older"),
        ],
        "s",
    )
    assert f"{2 * len(CORPUS)} runs.\nOf these, 2 were made, and 1 of them held" in page
    assert "| heads | 32 | 2 | 1 |" in page
    assert "1 of the runs that held took more than 100 s" in page
    assert "1 of the runs are older than the newest change of the sources" in page
    assert "**700 MB**" in page
