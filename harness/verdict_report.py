"""Verdicts for people at a terminal: why one test failed, and the table at the end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from harness.contract.evidence import Redactor, curl, printable
from harness.contract.finding import Finding, Place, Verdict
from harness.contract.requirements import Requirement
from harness.settings import Settings
from harness.verdicts import Check, Verdicts, by_area

_READS_BEFORE = 4  # of the place that is pointed at
_READS_AFTER = 3
_READ_CHARS = 240
_COLUMNS = (
    Verdict.PASS,
    Verdict.FAIL,
    Verdict.WARN,
    Verdict.INCONCLUSIVE,
    Verdict.NOT_APPLICABLE,
    Verdict.ERROR,
    Verdict.KNOWN,
    Verdict.STALE,
    Verdict.INFO,
)


TABLE_TITLE = "conformance by area"

_UNDECIDED = (Verdict.INCONCLUSIVE, Verdict.NOT_APPLICABLE)


class Terminal(Protocol):
    """The part of pytest's terminal reporter that is used."""

    def write_sep(self, sep: str, title: str | None = None, **markup: bool) -> None: ...

    def write_line(self, line: str, **markup: bool) -> None: ...


class Lines:
    """A Terminal for when there is no pytest: plain lines on standard output."""

    def write_sep(self, sep: str, title: str | None = None, **markup: bool) -> None:  # noqa: ARG002
        print(f" {title} ".center(80, sep) if title else sep * 80)

    def write_line(self, line: str, **markup: bool) -> None:  # noqa: ARG002
        print(line)


def explain(finding: Finding, row: Requirement, settings: Settings) -> str:
    """A failure as a reader needs it: the rule, what happened, where on the wire, and how to repeat it."""
    lines = [
        f"{row.id} ({row.level}): {row.text}  [{row.source}]",
        f"{finding.verdict.upper()}: {finding.detail}",
    ]
    redact = Redactor(settings.secrets())
    for place in finding.places[:3]:
        lines += ["", *_show(place, settings, redact)]
    return redact.text("\n".join(lines))


def _show(place: Place, settings: Settings, redact: Redactor) -> Iterator[str]:
    exchange = place.exchange
    yield f"{exchange.label}: {exchange.describe()}{f' ({place.note})' if place.note else ''}"
    if exchange.head is not None:
        yield f"    HTTP/{exchange.head.version} {exchange.head.status} {exchange.head.reason}"
    shown = list(zip(exchange.reads, redact.pieces([read.data for read in exchange.reads]), strict=True))
    first = 0
    if place.at is not None:
        at = next(
            (n for n, (read, _) in enumerate(shown) if read.arrival_ns >= place.at.arrival_ns), len(shown) - 1
        )
        first = max(0, at - _READS_BEFORE)
        shown = shown[first : at + 1 + _READS_AFTER]
    else:
        shown = shown[: _READS_BEFORE + _READS_AFTER]
    for read, masked in shown:
        here = place.at is not None and read.arrival_ns == place.at.arrival_ns
        mark = ">" if here else " "
        data = printable(masked)
        if len(data) > _READ_CHARS:
            data = f"{data[:_READ_CHARS]}… ({len(read.data)} bytes)"
        yield f"  {mark} {exchange.offset_ms(read.arrival_ns):9.1f} ms  {data}"
    left = len(exchange.reads) - first - len(shown)
    if left > 0:
        yield f"    … {left} more reads"
    body = exchange.request.body
    command = curl(exchange.request, settings.target.base_url or "", settings.secrets())
    yield f"    {command}" if len(body) < 2000 else f"    {command[:400]}… (a body of {len(body)} bytes)"


def write_summary(terminal: Terminal, verdicts: Verdicts) -> None:
    """The table by area, and a line for each requirement that did not simply pass."""
    checks = verdicts.checks
    _write_table(terminal, checks)
    for verdict in (Verdict.FAIL, Verdict.ERROR, Verdict.STALE):
        _write_lines(terminal, checks, verdict, red=True)
    for verdict in (Verdict.WARN, Verdict.KNOWN):
        _write_lines(terminal, checks, verdict, yellow=True)
    if any(check.verdict is Verdict.INFO for check in checks):
        terminal.write_sep("-", "what this server does")
        for check in checks:
            if check.verdict is Verdict.INFO:
                terminal.write_line(f"{check.requirement.id}: {check.detail}")
    if any(check.verdict in _UNDECIDED and check.tested for check in checks):
        terminal.write_sep("-", "not decided")
        for verdict in _UNDECIDED:
            _write_lines(terminal, [check for check in checks if check.tested], verdict)
    untested = sum(not check.tested for check in checks)
    if untested:
        terminal.write_line(f"{untested} requirements were not selected, or not reached")


def _write_table(terminal: Terminal, checks: Sequence[Check]) -> None:
    terminal.write_sep("=", TABLE_TITLE)
    used = [column for column in _COLUMNS if any(check.verdict is column for check in checks)]
    terminal.write_line("  ".join([f"{'area':10}", *(f"{column!s:>{_width(column)}}" for column in used)]))
    for area, counted in by_area(checks).items():
        cells = (f"{counted[column] or '·':>{_width(column)}}" for column in used)
        markup = {"red": True} if counted[Verdict.FAIL] or counted[Verdict.ERROR] else {}
        terminal.write_line("  ".join([f"{area:10}", *cells]), **markup)


def _write_lines(terminal: Terminal, checks: Sequence[Check], verdict: Verdict, **markup: bool) -> None:
    for check in checks:
        if check.verdict is verdict:
            terminal.write_line(_line(check), **markup)


def _width(verdict: Verdict) -> int:
    return max(4, len(str(verdict)))


def _line(check: Check) -> str:
    return f"{check.verdict!s}: {check.requirement.id} ({check.requirement.level}): {check.detail}"
