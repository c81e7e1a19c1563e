"""The comment of a pull or merge request: the verdict, what failed and what got worse, and a link to the rest.

Its first line is a marker, which a page does not show. `harness comment` finds the comment of an earlier test by it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from harness.ci import markdown as summary
from harness.ci.github import artifacts_url
from harness.ci.outcome import Case, Outcome
from harness.formatting import visible
from harness.gate.comparison import Comparison
from harness.gate.console import format_change, format_change_interval, format_value

MARKER = re.compile(r"<!-- agent-run-harness(?:: [\w. -]{1,100})? -->")

LIMIT_CHARS = 65_536
"""GitHub rejects a longer comment."""

_ROWS = 10
_DETAIL_CHARS = 200


def comment(outcome: Outcome, environment: Mapping[str, str]) -> str:
    """The comment as Markdown. environment: of the CI job, for its name and the link to its files."""
    parts = (
        [marker(environment)],
        list(summary.head(outcome)),
        list(_not_met([case for case in outcome.cases if case.red and case.verdict != "worse"])),
        list(_worse([row for row in outcome.gate.comparisons if row.verdict == "worse"])),
        list(_link(outcome, environment)),
    )
    return "\n\n".join("\n".join(lines) for lines in parts if lines) + "\n"


def comment_without_results(environment: Mapping[str, str]) -> str:
    """The comment of a test that could not run: without it, the comment of an earlier test would stay."""
    link = f"\n[Job]({environment['CI_JOB_URL']})\n" if environment.get("CI_JOB_URL") else ""
    text = "The test could not run, or was cancelled; the log of the job says why."
    return f"{marker(environment)}\n\n### ⚠️ Agent runs: incomplete\n\n{text}\n{link}"


def marker(environment: Mapping[str, str]) -> str:
    """The first line: it names the CI job, so that each job of a pipeline keeps its own comment."""
    names = [environment.get(name, "") for name in ("GITHUB_WORKFLOW", "GITHUB_JOB", "CI_JOB_NAME")]
    job = re.sub(r"[^\w.]+|-{2,}", "-", " ".join(filter(None, names)), flags=re.ASCII).strip("-")[:100]
    return f"<!-- agent-run-harness: {job} -->" if job else "<!-- agent-run-harness -->"


def _not_met(cases: Sequence[Case]) -> Iterator[str]:
    if not cases:
        return
    yield f"**Not met ({len(cases)})**\n"
    yield from summary.table_head(("name", "verdict", "detail"))
    for case in cases[:_ROWS]:
        yield summary.table_row(summary.code(case.name), summary.plain(case.verdict), _short(case.message))
    yield from _rest(len(cases))


def _worse(comparisons: Sequence[Comparison]) -> Iterator[str]:
    if not comparisons:
        return
    yield f"**Worse than the baseline ({len(comparisons)})**\n"
    yield from summary.table_head(("objective", "before:", "after:", "difference:", "interval:"))
    for one in comparisons[:_ROWS]:
        yield summary.table_row(
            summary.code(one.key),
            summary.plain(format_value(one.key, one.baseline)),
            summary.plain(format_value(one.key, one.value)),
            format_change(one, one.difference),
            format_change_interval(one),
        )
    yield from _rest(len(comparisons))


def _rest(rows: int) -> Iterator[str]:
    if rows > _ROWS:
        yield f"\nand {rows - _ROWS} more"


def _short(text: str) -> str:
    text = visible(text)
    return summary.plain(text if len(text) <= _DETAIL_CHARS else f"{text[:_DETAIL_CHARS]}…")


def _link(outcome: Outcome, environment: Mapping[str, str]) -> Iterator[str]:
    url = artifacts_url(environment)
    if url:
        yield f"[Report and results]({url})"
    elif environment.get("CI_JOB_URL"):  # GitLab
        yield f"[Report and results]({environment['CI_JOB_URL']}/artifacts/browse)"
    elif outcome.report is not None:
        yield f"Report: {summary.code(str(outcome.report))}"
