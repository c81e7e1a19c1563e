"""What broke under load, in the terminal."""

from __future__ import annotations

from pathlib import Path

from harness.results.reader import Results
from harness.results.records import HARNESS_FAULT, StreamRecord
from harness.results.writer import ResultsWriter
from harness.terminal.what_broke import what_broke


def sentences(path: Path, reasons: dict[str | None, int], violations: dict[str, int]) -> list[str]:
    with ResultsWriter(path) as writer:
        writer.add_streams(
            StreamRecord(
                journey=("fresh", "replay")[number % 2],
                step="run",
                worker="w",
                intended_ns=number,
                outcome="done",
                reason=None if reason is None else reason.replace("#", str(number)),
            )
            for reason, count in reasons.items()
            for number in range(count)
        )
        for name, count in violations.items():
            writer.count_violation(name, "fresh", "w", count)
    with Results(path) as results:
        return list(what_broke(results))


def test_the_most_frequent_reasons_and_requirements_with_their_counts(tmp_path: Path) -> None:
    reasons: dict[str | None, int] = {
        None: 50,
        f"{HARNESS_FAULT} no free file descriptor": 40,
        "rate limited (429)": 12,
        "ids.increasing: event # (id 1-#) is not above": 7,
        "truncated: the connection broke": 3,
        "timed out: silent for 15 s": 2,
        "ended with error, expected done": 1,
    }
    broken = {"ids.increasing": 9, "resume.joins": 11, "ids.unique": 2, "ids.present": 1, "race.same-body": 0}
    assert sentences(tmp_path / "results.sqlite", reasons, broken) == [
        "Unexpected endings: 12 rate limited (429); 3 truncated: the connection broke; 2 timed out: silent for 15 s; "
        "and 1 other reason.",
        "Violations under load: 11 resume.joins; 9 ids.increasing; 2 ids.unique; and 1 other requirement.",
    ]


def test_nothing_is_said_if_nothing_broke(tmp_path: Path) -> None:
    assert sentences(tmp_path / "results.sqlite", {None: 3}, {"ids.unique": 0}) == []
