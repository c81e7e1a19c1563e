from __future__ import annotations

import json

import pytest

from harness.contract.finding import Verdict
from harness.contract.requirements import CATALOGUE, Level
from harness.contract.verdicts import NOT_TESTED, Check, CheckOutcome, Verdicts, by_area, failing, fails
from tests.cases import all_cases


def result(requirement: str, verdict: Verdict, detail: str = "so", **said: object) -> CheckOutcome:
    return CheckOutcome(requirement, verdict, detail, "test_x", **said)


def check_of(found: Verdicts, requirement: str) -> Check:
    (one,) = [check for check in found.checks if check.requirement.id == requirement]
    return one


def test_every_requirement_has_a_verdict_in_the_catalogues_order() -> None:
    found = Verdicts(untested="the target cannot be reached")
    assert [check.requirement.id for check in found.checks] == list(CATALOGUE)
    assert {(check.verdict, check.detail) for check in found.checks} == {
        (Verdict.INCONCLUSIVE, "the target cannot be reached")
    }
    assert not found.tested
    assert found.counts == {str(verdict): 0 for verdict in Verdict} | {NOT_TESTED: len(CATALOGUE)}


def test_several_tests_of_one_requirement() -> None:
    found = Verdicts()
    evidence = ({"exchange": "exchange-1", "event": 3, "note": ""},)
    found.add(result("ids.unique", Verdict.PASS, "4 ids", duration_s=0.5))
    found.add(result("ids.unique", Verdict.FAIL, "twice", duration_s=0.25, evidence=evidence))
    for number in range(5):
        found.add(result("ids.unique", Verdict.FAIL, f"reason {number}"))
    found.add(result("ids.unique", Verdict.FAIL, "twice"))
    found.add(result("ids.unique", Verdict.NOT_APPLICABLE, "no action"))
    one = check_of(found, "ids.unique")
    assert (one.verdict, one.detail) == (
        Verdict.FAIL,
        "twice; reason 0; reason 1; reason 2; reason 3; reason 4",
    )
    assert (one.duration_s, one.evidence) == (0.75, evidence)
    assert found.counts["fail"] == 1
    assert sum(found.counts.values()) == len(CATALOGUE)


@pytest.mark.parametrize(
    ("verdict", "tested"),
    [
        (Verdict.PASS, True),
        (Verdict.FAIL, True),
        (Verdict.WARN, True),
        (Verdict.INFO, True),
        (Verdict.KNOWN, True),
        (Verdict.INCONCLUSIVE, False),
        (Verdict.NOT_APPLICABLE, False),
        (Verdict.ERROR, False),
    ],
)
def test_whether_any_rule_was_decided(verdict: Verdict, tested: bool) -> None:
    found = Verdicts()
    found.add(result("ids.unique", verdict))
    assert found.tested is tested


def test_a_known_failure_and_a_stale_one() -> None:
    found = Verdicts(known={"ids.unique": "ticket 7", "ids.clock": "ticket 8"})
    assert found.accept("ids.unique", Verdict.FAIL, "twice") == (Verdict.KNOWN, "ticket 7; twice")
    assert found.accept("ids.unique", Verdict.WARN, "twice") == (Verdict.KNOWN, "ticket 7; twice")
    assert found.accept("ids.unique", Verdict.ERROR, "broke") == (Verdict.ERROR, "broke")
    assert found.accept("ids.present", Verdict.FAIL, "none") == (Verdict.FAIL, "none")
    found.add(result("ids.unique", Verdict.KNOWN, "ticket 7; twice"))
    found.add(result("ids.clock", Verdict.PASS))
    assert check_of(found, "ids.unique").verdict is Verdict.KNOWN
    stale = check_of(found, "ids.clock")
    assert (stale.verdict, stale.detail) == (
        Verdict.STALE,
        "it passes; remove it from the list of known failures (ticket 8)",
    )


def test_the_document() -> None:
    found = Verdicts()
    found.add(result("ids.unique", Verdict.FAIL, "twice", evidence=({"exchange": "exchange-1"},)))
    document = json.loads(json.dumps(found.to_json({"base_url": "http://h"})))
    assert (document["schema"], document["target"]) == (1, {"base_url": "http://h"})
    assert [row["id"] for row in document["checks"]] == list(CATALOGUE)
    assert {row["level"] for row in document["checks"]} == {"MUST", "SHOULD", "INFO"}
    (row,) = [row for row in document["checks"] if row["id"] == "ids.unique"]
    assert row == {
        "id": "ids.unique",
        "level": "MUST",
        "verdict": "fail",
        "detail": "twice",
        "fix": CATALOGUE["ids.unique"].fix,
        "tested": True,
        "evidence": [{"exchange": "exchange-1"}],
    }
    assert document["counts"] == found.counts


def test_a_result_travels_between_processes() -> None:
    one = result(
        "ids.unique", Verdict.WARN, "é", duration_s=0.5, evidence=({"exchange": "x", "event": None},)
    )
    assert CheckOutcome.from_json(json.loads(json.dumps(one.to_json()))) == one


@all_cases(
    ("verdict", "level", "red", "red_when_strict"),
    [
        (Verdict.FAIL, Level.MUST, True, True),
        (Verdict.ERROR, Level.INFO, True, True),
        (Verdict.STALE, Level.SHOULD, True, True),
        (Verdict.WARN, Level.SHOULD, False, True),
        (Verdict.INCONCLUSIVE, Level.MUST, False, True),
        (Verdict.INCONCLUSIVE, Level.SHOULD, False, False),
        (Verdict.NOT_APPLICABLE, Level.MUST, False, False),
        (Verdict.KNOWN, Level.MUST, False, False),
        (Verdict.INFO, Level.INFO, False, False),
        (Verdict.PASS, Level.MUST, False, False),
    ],
)
def test_what_makes_a_run_red(verdict: Verdict, level: Level, red: bool, red_when_strict: bool) -> None:
    assert fails(verdict, level, strict=False) is red
    assert fails(verdict, level, strict=True) is red_when_strict


def test_by_area_and_failing() -> None:
    found = Verdicts()
    found.add(result("ids.unique", Verdict.FAIL))
    found.add(result("ids.clock", Verdict.WARN))
    found.add(result("terminal.last", Verdict.PASS))
    table = by_area(found.checks)
    assert dict(table["ids"]) == {Verdict.FAIL: 1, Verdict.WARN: 1, Verdict.INCONCLUSIVE: 2}
    assert table["terminal"][Verdict.PASS] == 1
    assert sum(counted.total() for counted in table.values()) == len(CATALOGUE)
    assert [check.requirement.id for check in failing(found.checks)] == ["ids.unique"]


def test_a_test_that_decides_no_must_says_so() -> None:
    found = Verdicts()
    assert found.all_musts_undecided is None
    found.add(result("headers.method", Verdict.WARN))
    assert found.all_musts_undecided is None  # no MUST was selected
    found.add(result("headers.event-stream", Verdict.INCONCLUSIVE, "no run to check"))
    found.add(result("ids.unique", Verdict.NOT_APPLICABLE))
    assert (
        found.all_musts_undecided
        == "no MUST could be decided; the first, headers.event-stream: no run to check"
    )
    found.add(result("terminal.always", Verdict.PASS))
    assert found.all_musts_undecided is None


@pytest.mark.parametrize("verdict", [Verdict.FAIL, Verdict.KNOWN, Verdict.STALE, Verdict.ERROR])
def test_a_must_that_was_decided_in_any_way_is_enough(verdict: Verdict) -> None:
    found = Verdicts()
    found.add(result("headers.event-stream", Verdict.INCONCLUSIVE))
    found.add(result("ids.unique", verdict))
    assert found.all_musts_undecided is None
