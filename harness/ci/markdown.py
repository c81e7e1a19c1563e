"""The Markdown summary of a test, as GitHub shows it beside a job: what a server said stays text in it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from harness.ci.outcome import Case, Outcome
from harness.gate.console import change_said, interval_said, quantity
from harness.gate.report import GateReport, GateRow
from harness.results import metrics
from harness.results.records import VERDICTS

LIMIT_BYTES = 1024 * 1024
"""GitHub refuses a step's summary that is larger."""

_MARKS = {"passed": "✅", "failed": "❌", "interrupted": "⏹️"}
_IN_DOUBT = "⚠️"
_DETAIL_CHARS = 600
_SHOWN_METRICS = ("ttft_ms", "inter_token_ms", "stall_ms", "duration_ms", "resume_ms", "conflict_ms")
_SHOWN_PERCENTILES = ("p50", "p95", "p99", "max")
_CUT = "\n\n*The summary was cut here: it is longer than GitHub takes. The report has all of it.*\n"

_SPECIAL = re.compile(r"([\\`*_\[\]|~$])")  # of those that matter within a line
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]+")


def markdown(account: Outcome, *, artifacts_url: str = "", limit_bytes: int = LIMIT_BYTES) -> str:
    """The summary, of at most `limit_bytes` as UTF-8; a sentence says so where it had to be cut.

    artifacts_url: the page on which the test's files can be had, where there is one.
    """
    parts = (
        _head(account),
        _red(account),
        _gate(account.gate.rows),
        _baseline(account.gate),
        _latency(account),
        _matrix(account),
        _warnings(account),
        _files(account, artifacts_url),
    )
    blocks = ["\n".join(lines) for lines in map(list, parts) if lines]
    return _within("\n\n".join(blocks) + "\n", limit_bytes)


def _head(account: Outcome) -> Iterator[str]:
    yield f"### {_MARKS.get(account.status, _IN_DOUBT)} Agent runs: {account.status}"
    yield ""
    said = [f"Target {plain(account.target)}." if account.target else ""]
    ledger = account.numbers["ledger"]
    if ledger["scheduled"]:
        said.append(f"{ledger['scheduled']:,} streams under load.")
    if account.checks:
        tally = Counter(check.verdict for check in account.checks)
        counted = ", ".join(f"{tally[word]} {word}" for word in VERDICTS if tally[word])
        said.append(f"Conformance: {counted}.")
    yield " ".join(filter(None, said))
    for problem in account.problems:
        yield f"\n{_IN_DOUBT} {plain(problem)}"
    if account.gate.saturation:
        yield f"\n{_IN_DOUBT} The harness was saturated: {plain('; '.join(account.gate.saturation))}."


def _red(account: Outcome) -> Iterator[str]:
    red = [case for case in account.cases if case.red and case.group == "conformance"]
    if red:
        yield f"#### Requirements that are not met ({len(red)})\n"
        yield from _case_table(red)


def _warnings(account: Outcome) -> Iterator[str]:
    found = [case for case in account.cases if case.warns]
    if found:
        yield f"<details><summary>Worth a look ({len(found)})</summary>\n"
        yield from _case_table(found)
        yield "\n</details>"


def _case_table(cases: Iterable[Case]) -> Iterator[str]:
    yield from _table_head(("what", "verdict", "detail"))
    for case in cases:
        yield _row(code(case.name), plain(case.word), plain(case.message))


def _gate(rows: Sequence[GateRow]) -> Iterator[str]:
    if not rows:
        return
    yield "#### Objectives\n"
    yield from _table_head(
        ("objective", "value:", "limit:", "95% interval:", "headroom:", "verdict", "detail")
    )
    for row in rows:
        limit = f"{'at least ' if row.at_least else ''}{quantity(row.name, row.limit)}"
        yield _row(
            code(row.name),
            plain(quantity(row.name, row.value)),
            plain(limit),
            interval_said(row),
            "" if row.headroom is None else f"{row.headroom:.0%}",
            _verdict(row.verdict, good=row.verdict == "passed", bad=row.verdict == "failed"),
            plain(row.detail),
        )


def _baseline(gate: GateReport) -> Iterator[str]:
    if not gate.comparisons:
        return
    yield "#### Against the baseline\n"
    yield from _table_head(
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
    for one in gate.comparisons:
        interval = ""
        if one.low is not None and one.high is not None:
            interval = f"{change_said(one, one.low)} to {change_said(one, one.high)}"
        yield _row(
            code(one.key),
            plain(quantity(one.key, one.baseline)),
            plain(quantity(one.key, one.value)),
            change_said(one, one.difference),
            interval,
            _verdict(one.verdict, good=one.verdict in ("better", "same"), bad=one.verdict == "worse"),
            plain(one.detail),
        )
    for note in gate.notes:
        yield f"\n{_IN_DOUBT} {plain(note)}."


def _verdict(word: str, *, good: bool, bad: bool) -> str:
    return f"{'✅' if good else '❌' if bad else _IN_DOUBT} {word}"


def _latency(account: Outcome) -> Iterator[str]:
    found = account.numbers["metrics"]
    shown = [name for name in _SHOWN_METRICS if found.get(name, {}).get("count")]
    if not shown:
        return
    yield "#### Latency\n"
    yield from _table_head(("ms", *(f"{word}:" for word in _SHOWN_PERCENTILES), "count:"))
    for name in shown:
        values = (f"{found[name][word]:,.1f}" for word in _SHOWN_PERCENTILES)
        yield _row(metrics.METRICS[name].label, *values, f"{found[name]['count']:,}")


def _matrix(account: Outcome) -> Iterator[str]:
    """How many requirements of each area have which verdict."""
    if not account.checks:
        return
    areas: dict[str, Counter[str]] = {}
    for check in account.checks:
        areas.setdefault(check.id.partition(".")[0], Counter())[check.verdict] += 1
    used = [word for word in VERDICTS if any(counted[word] for counted in areas.values())]
    yield "#### Conformance by area\n"
    yield from _table_head(("area", *(f"{word}:" for word in used)))
    for area, counted in areas.items():
        yield _row(plain(area), *(str(counted[word] or "·") for word in used))


def _files(account: Outcome, artifacts_url: str) -> Iterator[str]:
    names = [code(str(path)) for path in (account.report, account.results) if path is not None]
    where = f" [Files of this run]({artifacts_url})" if artifacts_url else ""
    if names or where:
        yield f"Kept: {', '.join(names)}{where}"


def _table_head(names: Sequence[str]) -> Iterator[str]:
    """The head of a table; a name that ends with a colon heads a column of numbers."""
    yield _row(*(name.removesuffix(":") for name in names))
    yield _row(*("---:" if name.endswith(":") else "---" for name in names))


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def plain(text: str) -> str:
    """Text of whatever origin as Markdown that shows it: no markup, no link, no HTML, on one line."""
    text = _CONTROL.sub(" ", text)
    if len(text) > _DETAIL_CHARS:
        text = f"{text[:_DETAIL_CHARS]}… ({len(text)} characters)"
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    text = _SPECIAL.sub(r"\\\1", text)
    # GitHub makes links of these without any markup: https://github.github.com/gfm/#autolinks-extension-
    return text.replace("://", "&#58;//").replace("www.", "www&#46;").replace("@", "&#64;")


def code(text: str) -> str:
    """Text of whatever origin as a code span in a table, on one line."""
    text = _CONTROL.sub(" ", text)
    fence = "`" * (max((len(run) for run in re.findall("`+", text)), default=0) + 1)
    space = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{fence}{space}{text}{space}{fence}".replace("|", "\\|")


def _within(text: str, limit_bytes: int) -> str:
    data = text.encode()
    if len(data) <= limit_bytes:
        return text
    if limit_bytes < len(_CUT.encode()):
        return ""
    kept = data[: limit_bytes - len(_CUT.encode())]
    whole_lines = kept.rpartition(b"\n")[0]
    return whole_lines.decode() + _CUT
