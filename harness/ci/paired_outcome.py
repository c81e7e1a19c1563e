"""The outcome of an interleaved comparison of two servers, for the same CI artifacts as that of a test.

A requirement that both servers violate did not change, so it is shown and does not fail.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from harness.ci.outcome import (
    CONFORMANCE_ROW,
    Case,
    Outcome,
    comparison_case,
    gate_case,
    requirement_case,
    test_case,
)
from harness.gate.report import GateReport, GateRow
from harness.results.histogram import Histogram
from harness.results.ledger import Ledger
from harness.results.metrics import METRICS, distribution
from harness.results.reader import Results
from harness.results.records import CheckRecord


@dataclass(frozen=True, slots=True)
class Broke:
    """Requirements that the target violates and the baseline does not.

    by_suite: ids of the conformance suite's. under_load: why, by id.
    """

    by_suite: tuple[str, ...] = ()
    under_load: Mapping[str, str] | None = None


def conformance_rows(broke: Broke, unfinished: Sequence[str]) -> Iterator[GateRow]:
    """The gate's rows about conformance. unfinished: servers whose suite did not end."""
    if broke.by_suite:
        detail = f"{', '.join(broke.by_suite)}: met by the baseline, and not by the target"
        yield GateRow(CONFORMANCE_ROW, float(len(broke.by_suite)), 0.0, "failed", detail)
    elif unfinished:
        detail = f"the conformance suite of {' and '.join(unfinished)} did not end"
        yield GateRow(CONFORMANCE_ROW, None, 0.0, "inconclusive", detail)
    for name, detail in (broke.under_load or {}).items():
        yield GateRow(f"under load: {name}", 1.0, 0.0, "failed", detail)


def paired_outcome(
    suite: Results | None,
    blocks: Sequence[Path],
    gate: GateReport,
    broke: Broke,
    exit_code: int,
    *,
    problems: tuple[str, ...],
    page: Path,
) -> Outcome:
    """The outcome, with the target's numbers in all blocks. suite: the target's conformance results, if it ran.

    blocks: results files of the target. Raises ResultsError.
    """
    checks = tuple(suite.checks()) if suite is not None else ()
    unsure = gate.comparisons_inconclusive and gate.outcome != "failed"
    cases = [
        *(gate_case(row) for row in gate.rows if row.name != CONFORMANCE_ROW or row.verdict != "failed"),
        *(comparison_case(comparison, unsure=unsure) for comparison in gate.comparisons),
        *(_requirement(suite, check, broke.by_suite) for check in checks if suite is not None),
    ]
    return Outcome(
        results=None,
        report=page,
        manifest=_manifest(suite, blocks),
        summary=_summary(blocks),
        gate=gate,
        checks=checks,
        violated=(),
        exit_code=exit_code,
        problems=problems,
        cases=(test_case(gate, exit_code, problems, cases), *cases),
    )


def _requirement(suite: Results, check: CheckRecord, broke: Sequence[str]) -> Case:
    case = requirement_case(suite, check)
    if case.red and check.id not in broke:
        message = f"{case.message}; no change: the baseline does not meet it either"
        return replace(case, result="skipped", message=message, warns=True)
    return case


def _manifest(suite: Results | None, blocks: Sequence[Path]) -> Mapping[str, Any]:
    if suite is not None:
        return suite.manifest
    if not blocks:
        return {}
    with Results(blocks[0]) as results:
        return results.manifest


def _summary(blocks: Sequence[Path]) -> dict[str, Any]:
    """What the artifacts show of harness.results.summary, summed over blocks."""
    ledger, totals = Ledger(), {name: Histogram() for name in METRICS}
    for path in blocks:
        with Results(path) as results:
            ledger.merge(results.ledger())
            for name, total in totals.items():
                total.merge(results.histogram(name))
    return {
        "ledger": ledger.as_dict(),
        "metrics": {name: distribution(total) for name, total in totals.items()},
        "harness": {"saturated": False},
    }
