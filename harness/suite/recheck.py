"""Applies today's rules to the stored evidence of a results file, offline."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from harness.config.settings import expectations_from
from harness.contract.evidence.document import EvidenceLeftOutError, restore
from harness.contract.evidence.serialization import unpack
from harness.contract.exchange import Exchange
from harness.contract.expectations import Expectations
from harness.contract.finding import Verdict
from harness.contract.requirements import RULES
from harness.contract.verdicts import CheckOutcome, Verdicts
from harness.formatting import visible
from harness.results.reader import Results
from harness.results.records import RuleResultRecord
from harness.results.schema import ResultsError

# What a rule raises if it is given something else than it was given in the test.
_NOT_EVIDENCE = (KeyError, TypeError, ValueError, AttributeError, IndexError, ArithmeticError, AssertionError)


def recheck(path: Path) -> tuple[Verdicts, list[tuple[RuleResultRecord, CheckOutcome]]]:
    """Apply the rules to the stored evidence again.

    Returns the verdicts, and the outcomes that changed, each with the stored one. Raises ResultsError if the file is
    not a results file, or has no readable evidence.
    """
    verdicts, changed = Verdicts(), []
    with Results(path) as results:
        manifest = results.manifest
        try:
            expect = expectations_from(manifest["settings"])
        except (KeyError, TypeError, ValueError):
            raise ResultsError(f"{path} does not contain the settings of its run") from None

        @cache
        def find(name: str) -> Exchange:
            return restore(results.exchange(name).document)

        for row in results.rule_results():
            try:
                result = _recheck_row(row, expect, find)
            except _NOT_EVIDENCE as problem:
                reason = f"{type(problem).__name__}: {problem}"[:200]
                raise ResultsError(f"{path}: the evidence of {row.test} cannot be read: {reason}") from None
            verdicts.add(result)
            if (str(result.verdict), result.detail) != (row.verdict, row.detail):
                changed.append((row, result))
    if not verdicts.results:
        raise ResultsError(f"{path} contains no evidence to check: it is not from the conformance suite")
    return verdicts, changed


def _recheck_row(row: RuleResultRecord, expect: Expectations, find: Any) -> CheckOutcome:
    # No rule was applied (it was not applicable, or the harness failed), or masking hides what it found.
    if row.evidence is None:
        return CheckOutcome(row.requirement, Verdict(row.verdict), row.detail, row.test)
    names: dict[int, str] = {}

    def find_and_name(name: str) -> Exchange:
        exchange: Exchange = find(name)
        names[id(exchange)] = name
        return exchange

    try:
        evidence = unpack(row.evidence, find_and_name)
    except EvidenceLeftOutError as reason:
        detail = f"its evidence was left out: {reason}"
        return CheckOutcome(row.requirement, Verdict.INCONCLUSIVE, detail, row.test)
    finding = RULES[row.requirement](*evidence, expect=expect)
    places = tuple(
        {
            "exchange": names.get(id(place.exchange)),
            "event": place.frame.index if place.frame is not None else None,
            "note": visible(place.note),
        }
        for place in finding.places
    )
    # As it was stored: on one line, without control characters.
    return CheckOutcome(row.requirement, finding.verdict, visible(finding.detail), row.test, 0.0, places)
