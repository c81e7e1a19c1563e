"""What came of a test: in one line, and as one document for a program."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.ci.outcome import Outcome

VERSION = 1
"""Of the document's shape."""

_NAMED = 5


def verdict_line(account: Outcome, exit_code: int) -> str:
    """The verdict and what is to blame for it. exit_code: the command's, which may differ from the account's."""
    red = [case.name for case in account.cases if case.red]
    named = ", ".join(red[:_NAMED]) + (f" and {len(red) - _NAMED} more" if len(red) > _NAMED else "")
    said = account.status if exit_code == account.exit_code else "incomplete: not all files could be written"
    return f"{said}: {named}" if named else said


def verdict_document(verb: str, account: Outcome, exit_code: int) -> dict[str, Any]:
    """The same for a program, with the numbers behind it.

    Keys: "version", "verb", "verdict", "exit_code", "target"; "reasons", the red cases; "gate", with "outcome", "rows",
    "comparisons", "saturation" and "notes"; "conformance", with "counts" by verdict and "checks"; "violations" under
    load; "summary", as summary.json has it; "problems", sentences; "paths". A number that is none is null.
    """
    counts = Counter(check.verdict for check in account.checks)
    return {
        "version": VERSION,
        "verb": verb,
        "verdict": account.status,
        "exit_code": exit_code,
        "target": account.target,
        "reasons": [
            {"of": case.group, "name": case.name, "verdict": case.word, "detail": case.message}
            for case in account.cases
            if case.red
        ],
        "gate": {
            "outcome": account.gate.outcome,
            "rows": [_plain(row) for row in account.gate.rows],
            "comparisons": [_plain(one) for one in account.gate.comparisons],
            "saturation": list(account.gate.saturation),
            "notes": list(account.gate.notes),
        },
        "conformance": {
            "counts": dict(counts),
            "checks": [
                {"id": check.id, "level": check.level, "verdict": check.verdict, "detail": check.detail}
                for check in account.checks
            ],
        },
        "violations": [_plain(one) for one in account.violated],
        "summary": _plain(account.numbers),
        "problems": list(account.problems),
        "paths": {
            "results": None if account.results is None else str(account.results),
            "report": None if account.report is None else str(account.report),
        },
    }


def _plain(value: Any) -> Any:
    """As JSON has it."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(one) for one in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return str(value) if isinstance(value, Path) else value
