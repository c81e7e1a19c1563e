"""A journey's steps count as streams of the journey, wherever its numbers are asked for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.gate.evaluate import evaluate
from harness.gate.goodput import journey_limits, limits_of, run_limits
from harness.gate.objective import Objective, parse_objectives
from harness.load.stats.collector import Collector
from harness.load.stats.run_totals import RunTotals
from harness.load.stats.stats_batch import StatsBatch
from harness.results.journeys import belongs, is_known, parent, with_parents
from harness.results.reader import Results
from harness.results.writer import ResultsWriter

STEP_1, STEP_2, OTHER = "workflow.step1", "workflow.step2", "workflows"


def batch() -> StatsBatch:
    found = StatsBatch(open={STEP_1: 1})
    for number, journey in enumerate((STEP_1, STEP_2, OTHER), 1):
        found.ledger[1, journey, "scheduled"] += number
        found.ledger[1, journey, "done"] += number
        found.failures[1, journey] += number
        found.violations["ids.unique", journey] += number
        for counter in ("judged", "runs", "good"):
            found.rate_counts[1, journey, counter] += number
        found.record_many("ttft_ms", journey, 1, [100.0 * number] * number)
    found.rate_counts[1, STEP_1, "sessions"] += 1  # it ended with its first step
    found.rate_counts[1, STEP_2, "sessions"] += 3
    found.rate_counts[1, STEP_2, "sessions_succeeded"] += 3
    return found


@pytest.fixture
def results(tmp_path: Path) -> Iterator[Results]:
    with ResultsWriter(tmp_path / "results.sqlite") as writer:
        batch().write_to(writer, "w")
        writer.set_open("w", {})
    with Results(writer.path) as results:
        yield results


def test_names() -> None:
    assert belongs(STEP_1, "workflow")
    assert belongs(STEP_1, STEP_1)
    assert belongs(STEP_1, None)
    assert not belongs(OTHER, "workflow")
    assert not belongs("workflow", STEP_1)
    assert not belongs("workflow.step10", STEP_1)
    assert (parent(STEP_1), parent("fresh")) == ("workflow", None)
    assert with_parents(["fresh", STEP_1, STEP_2]) == ["fresh", "workflow", STEP_1, STEP_2]
    assert is_known(None, [])
    assert is_known("workflow", [STEP_2])
    assert not is_known("workflow", [OTHER])


@pytest.mark.parametrize(
    ("journey", "streams"), [(None, 6), ("workflow", 3), (STEP_2, 2), (OTHER, 3), ("work", 0)]
)
def test_a_journey_has_the_numbers_of_its_steps(results: Results, journey: str | None, streams: int) -> None:
    assert results.ledger(journey)["done"] == streams
    assert results.failures(journey) == streams
    assert sum(results.violation_counts(journey).values()) == streams
    assert results.rate_counts(journey).judged == streams
    assert sum(counts.runs for counts in results.rate_counts_by_second(journey).values()) == streams
    assert results.histogram("ttft_ms", journey).count == streams
    assert sum(part.count for part in results.histograms_by_second("ttft_ms", journey).values()) == streams
    totals = RunTotals()
    totals.add(batch(), "w")
    assert totals.ledger(journey)["done"] == streams
    assert totals.rate_counts(journey).good == streams
    assert sum(totals.violation_counts(journey).values()) == streams
    assert totals.ledger_with_open(journey)["in flight"] == (journey in (None, "workflow"))


def test_session_success_of_a_journey_and_of_a_step(results: Results) -> None:
    assert Objective("session_success", 0.99, None).value(results) == 0.75
    assert Objective("session_success", 0.99, "workflow").value(results) == 0.75
    assert Objective("session_success", 0.99, STEP_1).value(results) == 0.0
    assert Objective("session_success", 0.99, OTHER).value(results) is None


def test_the_gate_checks_sessions_and_steps(results: Results) -> None:
    limits = {
        "session_success": 0.7,
        "workflow.session_success": 0.8,
        "workflow.step2.ttft_p95_ms": 250,
        "workflow.step1.ttft_p95_ms": 50,
        "workflow.ttft_p50_ms": 250,
        "workflow.violations": 3,
        "workflow.step3.violations": 0,
    }
    rows = {row.name: row for row in evaluate(results, parse_objectives(limits)).rows}
    assert {name: rows[name].verdict for name in limits} == {
        "session_success": "passed",
        "workflow.session_success": "failed",
        "workflow.step2.ttft_p95_ms": "passed",
        "workflow.step1.ttft_p95_ms": "failed",
        "workflow.ttft_p50_ms": "passed",
        "workflow.violations": "passed",
        "workflow.step3.violations": "not measured",
    }
    assert "did you mean 'workflow.step" in rows["workflow.step3.violations"].detail


def test_a_run_meets_the_limits_of_its_step_and_of_its_journey() -> None:
    objectives = parse_objectives(
        {
            "ttft_p95_ms": 900,
            "workflow.ttft_p95_ms": 900,
            "workflow.duration_p95_ms": 5000,
            "workflow.step2.ttft_p99_ms": 100,
        }
    )
    everywhere, by_journey = run_limits(objectives), journey_limits(objectives)
    assert limits_of("fresh", everywhere, by_journey) == {"ttft_ms": 900}
    assert limits_of(STEP_1, everywhere, by_journey) == {"ttft_ms": 900, "duration_ms": 5000}
    assert limits_of(STEP_2, everywhere, by_journey) == {"ttft_ms": 100, "duration_ms": 5000}


def test_a_session_is_not_counted_after_the_end() -> None:
    collector = Collector("w")
    collector.close()
    collector.end_session(None, None, succeeded=True, duration_ms=1.0)  # type: ignore[arg-type]
    assert not collector.take().rate_counts
