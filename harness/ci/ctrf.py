"""CTRF, a JSON format for test results: the cases of the JUnit document for tools that read JSON.

https://ctrf.io/docs/specification/overview
"""

from __future__ import annotations

import json
from collections import Counter
from datetime import datetime
from typing import Any

from harness import __version__
from harness.ci.outcome import Case, Outcome
from harness.formatting import visible

SPEC_VERSION = "0.0.0"

_STATUSES = {"passed": "passed", "failed": "failed", "error": "failed", "skipped": "skipped"}


def ctrf(outcome: Outcome) -> str:
    """A test per objective, comparison and requirement. At least one failed exactly if the exit code is not 0.

    CTRF has no status for errors: an error is failed, and `rawStatus` has the verdict.
    """
    tests = [_test(case) for case in outcome.cases]
    counts = Counter(test["status"] for test in tests)
    start_ms = _epoch_ms(outcome.manifest.get("started_at"))
    stop_ms = max(start_ms, _epoch_ms(outcome.manifest.get("ended_at")))
    document = {
        "reportFormat": "CTRF",
        "specVersion": SPEC_VERSION,
        "generatedBy": "agent-run-harness",
        "results": {
            "tool": {"name": "agent-run-harness", "version": __version__},
            "summary": {
                "tests": len(tests),
                **{status: counts[status] for status in ("passed", "failed", "skipped", "pending", "other")},
                "start": start_ms,
                "stop": stop_ms,
            },
            "tests": tests,
            "extra": {
                "verdict": outcome.status,
                "exitCode": outcome.exit_code,
                "target": _clean(outcome.target),
            },
        },
    }
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _test(case: Case) -> dict[str, Any]:
    area = [case.name.partition(".")[0]] if case.group == "conformance" else []
    test = {
        "name": _clean(case.name),
        "status": _STATUSES[case.result],
        "duration": round((case.duration_s or 0) * 1000),
        "suite": [case.group, *map(_clean, area)],
        "rawStatus": _clean(case.verdict),
        "message": _clean(case.message),
    }
    return {**test, "trace": _clean(case.text)} if case.text and case.result != "passed" else test


def _epoch_ms(timestamp: Any) -> int:
    """A time of the manifest in milliseconds since 1970; 0 if there is none."""
    try:
        return round(datetime.fromisoformat(timestamp).timestamp() * 1000)
    except (TypeError, ValueError, OverflowError):
        return 0


def _clean(text: str) -> str:
    return visible(text, keep="\n\t")
