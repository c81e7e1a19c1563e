"""From single findings to one verdict per requirement, and the documents that carry them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from harness.contract.finding import Verdict, worst
from harness.contract.requirements import CATALOGUE, Level, Requirement

SCHEMA = 1

#: Verdicts that mean that something was judged.
JUDGED = frozenset({Verdict.PASS, Verdict.FAIL, Verdict.WARN, Verdict.KNOWN, Verdict.STALE, Verdict.INFO})


@dataclass(frozen=True, slots=True)
class CheckOutcome:
    """What one test said of its requirement. `evidence` holds {"exchange": id, "event": index, "note": text}."""

    requirement: str
    verdict: Verdict
    detail: str
    test: str
    duration_s: float = 0.0
    evidence: tuple[Mapping[str, Any], ...] = ()
    packed: Any = None  # what the judge was given, where results are kept

    def to_json(self) -> dict[str, Any]:
        """As plain values, to travel between processes."""
        return {
            "requirement": self.requirement,
            "verdict": str(self.verdict),
            "detail": self.detail,
            "test": self.test,
            "duration_s": self.duration_s,
            "evidence": [dict(one) for one in self.evidence],
            "packed": self.packed,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> CheckOutcome:
        """The Result that `to_json` made `value` of."""
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
    """One requirement's verdict, over all the tests that cite it."""

    requirement: Requirement
    verdict: Verdict
    detail: str
    duration_s: float = 0.0
    evidence: tuple[Mapping[str, Any], ...] = ()
    tested: bool = True  # False where no check of it was run

    def to_json(self) -> dict[str, Any]:
        """The row of the JSON report."""
        return {
            "id": self.requirement.id,
            "level": str(self.requirement.level),
            "verdict": str(self.verdict),
            "detail": self.detail,
            "evidence": [dict(one) for one in self.evidence],
        }


@dataclass(slots=True)
class Verdicts:
    """Collects results, and tells each requirement's verdict: every one in the catalogue has one."""

    results: list[CheckOutcome] = field(default_factory=list)
    known: Mapping[str, str] = field(default_factory=dict)  # requirement to why its failure is accepted
    untested: str = "no check of it was run"

    def add(self, result: CheckOutcome) -> None:
        """Take one test's result."""
        self.results.append(result)

    def accept(self, requirement_id: str, verdict: Verdict, detail: str) -> tuple[Verdict, str]:
        """A test's verdict and detail, where the failure of its requirement is known."""
        reason = self.known.get(requirement_id)
        if reason is not None and verdict in {Verdict.FAIL, Verdict.WARN}:
            return Verdict.KNOWN, f"{reason}; {detail}"
        return verdict, detail

    @property
    def checks(self) -> list[Check]:
        """The catalogue, row by row, with what was found."""
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
            return Check(row, Verdict.STALE, f"it passes; take it out of the list ({accepted})")
        saying = [result for result in results if result.verdict is verdict]
        details = list(dict.fromkeys(result.detail for result in saying))
        detail = "; ".join(details[:3]) + (f"; and {len(details) - 3} more" if len(details) > 3 else "")
        evidence = tuple(one for result in saying for one in result.evidence)
        return Check(row, verdict, detail, sum(result.duration_s for result in results), evidence)

    @property
    def counts(self) -> dict[str, int]:
        """How many requirements have which verdict."""
        found = Counter(check.verdict for check in self.checks)
        return {str(verdict): found[verdict] for verdict in Verdict}

    @property
    def tested(self) -> bool:
        """Whether anything at all was judged."""
        return any(result.verdict in JUDGED for result in self.results)

    def to_json(self, target: Mapping[str, Any]) -> dict[str, Any]:
        """The whole as one document."""
        return {
            "schema": SCHEMA,
            "target": dict(target),
            "checks": [check.to_json() for check in self.checks],
            "counts": self.counts,
        }


def fails(verdict: Verdict, level: Level, *, strict: bool) -> bool:
    """Whether a verdict makes the run red: under `strict` warnings and inconclusive MUSTs do too."""
    if verdict in {Verdict.FAIL, Verdict.ERROR, Verdict.STALE}:
        return True
    return strict and (verdict is Verdict.WARN or (verdict is Verdict.INCONCLUSIVE and level is Level.MUST))


def failing(checks: Iterable[Check]) -> list[Check]:
    """Those that make a run red."""
    return [check for check in checks if fails(check.verdict, check.requirement.level, strict=False)]


def by_area(checks: Iterable[Check]) -> dict[str, Counter[Verdict]]:
    """How many requirements of each area have which verdict."""
    table: dict[str, Counter[Verdict]] = {}
    for check in checks:
        table.setdefault(check.requirement.area, Counter())[check.verdict] += 1
    return table
