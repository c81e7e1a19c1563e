"""JUnit XML of a test, in the dialect that Jenkins' xUnit plugin, GitLab and GitHub's reporters all read."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from datetime import datetime

from harness.ci.outcome import Case, Group, Outcome

_SUITES: tuple[Group, ...] = ("test", "gate", "baseline", "conformance")
_ELEMENTS = {"failed": "failure", "error": "error", "skipped": "skipped"}

# https://www.w3.org/TR/xml/#charsets; what lies outside can't be written in XML 1.0, not even as a reference.
_ILLEGAL = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def junit(account: Outcome) -> str:
    """A case for each objective, comparison and requirement; one is red exactly if the exit code is not 0.

    What was not decided, or is no pass for another reason, is skipped and says why: no case but a pass passes.
    """
    suites = [(name, [case for case in account.cases if case.group == name]) for name in _SUITES]
    root = ET.Element("testsuites", {"name": "agent-run-harness", **_counts(account.cases)})
    for name, cases in suites:
        if cases:
            root.append(_suite(account, name, cases))
    ET.indent(root)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{ET.tostring(root, encoding="unicode")}\n'


def _counts(cases: Sequence[Case]) -> dict[str, str]:
    return {
        "tests": str(len(cases)),
        "failures": str(sum(case.result == "failed" for case in cases)),
        "errors": str(sum(case.result == "error" for case in cases)),
        "time": f"{sum(case.duration_s or 0 for case in cases):.3f}",
    }


def _suite(account: Outcome, name: Group, cases: Sequence[Case]) -> ET.Element:
    skipped = str(sum(case.result == "skipped" for case in cases))
    suite = ET.Element("testsuite", {"name": name, **_counts(cases), "skipped": skipped})
    started = account.manifest.get("started_at")
    if isinstance(started, str) and _is_moment(started):
        suite.set("timestamp", started)
    if account.target:
        properties = ET.SubElement(suite, "properties")
        ET.SubElement(properties, "property", name="target", value=legal(account.target))
    suite.extend(_case(case) for case in cases)
    return suite


def _is_moment(text: str) -> bool:
    try:
        return "T" in text and datetime.fromisoformat(text) is not None
    except ValueError:
        return False


def _case(case: Case) -> ET.Element:
    area = case.name.partition(".")[0] if case.group == "conformance" else ""
    element = ET.Element(
        "testcase",
        name=legal(case.name),
        classname=legal(f"{case.group}.{area}" if area else case.group),
        time=f"{case.duration_s or 0:.3f}",
    )
    if case.result == "passed":
        ET.SubElement(element, "system-out").text = legal(case.message)
        return element
    message = legal(f"{case.word}: {case.message}")
    told = ET.SubElement(element, _ELEMENTS[case.result], type=legal(case.word), message=message)
    told.text = legal(case.text or case.message)
    return element


def legal(text: str) -> str:
    r"""Text with what XML cannot hold spelt out: a NUL as \x00, half a surrogate pair as \ud800."""
    return _ILLEGAL.sub(_spelt, text).replace("\r", "\\r")


def _spelt(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
