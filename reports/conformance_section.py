"""The conformance verdicts by area and level, each with its evidence."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from harness.contract.requirements import CATALOGUE, Level, areas
from harness.reports.exchange_index import ExchangeIndex, ExchangeLink
from harness.reports.exchange_view import ExchangeView
from harness.results.reader import Results
from harness.results.records import VERDICTS, CheckRecord, tally

from .text import duration

INLINE = 4
"""Exchanges shown in full inside one check; further ones are links."""

LINKS = 24
"""Links of one check; further ones are counted."""

QUIET = frozenset({"pass", "info", "not applicable"})
"""Verdicts that need no attention; their exchanges are links into the list of all exchanges."""

NOT_MET = frozenset({"fail", "warn", "known"})
"""Verdicts of a server that has to be changed."""

UNKNOWN_REQUIREMENT = "not in this version's catalogue"

SYMBOLS = {
    "pass": "✓",
    "fail": "✗",
    "warn": "!",
    "info": "i",
    "not applicable": "\u2013",
    "inconclusive": "?",
    "error": "E",
    "known": "K",
    "stale": "S",
}
"""One character per verdict, so that the matrix does not rely on colour alone."""

MEANINGS = {
    "pass": "requirement met",
    "fail": "MUST not met",
    "warn": "SHOULD not met",
    "info": "what this server does, not judged",
    "not applicable": "the target lacks what the check needs",
    "inconclusive": "the check could not create the situation it tests",
    "error": "fault of the harness",
    "known": "fails, as listed in the baseline",
    "stale": "passes, but the baseline lists it as failing",
}

_SOURCES = {
    "api": "the API's documentation",
    "W": "WHATWG HTML 9.2 (server-sent events)",
    "D": "draft-ietf-httpapi-idempotency-key-header",
    "Fetch": "the Fetch standard",
    "ours": "not specified anywhere, but clients rely on it",
}
_READING = re.compile(r"reading (\d+)")


@dataclass(frozen=True, slots=True)
class Citation:
    """Evidence shown inside the check: a note, and the exchange it is about, if any."""

    note: str
    exchange: ExchangeView | None = None


@dataclass(frozen=True, slots=True)
class CheckView:
    """One requirement and its verdict.

    symbol: the verdict as one character. unlinked: number of exchanges without a link. fix: what to change in the
    server, empty if nothing.
    """

    anchor: str
    id: str
    level: str
    verdict: str
    symbol: str
    requirement: str
    source: str
    needs: str
    detail: str
    fix: str
    took: str
    shown: tuple[Citation, ...]
    links: tuple[ExchangeLink, ...]
    unlinked: int

    @property
    def shows_detail(self) -> bool:
        """Whether the detail is shown while the check is folded."""
        return bool(self.detail) and self.verdict not in {"pass", "not applicable"}


@dataclass(frozen=True, slots=True)
class AreaView:
    """The checks of one area. tally: counts by verdict. quiet: none of the checks needs attention."""

    name: str
    tally: str
    quiet: bool
    cells: tuple[tuple[CheckView, ...], ...]
    checks: tuple[CheckView, ...]


@dataclass(frozen=True, slots=True)
class VerdictLegend:
    """One verdict that occurs: symbol, number of checks, meaning."""

    symbol: str
    verdict: str
    count: int
    meaning: str


@dataclass(frozen=True, slots=True)
class ConformanceMatrix:
    """All checks. tally: how many have which verdict. unchecked: ids of the catalogue without a verdict here."""

    tally: str
    levels: tuple[str, ...]
    areas: tuple[AreaView, ...]
    legend: tuple[VerdictLegend, ...]
    unchecked: tuple[str, ...]


def matrix(results: Results, index: ExchangeIndex) -> ConformanceMatrix | None:
    """The conformance verdicts of a results file; None if it has none. What was not selected has none."""
    checks = [check for check in results.checks() if check.tested]
    if not checks:
        return None
    views = [_check(check, number, index) for number, check in enumerate(checks, start=1)]
    levels = tuple(dict.fromkeys([*(level.value for level in Level), *(view.level for view in views)]))
    names = dict.fromkeys([*areas(), *(_area(view.id) for view in views)])
    counts = Counter(view.verdict for view in views)
    rank = {name: place for place, name in enumerate(CATALOGUE)}
    views.sort(key=lambda view: rank.get(view.id, len(rank)))
    by_area = {name: [view for view in views if _area(view.id) == name] for name in names}
    checked = {view.id for view in views}
    return ConformanceMatrix(
        tally=tally((view.verdict for view in views), results.tests),
        levels=levels,
        areas=tuple(_area_view(name, views, levels) for name, views in by_area.items() if views),
        legend=tuple(
            VerdictLegend(SYMBOLS[verdict], verdict, counts[verdict], MEANINGS[verdict])
            for verdict in VERDICTS
            if counts[verdict]
        ),
        unchecked=tuple(name for name in CATALOGUE if name not in checked),
    )


def policies(conformance: ConformanceMatrix | None) -> tuple[CheckView, ...]:
    """The INFO checks: what the server does where the API leaves a choice."""
    views = [check for area in conformance.areas for check in area.checks] if conformance else []
    return tuple(check for check in views if check.level == Level.INFO.value)


def source_text(source: str) -> str:
    """The abbreviated sources of a requirement, written out: "api, reading 2"."""
    return "; ".join(_source(part) for part in source.split(", "))


def _source(source: str) -> str:
    if reading := _READING.fullmatch(source):
        return f"our interpretation {reading[1]}, where the API's documentation is silent"
    name, _, section = source.partition(" ")
    known = _SOURCES.get(name)
    if known is None:
        return source
    return f"{known}, section {section}" if section else known


def _area(requirement_id: str) -> str:
    return requirement_id.partition(".")[0]


def _area_view(name: str, checks: Sequence[CheckView], levels: Sequence[str]) -> AreaView:
    return AreaView(
        name=name,
        tally=tally(check.verdict for check in checks),
        quiet=all(check.verdict in QUIET for check in checks),
        cells=tuple(tuple(check for check in checks if check.level == level) for level in levels),
        checks=tuple(checks),
    )


def _check(check: CheckRecord, number: int, index: ExchangeIndex) -> CheckView:
    requirement = CATALOGUE.get(check.id)
    shown, links = _evidence(check, index)
    return CheckView(
        # An id that is not from the catalogue does not become an anchor.
        anchor=check.id if requirement else f"check-{number}",
        id=check.id,
        level=check.level,
        verdict=check.verdict,
        symbol=SYMBOLS[check.verdict],
        requirement=requirement.text if requirement else UNKNOWN_REQUIREMENT,
        source=source_text(requirement.source) if requirement else "",
        needs=str(requirement.needs or "") if requirement else "",
        detail=check.detail,
        fix=requirement.fix if requirement and check.verdict in NOT_MET else "",
        took="" if check.duration_s is None else duration(check.duration_s * 1000),
        shown=tuple(shown),
        links=tuple(links[:LINKS]),
        unlinked=max(len(links) - LINKS, 0),
    )


def _evidence(check: CheckRecord, index: ExchangeIndex) -> tuple[list[Citation], list[ExchangeLink]]:
    """A check's evidence, shown in place or linked; notes about the same exchange are joined."""
    shown: list[Citation] = []
    links: list[ExchangeLink] = []
    events: dict[str, set[int]] = {}
    notes: dict[str, list[str]] = {}
    for piece in check.evidence:
        exchange_id, event, note = piece.get("exchange"), piece.get("event"), str(piece.get("note") or "")
        if not isinstance(exchange_id, str):
            shown.append(Citation(note))
            continue
        notes_here = notes.setdefault(exchange_id, [])
        if isinstance(event, int):
            events.setdefault(exchange_id, set()).add(event)
            note = f"event {event}: {note}" if note else f"event {event}"
        if note:
            notes_here.append(note)
    for place, exchange_id in enumerate(notes):
        note = "; ".join(dict.fromkeys(notes[exchange_id]))
        link = index.link(exchange_id, note)
        if link is None:
            shown.append(Citation(f"{note} (exchange {exchange_id!r} is not in the results file)".strip()))
        elif check.verdict in QUIET or place >= INLINE:
            links.append(link)
        else:
            shown.append(Citation(note, index.view(exchange_id, frozenset(events.get(exchange_id, ())))))
    return shown, links
