from pathlib import Path
from typing import Any

import pytest

from harness.reports.page import ReportPage, page
from harness.results.reader import Results
from harness.results.records import CheckRecord
from harness.results.writer import ResultsWriter

from . import samples
from .samples import MANIFEST, START


def _page(path: Path) -> ReportPage:
    with Results(path) as results:
        return page(results)


def _load(path: Path, objectives: dict[str, Any], **values: Any) -> ReportPage:
    return _page(samples.ten_streams(path, objectives, **values))


def test_a_missed_limit_fails_and_is_named(path: Path) -> None:
    made = _load(path, {"ttft_p95_ms": 80, "error_rate": 0.1}, failed=2)
    assert (made.headline.title, made.headline.tone) == ("Failed", "bad")
    assert made.headline.summary.startswith(
        "`ttft_p95_ms` is 100.0 ms, above its limit of 80 ms; `error_rate` is 20%, above its limit of 10%. "
    )
    assert made.objectives[0].headroom == "25% over"


def test_an_objective_without_a_measurement_does_not_pass(path: Path) -> None:
    made = _load(path, {"resume_p99_ms": 80})
    assert (made.headline.title, made.headline.tone) == ("Incomplete", "bad")
    assert made.headline.summary.startswith("`resume_p99_ms` was not measured. ")
    assert made.objectives[0].used is None


def test_a_failed_check_fails(path: Path) -> None:
    with ResultsWriter(path) as writer:
        writer.set_manifest(state="finished")
        writer.add_checks(
            [
                CheckRecord(id="ids.unique", level="MUST", verdict="fail"),
                CheckRecord(id="ids.clock", level="SHOULD", verdict="pass"),
            ]
        )
    made = _page(path)
    assert (made.headline.title, made.headline.tone) == ("Failed", "bad")
    assert made.headline.summary == "Conformance failed in ids.unique (fail). Conformance: 1 pass, 1 fail."
    assert not made.has_objectives


def test_nothing_tested_does_not_pass(path: Path) -> None:
    with ResultsWriter(path) as writer:
        writer.set_manifest(**MANIFEST)
        writer.add_checks([CheckRecord(id="ids.unique", level="MUST", verdict="not applicable")])
        writer.add_ledger("w0", START, "fresh", "scheduled", 3)
        writer.add_ledger("w0", START, "fresh", "refused", 3)
    made = _page(path)
    assert (made.headline.title, made.headline.tone) == ("Nothing tested", "none")


@pytest.mark.parametrize(
    ("manifest", "note"),
    [
        (
            {"state": "interrupted"},
            "The test was interrupted. This report covers the part before the interruption.",
        ),
        (
            {"state": "running"},
            "The results file does not record an end: the test is still running or was killed. This report covers what "
            "was recorded.",
        ),
    ],
)
def test_a_pass_with_limitations_has_reservations(path: Path, manifest: dict[str, Any], note: str) -> None:
    made = _load(path, {"ttft_p95_ms": 800}, **manifest)
    assert (made.headline.title, made.headline.tone) == ("Passed with reservations", "warn")
    assert made.headline.notes == (note,)


def test_dropped_arrivals_do_not_pass(path: Path) -> None:
    with ResultsWriter(path) as writer:
        writer.add_ledger("w0", START, "fresh", "scheduled", 4)
        writer.add_ledger("w0", START, "fresh", "dropped", 4)
    made = _load(path, {"error_rate": 0.1})
    assert (made.headline.title, made.headline.tone) == ("Inconclusive", "warn")
    assert "4 of 14 streams" in made.headline.summary
    assert made.headline.notes == ("4 arrivals were dropped, so the load was lower than requested.",)


def test_a_saturated_harness_adds_a_reservation(path: Path) -> None:
    made = _load(path, {"error_rate": 0.1}, lag_ms=50.0)
    assert (made.headline.title, made.headline.tone) == ("Passed with reservations", "warn")
    assert made.headline.notes == (
        "The harness was saturated, so latencies here may include its own delays.",
    )


@pytest.mark.parametrize("limit_ms", [80, 800])
def test_a_saturated_harness_makes_latencies_inconclusive(path: Path, limit_ms: float) -> None:
    made = _load(path, {"ttft_p95_ms": limit_ms, "ttft_p50_ms": limit_ms, "error_rate": 0.1}, lag_ms=50.0)
    assert (made.headline.title, made.headline.tone) == ("Inconclusive", "warn")
    assert made.headline.summary.startswith(
        "`ttft_p95_ms`, `ttft_p50_ms` cannot be evaluated: the harness was saturated; the p99 of receive lag is 50.0 "
        "ms (limit 10 ms). Load: "
    )
    assert [row.verdict for row in made.objectives] == ["inconclusive", "inconclusive", "passed", "passed"]


def test_a_load_that_was_killed_is_inconclusive(path: Path) -> None:
    made = _load(path, {"ttft_p95_ms": 800}, load_state="running")
    assert made.headline.title == "Inconclusive"
    assert made.headline.summary.startswith(
        "The load cannot be evaluated: the load has no end in the results: it was killed or is still running. "
    )


def test_lost_workers_make_the_test_inconclusive(path: Path) -> None:
    made = _load(path, {"ttft_p95_ms": 800}, workers_lost=["w3", "w4"])
    assert (made.headline.title, made.headline.tone) == ("Inconclusive", "warn")
    assert made.headline.summary.startswith("The workers' results cannot be evaluated: w3, w4 ")
