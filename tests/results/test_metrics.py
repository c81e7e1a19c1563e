import json

import pytest

from harness.results.histogram import Histogram
from harness.results.metrics import HARNESS_METRICS, METRICS, error_rate, goodput, violations
from harness.results.reader import Results
from harness.results.records import CheckRecord, ProcessRecord
from harness.results.saturation import ProcessUsage, fault_sentence, processes, saturation_reasons
from harness.results.summary import summarize
from harness.results.writer import ResultsWriter

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
        "ttf_reasoning_ms",
        "ttf_tool_ms",
        "ttf_progress_ms",
        "first_event_ms",
        "head_ms",
        "connect_ms",
        "inter_token_ms",
        "tpot_ms",
        "stall_ms",
        "duration_ms",
        "tokens_per_s",
        "output_tokens_per_s",
        "resume_ms",
        "cold_ttft_ms",
        "warm_ttft_ms",
        "session_ms",
        "cancel_ms",
        "recovery_ms",
        "conflict_ms",
        "schedule_lag_ms",
        "receive_lag_ms",
        "arrival_error_ms",
        "hub_delay_ms",
    ]
    for name, metric in METRICS.items():
        assert metric.name == name
        assert metric.unit == {"ms": "ms", "_s": "tokens/s"}[name[-2:]]
        assert metric.label
        assert any(sign in metric.formula for sign in (" - ", "time between", "sum of"))
    assert set(HARNESS_METRICS) < set(METRICS)
    assert METRICS["ttft_ms"].formula == "arrival of the first token event with content - intended start"


def test_the_summary_of_an_empty_file_has_all_that_is_promised(results):
    assert summarize(results) == {
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
            "dropped": 0,
            "lost": 0,
        },
        "streams": {"judged": 0, "failed": 0, "error_rate": None},
        "goodput": {"runs": 0, "good": 0, "share": None},
        "sessions": {"judged": 0, "succeeded": 0, "share": None},
        "metrics": {
            name: {"count": 0, **NONE} for name in ("ttft_ms", "inter_token_ms", "duration_ms", "resume_ms")
        },
        "violations": {},
        "warmup": None,
        "harness": {
            "lag_ms": {"p50": None, "p99": None, "max": None},
            "schedule_lag_ms": {"p50": None, "p99": None, "max": None},
            "arrival_error_ms": {"p50": None, "p99": None, "max": None},
            "hub_delay_ms": {"p50": None, "p99": None, "max": None},
            "processes": {},
            "saturated": False,
            "why": [],
            "receive_stamp": None,
            "faults": {"streams": 0, "reasons": {}, "sentence": ""},
        },
        "restart": None,
        "sample": {"seen": 0, "kept": 0},
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
    writer.add_checks([CheckRecord(id="auth.bad", level="MUST", verdict="fail")])
    writer.commit()
    document = json.loads(json.dumps(summarize(results), allow_nan=False))
    ttft = document["metrics"]["ttft_ms"]
    assert (ttft["count"], ttft["p99"], ttft["p999"], ttft["max"]) == (
        100,
        pytest.approx(100, rel=0.01),
        900.0,
        900.0,
    )
    assert list(document["metrics"]) == [
        "ttft_ms",
        "inter_token_ms",
        "stall_ms",
        "duration_ms",
        "resume_ms",
        "receive_lag_ms",
    ]
    assert document["harness"]["lag_ms"] == {"p50": 0.25, "p99": 0.25, "max": 0.25}
    assert (document["harness"]["saturated"], document["harness"]["receive_stamp"]) == (False, "kernel")
    assert (document["ledger"]["scheduled"], document["ledger"]["done"]) == (100, 100)
    assert document["violations"] == {"auth.bad": 1, "ids.unique": 2}
    assert (document["checks"]["fail"], sum(document["checks"].values())) == (1, 1)


def test_a_load_that_falls_behind_its_schedule_is_saturated(writer, results):
    add(writer, "receive_lag_ms", *[500.0] * 100)  # an error of what is measured, not of the load
    add(writer, "schedule_lag_ms", *[1.0] * 90, *[500.0] * 10)
    cpu(writer, "worker-0", *[0.99] * 60)
    assert saturation_reasons(results) == []  # less than a tenth was late
    add(writer, "schedule_lag_ms", 500.0)
    assert saturation_reasons(results) == []  # 1% of a minute is 600 ms
    add(writer, "schedule_lag_ms", *[700.0] * 20)
    (why,) = saturation_reasons(results)
    assert why == (
        "the load fell behind its schedule: 10% of the arrivals were sent at least 700 ms late (limit 600 ms)"
    )
    assert summarize(results)["harness"]["saturated"] is True
    assert summarize(results)["harness"]["why"] == [why]


def test_a_short_load_is_not_behind_because_of_a_pause(writer, results):
    add(writer, "schedule_lag_ms", *[95.0] * 100)
    assert saturation_reasons(results) == []
    add(writer, "schedule_lag_ms", *[110.0] * 100)
    assert len(saturation_reasons(results)) == 1


def delays(writer, worker, *values_ms):
    histogram = Histogram()
    histogram.record_many(values_ms)
    writer.add_histogram("hub_delay_ms", "", 1, worker, histogram)
    writer.commit()


def test_users_that_wait_for_the_harness_are_fewer_users(writer, results):
    add(writer, "duration_ms", *[1000.0] * 100)
    for number in range(3):
        delays(writer, f"worker-{number}", *[100.0] * 100)
    delays(writer, "master", *[800.0] * 100)
    assert saturation_reasons(results) == []
    delays(writer, "worker-1", *[150.0] * 100)
    (why,) = saturation_reasons(results)
    assert why == (
        "between two runs, the users of worker-1 waited for the harness for 11% of their time (limit 10%)"
    )
    add(writer, "schedule_lag_ms", 0.1)  # an open loop: its arrivals wait for nobody
    assert saturation_reasons(results) == []


def cpu(writer, worker, *shares, since=1):
    writer.add_processes(
        ProcessRecord(
            worker=worker, second=second, cpu=share, rss_bytes=1000 + second, open_streams=second % 7
        )
        for second, share in enumerate(shares, since)
    )
    writer.commit()


def test_a_busy_processor_is_no_saturation_where_nothing_was_late(writer, results):
    cpu(writer, "worker-0", *[1.0] * 10)
    add(writer, "schedule_lag_ms", *[0.2] * 100)
    delays(writer, "worker-0", *[0.5] * 100)
    assert saturation_reasons(results) == []


def test_how_each_process_fared(writer, results):
    cpu(writer, "worker-0", 0.25, 1.25)
    cpu(writer, "worker-1", 0.5)
    delays(writer, "worker-0", 3.0)
    assert processes(results) == [
        ProcessUsage("worker-0", 2, 0.75, 1.25, 0.5, 1002, 2, 3.0),
        ProcessUsage("worker-1", 1, 0.5, 0.5, 0.0, 1001, 1, None),
    ]
    document = json.loads(json.dumps(summarize(results)))["harness"]["processes"]
    assert document["worker-1"] == {
        "seconds": 1,
        "cpu_mean": 0.5,
        "cpu_max": 0.5,
        "busy": 0.0,
        "rss_max_bytes": 1001,
        "open_streams_max": 1,
        "hub_delay_p99_ms": None,
    }


def test_goodput_is_the_share_of_good_runs_by_journey_and_part(writer, results):
    assert goodput(results) is None
    for second, journey, runs, good in ((1, "fresh", 4, 1), (2, "fresh", 4, 3), (2, "replay", 2, 2)):
        writer.add_rate_counts("w", second, journey, "judged", runs)
        writer.add_rate_counts("w", second, journey, "runs", runs)
        writer.add_rate_counts("w", second, journey, "good", good)
    writer.add_rate_counts("w", 2, "conflict", "judged", 2)
    writer.set_manifest(measured_from=2)
    writer.commit()
    assert goodput(results) == 5 / 6
    assert goodput(results, "fresh") == 0.75
    assert goodput(results, part="whole") == 0.6
    assert goodput(results, "conflict") is None
    assert summarize(results)["goodput"] == {"runs": 6, "good": 5, "share": 5 / 6}


def test_warm_up_is_shown_apart(writer, results):
    for second, value in ((1, 900.0), (2, 100.0)):
        histogram = Histogram()
        histogram.record(value)
        writer.add_histogram("ttft_ms", "fresh", second, "w", histogram)
        writer.add_ledger("w", second, "fresh", "scheduled")
        writer.add_ledger("w", second, "fresh", "truncated")
        writer.add_rate_counts("w", second, "fresh", "judged")
    writer.add_rate_counts("w", 1, "fresh", "failed")
    writer.count_violation("ids.unique", "fresh", "w")
    writer.set_manifest(measured_from=2, warmup_s=1.0)
    writer.commit()
    document = summarize(results)
    assert (document["metrics"]["ttft_ms"]["count"], document["metrics"]["ttft_ms"]["max"]) == (1, 100.0)
    assert document["streams"] == {"judged": 1, "failed": 0, "error_rate": 0.0}
    assert document["ledger"]["scheduled"] == 2
    assert document["violations"] == {"ids.unique": 1}
    warmup = document["warmup"]
    assert (warmup["measured_from"], warmup["seconds"]) == (2, 1.0)
    assert warmup["streams"] == {"judged": 1, "failed": 1, "error_rate": 1.0}
    assert warmup["metrics"]["ttft_ms"]["max"] == 900.0


def test_the_error_rate_is_failed_by_judged_streams(writer, results):
    assert error_rate(results) is None
    for outcome, count in {"scheduled": 20, "abandoned": 5, "in flight": 5, "done": 10}.items():
        writer.add_ledger("w", 1, "fresh", outcome, count)
    writer.commit()
    assert error_rate(results) is None
    writer.add_rate_counts("w", 1, "fresh", "judged", 10)
    writer.commit()
    assert error_rate(results) == 0.0
    writer.add_rate_counts("w", 1, "fresh", "failed", 2)
    writer.commit()
    assert (error_rate(results), error_rate(results, "fresh"), error_rate(results, "join")) == (
        0.2,
        0.2,
        None,
    )


def test_streams_with_a_harness_fault_are_reported_and_in_no_rate(writer, results):
    writer.add_ledger("w", 1, "fresh", "scheduled", 3)
    writer.add_ledger("w", 1, "fresh", "done", 3)
    reasons = {"harness fault while judging it: X": 2, "harness fault while reading it: Y": 1}
    writer.set_manifest(harness_faults=reasons)
    writer.commit()
    document = summarize(results)
    assert document["harness"]["faults"] == {
        "streams": 3,
        "reasons": reasons,
        "sentence": "3 streams were not judged because of a harness fault: while judging it: X (2); "
        "while reading it: Y (1)",
    }
    assert document["streams"] == {"judged": 0, "failed": 0, "error_rate": None}
    assert document["ledger"]["done"] == 3


def test_of_many_faults_the_first_are_named():
    assert fault_sentence({}) == ""
    assert fault_sentence({"harness fault while judging it: X": 1}).startswith(
        "1 stream was not judged because of a harness fault"
    )
    many = fault_sentence({f"harness fault {number}": 1 for number in range(9)})
    assert many.endswith(": 0 (1); 1 (1); 2 (1); and 6 more reasons")


def test_violations_are_those_under_load_and_the_failed_musts(writer, results):
    writer.count_violation("ids.unique", "fresh", "w", 2)
    writer.count_violation("ids.present", "fresh", "w", 0)
    writer.add_checks(
        CheckRecord(id=name, level=level, verdict=verdict)
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
