from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness.capacity.record import CapacityStep
from harness.capacity.step_result import invalid_step, measure
from harness.gate.objective import parse_objectives
from harness.results.histogram import Histogram
from harness.results.reader import Results
from harness.results.writer import ResultsWriter

from .samples import OBJECTIVES, RATE, SECONDS, START, step_file


def measured(path: Path, objectives: dict[str, float] | None = None) -> CapacityStep:
    with Results(path) as results:
        limits = parse_objectives(OBJECTIVES if objectives is None else objectives)
        return measure(results, limits, 4, RATE, float(SECONDS))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "results.sqlite"


def test_all_passed(path: Path) -> None:
    step = measured(step_file(path))
    assert (step.number, step.rate, step.verdict, step.why, step.saturation) == (4, RATE, "passed", "", ())
    assert step.values == {"ttft_p95_ms": 100.0, "error_rate": 0.0}
    assert step.percentiles["ttft_ms"]["p99"] == 100.0
    assert set(step.percentiles) == {"ttft_ms"}
    assert (step.goodput, step.streams) == (1.0, SECONDS * RATE)
    assert (step.completed_per_s, step.open_before, step.open_after, step.flow_s) == (RATE, 0, 0, SECONDS - 1)
    assert (step.backlog_per_s, step.settled) == (0.0, True)


def test_a_missed_objective(path: Path) -> None:
    step = measured(step_file(path, ttft_ms=900.0, failed=3))
    assert step.verdict == "failed"
    assert step.why == "ttft_p95_ms 900.00 ms, over 800 ms; error_rate 5.000%, over 0.1%"


def test_a_goodput_that_is_too_low(path: Path) -> None:
    limits = {"goodput": 0.99}
    step = measured(step_file(path, failed=3, objectives=limits), limits)
    assert (step.verdict, step.why) == ("failed", "goodput 95.000%, below 99%")


@pytest.mark.parametrize(
    ("ttft_ms", "lag_ms", "verdict"),
    [
        (100.0, 20.0, "passed"),  # so late, and still far below the limit
        (795.0, 20.0, "passed"),
        (810.0, 20.0, "saturated"),  # its own lag may be what is too much
        (819.0, 20.0, "saturated"),
        (850.0, 20.0, "failed"),  # by more than its lag
        (850.0, 60.0, "saturated"),
    ],
)
def test_the_lag_of_the_harness_decides_only_where_the_limit_is_within_it(
    path: Path, ttft_ms: float, lag_ms: float, verdict: str
) -> None:
    step = measured(step_file(path, ttft_ms=ttft_ms, lag_ms=lag_ms))
    assert (step.verdict, step.saturation) == (verdict, ())
    if verdict == "saturated":
        assert step.why.startswith("ttft_p95_ms: the limit is within the harness's own error: ")


@pytest.mark.parametrize(
    ("ttft_ms", "verdict"), [(100.0, "saturated"), (1299.0, "saturated"), (1310.0, "failed")]
)
def test_a_load_that_fell_behind_can_only_show_that_the_server_is_too_slow(
    path: Path, ttft_ms: float, verdict: str
) -> None:
    step = measured(step_file(path, ttft_ms=ttft_ms, lag_ms=500.0))
    assert step.verdict == verdict
    assert len(step.saturation) == 1
    if verdict == "saturated":
        assert step.why.startswith("the load fell behind its schedule: 10% of the arrivals")


def test_time_outs_of_a_harness_that_stood_still_may_be_its_own(path: Path) -> None:
    step_file(path, failed=3)
    stood_still = Histogram()
    stood_still.record(1500.0)
    with ResultsWriter(path) as writer:
        writer.add_histogram("hub_delay_ms", "", START, "w0", stood_still)
    assert measured(path).verdict == "failed"
    with ResultsWriter(path) as writer:
        writer.add_ledger("w0", START, "fresh", "scheduled", 3)
        writer.add_ledger("w0", START, "fresh", "timed out", 3)
    assert measured(path).verdict == "saturated"


def test_dropped_arrivals_mean_saturated(path: Path) -> None:
    step = measured(step_file(path, dropped=7))
    assert step.verdict == "saturated"
    assert step.why == "7 arrivals dropped because max_in_flight streams were open"


def test_with_less_load_than_planned_a_miss_is_still_one(path: Path) -> None:
    assert measured(step_file(path, dropped=7, ttft_ms=900.0)).verdict == "failed"


def test_a_server_that_rejects_everything_failed(path: Path) -> None:
    step = measured(step_file(path, journeys_end=False))
    assert (step.verdict, step.why) == ("failed", "no stream of the load completed a run")
    assert step.completed_per_s == 0.0


def test_not_measured_is_invalid(path: Path) -> None:
    step = measured(step_file(path), {"resume_p95_ms": 100.0})
    assert (step.verdict, step.why) == ("invalid", "resume_p95_ms: not measured")
    assert step.values == {"resume_p95_ms": None}


@pytest.mark.parametrize(
    ("manifest", "why"),
    [
        ({"workers_lost": ["w1"]}, "w1 was lost; results after the last report are missing"),
        (
            {"load_state": "running"},
            "the load has no end in the results: it was killed or is still running",
        ),
    ],
)
@pytest.mark.parametrize("ttft_ms", [100.0, 900.0])
def test_an_incomplete_load_is_invalid(
    path: Path, manifest: dict[str, Any], why: str, ttft_ms: float
) -> None:
    step = measured(step_file(path, ttft_ms=ttft_ms, **manifest))
    assert (step.verdict, step.why) == ("invalid", why)


def test_a_ledger_that_does_not_add_up_says_nothing(path: Path) -> None:
    step_file(path)
    with ResultsWriter(path) as writer:
        writer.add_ledger("w0", START, "fresh", "scheduled", 2)
    step = measured(path)
    assert step.verdict == "invalid"
    assert step.why == "the ledger does not add up: 62 streams scheduled, 60 accounted for"


def test_a_file_without_a_load_says_nothing(path: Path) -> None:
    with ResultsWriter(path) as writer:
        writer.set_manifest(state="running")
    step = measured(path)
    assert (step.verdict, step.why, step.streams) == ("invalid", "nothing was sent", 0)
    assert (step.completed_per_s, step.backlog_per_s) == (None, 0.0)


def test_streams_that_pile_up_are_seen(path: Path) -> None:
    step = measured(step_file(path, done_a_second=2))
    assert (step.completed_per_s, step.open_before, step.open_after) == (2.0, 8, 48)
    assert (step.backlog_per_s, step.settled) == (8.0, False)


def test_flow_is_measured_after_the_warm_up_and_while_arrivals_come(path: Path) -> None:
    step_file(path, done_a_second=8, measured_from=START + 2)
    with Results(path) as results:
        step = measure(results, parse_objectives(OBJECTIVES), 1, RATE, 4.0)
    assert (step.completed_per_s, step.open_before, step.open_after, step.flow_s) == (8.0, 4, 10, 3)
    assert step.percentiles["ttft_ms"]["p50"] == 100.0


def test_a_run_that_left_nothing(path: Path) -> None:
    step = invalid_step(3, 8.0, "no file")
    assert (step.verdict, step.why, step.values, step.settled) == ("invalid", "no file", {}, True)
