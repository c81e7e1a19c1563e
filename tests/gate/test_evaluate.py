import math

import numpy as np
import pytest

from harness.gate.evaluate import evaluate
from harness.gate.goodput import is_good, journey_limits, run_limits
from harness.gate.objective import KEYS, Objective, limits_with, parse_objectives
from harness.gate.report import GateReport, GateRow
from harness.results.histogram import Histogram
from harness.results.ledger import Ledger
from harness.results.manifest import NO_LOAD
from harness.results.reader import Results
from harness.results.records import CheckRecord
from harness.results.schema import ResultsError
from harness.results.writer import ResultsWriter


@pytest.fixture
def writer(tmp_path):
    with ResultsWriter(tmp_path / "results.sqlite") as writer:
        yield writer


def load(writer, ttft_ms=(), failures=0, judged=None, **outcomes):
    """A load, by default of ten streams that ended with `done`. judged: by default all that ended on their own."""
    ledger = Ledger({outcome.replace("_", " "): count for outcome, count in outcomes.items()})
    if not outcomes:
        ledger = Ledger({"scheduled": 10, "done": 10})
    for outcome, count in ledger.as_dict().items():
        writer.add_ledger("w", 1, "fresh", outcome, count)
    writer.add_failures("w", 1, "fresh", failures)
    writer.add_rate_counts("w", 1, "fresh", "judged", ledger.judged if judged is None else judged)
    writer.add_rate_counts("w", 1, "fresh", "failed", failures)
    histogram = Histogram()
    histogram.record_many(ttft_ms)
    writer.add_histogram("ttft_ms", "fresh", 1, "w", histogram)


def check(writer, verdict, level="MUST", name="ids.unique"):
    writer.add_checks([CheckRecord(id=name, level=level, verdict=verdict)])


def gate(writer, **limits) -> GateReport:
    writer.commit()
    with Results(writer.path) as results:
        return evaluate(results, parse_objectives(limits))


def row(report, name) -> GateRow:
    return next(row for row in report.rows if row.name == name)


def verdicts(report):
    return {row.name: row.verdict for row in report.rows}


def test_the_keys_follow_from_metrics_and_percentiles():
    assert {
        "ttft_p95_ms",
        "duration_p99_ms",
        "resume_p50_ms",
        "inter_token_p99_ms",
        "stall_max_ms",
        "receive_lag_p999_ms",
        "error_rate",
        "violations",
    } <= set(KEYS)
    assert len(KEYS) == 23 * 6 + 4
    assert not any("tokens" in key for key in KEYS)
    assert Objective.parse("inter_token_p999_ms", 5).percentile == ("inter_token_ms", "p999")
    assert Objective.parse("error_rate", 0).percentile is None
    assert {key for key in KEYS if Objective.parse(key, 1).at_least} == {"goodput", "session_success"}


@pytest.mark.parametrize(
    ("wrong", "near"),
    [
        ("ttft_95_ms", "ttft_p95_ms"),
        ("ttft_p95", "ttft_p95_ms"),
        ("errorrate", "error_rate"),
        ("violation", "violations"),
        ("TTFT_P95_MS", "ttft_p95_ms"),
        ("", None),
    ],
)
def test_an_unknown_key_names_the_nearest(wrong, near):
    with pytest.raises(ValueError, match=f"unknown objective '{wrong}'; did you mean '{near or ''}"):
        Objective.parse(wrong, 1)


@pytest.mark.parametrize("limit", [-1, math.nan, math.inf, True, "800", None])
def test_a_limit_below_zero_or_not_finite_is_refused(limit):
    with pytest.raises(ValueError, match="objective ttft_p95_ms: the limit must be a number >= 0, not"):
        Objective.parse("ttft_p95_ms", limit)


@pytest.mark.parametrize("limit", [1.01, 99])
@pytest.mark.parametrize(("key", "whose"), [("goodput", "runs"), ("error_rate", "streams")])
def test_some_limits_are_shares(key, whose, limit):
    with pytest.raises(
        ValueError, match=f"objective {key}: the limit is a share of the {whose}, from 0 to 1, not {limit}"
    ):
        Objective.parse(key, limit)
    assert Objective.parse(key, 1).limit == 1


def test_all_passed(writer):
    load(writer, ttft_ms=[500.0] * 10)
    check(writer, "pass")
    report = gate(writer, ttft_max_ms=800, error_rate=0.001, violations=0)
    assert verdicts(report) == {
        "ttft_max_ms": "passed",
        "error_rate": "passed",
        "violations": "passed",
        "ledger": "passed",
        "conformance": "passed",
    }
    assert (report.outcome, report.exit_code) == ("passed", 0)
    assert row(report, "ttft_max_ms").value == 500.0
    assert row(report, "ttft_max_ms").headroom == 0.375
    assert row(report, "violations").headroom is None


def test_a_limit_may_be_reached_and_not_passed(writer):
    load(writer, ttft_ms=[800.0])
    assert gate(writer, ttft_max_ms=800).outcome == "passed"
    load(writer, ttft_ms=[800.001])
    report = gate(writer, ttft_max_ms=800)
    assert (report.outcome, report.exit_code) == ("failed", 1)
    assert row(report, "ttft_max_ms").headroom < 0


def test_not_measured_does_not_pass(writer):
    load(writer, ttft_ms=[1.0])
    report = gate(writer, ttft_p95_ms=800, resume_p95_ms=800)
    assert verdicts(report) == {"ttft_p95_ms": "passed", "resume_p95_ms": "not measured", "ledger": "passed"}
    assert (report.outcome, report.exit_code) == ("not measured", 1)
    assert row(report, "resume_p95_ms").headroom is None


def test_missed_outweighs_not_measured(writer):
    load(writer, ttft_ms=[900.0])
    assert gate(writer, ttft_p95_ms=800, resume_p95_ms=800).outcome == "failed"


def test_the_error_rate(writer):
    load(writer, failures=1, scheduled=25, done=19, truncated=1, abandoned=5)
    report = gate(writer, error_rate=0.05)
    assert (row(report, "error_rate").value, report.outcome) == (0.05, "passed")
    assert gate(writer, error_rate=0.049).outcome == "failed"


def test_an_error_rate_without_a_load_is_not_measured(writer):
    check(writer, "pass")
    assert gate(writer, error_rate=1).outcome == "not measured"


def test_violations_come_from_the_load_and_from_failed_musts(writer):
    load(writer)
    writer.count_violation("ids.unique", "fresh", "w", 3)
    check(writer, "fail", name="auth.bad")
    report = gate(writer, violations=4)
    assert verdicts(report) == {"violations": "passed", "ledger": "passed", "conformance": "failed"}
    assert row(report, "violations").value == 4
    assert row(report, "conformance").detail == "auth.bad (fail)"
    assert row(gate(writer, violations=3), "violations").verdict == "failed"


@pytest.mark.parametrize("verdict", ["fail", "error", "stale"])
@pytest.mark.parametrize("level", ["MUST", "SHOULD"])
def test_a_check_that_failed_misses_the_gate_without_any_objective(writer, verdict, level):
    load(writer)
    check(writer, "pass", name="auth.bad")
    check(writer, verdict, level)
    report = gate(writer)
    assert (verdicts(report)["conformance"], report.exit_code) == ("failed", 1)
    assert row(report, "conformance").value == 1


@pytest.mark.parametrize("verdict", ["pass", "warn", "info", "not applicable", "inconclusive", "known"])
def test_other_verdicts_do_not(writer, verdict):
    load(writer)
    check(writer, verdict)
    assert gate(writer).exit_code == 0


@pytest.mark.parametrize("done", [9, 11])
def test_a_ledger_that_does_not_add_up_misses(writer, done):
    load(writer, scheduled=10, done=done)
    report = gate(writer)
    assert (row(report, "ledger").verdict, row(report, "ledger").value) == ("failed", 1)
    assert row(report, "ledger").detail == f"10 streams scheduled, {done} accounted for"
    assert report.exit_code == 1


def test_open_streams_are_accounted_for(writer):
    load(writer, scheduled=10, done=9, in_flight=1)
    assert gate(writer).outcome == "passed"


def test_nothing_tested(writer):
    report = gate(writer, violations=0)
    assert verdicts(report) == {"violations": "passed"}
    assert (report.outcome, report.exit_code) == ("nothing tested", 2)


@pytest.mark.parametrize("outcome", ["refused", "rejected", "abandoned", "in_flight"])
def test_a_load_that_never_got_through_tested_nothing(writer, outcome):
    load(writer, **{"scheduled": 10, outcome: 10})
    check(writer, "not applicable")
    report = gate(writer, violations=0)
    assert (report.outcome, report.exit_code) == ("nothing tested", 2)


@pytest.mark.parametrize("outcome", ["refused", "rejected", "timed_out", "truncated"])
def test_a_load_without_a_completed_run_does_not_pass_with_passing_checks(writer, outcome):
    load(writer, **{"scheduled": 10, outcome: 10})
    check(writer, "pass")
    report = gate(writer, violations=0)
    assert verdicts(report)["load"] == "not measured"
    assert report.exit_code == 1


def saturated(writer, lag_ms=500.0):
    """The generator was behind its schedule."""
    delayed(writer, "schedule_lag_ms", lag_ms)


def delayed(writer, metric, *lags_ms):
    histogram = Histogram()
    histogram.record_many(lags_ms)
    writer.add_histogram(metric, "fresh", 1, "w", histogram)


SATURATED = (
    "the load fell behind its schedule: 10% of the arrivals were sent at least 500 ms late (limit 100 ms)"
)


@pytest.mark.parametrize(
    ("ttft_ms", "verdict"), [(500.0, "inconclusive"), (1299.0, "inconclusive"), (1301.0, "failed")]
)
def test_a_saturated_harness_makes_latencies_inconclusive(writer, ttft_ms, verdict):
    load(writer, ttft_ms=[ttft_ms])
    saturated(writer)
    report = gate(writer, ttft_p95_ms=800, error_rate=0.1, violations=0)
    assert verdicts(report) == {
        "ttft_p95_ms": verdict,
        "error_rate": "passed",
        "violations": "passed",
        "ledger": "passed",
        "saturated": "inconclusive",
    }
    assert row(report, "ttft_p95_ms").value == ttft_ms
    if verdict == "inconclusive":
        assert row(report, "ttft_p95_ms").detail == "the harness was saturated"
    assert report.saturation == (SATURATED,)
    assert (report.outcome, report.exit_code) == (verdict, 1)


def test_a_load_that_was_lower_than_requested_never_passes(writer):
    load(writer)
    saturated(writer)
    report = gate(writer, error_rate=0.1)
    assert (report.outcome, row(report, "saturated").detail) == ("inconclusive", SATURATED)


@pytest.mark.parametrize(
    ("limit_ms", "verdict"), [(800, "passed"), (170, "passed"), (169.9, "inconclusive"), (159, "failed")]
)
def test_a_late_send_matters_only_if_the_limit_is_within_it(writer, limit_ms, verdict):
    load(writer, ttft_ms=[170.0] * 100)
    delayed(writer, "schedule_lag_ms", *[10.0] * 100)
    report = gate(writer, ttft_p50_ms=limit_ms)
    found = row(report, "ttft_p50_ms")
    assert (found.verdict, report.saturation) == (verdict, ())
    assert (found.error.low, found.error.high) == (pytest.approx(160, rel=0.01), pytest.approx(170, rel=0.01))
    if verdict == "inconclusive":
        assert found.detail.startswith(
            "the limit is within the harness's own error: without its delays, the value"
        )


def test_one_late_arrival_does_not_blur_a_percentile(writer):
    load(writer, ttft_ms=[20.0] * 39 + [180.0])
    delayed(writer, "schedule_lag_ms", 160.0, *[0.1] * 39)
    report = gate(writer, ttft_p50_ms=25, ttft_p95_ms=25, ttft_max_ms=25)
    assert verdicts(report)["ttft_p50_ms"] == verdicts(report)["ttft_p95_ms"] == "passed"
    assert verdicts(report)["ttft_max_ms"] == "inconclusive"  # 20 ms, if that arrival was sent 160 ms late


@pytest.mark.parametrize(
    ("stamp", "verdict"), [("kernel", "failed"), ("user", "inconclusive"), ("mixed", "inconclusive")]
)
def test_a_busy_event_loop_matters_to_what_the_kernel_did_not_time(writer, stamp, verdict):
    writer.set_manifest(receive_stamp=stamp)
    service = Histogram()
    service.record_many([105.0] * 100)
    writer.add_histogram("service_ttft_ms", "fresh", 1, "w", service)
    delayed(writer, "receive_lag_ms", *[50.0] * 100)
    delays = Histogram()
    delays.record_many([10.0] * 1000)
    writer.add_histogram("hub_delay_ms", "", 1, "w", delays)
    load(writer)
    report = gate(writer, service_ttft_p50_ms=100)
    assert (verdicts(report)["service_ttft_p50_ms"], report.saturation) == (verdict, ())
    assert verdicts(gate(writer, service_ttft_p50_ms=110))["service_ttft_p50_ms"] == "passed"
    assert verdicts(gate(writer, service_ttft_p50_ms=90))["service_ttft_p50_ms"] == "failed"


def test_failures_that_saturation_cannot_cause_still_fail(writer):
    load(writer, ttft_ms=[500.0])
    saturated(writer)
    writer.count_violation("ids.unique", "fresh", "w")
    assert gate(writer, ttft_p95_ms=800, violations=0).outcome == "failed"
    check(writer, "fail")
    assert gate(writer, ttft_p95_ms=800).outcome == "failed"


def test_saturation_does_not_excuse_a_ledger(writer):
    load(writer, ttft_ms=[500.0], scheduled=10, done=9)
    saturated(writer)
    assert gate(writer, ttft_p95_ms=800).outcome == "failed"


@pytest.mark.parametrize("word", ["timed out", "refused"])
def test_timeouts_of_a_harness_that_stood_still_are_inconclusive(writer, word):
    load(writer, failures=5, scheduled=10, done=5, **{word: 5})
    assert row(gate(writer, error_rate=0.1), "error_rate").verdict == "failed"
    delayed(writer, "receive_lag_ms", 900.0)  # far less than any budget
    assert row(gate(writer, error_rate=0.1), "error_rate").verdict == "failed"
    delayed(writer, "receive_lag_ms", 1100.0)
    report = gate(writer, error_rate=0.1)
    assert (row(report, "error_rate").verdict, report.outcome) == ("inconclusive", "inconclusive")
    assert gate(writer, error_rate=0.5).outcome == "passed"


@pytest.mark.parametrize(("timed_out", "verdict"), [(3, "failed"), (4, "inconclusive")])
def test_server_failures_count_even_if_the_harness_was_saturated(writer, timed_out, verdict):
    load(writer, failures=5, scheduled=10, done=5 - timed_out + 3, truncated=2, **{"timed out": timed_out})
    saturated(writer)
    assert row(gate(writer, error_rate=0.1), "error_rate").verdict == verdict


def test_harness_faults_are_inconclusive(writer):
    load(writer, ttft_ms=[1.0] * 10, judged=9, scheduled=10, done=10)
    writer.set_manifest(harness_faults={"harness fault while judging it: X": 1})
    report = gate(writer, ttft_p95_ms=10, error_rate=0)
    assert (report.outcome, report.exit_code, report.may_join_baseline) == ("inconclusive", 1, False)
    assert row(report, "harness") == GateRow(
        "harness",
        1.0,
        0.0,
        "inconclusive",
        "1 stream was not judged because of a harness fault: while judging it: X (1)",
    )
    assert gate(writer, ttft_p95_ms=0.5).outcome == "failed"


def test_with_only_harness_faults_no_rate_is_measured(writer):
    load(writer, judged=0, scheduled=10, done=10)
    writer.set_manifest(harness_faults={"harness fault while judging it: X": 10})
    report = gate(writer, error_rate=0.5)
    assert row(report, "error_rate").verdict == "not measured"
    assert report.outcome == "inconclusive"


@pytest.mark.parametrize(("dropped", "verdict"), [(10, None), (11, "inconclusive")])
def test_too_many_dropped_arrivals_are_inconclusive(writer, dropped, verdict):
    load(writer, scheduled=1000, done=1000 - dropped, dropped=dropped)
    report = gate(writer, error_rate=0.1)
    assert verdicts(report).get("dropped") == verdict
    assert report.outcome == (verdict or "passed")


@pytest.mark.parametrize("state", ["running", "interrupted"])
def test_an_interrupted_suite_is_inconclusive(writer, state):
    load(writer)
    writer.set_manifest(suite_state=state)
    assert verdicts(gate(writer))["conformance"] == "inconclusive"
    check(writer, "pass")
    assert verdicts(gate(writer))["conformance"] == "inconclusive"
    writer.set_manifest(suite_state="finished")
    assert verdicts(gate(writer))["conformance"] == "passed"
    writer.set_manifest(suite_state=state)
    check(writer, "fail")
    assert verdicts(gate(writer))["conformance"] == "failed"


def test_objectives_on_harness_lag_apply_even_if_it_is_saturated(writer):
    load(writer)
    saturated(writer)
    assert verdicts(gate(writer, schedule_lag_p99_ms=400))["schedule_lag_p99_ms"] == "failed"
    assert verdicts(gate(writer, schedule_lag_p99_ms=600))["schedule_lag_p99_ms"] == "passed"


def test_not_measured_stays_not_measured_with_saturation(writer):
    load(writer)
    saturated(writer)
    assert row(gate(writer, ttft_p95_ms=800), "ttft_p95_ms").verdict == "not measured"


def test_a_lost_worker_is_inconclusive_and_named(writer):
    load(writer, scheduled=10, done=8, lost=2)
    writer.set_manifest(
        workers_lost=["worker-1", "worker-2"],
        counted_until={"worker-1": "2026-09-21T14:13:20+00:00", "worker-2": None},
    )
    report = gate(writer, violations=0)
    lost = row(report, "lost")
    assert (lost.value, lost.verdict) == (2.0, "inconclusive")
    assert lost.detail == (
        "worker-1 (last report 2026-09-21T14:13:20+00:00), worker-2 were lost; results after the "
        "last report are missing"
    )
    assert verdicts(report)["ledger"] == "passed"
    assert (report.outcome, report.exit_code) == ("inconclusive", 1)


def test_a_load_whose_restart_failed_is_no_pass(writer):
    load(writer, scheduled=10, done=10)
    restart = {"at_ns": 1, "how": "command", "problem": None}
    writer.set_manifest(restart=restart)
    assert gate(writer, violations=0).outcome == "passed"
    writer.set_manifest(restart={**restart, "problem": "ended with code 1"})
    report = gate(writer, violations=0)
    assert row(report, "restart").detail == (
        "the server was not restarted: target.restart_command ended with code 1"
    )
    assert (report.outcome, report.exit_code) == ("inconclusive", 1)


def test_a_killed_load_is_inconclusive_even_if_its_ledger_adds_up(writer):
    load(writer, scheduled=10, done=8)
    writer.set_open("w", {"fresh": 2})
    writer.set_manifest(state="finished", load_state="running")
    report = gate(writer, violations=0)
    assert verdicts(report) == {"violations": "passed", "ledger": "passed", "load": "inconclusive"}
    assert (report.outcome, report.exit_code) == ("inconclusive", 1)
    writer.set_manifest(load_state="interrupted")
    assert (gate(writer, violations=0).outcome, row(gate(writer), "load").verdict) == ("inconclusive",) * 2
    writer.set_manifest(load_state="aborted", load_aborted="the load was aborted by the condition 'x'")
    assert (gate(writer, violations=0).outcome, row(gate(writer), "load").verdict) == ("inconclusive",) * 2
    assert row(gate(writer), "load").detail == "the load was aborted by the condition 'x'"
    writer.set_manifest(load_state="finished")
    assert gate(writer, violations=0).outcome == "passed"


def test_dropped_arrivals_are_accounted_for_and_not_judged(writer):
    load(writer, scheduled=10, done=7, dropped=3)
    report = gate(writer, error_rate=0)
    assert (report.outcome, row(report, "error_rate").value) == ("inconclusive", 0.0)
    assert row(report, "ledger").detail == (
        "10 streams scheduled, 10 accounted for, 3 of them dropped before they started"
    )


def runs(writer, runs, good):
    for word, count in (("judged", runs), ("runs", runs), ("good", good)):
        writer.add_rate_counts("w", 1, "fresh", word, count)


def test_goodput_must_reach_its_limit(writer):
    load(writer)
    runs(writer, 100, 90)
    report = gate(writer, goodput=0.9)
    assert (row(report, "goodput").value, row(report, "goodput").verdict) == (0.9, "passed")
    assert row(report, "goodput").headroom == pytest.approx(0.0)
    report = gate(writer, goodput=0.91)
    assert (row(report, "goodput").verdict, report.exit_code) == ("failed", 1)
    assert row(report, "goodput").headroom == pytest.approx(-0.01 / 0.91)
    assert gate(writer, goodput=0).outcome == "passed"


def test_goodput_without_counts_is_not_measured(writer):
    load(writer)
    assert gate(writer, goodput=0.5).outcome == "not measured"


def test_goodput_with_different_limits_is_not_measured(writer):
    load(writer)
    runs(writer, 100, 99)
    writer.set_manifest(settings={"objectives": {"ttft_p95_ms": 800, "goodput": 0.9, "error_rate": 0.1}})
    assert verdicts(gate(writer, ttft_p50_ms=800, goodput=0.9))["goodput"] == "passed"
    report = gate(writer, ttft_p95_ms=500, goodput=0.9)
    assert row(report, "goodput").verdict == "not measured"
    assert row(report, "goodput").detail == (
        "good runs were counted during the test with ttft_ms 800; different limits need a new test"
    )
    writer.set_manifest(settings={"objectives": {"ttft_p42_ms": 1}})
    with pytest.raises(
        ResultsError,
        match="this version cannot evaluate the file's objectives: unknown objective 'ttft_p42_ms'",
    ):
        gate(writer, goodput=0.9)


def test_goodput_in_a_saturated_harness_is_inconclusive(writer):
    load(writer)
    runs(writer, 100, 99)
    saturated(writer)
    assert gate(writer, goodput=0.5).outcome == "inconclusive"


def test_runs_that_only_the_harness_can_have_made_late_are_in_doubt(writer):
    load(writer, ttft_ms=[100.0] * 80 + [105.0] * 10 + [200.0] * 10)
    runs(writer, 100, 80)
    delayed(writer, "schedule_lag_ms", *[0.1] * 95, *[20.0] * 5)
    limits = {"ttft_p99_ms": 103}
    writer.set_manifest(settings={"objectives": {**limits, "goodput": 0.9}})
    found = {
        goodput: row(gate(writer, **limits, goodput=goodput), "goodput") for goodput in (0.8, 0.85, 0.86)
    }
    assert {goodput: one.verdict for goodput, one in found.items()} == {
        0.8: "passed",
        0.85: "inconclusive",  # 5 of the runs at 105 ms
        0.86: "failed",
    }
    assert (found[0.8].error.low, found[0.8].error.high) == (0.8, 0.85)


@pytest.mark.parametrize(
    ("objectives", "limits"),
    [
        ({"error_rate": 0.1, "violations": 0, "goodput": 0.9}, {}),
        ({"ttft_p50_ms": 200, "ttft_p99_ms": 800}, {"ttft_ms": 800}),
        ({"ttft_p99_ms": 150, "ttft_p50_ms": 200}, {"ttft_ms": 150}),
        ({"ttft_p999_ms": 3, "ttft_max_ms": 4}, {"ttft_ms": 4}),
        ({"inter_token_p99_ms": 50, "head_p99_ms": 1, "receive_lag_p99_ms": 1, "connect_max_ms": 1}, {}),
        ({"inter_token_max_ms": 50}, {"stall_ms": 50}),
        ({"inter_token_max_ms": 50, "stall_max_ms": 40}, {"stall_ms": 40}),
        ({"inter_token_max_ms": 50, "stall_p99_ms": 60}, {"stall_ms": 50}),
        (
            {"service_ttft_p95_ms": 1, "first_event_p95_ms": 2, "duration_p95_ms": 3, "resume_p95_ms": 4},
            {"service_ttft_ms": 1, "first_event_ms": 2, "duration_ms": 3, "resume_ms": 4},
        ),
    ],
)
def test_per_run_limits(objectives, limits):
    assert run_limits(parse_objectives(objectives)) == limits


@pytest.mark.parametrize(
    ("values", "begins_run", "good"),
    [
        ({"ttft_ms": 800, "stall_ms": 50, "duration_ms": 1}, True, True),
        ({"ttft_ms": 800.001, "stall_ms": 50}, True, False),
        ({"ttft_ms": 1, "stall_ms": 50.1}, True, False),
        ({"ttft_ms": 1}, True, True),  # a single token has no gap
        ({"stall_ms": 1}, True, False),
        ({}, True, False),
        ({}, False, True),  # a replay has none of its own
        ({"resume_ms": 10}, False, True),
        ({"resume_ms": 10.1}, False, False),
    ],
)
def test_a_good_run_meets_every_limit(values, begins_run, good):
    limits = {"ttft_ms": 800, "stall_ms": 50, "resume_ms": 10}
    assert is_good(values, limits, begins_run=begins_run) is good
    assert is_good(values, {}, begins_run=begins_run)


def test_a_comparison_of_a_saturated_measurement_is_inconclusive(tmp_path):
    files = []
    for name, ttft_ms, lag_ms in (("now", 200.0, 500.0), ("then", 100.0, 1.0), ("fast", 300.0, 1.0)):
        with ResultsWriter(tmp_path / name) as writer:
            writer.add_ledger("w", 1, "fresh", "scheduled", 900)
            writer.add_ledger("w", 1, "fresh", "done", 900)
            for second in range(30):
                histogram = Histogram()
                histogram.record_many([ttft_ms] * 30)
                writer.add_histogram("ttft_ms", "fresh", second, "w", histogram)
            saturated(writer, lag_ms)
        files.append(Results(writer.path))
    now, then, fast = files
    objectives = parse_objectives({"ttft_p50_ms": 1_000})
    for one, other, verdict, detail in (
        (now, then, "inconclusive", "the harness was saturated in this test"),
        (fast, now, "inconclusive", "the harness was saturated in the baseline"),
        (now, now, "inconclusive", "the harness was saturated in this test and in the baseline"),
        (
            fast,
            then,
            "worse",
            "too few tests to estimate how much they vary: a standard deviation of 2.0% is assumed",
        ),
    ):
        report = evaluate(one, objectives, baseline=other)
        (comparison,) = report.comparisons
        assert (comparison.verdict, comparison.detail) == (verdict, detail)
        assert (comparison.low is None) is (verdict == "inconclusive")
    for file in files:
        file.close()


def test_warm_up_counts_for_no_objective_but_violations(writer):
    for second, ttft_ms in ((1, 900.0), (2, 100.0)):
        histogram = Histogram()
        histogram.record(ttft_ms)
        writer.add_histogram("ttft_ms", "fresh", second, "w", histogram)
        writer.add_ledger("w", second, "fresh", "scheduled")
        writer.add_ledger("w", second, "fresh", "done")
        writer.add_rate_counts("w", second, "fresh", "judged")
    writer.add_rate_counts("w", 1, "fresh", "failed")
    writer.count_violation("ids.unique", "fresh", "w")
    writer.set_manifest(measured_from=2)
    report = gate(writer, ttft_max_ms=800, error_rate=0, violations=0)
    assert verdicts(report) == {
        "ttft_max_ms": "passed",
        "error_rate": "passed",
        "violations": "failed",
        "ledger": "passed",
    }
    writer.set_manifest(measured_from=3)
    assert verdicts(gate(writer, ttft_max_ms=800))["ttft_max_ms"] == "not measured"


def journeys(writer):
    """Fast and slow streams of two journeys; some of the slow ones failed."""
    for journey, ttft_ms, failed in (("fresh", 100.0, 0), ("resume", 900.0, 5)):
        histogram = Histogram()
        histogram.record_many([ttft_ms] * 20)
        writer.add_histogram("ttft_ms", journey, 1, "w", histogram)
        for word, count in (("judged", 20), ("failed", failed), ("runs", 20), ("good", 20 - failed)):
            writer.add_rate_counts("w", 1, journey, word, count)
        for outcome, count in (("scheduled", 20), ("done", 20)):
            writer.add_ledger("w", 1, journey, outcome, count)
    writer.count_violation("ids.unique", "resume", "w", 3)


def test_an_objective_may_be_of_one_journey(writer):
    journeys(writer)
    limits = {
        "fresh.ttft_p95_ms": 200,
        "resume.ttft_p95_ms": 200,
        "ttft_max_ms": 1000,
        "fresh.error_rate": 0.01,
        "resume.error_rate": 0.1,
        "fresh.goodput": 0.99,
        "resume.goodput": 0.99,
        "fresh.violations": 0,
        "resume.violations": 2,
    }
    report = gate(writer, **limits)
    assert [row.name for row in report.rows[: len(limits)]] == list(limits)
    assert verdicts(report) == {
        "fresh.ttft_p95_ms": "passed",
        "resume.ttft_p95_ms": "failed",
        "ttft_max_ms": "passed",
        "fresh.error_rate": "passed",
        "resume.error_rate": "failed",
        "fresh.goodput": "passed",
        "resume.goodput": "failed",
        "fresh.violations": "passed",
        "resume.violations": "failed",
        "ledger": "passed",
    }
    assert row(report, "resume.violations").value == 3
    assert row(report, "resume.error_rate").value == 0.25


@pytest.mark.parametrize("key", ["ttft_p95_ms", "error_rate", "goodput", "violations"])
def test_a_journey_without_streams_is_not_measured(writer, key):
    journeys(writer)
    report = gate(writer, **{f"resumee.{key}": 1, f"nothing-like-it.{key}": 1})
    assert {row.verdict for row in report.rows[:2]} == {"not measured"}
    assert report.rows[0].detail == "no journey 'resumee' in this test; did you mean 'resume'?"
    assert (
        report.rows[1].detail
        == "no journey 'nothing-like-it' in this test; journeys in this test: fresh, resume"
    )
    assert report.exit_code == 1


def test_a_journeys_limits_are_for_its_own_runs():
    objectives = parse_objectives(
        {
            "ttft_p95_ms": 800,
            "fresh.ttft_p99_ms": 1000,
            "fresh.error_rate": 0.1,
            "resume.resume_p99_ms": 50,
            "resume.ttft_p95_ms": 500,
            "join.violations": 0,
        }
    )
    assert run_limits(objectives) == {"ttft_ms": 800}
    assert run_limits(objectives, "abandon") == {"ttft_ms": 800}
    assert journey_limits(objectives) == {
        "fresh": {"ttft_ms": 1000},  # of the percentiles that are limited for it the highest
        "resume": {"ttft_ms": 500, "resume_ms": 50},
        "join": {"ttft_ms": 800},
    }
    assert journey_limits(parse_objectives({"ttft_p95_ms": 1})) == {}


def test_goodput_with_different_limits_of_a_journey_is_not_measured(writer):
    journeys(writer)
    writer.set_manifest(settings={"objectives": {"ttft_p95_ms": 800, "resume.resume_p99_ms": 50}})
    limits = {"ttft_p95_ms": 800, "resume.resume_p99_ms": 50}
    assert verdicts(gate(writer, goodput=0.5, **limits))["goodput"] == "passed"
    report = gate(writer, goodput=0.5, ttft_p95_ms=800)
    assert row(report, "goodput").detail == (
        "good runs were counted during the test with ttft_ms 800, resume.resume_ms 50; different limits need a new test"
    )


def test_overrides_replace_limits_of_the_same_name():
    limits = {"ttft_p95_ms": 800.0, "fresh.error_rate": 0.1}
    given = [
        Objective("ttft_p95_ms", 500.0),
        Objective("error_rate", 0.2),
        Objective("error_rate", 0.3, "fresh"),
    ]
    assert limits_with(limits, given) == {"ttft_p95_ms": 500.0, "fresh.error_rate": 0.3, "error_rate": 0.2}
    assert limits_with(limits, []) == limits


def test_rows_have_intervals_on_request(writer):
    for second in range(30):
        histogram = Histogram()
        histogram.record_many([100.0, 200.0, 300.0])
        writer.add_histogram("ttft_ms", "fresh", second, "w", histogram)
        writer.add_rate_counts("w", second, "fresh", "judged", 10)
    writer.add_ledger("w", 1, "fresh", "scheduled", 9)
    writer.add_ledger("w", 1, "fresh", "done", 9)
    writer.commit()
    objectives = parse_objectives(
        {"ttft_p50_ms": 200.2, "ttft_max_ms": 300, "error_rate": 0.5, "violations": 0}
    )
    with Results(writer.path) as results:
        assert all(row.interval is None for row in evaluate(results, objectives).rows)
        rows = {row.name: row for row in evaluate(results, objectives, intervals=True).rows}
    low, high = rows["ttft_p50_ms"].interval
    assert 199 < low < 200 < high < 201
    assert (rows["ttft_p50_ms"].verdict, rows["ttft_p50_ms"].detail) == (
        "passed",
        "the limit is within the interval, so a longer test may have the other verdict",
    )
    assert rows["ttft_p50_ms"].headroom is None  # its sign is not certain
    assert rows["error_rate"].interval[0] == 0
    assert (rows["error_rate"].interval[1] < 0.05, rows["error_rate"].detail) == (True, "")
    assert rows["error_rate"].headroom == 1
    assert rows["ttft_max_ms"].interval is rows["violations"].interval is rows["ledger"].interval is None


def steady_load(path, ttft_ms, lag_ms=0.1, seconds=20, rate=2, *, failed=0, duration_ms=500.0):
    """A load of that many seconds, of a server that answers evenly."""
    with ResultsWriter(path) as writer:
        rng = np.random.default_rng(7)
        for second in range(seconds):
            for metric, value_ms in (("ttft_ms", ttft_ms), ("duration_ms", duration_ms)):
                histogram = Histogram()
                histogram.record_many((value_ms * rng.normal(1, 0.005, rate)).tolist())
                writer.add_histogram(metric, "fresh", second, "w", histogram)
            histogram = Histogram()
            histogram.record_many([lag_ms] * rate)
            writer.add_histogram("schedule_lag_ms", "fresh", second, "w", histogram)
            for counter in ("judged", "runs", "good"):
                writer.add_rate_counts("w", second, "fresh", counter, rate)
            writer.add_ledger("w", second, "fresh", "scheduled", rate)
            writer.add_ledger("w", second, "fresh", "done", rate)
        if failed:
            writer.add_rate_counts("w", 0, "fresh", "failed", failed)
    return Results(path)


def compared(now, then, objectives=None):
    with now, then:
        report = evaluate(now, parse_objectives(objectives or {"error_rate": 0.01}), baseline=then)
    return {comparison.key: comparison for comparison in report.comparisons}, report


@pytest.mark.parametrize("lag_ms", [0.1, 10.0])
def test_a_slowed_server_is_worse_though_no_objective_names_what_became_slower(tmp_path, lag_ms):
    found, report = compared(
        steady_load(tmp_path / "now", 170.3, lag_ms, duration_ms=650.0), steady_load(tmp_path / "then", 20.6)
    )
    assert (found["ttft_p50_ms"].verdict, found["duration_p50_ms"].verdict) == ("worse", "worse")
    assert found["ttft_p50_ms"].difference == pytest.approx(7.25, abs=0.1)
    assert (report.outcome, report.exit_code) == ("failed", 1)


def test_a_change_that_the_harness_may_have_made_itself_is_inconclusive(tmp_path):
    found, _ = compared(steady_load(tmp_path / "now", 130.0, 100.0), steady_load(tmp_path / "then", 100.0))
    assert found["ttft_p50_ms"].verdict == "inconclusive"
    assert found["ttft_p50_ms"].detail.startswith("the harness's own delays may be the reason for the change")


def test_an_unchanged_server_is_the_same(tmp_path):
    found, report = compared(steady_load(tmp_path / "now", 20.6), steady_load(tmp_path / "then", 20.7))
    assert {key: comparison.verdict for key, comparison in found.items()} == {
        "ttft_p50_ms": "same",
        "duration_p50_ms": "same",
        "error_rate": "inconclusive",  # so few streams do not exclude that every twentieth fails
    }
    assert found["error_rate"].detail == (
        "the same in all 40 cases now and 40 in the baseline; up to 7.2% could go unseen"
    )
    assert found["ttft_p50_ms"].detail.startswith("smaller than the smallest effect of 5 ms")
    assert report.outcome == "passed"
    assert report.notes == (
        "too few values to compare ttft_p95_ms, duration_p95_ms with the baseline",
        "no objective, and not compared by default: goodput, violations",
    )


def test_what_was_measured_before_and_not_now_is_not_passed_over(tmp_path):
    now = steady_load(tmp_path / "now", 20.0)
    with ResultsWriter(tmp_path / "then") as writer:
        writer.add_rate_counts("w", 1, "fresh", "judged", 10)
    found, _ = compared(now, Results(tmp_path / "then"))
    assert found["ttft_p50_ms"].verdict == "inconclusive"
    assert found["ttft_p50_ms"].detail == "not measured in the baseline"


def test_nothing_failed_in_so_few_streams_is_not_the_same(tmp_path):
    found, _ = compared(
        steady_load(tmp_path / "now", 20.0, rate=1, seconds=10), steady_load(tmp_path / "then", 20.0)
    )
    assert found["error_rate"].verdict == "inconclusive"


def test_limits_of_a_load_do_not_apply_to_a_test_without_one(writer):
    check(writer, "pass")
    writer.set_manifest(load_state=NO_LOAD, settings={"objectives": {"error_rate": 0.001, "violations": 0}})
    report = gate(writer, error_rate=0.001, violations=0)
    assert verdicts(report) == {"violations": "passed", "conformance": "passed"}
    assert (report.outcome, report.exit_code) == ("passed", 0)
    assert report.notes == ("not applicable, because this test has no load: error_rate",)
    check(writer, "fail")
    assert gate(writer, error_rate=0.001, violations=0).outcome == "failed"


def test_a_limit_given_for_a_test_without_a_load_is_not_measured(writer):
    check(writer, "pass")
    writer.set_manifest(load_state=NO_LOAD, settings={"objectives": {"error_rate": 0.001}})
    report = gate(writer, error_rate=0.01, ttft_p95_ms=800)
    assert [found.verdict for found in report.rows] == ["not measured", "not measured", "passed"]
    assert report.exit_code == 1


def test_a_load_that_should_have_run_is_not_taken_for_a_test_without_one(writer):
    check(writer, "pass")
    writer.set_manifest(settings={"objectives": {"error_rate": 0.001}})
    assert gate(writer, error_rate=0.001).outcome == "not measured"
