from __future__ import annotations

import pytest

from harness.contract.finding import (
    SEVERITY,
    Location,
    Verdict,
    failed,
    inconclusive,
    info,
    not_applicable,
    passed,
    worst,
)
from tests.contract.exchanges import whole_run

PLACE = Location(whole_run())


def test_the_words() -> None:
    assert [str(verdict) for verdict in Verdict] == [
        "pass",
        "fail",
        "warn",
        "info",
        "not applicable",
        "inconclusive",
        "error",
        "known",
        "stale",
    ]


def test_what_a_rule_may_say() -> None:
    assert (passed("a").verdict, passed("a").places) == (Verdict.PASS, ())
    assert (failed("a", PLACE).verdict, failed("a", PLACE).places) == (Verdict.FAIL, (PLACE,))
    assert info("a").verdict is Verdict.INFO
    assert (inconclusive("a", PLACE).verdict, inconclusive("a", PLACE).places) == (
        Verdict.INCONCLUSIVE,
        (PLACE,),
    )
    assert not_applicable("a").verdict is Verdict.NOT_APPLICABLE


def test_every_verdict_has_its_place_among_the_others() -> None:
    assert sorted(SEVERITY) == sorted(Verdict)


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [
        (["pass", "fail", "error"], "fail"),
        (["pass", "error"], "error"),
        (["pass", "warn"], "warn"),
        (["pass", "inconclusive"], "inconclusive"),
        (["pass", "not applicable"], "pass"),
        (["info", "not applicable"], "info"),
        (["pass", "known"], "known"),
        (["known", "stale"], "stale"),
        (["pass"], "pass"),
    ],
)
def test_the_worst_of_several(verdicts: list[str], expected: str) -> None:
    assert worst([Verdict(word) for word in verdicts]) == expected
    assert worst([Verdict(word) for word in reversed(verdicts)]) == expected
