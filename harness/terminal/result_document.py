"""The result of a test as one line and as a JSON document."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.ci.outcome import Outcome
from harness.contract.requirements import CATALOGUE
from harness.contract.verdicts import NOT_TESTED

VERSION = 1
"""The version of the document's format."""

_MAX_NAMES = 5


def verdict_line(outcome: Outcome, exit_code: int) -> str:
    """The verdict and the failed cases. exit_code: the command's, which can differ from the outcome's."""
    red = [case.name for case in outcome.cases if case.red]
    names = ", ".join(red[:_MAX_NAMES]) + (
        f" and {len(red) - _MAX_NAMES} more" if len(red) > _MAX_NAMES else ""
    )
    verdict = (
        outcome.status if exit_code == outcome.exit_code else "incomplete: not all files could be written"
    )
    return f"{verdict}: {names}" if names else verdict


def verdict_document(verb: str, outcome: Outcome, exit_code: int) -> dict[str, Any]:
    """The result as JSON values.

    Keys: "version", "verb", "verdict", "exit_code", "target"; "reasons", the red cases; "gate", with "outcome", "rows",
    "comparisons", "saturation" and "notes"; "conformance", with "counts" by verdict (or "not tested") and "checks"
    ("fix": what to change in the server to meet the requirement); "violations" under load; "summary", the content of
    summary.json; "problems", sentences; "paths". NaN and infinity become null.
    """
    counts = Counter(check.verdict if check.tested else NOT_TESTED for check in outcome.checks)
    return {
        "version": VERSION,
        "verb": verb,
        "verdict": outcome.status,
        "exit_code": exit_code,
        "target": outcome.target,
        "reasons": [
            {"of": case.group, "name": case.name, "verdict": case.verdict, "detail": case.message}
            for case in outcome.cases
            if case.red
        ],
        "gate": {
            "outcome": outcome.gate.outcome,
            "rows": [_plain(row) for row in outcome.gate.rows],
            "comparisons": [_plain(comparison) for comparison in outcome.gate.comparisons],
            "saturation": list(outcome.gate.saturation),
            "notes": list(outcome.gate.notes),
        },
        "conformance": {
            "counts": dict(counts),
            "checks": [
                {
                    "id": check.id,
                    "level": check.level,
                    "verdict": check.verdict,
                    "detail": check.detail,
                    "fix": CATALOGUE[check.id].fix if check.id in CATALOGUE else "",
                }
                for check in outcome.checks
            ],
        },
        "violations": [_plain(violations) for violations in outcome.violated],
        "summary": _plain(outcome.summary),
        "problems": list(outcome.problems),
        "paths": {
            "results": None if outcome.results is None else str(outcome.results),
            "report": None if outcome.report is None else str(outcome.report),
        },
    }


def _plain(value: Any) -> Any:
    """A value as JSON can contain it."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return str(value) if isinstance(value, Path) else value
