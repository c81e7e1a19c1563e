"""A test case for a rule: evidence, and the expected verdict."""

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
    """says: part of the finding's detail. points_at: index of the event in the finding's first location."""

    rule: Rule
    evidence: tuple[Any, ...]
    verdict: Verdict
    says: str
    points_at: int | None
    expect: Expectations

    def __str__(self) -> str:
        return f"{self.rule.requirement.id}-{self.verdict}-{self.says[:40]}"

    def decide(self) -> Finding:
        return self.rule(*self.evidence, expect=self.expect)


def case(
    rule: Rule,
    *evidence: Any,
    is_: Verdict,
    says: str,
    at: int | None = None,
    expect: Expectations | None = None,
) -> Case:
    """One row of a table of cases."""
    return Case(rule, evidence, is_, says, at, expect or Expectations())


def check(example: Case) -> None:
    """Assert the verdict, the detail and the location of the finding."""
    finding = example.decide()
    assert (finding.verdict, finding.requirement) == (example.verdict, example.rule.requirement.id), (
        finding.detail
    )
    assert example.says in finding.detail
    if example.verdict in {FAIL, WARN}:
        assert finding.places, "a violation must point at its evidence"
    if example.points_at is not None:
        event = finding.places[0].frame
        assert event is not None
        assert event.index == example.points_at
