"""Verdicts in the terminal: why a test failed, and the summary at the end."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from harness.config.settings import Settings
from harness.contract.evidence.curl import curl
from harness.contract.evidence.document import parts_of, printable
from harness.contract.evidence.redaction import Redactor
from harness.contract.finding import Finding, Location, Verdict
from harness.contract.requirements import Requirement
from harness.contract.verdicts import Check, by_area, failing
from harness.formatting import counted, visible
from harness.results.records import tally

_PLACES = 3  # shown with their reads
_READS_BEFORE = 4  # the one that is pointed at
_READS_AFTER = 3
_READ_CHARS = 240
_BYTES_OF_CHARACTER = 4  # at most, in UTF-8
_PLACE_BYTES = 600  # of a read, around the event that is pointed at
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


_NAMED = 3  # failed requirements in one line
_UNDECIDED = (Verdict.INCONCLUSIVE, Verdict.NOT_APPLICABLE)
_FIXABLE = (Verdict.FAIL, Verdict.WARN)


class Terminal(Protocol):
    """The part of pytest's terminal reporter that is used."""

    def write_sep(self, sep: str, title: str | None = None, **markup: bool) -> None: ...

    def write_line(self, line: str, **markup: bool) -> None: ...


class LineWriter:
    """A Terminal without pytest. write: takes a line and its style, for example "red"; None prints plain lines."""

    def __init__(self, write: Callable[[str, str], None] | None = None) -> None:
        self._write = write or (lambda line, _style: print(visible(line)))

    def write_sep(self, sep: str, title: str | None = None, **markup: bool) -> None:
        self.write_line(f" {title} ".center(80, sep) if title else sep * 80, **markup)

    def write_line(self, line: str, **markup: bool) -> None:
        self._write(line, " ".join(style for style, on in markup.items() if on))


def explain(finding: Finding, row: Requirement, settings: Settings) -> str:
    """A failure, explained: the requirement, what happened, how to fix it, where, and a command to reproduce it."""
    redact = Redactor(settings.secrets())
    lines = [
        f"{row.id} ({row.level}): {row.text}  [{row.source}]",
        f"{finding.verdict.upper()}: {finding.detail}",
        f"How to fix it: {row.fix}",
    ]
    for place in finding.places[:_PLACES]:
        lines += ["", *_place_lines(place, settings, redact)]
    rest = finding.places[_PLACES:]
    if rest:
        lines += [
            "",
            *(f"also {place.exchange.label}: {place.note or place.exchange.describe()}" for place in rest),
        ]
    return "\n".join(map(redact.sentence, lines))


def _place_lines(place: Location, settings: Settings, redact: Redactor) -> Iterator[str]:
    exchange = redact.exchange(place.exchange)
    yield f"{exchange.label}: {exchange.describe()}{f' ({place.note})' if place.note else ''}"
    if exchange.head is not None:
        yield f"    HTTP/{exchange.head.version} {exchange.head.status} {exchange.head.reason}"
    pointed_at = [] if place.frame is None else [place.frame.index]
    parts = parts_of(exchange.reads, pointed_at, _PLACE_BYTES)
    first, end = 0, _READS_BEFORE + _READS_AFTER
    for shown in parts:
        first, end = max(0, shown - _READS_BEFORE), shown + 1 + _READS_AFTER
    for number, read in enumerate(exchange.reads[first:end], first):
        lines = list(_part_lines(parts[number])) if number in parts else [(" ", _beginning(read.data))]
        for line, (mark, text) in enumerate(lines):
            at_ms = f"{exchange.offset_ms(read.arrival_ns):9.1f} ms" if line == 0 else ""
            yield f"  {mark} {at_ms:12}  {text}"
    remaining = len(exchange.reads) - end
    if remaining > 0:
        yield f"    … {counted(remaining, 'more read')}"
    body = exchange.request.body
    command = redact.text(curl(place.exchange.request, settings.target.base_url or "", settings.secrets()))
    yield f"    {command}" if len(body) < 2000 else f"    {command[:400]}… (a body of {len(body)} bytes)"


def _beginning(data: bytes) -> str:
    text = printable(data[: _BYTES_OF_CHARACTER * (_READ_CHARS + 1)])
    return text if len(text) <= _READ_CHARS else f"{text[:_READ_CHARS]}… ({len(data)} bytes)"


def _part_lines(parts: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    """The parts of a read with the event that is pointed at, each with its mark."""
    for part in parts:
        if "left_out" in part:
            yield " ", f"… ({part['left_out']} bytes left out)"
        else:
            yield ">" if part["here"] else " ", part["text"]


def write_summary(
    terminal: Terminal, checks: Sequence[Check], tests: int = 0, notes: Sequence[str] = ()
) -> None:
    """Write the table by area, its totals, a line for each requirement that did not pass, and the conclusion.

    Requirements that were not selected are only counted. tests: how many tests decided the requirements, for the
    totals; 0 if unknown. notes: what limits the verdicts, in sentences.
    """
    tested = [check for check in checks if check.tested]
    _write_table(terminal, tested)
    terminal.write_line(tally([str(check.verdict) for check in tested], tests))
    for verdict in (Verdict.FAIL, Verdict.ERROR, Verdict.STALE):
        _write_lines(terminal, checks, verdict, red=True)
    for verdict in (Verdict.WARN, Verdict.KNOWN):
        _write_lines(terminal, checks, verdict, yellow=True)
    if any(check.verdict is Verdict.INFO for check in checks):
        terminal.write_sep("-", "what this server does")
        for check in checks:
            if check.verdict is Verdict.INFO:
                terminal.write_line(f"{check.requirement.id}: {check.detail}")
    if any(check.verdict in _UNDECIDED for check in tested):
        terminal.write_sep("-", "not decided")
        for verdict in _UNDECIDED:
            _write_lines(terminal, tested, verdict)
    _write_conclusion(terminal, checks, len(checks) - len(tested), notes)


def _write_conclusion(
    terminal: Terminal, checks: Sequence[Check], untested: int, notes: Sequence[str]
) -> None:
    if untested:
        terminal.write_line(f"{counted(untested, 'requirement')} not selected or not reached")
    for note in notes:
        terminal.write_line(note[:1].upper() + note[1:], yellow=True)
    failed = what_failed(checks)
    if failed:
        terminal.write_line(failed, red=True, bold=True)


def what_failed(checks: Sequence[Check]) -> str:
    """How many requirements failed, and the first of them; a cause is before its consequences. Empty if none failed."""
    names = [check.requirement.id for check in failing(checks)]
    if not names:
        return ""
    tested = sum(check.tested for check in checks)
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"{len(names)} of {counted(tested, 'requirement')} failed: {', '.join(names[:_NAMED])}{more}."


def _write_table(terminal: Terminal, checks: Sequence[Check]) -> None:
    terminal.write_sep("=", "conformance by area")
    used = [column for column in _COLUMNS if any(check.verdict is column for check in checks)]
    terminal.write_line("  ".join([f"{'area':10}", *(f"{column!s:>{_width(column)}}" for column in used)]))
    for area, counts in by_area(checks).items():
        cells = (f"{counts[column] or '·':>{_width(column)}}" for column in used)
        markup = {"red": True} if counts[Verdict.FAIL] or counts[Verdict.ERROR] else {}
        terminal.write_line("  ".join([f"{area:10}", *cells]), **markup)


def _write_lines(terminal: Terminal, checks: Sequence[Check], verdict: Verdict, **markup: bool) -> None:
    for check in checks:
        if check.verdict is verdict:
            terminal.write_line(_check_line(check), **markup)
            if verdict in _FIXABLE:
                terminal.write_line(f"    How to fix it: {check.requirement.fix}")


def _width(verdict: Verdict) -> int:
    return max(4, len(str(verdict)))


def _check_line(check: Check) -> str:
    return f"{check.verdict!s}: {check.requirement.id} ({check.requirement.level}): {check.detail}"
