"""CTRF JSON: valid against the format's schema, and the same verdicts as JUnit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from harness.ci.ctrf import ctrf
from harness.ci.junit import junit
from harness.ci.outcome import Outcome
from tests.ci.samples import HOSTILE, SCHEMAS, cases_of, check, sample_outcome

SCHEMA = jsonschema_rs.validator_for(json.loads((SCHEMAS / "ctrf.schema.json").read_text(encoding="utf-8")))


def document_of(outcome: Outcome) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(ctrf(outcome))
    SCHEMA.validate(document)
    return document


def red_outcome(folder: Path) -> Outcome:
    return sample_outcome(
        folder,
        checks=[
            check("framing.utf8", "fail", HOSTILE),
            check("framing.bom", "error", "broke"),
            check("resume.start", "info", "replay"),
            check("ids.unique", "pass"),
        ],
        ttft_ms=[100.0],
        objectives={"ttft_p95_ms": 8},
        manifest={"ended_at": "2026-09-21T14:14:20+00:00"},
    )


def test_the_cases_are_those_of_junit(tmp_path: Path) -> None:
    outcome = red_outcome(tmp_path)
    document = document_of(outcome)
    tests = {(test["suite"][0], test["name"]): test for test in document["results"]["tests"]}
    cases = cases_of(junit(outcome))
    assert tests.keys() == cases.keys()
    for key, case in cases.items():
        red = case.find("failure") is not None or case.find("error") is not None
        status = "failed" if red else "skipped" if case.find("skipped") is not None else "passed"
        assert tests[key]["status"] == status, key
    assert tests["conformance", "framing.utf8"]["suite"] == ["conformance", "framing"]
    assert tests["conformance", "framing.bom"]["rawStatus"] == "error"
    assert tests["conformance", "ids.unique"]["duration"] == 250
    assert "trace" not in tests["conformance", "ids.unique"]
    summary = document["results"]["summary"]
    assert summary == {
        "tests": len(cases),
        "passed": 3,
        "failed": 3,
        "skipped": 1,
        "pending": 0,
        "other": 0,
        "start": 1_790_000_000_000,
        "stop": 1_790_000_060_000,
    }
    assert document["results"]["extra"]["verdict"] == "failed"
    assert document["results"]["extra"]["exitCode"] == 1


@pytest.mark.parametrize("code", [1, 2, 3, 130])
def test_something_failed_exactly_if_the_exit_code_is_not_0(tmp_path: Path, code: int) -> None:
    green = document_of(sample_outcome(tmp_path, ttft_ms=[1.0], exit_code=0))
    assert green["results"]["summary"]["failed"] == 0
    red = document_of(sample_outcome(tmp_path, ttft_ms=[1.0], exit_code=code))
    assert red["results"]["summary"]["failed"] == 1


def test_hostile_text_is_text(tmp_path: Path) -> None:
    outcome = sample_outcome(
        tmp_path,
        checks=[check("framing.utf8", "fail", HOSTILE)],
        manifest={"target": {"base_url": HOSTILE}, "started_at": HOSTILE, "ended_at": 7},
    )
    text = ctrf(outcome)
    assert not set(text.encode("utf-8")) & set(range(9))
    assert "\x1b" not in text
    summary = document_of(outcome)["results"]["summary"]
    assert (summary["start"], summary["stop"]) == (0, 0)


@pytest.mark.parametrize(
    ("old", "new"),
    [('"failed"', '"broken"'), ('"tests": [', '"cases": ['), ('"CTRF"', '"XML"'), ('"duration"', '"time"')],
)
def test_the_schema_can_refuse(tmp_path: Path, old: str, new: str) -> None:
    text = ctrf(red_outcome(tmp_path))
    assert old in text
    with pytest.raises(jsonschema_rs.ValidationError):
        SCHEMA.validate(json.loads(text.replace(old, new)))
