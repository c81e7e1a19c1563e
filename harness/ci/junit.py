"""JUnit XML of a test, in the dialect that Jenkins' xUnit plugin, GitLab and GitHub reporters accept."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Sequence
from datetime import datetime

from harness.ci.outcome import Case, Group, Outcome
from harness.formatting import visible

_SUITES: tuple[Group, ...] = ("test", "gate", "baseline", "conformance")
_ELEMENTS = {"failed": "failure", "error": "error", "skipped": "skipped"}


def junit(outcome: Outcome) -> str:
    """A test case per objective, comparison and requirement. At least one fails exactly if the exit code is not 0.

    A case that neither passed nor failed is skipped, with the reason.
    """
    suites = [(name, [case for case in outcome.cases if case.group == name]) for name in _SUITES]
    root = ET.Element("testsuites", {"name": "agent-run-harness", **_counts(outcome.cases)})
    for name, cases in suites:
        if cases:
            root.append(_suite(outcome, name, cases))
    ET.indent(root)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{ET.tostring(root, encoding="unicode")}\n'


def _counts(cases: Sequence[Case]) -> dict[str, str]:
    return {
        "tests": str(len(cases)),
        "failures": str(sum(case.result == "failed" for case in cases)),
        "errors": str(sum(case.result == "error" for case in cases)),
        "time": f"{sum(case.duration_s or 0 for case in cases):.3f}",
    }


def _suite(outcome: Outcome, name: Group, cases: Sequence[Case]) -> ET.Element:
    skipped = str(sum(case.result == "skipped" for case in cases))
    suite = ET.Element("testsuite", {"name": name, **_counts(cases), "skipped": skipped})
    started = outcome.manifest.get("started_at")
    if isinstance(started, str) and _is_timestamp(started):
        suite.set("timestamp", started)
    if outcome.target:
        properties = ET.SubElement(suite, "properties")
        ET.SubElement(properties, "property", name="target", value=escape_illegal(outcome.target))
    suite.extend(_case(case) for case in cases)
    return suite


def _is_timestamp(text: str) -> bool:
    try:
        return "T" in text and datetime.fromisoformat(text) is not None
    except ValueError:
        return False


def _case(case: Case) -> ET.Element:
    area = case.name.partition(".")[0] if case.group == "conformance" else ""
    element = ET.Element(
        "testcase",
        name=escape_illegal(case.name),
        classname=escape_illegal(f"{case.group}.{area}" if area else case.group),
        time=f"{case.duration_s or 0:.3f}",
    )
    if case.result == "passed":
        ET.SubElement(element, "system-out").text = escape_illegal(case.message)
        return element
    message = escape_illegal(f"{case.verdict}: {case.message}")
    result = ET.SubElement(
        element, _ELEMENTS[case.result], type=escape_illegal(case.verdict), message=message
    )
    result.text = escape_illegal(case.text or case.message)
    return element


def escape_illegal(text: str) -> str:
    r"""Text for XML 1.0, which cannot contain control characters or lone surrogates, not even as references.

    They are escaped, and so is what is not seen: a NUL is \x00, a lone surrogate \ud800.
    https://www.w3.org/TR/xml/#charsets
    """
    return visible(text, keep="\n\t")
