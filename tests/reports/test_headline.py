from pathlib import Path
from typing import Any

import pytest

from harness.contract.requirements import CATALOGUE
from harness.gate.comparison import Comparison, ComparisonVerdict
from harness.gate.report import GateReport, GateRow
from harness.reports.html import render
from harness.reports.page import ReportPage, page
from harness.results.manifest import NO_LOAD
from harness.results.reader import Results
from harness.results.records import CheckRecord, StreamRecord
from harness.results.writer import ResultsWriter

from . import samples
from .samples import MANIFEST, START

pytestmark = pytest.mark.usefixtures("without_charts")


def _page(path: Path) -> ReportPage:
    with Results(path) as results:
        return page(results)


def _load(path: Path, objectives: dict[str, Any], **values: Any) -> ReportPage:
    return _page(samples.ten_streams(path, objectives, **values))


def test_a_missed_limit_fails_and_is_named(path: Path) -> None:
    made = _load(path, {"ttft_p95_ms": 80, "error_rate": 0.1}, failed=2)
    assert (made.headline.title, made.headline.tone) == ("Failed", "bad")
    assert made.headline.summary.startswith(
        "`ttft_p95_ms` is 100.0 ms, above its limit of 80 ms; `error_rate` is 20%, above its limit of 10%."
    )
    assert made.objectives[0].headroom == "25% over"


def test_an_objective_without_a_measurement_does_not_pass(path: Path) -> None:
    made = _load(path, {"resume_p99_ms": 80})
    assert (made.headline.title, made.headline.tone) == ("Incomplete", "bad")
    assert made.headline.summary.startswith("`resume_p99_ms` was not measured.")
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
    assert made.headline.summary == "Conformance failed in `ids.unique`."
    assert made.headline.tested == ("Conformance: 2 requirements: 1 pass, 1 fail.",)
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
            {"state": "aborted", "load_aborted": "the load was aborted by the condition 'x'"},
            "The load was aborted by the condition 'x'. This report covers the part before that.",
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


def test_a_saturated_harness_is_noted(path: Path) -> None:
    made = _load(path, {"error_rate": 0.1}, lag_ms=500.0)
    assert (made.headline.title, made.headline.tone) == ("Inconclusive", "warn")
    assert made.headline.notes == ("The harness was saturated, so the load was lower than requested.",)


@pytest.mark.parametrize("limit_ms", [80, 800])
def test_a_saturated_harness_makes_latencies_inconclusive(path: Path, limit_ms: float) -> None:
    made = _load(path, {"ttft_p95_ms": limit_ms, "ttft_p50_ms": limit_ms, "error_rate": 0.1}, lag_ms=500.0)
    assert (made.headline.title, made.headline.tone) == ("Inconclusive", "warn")
    assert made.headline.summary.startswith(
        "`ttft_p95_ms`, `ttft_p50_ms` cannot be evaluated: the harness was saturated; the load cannot be evaluated: "
        "the load fell behind its schedule: 10% of the arrivals were sent at least 500 ms late (limit 100 ms)."
    )
    verdicts = [row.verdict for row in made.objectives]
    assert verdicts == ["inconclusive", "inconclusive", "passed", "passed", "inconclusive"]


def test_a_load_that_was_killed_is_inconclusive(path: Path) -> None:
    made = _load(path, {"ttft_p95_ms": 800}, load_state="running")
    assert made.headline.title == "Inconclusive"
    assert made.headline.summary.startswith(
        "The load cannot be evaluated: the load has no end in the results: it was killed or is still running."
    )


def test_lost_workers_make_the_test_inconclusive(path: Path) -> None:
    made = _load(path, {"ttft_p95_ms": 800}, workers_lost=["w3", "w4"])
    assert (made.headline.title, made.headline.tone) == ("Inconclusive", "warn")
    assert made.headline.summary.startswith("The workers' results cannot be evaluated: w3, w4 ")


def test_what_broke_most_often_is_in_the_headline(path: Path) -> None:
    made = _page(samples.failing(path))
    broken = made.headline.broken
    assert made.headline.broken_title == "What broke, most often"
    assert len(broken) == 3
    assert [(row.name, row.counts, row.anchor) for row in broken] == [
        (
            "truncated: the server closed the connection before the end of the response",
            f"{made.ledger.failed} streams under load" if made.ledger else "",
            "ledger",
        ),
        ("resume.every-cut", "36 streams under load, 1 of 1 test", "resume.every-cut"),
        ("ids.increasing", "2 streams under load", "ids.increasing"),
    ]
    assert broken[1].text == CATALOGUE["resume.every-cut"].text
    assert made.headline.more == "And 1 more requirement, below."


def test_what_broke_under_load_alone_links_to_the_violations(path: Path) -> None:
    samples.load_only(path)
    with ResultsWriter(path) as writer:
        samples.write_violations(writer)
    made = _page(path)
    assert [(row.name, row.counts, row.anchor) for row in made.headline.broken] == [
        ("resume.every-cut", "36 streams under load", "violations"),
        ("ids.increasing", "2 streams under load", "violations"),
    ]
    assert (made.headline.broken_title, made.headline.more) == ("What broke", "")


def test_failures_within_the_limits_are_not_called_broken(path: Path) -> None:
    with ResultsWriter(path) as writer:
        row = StreamRecord(
            journey="fresh", step="run", worker="w0", intended_ns=1, outcome="truncated", reason="gone"
        )
        writer.add_streams([row])
    made = _load(path, {"error_rate": 0.1}, failed=1)
    assert made.headline.title == "Passed"
    assert made.headline.broken_title == "What failed within the limits"
    assert [row.counts for row in made.headline.broken] == ["1 stream under load"]


def test_the_headline_names_three_failed_checks_and_counts_the_rest(path: Path) -> None:
    with ResultsWriter(path) as writer:
        writer.set_manifest(state="finished")
        names = [name for name, requirement in CATALOGUE.items() if requirement.level == "MUST"][:5]
        writer.add_checks([CheckRecord(id=name, level="MUST", verdict="fail") for name in names[:4]])
        writer.add_checks([CheckRecord(id=names[4], level="MUST", verdict="stale")])
    made = _page(path)
    shown = ", ".join(f"`{name}`" for name in names[:3])
    assert made.headline.summary == f"Conformance failed in {shown} and 2 more."


def _compared(path: Path, *verdicts: ComparisonVerdict) -> ReportPage:
    """The page of a test whose rows passed and that was compared with a baseline."""
    samples.ten_streams(path, {"ttft_p95_ms": 800})
    comparisons = tuple(
        Comparison(
            f"ttft_p{50 + number}_ms",
            100.0,
            20.4,
            3.905,
            *((None, None) if verdict == "inconclusive" else (3.0, 5.0)),
            verdict,
            smallest_effect=0.05,
        )
        for number, verdict in enumerate(verdicts)
    )
    gate = GateReport((GateRow("ttft_p95_ms", 100.0, 800.0, "passed"),), comparisons, tested=True)
    with Results(path) as results:
        return page(results, gate)


def test_worse_than_the_baseline_is_the_headline(path: Path) -> None:
    made = _compared(path, "same", "inconclusive", "worse")
    assert (made.headline.title, made.headline.tone) == ("Failed", "bad")
    assert made.headline.summary == ("Worse than the baseline: TTFT p52 20.4 ms to 100.0 ms (+390.5%).")
    assert [row.verdict for row in made.baseline.rows] == ["worse", "inconclusive", "same"]
    html = render(made)
    assert "Against the baseline (1 test before, 1 now)" in html
    assert "No baseline was compared" not in html


def test_an_inconclusive_comparison_is_the_headline(path: Path) -> None:
    made = _compared(path, "inconclusive")
    assert (made.headline.title, made.headline.tone) == ("Inconclusive", "warn")
    assert made.headline.summary == "The comparison with the baseline is inconclusive."


def test_a_pass_says_what_it_was_compared_with(path: Path) -> None:
    summary = _compared(path, "same").headline.summary
    assert summary == "The only limit was met. Nothing is worse than the baseline (1 test before, 1 now)."


def _suite(path: Path, **manifest: Any) -> ReportPage:
    """The page of a conformance suite, with the settings that `harness init` writes."""
    with ResultsWriter(path) as writer:
        limits = {"error_rate": 0.001, "ttft_p95_ms": 800, "violations": 0}
        writer.set_manifest(state="finished", settings={"objectives": limits}, **manifest)
        writer.add_checks([CheckRecord(id="ids.unique", level="MUST", verdict="pass")])
    return _page(path)


def test_a_green_suite_passes_without_a_load(path: Path) -> None:
    made = _suite(path, load_state=NO_LOAD)
    assert (made.headline.title, made.headline.tone) == ("Passed", "good")
    assert [row.name for row in made.objectives] == ["violations", "conformance"]
    note = "Not applicable, because this test has no load: error_rate, ttft_p95_ms."
    assert render(made).count(note) == 1
    assert made.headline.summary == "All 2 limits were met."
    assert {row.verdict for row in made.objectives} == {"passed"}


def test_a_load_that_left_nothing_does_not_pass(path: Path) -> None:
    made = _suite(path)
    assert (made.headline.title, made.headline.tone) == ("Incomplete", "bad")
    assert made.headline.summary.startswith("`error_rate` was not measured")


def test_failing_requirements_come_first(path: Path) -> None:
    with ResultsWriter(path) as writer:
        writer.add_checks([CheckRecord(id="ids.unique", level="MUST", verdict="fail")])
    made = _load(path, {"ttft_p95_ms": 80})
    assert made.headline.summary.startswith("Conformance failed in `ids.unique`; `ttft_p95_ms` is 100.0 ms")
