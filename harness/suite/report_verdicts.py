"""Verdicts on pytest's test reports: how they are attached, read, and shown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import pytest

from harness.contract.evidence.redaction import Redactor
from harness.contract.finding import Verdict
from harness.contract.verdicts import CheckOutcome

_STATUS = {
    Verdict.WARN: ("warned", "W", ("WARNED", {"yellow": True})),
    Verdict.INCONCLUSIVE: ("inconclusive", "?", ("INCONCLUSIVE", {"yellow": True})),
    Verdict.NOT_APPLICABLE: ("not applicable", "-", ("NOT APPLICABLE", {"cyan": True})),
    Verdict.INFO: ("info", "i", ("INFO", {"cyan": True})),
    Verdict.KNOWN: ("known", "k", ("KNOWN", {"yellow": True})),
}


class Attached(NamedTuple):
    """What a report has: the outcome, new Exchange documents, and why the test is not sound, or None."""

    outcome: CheckOutcome
    documents: dict[str, Any]
    unsound: str | None


def attach(
    report: pytest.TestReport,
    outcome: CheckOutcome,
    documents: Mapping[str, Any],
    *,
    unsound: str | None = None,
) -> None:
    """Put these on a report, as JSON values: xdist sends them between processes."""
    report.harness = {"outcome": outcome.to_json(), "documents": dict(documents), "unsound": unsound}  # type: ignore[attr-defined]


def attached(report: pytest.TestReport) -> Attached | None:
    """What `attach` put on a report; None if nothing."""
    value = getattr(report, "harness", None)
    if value is None:
        return None
    return Attached(CheckOutcome.from_json(value["outcome"]), value["documents"], value["unsound"])


def status(report: pytest.TestReport) -> tuple[str, str, Any] | None:
    """Category, letter and word of a verdict that pytest would show as skipped."""
    value = getattr(report, "harness", None)
    if value is None or report.outcome != "skipped":
        return None
    return _STATUS.get(Verdict(value["outcome"]["verdict"]))


def show_as_failed(report: pytest.TestReport, message: str) -> None:
    """Make a report a failure with this text instead of a traceback."""
    report.outcome = "failed"
    report.longrepr = message


def show_as_skipped(report: pytest.TestReport, item: pytest.Item, reason: str) -> None:
    """Make a report a skip: the test neither passed nor failed the session."""
    report.outcome = "skipped"
    report.longrepr = (str(item.path), (item.location[1] or 0) + 1, reason)


def clean(report: pytest.TestReport, redact: Redactor) -> None:
    """Mask secrets, and show control characters, in a report's traceback, in its locals and in captured output."""
    if isinstance(report.longrepr, tuple):
        path, line, reason = report.longrepr
        report.longrepr = (path, line, redact.lines(reason))
    elif report.longrepr is not None:
        text = str(report.longrepr)
        shown = redact.lines(text)
        if shown != text:  # a traceback that needs no change keeps its colours
            report.longrepr = shown
    report.sections = [(title, redact.lines(content)) for title, content in report.sections]


def skip_without_source(raised: BaseException) -> pytest.ExceptionInfo[BaseException]:
    """The exception as a skip, for which pytest prints no source.

    To print source, pytest parses it, and so does Hypothesis in the scenarios' thread. CPython 3.11 raises SystemError
    if two threads do so at once (gh-106905), which would end the session.
    """
    skipped = pytest.skip.Exception(str(raised))
    return pytest.ExceptionInfo.from_exception(skipped.with_traceback(raised.__traceback__))
