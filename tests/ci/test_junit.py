"""JUnit XML: valid, one case per decision, and safe from text of the server."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from harness.ci.junit import escape_illegal, junit
from tests.ci.samples import HOSTILE, cases_of, check, junit_schema, sample_outcome


def test_a_green_test(tmp_path: Path) -> None:
    outcome = sample_outcome(
        tmp_path,
        checks=[check("framing.utf8", "pass", "19 frames")],
        ttft_ms=[100.0],
        objectives={"ttft_p95_ms": 800},
    )
    cases = cases_of(junit(outcome))
    assert set(cases) == {
        ("test", "test completed"),
        ("gate", "ttft_p95_ms"),
        ("gate", "ledger"),
        ("conformance", "framing.utf8"),
    }
    utf8 = cases["conformance", "framing.utf8"]
    assert utf8.get("classname") == "conformance.framing"
    assert utf8.get("time") == "0.250"
    assert utf8.findtext("system-out") == "19 frames"
    assert {child.tag for case in cases.values() for child in case} == {"system-out"}


def test_a_red_test(tmp_path: Path) -> None:
    outcome = sample_outcome(
        tmp_path,
        checks=[
            check("framing.utf8", "fail", "a lone 0x80"),
            check("framing.bom", "error", "broke"),
            check("resume.start", "info", "replay"),
        ],
        ttft_ms=[100.0],
        objectives={"ttft_p95_ms": 8, "resume_p50_ms": 1},
    )
    cases = cases_of(junit(outcome))
    failure = cases["conformance", "framing.utf8"].find("failure")
    assert failure is not None
    assert (failure.get("type"), failure.get("message")) == ("fail", "fail: a lone 0x80")
    assert "strict UTF-8" in str(failure.text)
    assert cases["conformance", "framing.bom"].find("error") is not None
    assert cases["conformance", "resume.start"].find("skipped").get("message") == "info: replay"
    assert cases["gate", "ttft_p95_ms"].find("failure").get("type") == "failed"
    assert cases["gate", "resume_p50_ms"].find("error").get("type") == "not measured"
    root = ET.fromstring(junit(outcome))
    assert (root.get("failures"), root.get("errors")) == ("2", "2")
    (target,) = {one.get("value") for one in root.iter("property")}
    assert target == "https://agent.example.com/agent/workflow-actions"
    assert {suite.get("timestamp") for suite in root} == {"2026-09-21T14:13:20+00:00"}


def test_hostile_text_stays_text(tmp_path: Path) -> None:
    outcome = sample_outcome(
        tmp_path,
        checks=[check("framing.utf8", "fail", HOSTILE, evidence=[{"exchange": "cut/run", "note": HOSTILE}])],
        ttft_ms=[1.0],
        violated={"ids.unique": [HOSTILE]},
        manifest={"target": {"base_url": HOSTILE}, "started_at": HOSTILE},
    )
    document = junit(outcome)
    document.encode("utf-8")
    cases = cases_of(document)
    assert len(cases) == 4
    failure = cases["conformance", "framing.utf8"].find("failure")
    assert list(failure) == []
    assert "]]></failure>\n::error::mine\\r|`<script>" in str(failure.get("message"))
    assert "\\x00\\x1b[31m" in str(failure.text)


@pytest.mark.parametrize(
    ("text", "spelt"),
    [
        ("tab\tand\nline", "tab\tand\nline"),
        ("\x00\x08\x0b\x1f", "\\x00\\x08\\x0b\\x1f"),
        ("a\rb", "a\\rb"),
        ("\ud800", "\\ud800"),
        ("\ufffe\uffff", "\\ufffe\\uffff"),
        ("\U0001f600 \ufffd \x7f", "\U0001f600 \ufffd \\x7f"),
        ("\x9b2J\u202e\u2066\u200b\ufeff", "\\x9b2J\\u202e\\u2066\\u200b\\ufeff"),
    ],
)
def test_characters_that_are_illegal_in_xml_are_escaped(text: str, spelt: str) -> None:
    assert escape_illegal(text) == spelt
    element = ET.Element("x", a=escape_illegal(text))
    element.text = escape_illegal(text)
    again = ET.fromstring(ET.tostring(element, encoding="unicode"))
    assert (again.text, again.get("a")) == (spelt, spelt)


def test_every_single_character_survives() -> None:
    """All characters of the basic plane round-trip through escape_illegal and an XML parser."""
    for start in range(0, 0x10000, 0x400):
        text = escape_illegal("".join(map(chr, range(start, start + 0x400))))
        element = ET.Element("x")
        element.text = text
        assert ET.fromstring(ET.tostring(element, encoding="unicode")).text == text


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('tests="1"', 'tests="some"'),
        ("<testcase ", "<tescase "),
        ('classname="test"', ""),
        ('timestamp="2026', 'timestamp="yesterday 2026'),
    ],
)
def test_the_schema_can_refuse(tmp_path: Path, old: str, new: str) -> None:
    import xmlschema

    document = junit(sample_outcome(tmp_path, ttft_ms=[1.0]))
    junit_schema().validate(document)
    assert old in document
    with pytest.raises((xmlschema.XMLSchemaException, ET.ParseError)):
        junit_schema().validate(document.replace(old, new))
