"""What broke, counted over the load and the suite."""

from pathlib import Path

from harness.results.breakage import Breakage, breakages
from harness.results.reader import Results
from harness.results.records import CheckRecord, RuleResultRecord, StreamRecord
from harness.results.writer import ResultsWriter


def _row(reason: str | None, journey: str = "fresh") -> StreamRecord:
    return StreamRecord(
        journey=journey, step="run", worker="w", intended_ns=1, outcome="truncated", reason=reason
    )


def _found(path: Path) -> list[tuple[str, str]]:
    with Results(path) as results:
        return [(breakage.name, breakage.counts) for breakage in breakages(results)]


def test_the_most_frequent_comes_first_with_streams_and_tests(tmp_path: Path) -> None:
    path = tmp_path / "r.sqlite"
    with ResultsWriter(path) as writer:
        writer.count_violation("ids.unique", "fresh", "w", 30)
        writer.count_violation("ids.unique", "resume", "w", 6)
        writer.count_violation("terminal.last", "fresh", "w", 2)
        writer.add_checks(
            [
                CheckRecord(id="ids.unique", level="MUST", verdict="fail"),
                CheckRecord(id="auth.bad", level="MUST", verdict="fail"),
                CheckRecord(id="ids.clock", level="SHOULD", verdict="warn"),
            ]
        )
        writer.add_rule_results(
            RuleResultRecord(
                test=f"{name}[{number}]", requirement=name, verdict=verdict, detail="", evidence={}
            )
            for name, verdicts in {
                "ids.unique": ["fail", "pass", "fail"],
                "auth.bad": ["fail"] * 3,
                "ids.clock": ["warn"],
            }.items()
            for number, verdict in enumerate(verdicts)
        )
    assert _found(path) == [
        ("ids.unique", "36 streams under load, 2 of 3 tests"),
        ("auth.bad", "3 of 3 tests"),
        ("terminal.last", "2 streams under load"),
    ]


def test_endings_that_differ_in_numbers_only_count_together(tmp_path: Path) -> None:
    path = tmp_path / "r.sqlite"
    with ResultsWriter(path) as writer:
        writer.count_violation("ids.unique", "fresh", "w", 1)
        writer.add_streams(
            [
                _row("truncated: closed after 120 bytes"),
                _row("truncated: closed after 97 bytes", "resume"),
                _row("rejected with status 503, expected done"),
                _row("ids.unique: 1-1 came twice"),  # counted as the requirement
                _row("harness fault: EMFILE"),  # the server did nothing wrong
                _row(None),
            ]
        )
    assert _found(path) == [
        ("truncated: closed after 120 bytes", "2 streams under load"),
        ("ids.unique", "1 stream under load"),
        ("rejected with status 503, expected done", "1 stream under load"),
    ]


def test_counts_of_a_sample_are_at_least_counts(tmp_path: Path) -> None:
    path = tmp_path / "r.sqlite"
    with ResultsWriter(path, keep_streams=4) as writer:
        writer.add_streams([_row("refused: no")] * 10)
    assert _found(path) == [("refused: no", "at least 4 streams under load")]


def test_nothing_broke(tmp_path: Path) -> None:
    path = tmp_path / "r.sqlite"
    with ResultsWriter(path) as writer:
        writer.add_streams([_row(None)])
        writer.add_checks([CheckRecord(id="ids.unique", level="MUST", verdict="pass")])
    assert _found(path) == []


def test_a_verdict_without_its_tests_counts_once() -> None:
    assert Breakage("a", is_requirement=True, streams=0, tests=1, of_tests=1).counts == "1 of 1 test"
