"""A case of a judge: evidence, and the verdict that it must bring."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from harness.contract.expectations import Expectations
from harness.contract.finding import Finding, Verdict
from harness.contract.rules.rule import Rule

PASS, FAIL, WARN, INFO = Verdict.PASS, Verdict.FAIL, Verdict.WARN, Verdict.INFO
INCONCLUSIVE, NOT_APPLICABLE = Verdict.INCONCLUSIVE, Verdict.NOT_APPLICABLE


@dataclass(frozen=True)
class Case:
    """`says` must stand in the finding's detail. `points_at` is the index of the event pointed at first."""

    judge: Rule
    evidence: tuple[Any, ...]
    verdict: Verdict
    says: str
    points_at: int | None
    expect: Expectations

    def __str__(self) -> str:
        return f"{self.judge.requirement.id}-{self.verdict}-{self.says[:40]}"

    def decide(self) -> Finding:
        return self.judge(*self.evidence, expect=self.expect)


def case(
    judge: Rule,
    *evidence: Any,
    is_: Verdict,
    says: str,
    at: int | None = None,
    expect: Expectations | None = None,
) -> Case:
    """One row of a table of cases."""
    return Case(judge, evidence, is_, says, at, expect or Expectations())


def check(one: Case) -> None:
    """Assert that the judge decides as the case says, and shows where."""
    finding = one.decide()
    assert (finding.verdict, finding.requirement) == (one.verdict, one.judge.requirement.id), finding.detail
    assert one.says in finding.detail
    if one.verdict in {FAIL, WARN}:
        assert finding.places, "a violation must point at its evidence"
    if one.points_at is not None:
        event = finding.places[0].frame
        assert event is not None
        assert event.index == one.points_at
