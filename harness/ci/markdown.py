"""The Markdown summary of a test, as GitHub shows it for a job. A server's text is escaped, so it stays text."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from harness.ci.outcome import Case, Outcome
from harness.formatting import number, visible
from harness.gate.console import (
    format_change,
    format_change_interval,
    format_headroom,
    format_interval,
    format_value,
)
from harness.gate.report import GateReport, GateRow
from harness.results import metrics
from harness.results.records import VERDICTS, tally

LIMIT_BYTES = 1024 * 1024
"""GitHub rejects a larger step summary."""

_MARKS = {"passed": "✅", "failed": "❌", "aborted": "⏹️", "interrupted": "⏹️"}
_WARNING_MARK = "⚠️"
_DETAIL_CHARS = 600
_SHOWN_METRICS = ("ttft_ms", "inter_token_ms", "stall_ms", "duration_ms", "resume_ms", "conflict_ms")
_SHOWN_PERCENTILES = ("p50", "p95", "p99", "max")
_TRUNCATED = "\n\n*Truncated: GitHub limits the size of summaries. The report is complete.*\n"

_SPECIAL = re.compile(r"([\\`*_\[\]|~$])")  # Markdown characters with a meaning inside a line


def markdown(outcome: Outcome, *, artifacts_url: str = "", limit_bytes: int = LIMIT_BYTES) -> str:
    """The summary, at most `limit_bytes` of UTF-8. A truncated summary ends with a note.

    artifacts_url: the page that lists the test's files; empty if there is ncomparison.
    """
    parts = (
        head(outcome),
        _not_met(outcome),
        _gate(outcome.gate.rows),
        _baseline(outcome.gate),
        _latency(outcome),
        _matrix(outcome),
        _warnings(outcome),
        _files(outcome, artifacts_url),
    )
    blocks = ["\n".join(lines) for lines in map(list, parts) if lines]
    return _truncate("\n\n".join(blocks) + "\n", limit_bytes)


def head(outcome: Outcome) -> Iterator[str]:
    yield f"### {_MARKS.get(outcome.status, _WARNING_MARK)} Agent runs: {outcome.status}"
    yield ""
    sentences = [f"Target {plain(outcome.target)}." if outcome.target else ""]
    ledger = outcome.summary["ledger"]
    if ledger["scheduled"]:
        sentences.append(f"{ledger['scheduled']:,} streams scheduled under load.")
    if outcome.checks:
        sentences.append(f"Conformance: {tally(check.verdict for check in outcome.checks if check.tested)}.")
    yield " ".join(filter(None, sentences))
    for problem in outcome.problems:
        yield f"\n{_WARNING_MARK} {plain(problem)}"
    if outcome.gate.saturation:
        yield f"\n{_WARNING_MARK} The harness was saturated: {plain('; '.join(outcome.gate.saturation))}."


def _not_met(outcome: Outcome) -> Iterator[str]:
    red = [case for case in outcome.cases if case.red and case.group == "conformance"]
    if red:
        yield f"#### Requirements not met ({len(red)})\n"
        yield from _case_table(red)


def _warnings(outcome: Outcome) -> Iterator[str]:
    warnings = [case for case in outcome.cases if case.warns]
    if warnings:
        yield f"<details><summary>Warnings ({len(warnings)})</summary>\n"
        yield from _case_table(warnings)
        yield "\n</details>"


def _case_table(cases: Iterable[Case]) -> Iterator[str]:
    yield from table_head(("name", "verdict", "detail"))
    for case in cases:
        yield table_row(code(case.name), plain(case.verdict), plain(case.message))


def _gate(rows: Sequence[GateRow]) -> Iterator[str]:
    if not rows:
        return
    yield "#### Objectives\n"
    yield from table_head(
        ("objective", "value:", "limit:", "95% interval:", "headroom:", "verdict", "detail")
    )
    for row in rows:
        limit = f"{'at least ' if row.at_least else ''}{format_value(row.name, row.limit)}"
        yield table_row(
            code(row.name),
            plain(format_value(row.name, row.value)),
            plain(limit),
            format_interval(row),
            format_headroom(row),
            _marked(row.verdict, good=row.verdict == "passed", bad=row.verdict == "failed"),
            plain(row.detail),
        )


def _baseline(gate: GateReport) -> Iterator[str]:
    if not gate.comparisons:
        return
    yield "#### Comparison with the baseline\n"
    yield from table_head(
        (
            "objective",
            "before:",
            "after:",
            "difference:",
            f"{gate.confidence * 100:.3g}% interval:",
            "verdict",
            "detail",
        )
    )
    for comparison in gate.comparisons:
        yield table_row(
            code(comparison.key),
            plain(format_value(comparison.key, comparison.baseline)),
            plain(format_value(comparison.key, comparison.value)),
            format_change(comparison, comparison.difference),
            format_change_interval(comparison),
            _marked(
                comparison.verdict,
                good=comparison.verdict in ("better", "same"),
                bad=comparison.verdict == "worse",
            ),
            plain(comparison.detail),
        )
    for note in gate.notes:
        yield f"\n{_WARNING_MARK} {plain(note)}."


def _marked(verdict: str, *, good: bool, bad: bool) -> str:
    return f"{'✅' if good else '❌' if bad else _WARNING_MARK} {verdict}"


def _latency(outcome: Outcome) -> Iterator[str]:
    values = outcome.summary["metrics"]
    shown = [name for name in _SHOWN_METRICS if values.get(name, {}).get("count")]
    if not shown:
        return
    yield "#### Latency\n"
    yield from table_head(("ms", *(f"{percentile}:" for percentile in _SHOWN_PERCENTILES), "count:"))
    for name in shown:
        cells = (number(values[name][percentile]) for percentile in _SHOWN_PERCENTILES)
        yield table_row(metrics.METRICS[name].label, *cells, f"{values[name]['count']:,}")


def _matrix(outcome: Outcome) -> Iterator[str]:
    """The number of requirements per area and verdict."""
    if not outcome.checks:
        return
    areas: dict[str, Counter[str]] = {}
    for check in outcome.checks:
        areas.setdefault(check.id.partition(".")[0], Counter())[check.verdict] += 1
    used = [verdict for verdict in VERDICTS if any(counts[verdict] for counts in areas.values())]
    yield "#### Conformance by area\n"
    yield from table_head(("area", *(f"{verdict}:" for verdict in used)))
    for area, counts in areas.items():
        yield table_row(plain(area), *(str(counts[verdict] or "·") for verdict in used))


def _files(outcome: Outcome, artifacts_url: str) -> Iterator[str]:
    names = [code(str(path)) for path in (outcome.report, outcome.results) if path is not None]
    link = f" [Files of this workflow run]({artifacts_url})" if artifacts_url else ""
    if names or link:
        yield f"Files: {', '.join(names)}{link}"


def table_head(names: Sequence[str]) -> Iterator[str]:
    """The head of a table. A name that ends with a colon heads a right-aligned column."""
    yield table_row(*(name.removesuffix(":") for name in names))
    yield table_row(*("---:" if name.endswith(":") else "---" for name in names))


def table_row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def plain(text: str) -> str:
    """Untrusted text as Markdown that shows it literally, on one line: no markup, links or HTML."""
    text = visible(text)
    if len(text) > _DETAIL_CHARS:
        text = f"{text[:_DETAIL_CHARS]}… ({len(text)} characters)"
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    text = _SPECIAL.sub(r"\\\1", text)
    # GitHub turns these into links without any markup: https://github.github.com/gfm/#autolinks-extension-
    return text.replace("://", "&#58;//").replace("www.", "www&#46;").replace("@", "&#64;")


def code(text: str) -> str:
    """Untrusted text as a code span for a table cell, on one line."""
    text = visible(text)
    fence = "`" * (max((len(run) for run in re.findall("`+", text)), default=0) + 1)
    space = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{fence}{space}{text}{space}{fence}".replace("|", "\\|")


def _truncate(text: str, limit_bytes: int) -> str:
    data = text.encode()
    if len(data) <= limit_bytes:
        return text
    if limit_bytes < len(_TRUNCATED.encode()):
        return ""
    kept = data[: limit_bytes - len(_TRUNCATED.encode())]
    whole_lines = kept.rpartition(b"\n")[0]
    return whole_lines.decode() + _TRUNCATED
