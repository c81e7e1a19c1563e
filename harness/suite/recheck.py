"""Judges a results file again, offline: the stored Exchanges, today's judges."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from harness.contract.evidence.document import restore
from harness.contract.evidence.serialization import unpack
from harness.contract.exchange import Exchange
from harness.contract.expectations import Budgets, Expectations
from harness.contract.finding import Verdict
from harness.contract.requirements import RULES
from harness.contract.verdicts import CheckOutcome, Verdicts
from harness.results.reader import Results
from harness.results.records import RuleResultRecord
from harness.results.schema import ResultsError


def expectations_of(settings: Mapping[str, Any]) -> Expectations:
    """What judges were told when the results were made. Raises KeyError for settings of another shape."""
    target, budgets = settings["target"], settings["budgets"]
    return Expectations(
        budgets=Budgets(
            first_event_s=budgets["first_event"],
            terminal_close_s=budgets["terminal_close"],
            heartbeat_s=budgets["heartbeat"],
            run_s=budgets["run"],
        ),
        conflict=target["conflict"],
        resume_start=target["resume_start"],
        last_event_id=target.get("last_event_id"),
    )


def recheck(path: Path) -> tuple[Verdicts, list[tuple[RuleResultRecord, CheckOutcome]]]:
    """Judge the stored evidence again.

    Returns the verdicts, and the judgements that are not what they were. Raises ResultsError when the file
    is none of ours or holds no evidence, or evidence that cannot be read.
    """
    verdicts, changed = Verdicts(), []
    with Results(path) as results:
        try:
            expect = expectations_of(results.manifest["settings"])
        except (KeyError, TypeError):
            raise ResultsError(f"{path} does not say by which settings it was made") from None

        @cache
        def find(name: str) -> Exchange:
            return restore(results.exchange(name).document)

        for row in results.rule_results():
            try:
                result = _again(row, expect, find)
            except (KeyError, TypeError, ValueError) as problem:
                raise ResultsError(f"{path}: the evidence of {row.test} cannot be read: {problem}") from None
            verdicts.add(result)
            if (str(result.verdict), result.detail) != (row.verdict, row.detail):
                changed.append((row, result))
    if not verdicts.results:
        raise ResultsError(f"{path} holds no evidence to judge: it was not made with the conformance suite")
    return verdicts, changed


def _again(row: RuleResultRecord, expect: Expectations, find: Any) -> CheckOutcome:
    if row.evidence is None:  # no judge was asked: the scenario was not applicable, or the harness failed
        return CheckOutcome(row.requirement, Verdict(row.verdict), row.detail, row.test)
    names: dict[int, str] = {}

    def remember(name: str) -> Exchange:
        exchange: Exchange = find(name)
        names[id(exchange)] = name
        return exchange

    finding = RULES[row.requirement](*unpack(row.evidence, remember), expect=expect)
    places = tuple(
        {
            "exchange": names.get(id(place.exchange)),
            "event": place.frame.index if place.frame is not None else None,
            "note": place.note,
        }
        for place in finding.places
    )
    return CheckOutcome(row.requirement, finding.verdict, finding.detail, row.test, 0.0, places)
