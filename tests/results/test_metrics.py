import json

import pytest

from harness.results.histogram import Histogram
from harness.results.metrics import METRICS, error_rate, is_saturated, summary, violations
from harness.results.store import CheckRow, Results, ResultsWriter

NONE = {"p50": None, "p90": None, "p95": None, "p99": None, "p999": None, "max": None}


@pytest.fixture
def writer(tmp_path):
    with ResultsWriter(tmp_path / "results.sqlite") as writer:
        yield writer


@pytest.fixture
def results(writer):
    with Results(writer.path) as results:
        yield results


def add(writer, metric, *values_ms):
    histogram = Histogram()
    histogram.record_many(values_ms)
    writer.add_histogram(metric, "fresh", 1, "w", histogram)
    writer.commit()


def test_every_metric_of_the_schema_has_unit_label_and_formula():
    assert list(METRICS) == [
        "ttft_ms",
        "service_ttft_ms",
        "first_event_ms",
        "head_ms",
        "connect_ms",
        "inter_token_ms",
        "stall_ms",
        "duration_ms",
        "resume_ms",
        "conflict_ms",
        "schedule_lag_ms",
        "receive_lag_ms",
    ]
    for name, metric in METRICS.items():
        assert (metric.name, metric.unit) == (name, "ms")
        assert metric.label
        assert " - " in metric.formula or "gap" in metric.formula
    assert METRICS["ttft_ms"].formula == "arrival of the first token event with content - intended start"


def test_the_summary_of_an_empty_file_has_all_that_is_promised(results):
    assert summary(results) == {
        "ledger": {
            "scheduled": 0,
            "done": 0,
            "error": 0,
            "cancelled": 0,
            "rejected": 0,
            "truncated": 0,
            "timed out": 0,
            "refused": 0,
            "abandoned": 0,
            "in flight": 0,
        },
        "metrics": {
            name: {"count": 0, **NONE} for name in ("ttft_ms", "inter_token_ms", "duration_ms", "resume_ms")
        },
        "violations": {},
        "harness": {
            "lag_ms": {"p50": None, "p99": None, "max": None},
            "saturated": False,
            "receive_stamp": None,
        },
        "checks": {
            "pass": 0,
            "fail": 0,
            "warn": 0,
            "info": 0,
            "not applicable": 0,
            "inconclusive": 0,
            "error": 0,
            "known": 0,
            "stale": 0,
        },
    }


def test_the_summary_of_a_run(writer, results):
    add(writer, "ttft_ms", *[100.0] * 99, 900.0)
    add(writer, "stall_ms", 40.0)
    add(writer, "receive_lag_ms", 0.25)
    writer.set_manifest(receive_stamp="kernel")
    writer.add_ledger("w", 1, "fresh", "scheduled", 100)
    writer.add_ledger("w", 1, "fresh", "done", 100)
    writer.count_violation("ids.unique", "fresh", "w", 2)
    writer.add_checks([CheckRow(id="auth.bad", level="MUST", verdict="fail")])
    writer.commit()
    said = json.loads(json.dumps(summary(results), allow_nan=False))
    ttft = said["metrics"]["ttft_ms"]
    assert (ttft["count"], ttft["p99"], ttft["p999"], ttft["max"]) == (
        100,
        pytest.approx(100, rel=0.01),
        900.0,
        900.0,
    )
    assert list(said["metrics"]) == [
        "ttft_ms",
        "inter_token_ms",
        "stall_ms",
        "duration_ms",
        "resume_ms",
        "receive_lag_ms",
    ]
    assert said["harness"] == {
        "lag_ms": {"p50": 0.25, "p99": 0.25, "max": 0.25},
        "saturated": False,
        "receive_stamp": "kernel",
    }
    assert (said["ledger"]["scheduled"], said["ledger"]["done"]) == (100, 100)
    assert said["violations"] == {"auth.bad": 1, "ids.unique": 2}
    assert (said["checks"]["fail"], sum(said["checks"].values())) == (1, 1)


@pytest.mark.parametrize("metric", ["receive_lag_ms", "schedule_lag_ms"])
def test_either_lag_saturates_by_its_p99(writer, results, metric):
    add(writer, metric, *[1.0] * 99, 500.0)
    assert not is_saturated(results)
    add(writer, metric, 500.0, 500.0)
    assert is_saturated(results)
    assert summary(results)["harness"]["saturated"] is True


def test_the_error_rate_leaves_out_what_we_abandoned_and_what_is_still_open(writer, results):
    assert error_rate(results) is None
    for outcome, count in {"scheduled": 20, "abandoned": 5, "in flight": 5}.items():
        writer.add_ledger("w", 1, "fresh", outcome, count)
    writer.commit()
    assert error_rate(results) is None
    for outcome, count in {"done": 6, "rejected": 2, "timed out": 1, "refused": 1}.items():
        writer.add_ledger("w", 1, "fresh", outcome, count)
    writer.commit()
    assert error_rate(results) == 0.0
    writer.add_failures("w", 1, "fresh", 2)
    writer.commit()
    assert error_rate(results) == 0.2


def test_violations_are_those_under_load_and_the_failed_musts(writer, results):
    writer.count_violation("ids.unique", "fresh", "w", 2)
    writer.count_violation("ids.present", "fresh", "w", 0)
    writer.add_checks(
        CheckRow(id=name, level=level, verdict=verdict)
        for name, level, verdict in (
            ("ids.unique", "MUST", "fail"),
            ("auth.bad", "MUST", "fail"),
            ("auth.missing", "MUST", "pass"),
            ("security.cors", "MUST", "known"),
            ("ids.clock", "SHOULD", "fail"),
            ("headers.method", "SHOULD", "warn"),
        )
    )
    writer.commit()
    assert violations(results) == {"auth.bad": 1, "ids.unique": 3}
