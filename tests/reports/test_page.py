import random
from pathlib import Path
from typing import Any

import pytest

from harness.gate.confidence_intervals import percentile_interval, share_interval
from harness.reports.exchange_view import SizeBudget, exchange_view
from harness.reports.page import FACTS_SHOWN, Facts, ReportPage, page
from harness.results.histogram import Histogram
from harness.results.reader import Results
from harness.results.records import CheckRecord
from harness.results.schema import ResultsError
from harness.results.writer import ResultsWriter

from . import samples
from .samples import MANIFEST, START


def _page(path: Path) -> ReportPage:
    with Results(path) as results:
        return page(results)


def _load(
    path: Path, objectives: dict[str, Any], *, failed: int = 0, lag_ms: float = 0.1, **manifest: Any
) -> ReportPage:
    """Ten streams with a TTFT of 100 ms each."""
    with ResultsWriter(path) as writer:
        writer.set_manifest(**{**MANIFEST, "settings": {"objectives": objectives}, **manifest})
        histogram, lag = Histogram(), Histogram()
        histogram.record_many([100.0] * 10)
        lag.record(lag_ms)
        writer.add_histogram("ttft_ms", "fresh", START, "w0", histogram)
        writer.add_histogram("receive_lag_ms", "fresh", START, "w0", lag)
        writer.add_ledger("w0", START, "fresh", "scheduled", 10)
        writer.add_ledger("w0", START, "fresh", "done", 10)
        if failed:
            writer.add_failures("w0", START, "fresh", failed)
    return _page(path)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "results.sqlite"


def test_a_run_that_held_passes(path: Path) -> None:
    made = _load(path, {"ttft_p95_ms": 800, "error_rate": 0.1}, failed=1)
    assert (made.headline.word, made.headline.tone, made.headline.notes) == ("Passed", "good", ())
    assert made.headline.why == "All 3 limits were held. Load: 10 streams, 1 of them failed."
    assert [(row.name, row.value, row.limit, row.headroom, row.used) for row in made.objectives] == [
        ("ttft_p95_ms", "100.0 ms", "800 ms", "87.5% to spare", 0.125),
        ("error_rate", "10%", "10%", "0% to spare", 1.0),
        ("ledger", "0", "0", "\u2013", None),
    ]
    assert (made.target, made.started, made.took) == (
        "https://agent.example.com/agent/workflow-actions",
        "21 September 2026, 14:13:20 UTC",
        "1 min",
    )


def test_a_missed_limit_fails_and_is_named(path: Path) -> None:
    made = _load(path, {"ttft_p95_ms": 80, "error_rate": 0.1}, failed=2)
    assert (made.headline.word, made.headline.tone) == ("Failed", "bad")
    assert made.headline.why.startswith(
        "`ttft_p95_ms` is 100.0 ms, over its limit of 80 ms; `error_rate` is 20%, over its limit of 10%. "
    )
    assert made.objectives[0].headroom == "25% over"


def test_a_limit_on_what_was_not_measured_is_not_green(path: Path) -> None:
    made = _load(path, {"resume_p99_ms": 80})
    assert (made.headline.word, made.headline.tone) == ("Incomplete", "bad")
    assert made.headline.why.startswith("`resume_p99_ms` was not measured. ")
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
    assert (made.headline.word, made.headline.tone) == ("Failed", "bad")
    assert made.headline.why == "Conformance failed in ids.unique (fail). Conformance: 1 pass, 1 fail."
    assert not made.has_objectives


def test_nothing_tested_is_never_green(path: Path) -> None:
    with ResultsWriter(path) as writer:
        writer.set_manifest(**MANIFEST)
        writer.add_checks([CheckRecord(id="ids.unique", level="MUST", verdict="not applicable")])
        writer.add_ledger("w0", START, "fresh", "scheduled", 3)
        writer.add_ledger("w0", START, "fresh", "refused", 3)
    made = _page(path)
    assert (made.headline.word, made.headline.tone) == ("Nothing was tested", "none")


@pytest.mark.parametrize(
    ("manifest", "note"),
    [
        ({"state": "interrupted"}, "The test was interrupted: this covers only what came before."),
        (
            {"state": "running"},
            "The test never wrote its end: it is still running, or it was killed. This is what it left.",
        ),
    ],
)
def test_what_limits_a_pass_is_said_and_takes_its_green_away(
    path: Path, manifest: dict[str, Any], note: str
) -> None:
    made = _load(path, {"ttft_p95_ms": 800}, **manifest)
    assert (made.headline.word, made.headline.tone) == ("Passed, with a reservation", "warn")
    assert made.headline.notes == (note,)


def test_dropped_arrivals_are_no_pass(path: Path) -> None:
    with ResultsWriter(path) as writer:
        writer.add_ledger("w0", START, "fresh", "scheduled", 4)
        writer.add_ledger("w0", START, "fresh", "dropped", 4)
    made = _load(path, {"error_rate": 0.1})
    assert (made.headline.word, made.headline.tone) == ("Inconclusive", "warn")
    assert "less load than was asked for" in made.headline.why
    assert made.headline.notes == ("4 arrivals never began, so the server had less load than was planned.",)


def test_a_saturated_harness_limits_a_pass(path: Path) -> None:
    made = _load(path, {"error_rate": 0.1}, lag_ms=50.0)
    assert (made.headline.word, made.headline.tone) == ("Passed, with a reservation", "warn")
    assert made.headline.notes == (
        "The harness itself was saturated, so latencies here are not only the server's.",
    )


@pytest.mark.parametrize("limit_ms", [80, 800])
def test_a_saturated_harness_leaves_latencies_undecided(path: Path, limit_ms: float) -> None:
    made = _load(path, {"ttft_p95_ms": limit_ms, "ttft_p50_ms": limit_ms, "error_rate": 0.1}, lag_ms=50.0)
    assert (made.headline.word, made.headline.tone) == ("Inconclusive", "warn")
    assert made.headline.why.startswith(
        "`ttft_p95_ms`, `ttft_p50_ms` cannot be judged: the harness was saturated; the p99 of receive lag is 50.0 "
        "ms, over 10 ms. Load: "
    )
    assert [row.verdict for row in made.objectives] == ["inconclusive", "inconclusive", "passed", "passed"]


def test_a_load_that_was_killed_leaves_the_test_undecided(path: Path) -> None:
    made = _load(path, {"ttft_p95_ms": 800}, load_state="running")
    assert made.headline.word == "Inconclusive"
    assert made.headline.why.startswith(
        "The load cannot be judged: the load never wrote its end: it was killed, or it still goes on. "
    )


def test_workers_that_were_lost_leave_the_test_undecided(path: Path) -> None:
    made = _load(path, {"ttft_p95_ms": 800}, workers_lost=["w3", "w4"])
    assert (made.headline.word, made.headline.tone) == ("Inconclusive", "warn")
    assert made.headline.why.startswith(
        "What workers measured cannot be judged: w3, w4 died before the end, with what had not been told yet. "
    )


def test_goodput_is_held_to_a_lower_limit(path: Path) -> None:
    with ResultsWriter(path) as writer:
        for word, count in (("judged", 10), ("runs", 10), ("good", 8)):
            writer.add_rate_counts("w0", START, "fresh", word, count)
    made = _load(path, {"goodput": 0.75})
    row = made.objectives[0]
    assert (row.value, row.limit, row.headroom, row.verdict) == (
        "80%",
        "at least 75%",
        "6.67% to spare",
        "passed",
    )
    assert row.used is None
    made = _load(path, {"goodput": 1})
    assert made.headline.why.startswith("`goodput` is 80%, below its limit of 100%. ")
    assert made.objectives[0].headroom == "20% short"


@pytest.mark.parametrize("limits", [{"ttft_p42_ms": 3}, {"ttft_p95_ms": "fast"}])
def test_objectives_that_this_version_cannot_judge_are_one_sentence(
    path: Path, limits: dict[str, Any]
) -> None:
    with ResultsWriter(path) as writer:
        writer.set_manifest(settings={"objectives": limits})
    with pytest.raises(
        ResultsError, match=r"results.sqlite: its objectives cannot be judged by this version: objective"
    ):
        _page(path)


def test_a_manifest_of_the_wrong_shape_still_gives_a_page(path: Path) -> None:
    with ResultsWriter(path) as writer:
        writer.set_manifest(
            started_at=7, ended_at=None, target="here", settings=["a"], state=None, extra={"a": [1]}
        )
    made = _page(path)
    assert (made.target, made.started, made.took) == ("", "7", "")
    assert made.facts[-1] == Facts("Other", (("extra.a", "[1]"),), 0)


def test_facts_are_flattened_and_bounded(path: Path) -> None:
    with ResultsWriter(path) as writer:
        many = {f"key{number}": number for number in range(FACTS_SHOWN + 5)}
        writer.set_manifest(command=["harness", "check"], settings={"load": {"rate": 2.5}}, machine=many)
    facts = {table.title: table for table in _page(path).facts}
    assert facts["Test"].rows == (("command", "harness check"),)
    assert facts["Settings"].rows == (("load.rate", "2.5"),)
    assert (len(facts["Machine"].rows), facts["Machine"].left_out) == (FACTS_SHOWN, 5)
    assert facts["Versions"].rows == ()


def test_a_limit_missed_by_far_is_told_in_multiples(path: Path) -> None:
    made = _load(path, {"ttft_p95_ms": 25, "ttft_p50_ms": 20, "ttft_p99_ms": 0.05})
    assert [row.headroom for row in made.objectives[:3]] == [
        "300% over",
        "5 times the limit",
        "2,000 times the limit",
    ]


def test_violations_get_room_for_their_evidence_before_the_list_of_all_exchanges(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded = samples.document(6)
    monkeypatch.setattr("harness.reports.page.SizeBudget", lambda: SizeBudget(exchange_view(recorded).weight))
    with ResultsWriter(path) as writer:
        writer.add_exchange("one", "completed_run", "run", recorded)
        writer.count_violation("ids.unique", "fresh", "w0")
        writer.add_violation("ids.unique", "fresh", START * 10**9, "twice", [recorded])
    made = _page(path)
    assert not made.violations[0].examples[0].exchanges[0].withheld
    assert made.exchanges[0].exchanges[0].withheld


def test_objectives_have_the_interval_that_the_gate_knows(path: Path) -> None:
    chance = random.Random(3)
    with ResultsWriter(path) as writer:
        writer.set_manifest(
            **{
                **MANIFEST,
                "settings": {"objectives": {"ttft_p95_ms": 800, "ttft_max_ms": 900, "error_rate": 0.1}},
            }
        )
        for second in range(START, START + 60):
            histogram = Histogram()
            histogram.record_many([chance.lognormvariate(5, 0.2) for _ in range(20)])
            writer.add_histogram("ttft_ms", "fresh", second, "w0", histogram)
            writer.add_ledger("w0", second, "fresh", "scheduled", 20)
            writer.add_ledger("w0", second, "fresh", "done", 20)
            writer.add_rate_counts("w0", second, "fresh", "judged", 20)
    with Results(path) as results:
        low, high = percentile_interval(results, "ttft_ms", 95.0) or (0.0, 0.0)
        share = share_interval(results, "error_rate") or (0.0, 0.0)
        made = page(results)
    assert low < high
    assert [(row.name, row.interval) for row in made.objectives] == [
        ("ttft_p95_ms", f"{low:.1f} ms to {high:.1f} ms"),
        ("ttft_max_ms", "\u2013"),
        ("error_rate", f"0% to {share[1] * 100:.3g}%"),
        ("ledger", "\u2013"),
    ]


def test_policies_are_the_checks_that_judge_nothing(path: Path) -> None:
    with ResultsWriter(path) as writer:
        writer.add_checks(
            [
                CheckRecord(id="ids.unique", level="MUST", verdict="pass"),
                CheckRecord(id="resume.start", level="INFO", verdict="info", detail="replay"),
                CheckRecord(id="conflict.form", level="INFO", verdict="inconclusive", detail="no 409 came"),
            ]
        )
    made = _page(path)
    assert [(one.id, one.detail) for one in made.policies] == [
        ("resume.start", "replay"),
        ("conflict.form", "no 409 came"),
    ]
