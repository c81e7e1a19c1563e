from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from harness.ci.outcome import Case, Outcome
from harness.gate.report import GateReport, GateRow
from harness.terminal.result_document import verdict_document, verdict_line

MISSED = GateRow("violations", 3.0, 0.0, "failed")
HELD = GateRow("ttft_p95_ms", float("nan"), 800.0, "passed")
GATE = GateReport(rows=(MISSED, HELD), comparisons=(), tested=True, notes=("a note",))


def sample_outcome(*red: str, exit_code: int = 1) -> Outcome:
    cases = [Case("conformance", name, "failed", "fail", f"{name} broke") for name in red]
    return Outcome(
        results=Path("out/results.sqlite"),
        report=None,
        manifest={"target": {"base_url": "http://h", "path": "/runs"}},
        summary={"metrics": {"ttft_ms": {"p95": float("inf"), "count": 2}}},
        gate=GATE,
        checks=(),
        violated=(),
        exit_code=exit_code,
        problems=("one problem",),
        cases=(Case("test", "test completed", "passed", "completed", ""), *cases),
    )


def test_the_line_names_the_failed_cases() -> None:
    assert verdict_line(sample_outcome("a.b"), 1) == "failed: a.b"
    assert verdict_line(sample_outcome(*"abcdefg"), 1) == "failed: a, b, c, d, e and 2 more"
    held = replace(sample_outcome(exit_code=0), gate=replace(GATE, rows=(HELD,)))
    assert verdict_line(held, 0) == "passed"
    assert verdict_line(held, 2) == "incomplete: not all files could be written"


def test_the_document_is_json_for_every_measured_value() -> None:
    document = verdict_document("check", sample_outcome("a.b"), 1)
    text = json.dumps(document, allow_nan=False)
    found = json.loads(text)
    assert (found["version"], found["verb"], found["verdict"], found["exit_code"]) == (
        1,
        "check",
        "failed",
        1,
    )
    assert found["target"] == "http://h/runs"
    assert found["reasons"] == [
        {"of": "conformance", "name": "a.b", "verdict": "fail", "detail": "a.b broke"}
    ]
    assert (found["gate"]["outcome"], found["gate"]["notes"]) == ("failed", ["a note"])
    assert [row["value"] for row in found["gate"]["rows"]] == [3.0, None]
    assert found["summary"]["metrics"]["ttft_ms"] == {"p95": None, "count": 2}
    assert found["paths"] == {"results": "out/results.sqlite", "report": None}
    assert found["problems"] == ["one problem"]
