"""Combines the outcomes of single checks into one verdict per requirement."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from harness.contract.finding import Verdict, listed, worst
from harness.contract.requirements import CATALOGUE, Level, Requirement

SCHEMA = 1

NOT_TESTED = "not tested"
"""In counts: requirements that no test checked, because they were not selected or not reached."""

#: Verdicts that mean that a rule was decided.
DECIDED = frozenset({Verdict.PASS, Verdict.FAIL, Verdict.WARN, Verdict.KNOWN, Verdict.STALE, Verdict.INFO})


@dataclass(frozen=True, slots=True)
class CheckOutcome:
    """The verdict of one test. evidence: rows of {"exchange": id, "event": index, "note": text}."""

    requirement: str
    verdict: Verdict
    detail: str
    test: str
    duration_s: float = 0.0
    evidence: tuple[Mapping[str, Any], ...] = ()
    packed: Any = None  # the rule's evidence (evidence.serialization.pack), if results are stored

    def to_json(self) -> dict[str, Any]:
        """As JSON values, to send between processes."""
        return {
            "requirement": self.requirement,
            "verdict": str(self.verdict),
            "detail": self.detail,
            "test": self.test,
            "duration_s": self.duration_s,
            "evidence": [dict(row) for row in self.evidence],
            "packed": self.packed,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> CheckOutcome:
        """The inverse of `to_json`."""
        return cls(
            value["requirement"],
            Verdict(value["verdict"]),
            value["detail"],
            value["test"],
            value["duration_s"],
            tuple(value["evidence"]),
            value["packed"],
        )


@dataclass(frozen=True, slots=True)
class Check:
    """One requirement's verdict, over all tests that decide it."""

    requirement: Requirement
    verdict: Verdict
    detail: str
    duration_s: float = 0.0
    evidence: tuple[Mapping[str, Any], ...] = ()
    tested: bool = True  # False if no test of it ran

    def to_json(self) -> dict[str, Any]:
        """The row of the JSON report."""
        return {
            "id": self.requirement.id,
            "level": str(self.requirement.level),
            "verdict": str(self.verdict),
            "tested": self.tested,
            "detail": self.detail,
            "fix": self.requirement.fix,
            "evidence": [dict(row) for row in self.evidence],
        }


@dataclass(slots=True)
class Verdicts:
    """Collects the outcomes of tests, and gives every requirement in the catalogue its verdict."""

    results: list[CheckOutcome] = field(default_factory=list)
    known: Mapping[str, str] = field(default_factory=dict)  # requirement id: why its failure is accepted
    untested: str = "not tested"

    def add(self, result: CheckOutcome) -> None:
        """Add the outcome of one test."""
        self.results.append(result)

    def accept(self, requirement_id: str, verdict: Verdict, detail: str) -> tuple[Verdict, str]:
        """The test's verdict and detail, or KNOWN if the requirement's failure is a known one."""
        reason = self.known.get(requirement_id)
        if reason is not None and verdict in {Verdict.FAIL, Verdict.WARN}:
            return Verdict.KNOWN, f"{reason}; {detail}"
        return verdict, detail

    @property
    def checks(self) -> list[Check]:
        """One row per requirement, in the order of the catalogue."""
        by_id: dict[str, list[CheckOutcome]] = {}
        for result in self.results:
            by_id.setdefault(result.requirement, []).append(result)
        return [self._check(row, by_id.get(row.id, [])) for row in CATALOGUE.values()]

    def _check(self, row: Requirement, results: list[CheckOutcome]) -> Check:
        if not results:
            return Check(row, Verdict.INCONCLUSIVE, self.untested, tested=False)
        verdict = worst([result.verdict for result in results])
        accepted = self.known.get(row.id)
        if accepted is not None and verdict is Verdict.PASS:
            return Check(
                row, Verdict.STALE, f"it passes; remove it from the list of known failures ({accepted})"
            )
        decisive = [result for result in results if result.verdict is verdict]
        detail = listed(result.detail for result in decisive)
        evidence = tuple(evidence_row for result in decisive for evidence_row in result.evidence)
        return Check(row, verdict, detail, sum(result.duration_s for result in results), evidence)

    @property
    def counts(self) -> dict[str, int]:
        """The number of requirements by verdict, and of those that no test checked, which have no verdict."""
        counts = Counter(check.verdict for check in self.checks if check.tested)
        untested = sum(not check.tested for check in self.checks)
        return {**{str(verdict): counts[verdict] for verdict in Verdict}, NOT_TESTED: untested}

    @property
    def tested(self) -> bool:
        """Whether any rule was decided."""
        return any(result.verdict in DECIDED for result in self.results)

    @property
    def all_musts_undecided(self) -> str | None:
        """That no MUST could be decided, with the first reason, in a sentence; None if one was or if none was checked.

        Such a test shows nothing, although some SHOULD may have been decided.
        """
        musts = [check for check in self.checks if check.tested and check.requirement.level is Level.MUST]
        undecided = [check for check in musts if check.verdict is Verdict.INCONCLUSIVE]
        if not undecided or any(
            check.verdict in DECIDED or check.verdict is Verdict.ERROR for check in musts
        ):
            return None
        first = undecided[0]
        return f"no MUST could be decided; the first, {first.requirement.id}: {first.detail}"

    def to_json(self, target: Mapping[str, Any]) -> dict[str, Any]:
        """The document that --harness-json writes."""
        return {
            "schema": SCHEMA,
            "target": dict(target),
            "checks": [check.to_json() for check in self.checks],
            "counts": self.counts,
        }


def fails(verdict: Verdict, level: Level, *, strict: bool) -> bool:
    """Whether a verdict fails the session. With `strict`, warnings and inconclusive MUSTs do too."""
    if verdict in {Verdict.FAIL, Verdict.ERROR, Verdict.STALE}:
        return True
    return strict and (verdict is Verdict.WARN or (verdict is Verdict.INCONCLUSIVE and level is Level.MUST))


def failing(checks: Iterable[Check]) -> list[Check]:
    """The checks that fail the session."""
    return [check for check in checks if fails(check.verdict, check.requirement.level, strict=False)]


def by_area(checks: Iterable[Check]) -> dict[str, Counter[Verdict]]:
    """The number of requirements by area and verdict."""
    table: dict[str, Counter[Verdict]] = {}
    for check in checks:
        table.setdefault(check.requirement.area, Counter())[check.verdict] += 1
    return table
