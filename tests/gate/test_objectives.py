import math

import pytest

from harness.gate.objectives import KEYS, GateReport, GateRow, Objective, judge, parse_objectives
from harness.results.histogram import Histogram
from harness.results.store import CheckRow, Results, ResultsWriter


@pytest.fixture
def writer(tmp_path):
    with ResultsWriter(tmp_path / "results.sqlite") as writer:
        yield writer


def load(writer, ttft_ms=(), failures=0, **outcomes):
    """A load whose streams all ended `done`, unless outcomes say otherwise."""
    outcomes = outcomes or {"scheduled": 10, "done": 10}
    for outcome, count in outcomes.items():
        writer.add_ledger("w", 1, "fresh", outcome.replace("_", " "), count)
    if failures:
        writer.add_failures("w", 1, "fresh", failures)
    histogram = Histogram()
    histogram.record_many(ttft_ms)
    writer.add_histogram("ttft_ms", "fresh", 1, "w", histogram)


def check(writer, verdict, level="MUST", name="ids.unique"):
    writer.add_checks([CheckRow(id=name, level=level, verdict=verdict)])


def gate(writer, **limits) -> GateReport:
    writer.commit()
    with Results(writer.path) as results:
        return judge(results, parse_objectives(limits))


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
    assert len(KEYS) == 12 * 6 + 2
    assert Objective.parse("inter_token_p999_ms", 5).percentile == ("inter_token_ms", "p999")
    assert Objective.parse("error_rate", 0).percentile is None


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
    with pytest.raises(ValueError, match=f"objective '{wrong}' is unknown; did you mean '{near or ''}"):
        Objective.parse(wrong, 1)


@pytest.mark.parametrize("limit", [-1, math.nan, math.inf, True, "800", None])
def test_a_limit_that_is_no_number_from_0_up_is_refused(limit):
    with pytest.raises(ValueError, match="objective ttft_p95_ms: the limit must be a number from 0 up, not"):
        Objective.parse("ttft_p95_ms", limit)


def test_all_held(writer):
    load(writer, ttft_ms=[500.0] * 10)
    check(writer, "pass")
    report = gate(writer, ttft_max_ms=800, error_rate=0.001, violations=0)
    assert verdicts(report) == {
        "ttft_max_ms": "held",
        "error_rate": "held",
        "violations": "held",
        "ledger": "held",
        "conformance": "held",
    }
    assert (report.outcome, report.exit_code) == ("held", 0)
    assert row(report, "ttft_max_ms").value == 500.0
    assert row(report, "ttft_max_ms").headroom == 0.375
    assert row(report, "violations").headroom is None


def test_a_limit_may_be_reached_and_not_passed(writer):
    load(writer, ttft_ms=[800.0])
    assert gate(writer, ttft_max_ms=800).outcome == "held"
    load(writer, ttft_ms=[800.001])
    report = gate(writer, ttft_max_ms=800)
    assert (report.outcome, report.exit_code) == ("missed", 1)
    assert row(report, "ttft_max_ms").headroom < 0


def test_what_was_not_measured_is_not_green(writer):
    load(writer, ttft_ms=[1.0])
    report = gate(writer, ttft_p95_ms=800, resume_p95_ms=800)
    assert verdicts(report) == {"ttft_p95_ms": "held", "resume_p95_ms": "not measured", "ledger": "held"}
    assert (report.outcome, report.exit_code) == ("not measured", 1)
    assert row(report, "resume_p95_ms").headroom is None


def test_missed_outweighs_not_measured(writer):
    load(writer, ttft_ms=[900.0])
    assert gate(writer, ttft_p95_ms=800, resume_p95_ms=800).outcome == "missed"


def test_the_error_rate(writer):
    load(writer, failures=1, scheduled=25, done=19, truncated=1, abandoned=5)
    report = gate(writer, error_rate=0.05)
    assert (row(report, "error_rate").value, report.outcome) == (0.05, "held")
    assert gate(writer, error_rate=0.049).outcome == "missed"


def test_an_error_rate_without_a_load_is_not_measured(writer):
    check(writer, "pass")
    assert gate(writer, error_rate=1).outcome == "not measured"


def test_violations_come_from_the_load_and_from_failed_musts(writer):
    load(writer)
    writer.count_violation("ids.unique", "fresh", "w", 3)
    check(writer, "fail", name="auth.bad")
    report = gate(writer, violations=4)
    assert verdicts(report) == {"violations": "held", "ledger": "held", "conformance": "missed"}
    assert row(report, "violations").value == 4
    assert row(report, "conformance").detail == "auth.bad (fail)"
    assert row(gate(writer, violations=3), "violations").verdict == "missed"


@pytest.mark.parametrize("verdict", ["fail", "error", "stale"])
@pytest.mark.parametrize("level", ["MUST", "SHOULD"])
def test_a_check_that_failed_misses_the_gate_without_any_objective(writer, verdict, level):
    load(writer)
    check(writer, "pass", name="auth.bad")
    check(writer, verdict, level)
    report = gate(writer)
    assert (verdicts(report)["conformance"], report.exit_code) == ("missed", 1)
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
    assert (row(report, "ledger").verdict, row(report, "ledger").value) == ("missed", 1)
    assert row(report, "ledger").detail == f"10 streams scheduled, {done} accounted for"
    assert report.exit_code == 1


def test_open_streams_are_accounted_for(writer):
    load(writer, scheduled=10, done=9, in_flight=1)
    assert gate(writer).outcome == "held"


def test_nothing_tested(writer):
    report = gate(writer, violations=0)
    assert verdicts(report) == {"violations": "held"}
    assert (report.outcome, report.exit_code) == ("nothing tested", 2)


@pytest.mark.parametrize("outcome", ["refused", "rejected", "abandoned", "in_flight"])
def test_a_load_that_never_got_through_tested_nothing(writer, outcome):
    load(writer, **{"scheduled": 10, outcome: 10})
    check(writer, "not applicable")
    report = gate(writer, violations=0)
    assert (report.outcome, report.exit_code) == ("nothing tested", 2)


@pytest.mark.parametrize("outcome", ["refused", "rejected", "timed_out", "truncated"])
def test_a_load_without_a_finished_run_is_not_green_beside_passing_checks(writer, outcome):
    load(writer, **{"scheduled": 10, outcome: 10})
    check(writer, "pass")
    report = gate(writer, violations=0)
    assert verdicts(report)["load"] == "not measured"
    assert report.exit_code == 1
