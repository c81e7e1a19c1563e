"""JUnit XML: valid, one case for each thing that was decided, and safe from whatever a server says."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
import xmlschema

from harness.ci.junit import junit, legal
from tests.ci.samples import HOSTILE, JUNIT_SCHEMA, account, cases_of, check


def test_a_green_test(tmp_path: Path) -> None:
    found = account(
        tmp_path,
        checks=[check("framing.utf8", "pass", "19 frames")],
        ttft_ms=[100.0],
        objectives={"ttft_p95_ms": 800},
    )
    cases = cases_of(junit(found))
    assert set(cases) == {
        ("test", "the test was carried out"),
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
    found = account(
        tmp_path,
        checks=[
            check("framing.utf8", "fail", "a lone 0x80"),
            check("framing.bom", "error", "broke"),
            check("resume.start", "info", "replay"),
        ],
        ttft_ms=[100.0],
        objectives={"ttft_p95_ms": 8, "resume_p50_ms": 1},
    )
    cases = cases_of(junit(found))
    failure = cases["conformance", "framing.utf8"].find("failure")
    assert failure is not None
    assert (failure.get("type"), failure.get("message")) == ("fail", "fail: a lone 0x80")
    assert "strict UTF-8" in str(failure.text)
    assert cases["conformance", "framing.bom"].find("error") is not None
    assert cases["conformance", "resume.start"].find("skipped").get("message") == "info: replay"
    assert cases["gate", "ttft_p95_ms"].find("failure").get("type") == "failed"
    assert cases["gate", "resume_p50_ms"].find("error").get("type") == "not measured"
    root = ET.fromstring(junit(found))
    assert (root.get("failures"), root.get("errors")) == ("2", "2")
    (target,) = {one.get("value") for one in root.iter("property")}
    assert target == "https://agent.example.com/agent/workflow-actions"
    assert {suite.get("timestamp") for suite in root} == {"2026-09-21T14:13:20+00:00"}


def test_hostile_words_stay_words(tmp_path: Path) -> None:
    found = account(
        tmp_path,
        checks=[check("framing.utf8", "fail", HOSTILE, evidence=[{"exchange": "cut/run", "note": HOSTILE}])],
        ttft_ms=[1.0],
        violated={"ids.unique": [HOSTILE]},
        manifest={"target": {"base_url": HOSTILE}, "started_at": HOSTILE},
    )
    document = junit(found)
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
        ("\U0001f600 \ufffd \x7f", "\U0001f600 \ufffd \x7f"),
    ],
)
def test_what_xml_cannot_hold_is_spelt_out(text: str, spelt: str) -> None:
    assert legal(text) == spelt
    element = ET.Element("x", a=legal(text))
    element.text = legal(text)
    again = ET.fromstring(ET.tostring(element, encoding="unicode"))
    assert (again.text, again.get("a")) == (spelt, spelt)


def test_every_single_character_survives() -> None:
    """Of the basic plane; what the parser gives back is what `legal` made of it."""
    for start in range(0, 0x10000, 0x400):
        text = legal("".join(map(chr, range(start, start + 0x400))))
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
    document = junit(account(tmp_path, ttft_ms=[1.0]))
    JUNIT_SCHEMA.validate(document)
    assert old in document
    with pytest.raises((xmlschema.XMLSchemaException, ET.ParseError)):
        JUNIT_SCHEMA.validate(document.replace(old, new))
