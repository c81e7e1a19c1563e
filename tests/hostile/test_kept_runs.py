"""Runs that are kept: an interruption loses none, and what did not hold is run again."""

from __future__ import annotations

from collections.abc import Sequence
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
    again.add(run("heads: a", "load", seconds=MOST_S + 1))  # held, since the machine was busy
    assert again.left(["heads: b", "heads: a"])[-1] == ("heads: a", "load")
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


@pytest.fixture
def kept_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The behaviours that a call would run."""
    asked: list[str] = []

    def note(names: Sequence[str], kept: KeptRuns, jobs: int) -> None:
        assert jobs >= 1
        asked.extend(names)

    monkeypatch.setattr(write_robustness, "KEPT", tmp_path / "runs.jsonl")
    monkeypatch.setattr(write_robustness, "LOCK", tmp_path / "build" / "lock")
    monkeypatch.setattr(write_robustness, "PAGE", tmp_path / "page.md")
    monkeypatch.setattr(write_robustness, "run_left", note)
    return asked


def test_only_the_page_is_written_unless_runs_are_asked_for(
    kept_here: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert write_robustness.main([]) == 2
    assert "has no runs for the page" in capsys.readouterr().err
    assert not write_robustness.PAGE.exists(), "an empty page would replace the figures"
    KeptRuns(write_robustness.KEPT).add(run(next(iter(CORPUS)), "load"))
    assert write_robustness.main([]) == 0
    assert kept_here == []
    assert "Of these, 1 were made" in write_robustness.PAGE.read_text(encoding="utf-8")
    assert write_robustness.main(["--run", "tls"]) == 0
    assert kept_here == [name for name in CORPUS if "tls" in name] != []


@pytest.mark.parametrize("given", [["tls"], ["--again"], ["--jobs", "2"]])
def test_what_is_about_runs_needs_them(
    kept_here: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], given: list[str]
) -> None:
    with pytest.raises(SystemExit) as refused:
        write_robustness.main(given)
    assert refused.value.code == 2
    assert "need --run" in capsys.readouterr().err
    assert (kept_here, list(tmp_path.iterdir())) == ([], [])


def test_the_help_says_that_runs_take_hours(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        write_robustness.main(["--help"])
    assert "all of them take hours" in " ".join(capsys.readouterr().out.split())
    makefile = (write_robustness.PAGE.parents[1] / "Makefile").read_text(encoding="utf-8")
    assert "-m scripts.write_robustness --run\n" in makefile


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
