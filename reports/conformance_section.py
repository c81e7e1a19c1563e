"""The conformance verdicts as the page shows them: by area and level, each with the evidence it rests on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from harness.contract.requirements import CATALOGUE, Level, areas
from harness.reports.exchange_view import ExchangeView, SizeBudget, exchange_view
from harness.results.reader import Results
from harness.results.records import VERDICTS, CheckRecord

from .text import duration

INLINE = 4
"""Exchanges shown in full inside one check; further ones are links."""

LINKS = 24
"""Links of one check; further ones are counted."""

LISTED = 1_000
"""Exchanges that the page names; every one of a suite in our time, and a bound for others."""

SHOWN_FIRST = 6
"""Exchanges of each scenario that are shown before any scenario shows more."""

QUIET = frozenset({"pass", "info", "not applicable"})
"""Verdicts that nobody needs to look into; their exchanges are links into the list of all exchanges."""

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
"""One character a verdict, so that the matrix does not speak by colour alone."""

MEANINGS = {
    "pass": "the requirement is met",
    "fail": "a MUST that is not met",
    "warn": "a SHOULD that is not met",
    "info": "a policy of the server, discovered and not judged",
    "not applicable": "the target does not offer what the check needs",
    "inconclusive": "the situation could not be brought about",
    "error": "the harness's own fault",
    "known": "failing, and listed in the baseline",
    "stale": "listed in the baseline, and passing",
}


@dataclass(frozen=True, slots=True)
class Citation:
    """Evidence that is shown inside the check: a note, and the exchange that it is about, where there is one."""

    note: str
    exchange: ExchangeView | None = None


@dataclass(frozen=True, slots=True)
class Link:
    """Evidence that stands in the list of all exchanges. anchor: empty when that list does not have it."""

    label: str
    anchor: str
    note: str


@dataclass(frozen=True, slots=True)
class CheckView:
    """One requirement and its verdict.

    symbol: the verdict as one character. unlinked: further exchanges that are not even linked to.
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
    took: str
    shown: tuple[Citation, ...]
    links: tuple[Link, ...]
    unlinked: int

    @property
    def tells(self) -> bool:
        """Whether its detail is worth reading before anyone opens it."""
        return bool(self.detail) and self.verdict not in {"pass", "not applicable"}


@dataclass(frozen=True, slots=True)
class AreaView:
    """The checks of one area, how many came to which verdict, and whether none of them needs a look."""

    name: str
    tally: str
    quiet: bool
    cells: tuple[tuple[CheckView, ...], ...]
    checks: tuple[CheckView, ...]


@dataclass(frozen=True, slots=True)
class LegendRow:
    """One verdict that occurs: its symbol, how often, and what it means."""

    symbol: str
    verdict: str
    count: int
    meaning: str


@dataclass(frozen=True, slots=True)
class ExchangeGroup:
    """The exchanges of one scenario."""

    scenario: str
    exchanges: tuple[ExchangeView, ...]


@dataclass(frozen=True, slots=True)
class Matrix:
    """Everything about conformance. unchecked: the catalogue's ids of which the file says nothing."""

    levels: tuple[str, ...]
    areas: tuple[AreaView, ...]
    legend: tuple[LegendRow, ...]
    unchecked: tuple[str, ...]


class ExchangeIndex:
    """The file's exchanges: where each is found on the page, and any of them in full on demand."""

    def __init__(self, results: Results, budget: SizeBudget) -> None:
        self._results = results
        self._budget = budget
        self._labels: dict[str, str] = {}
        self._anchors: dict[str, str] = {}
        for number, row in enumerate(results.exchanges(), start=1):
            self._labels[row.id] = row.label
            if number <= LISTED:
                self._anchors[row.id] = f"exchange-{number}"

    def place(self, name: str) -> tuple[str, str] | None:
        """Anchor and label of the exchange of that id, None when the file has none. No anchor: it is not listed."""
        return None if name not in self._labels else (self._anchors.get(name, ""), self._labels[name])

    def full(self, name: str, pointed_at: frozenset[int]) -> ExchangeView:
        """The exchange of that id, to stand inside a finding."""
        row = self._results.exchange(name)
        return self._budget.truncate(exchange_view(row.document, label=row.label, pointed_at=pointed_at))

    def groups(self) -> Iterator[ExchangeGroup]:
        """The exchanges by scenario, each at its anchor.

        Every scenario shows its first ones before any shows more, so that a long one leaves room for others.
        """
        views: dict[str, list[ExchangeView]] = {}
        later: list[tuple[list[ExchangeView], int]] = []
        for row in self._results.exchanges():
            if row.id not in self._anchors:
                continue
            group = views.setdefault(row.scenario, [])
            view = exchange_view(row.document, anchor=self._anchors[row.id], label=row.label)
            if len(group) >= SHOWN_FIRST:
                later.append((group, len(group)))
                group.append(view)
            else:
                group.append(self._budget.truncate(view))
        for group, place in later:
            group[place] = self._budget.truncate(group[place])
        for scenario, group in views.items():
            yield ExchangeGroup(scenario, tuple(group))

    @property
    def unlisted(self) -> int:
        """How many exchanges the page does not even name."""
        return len(self._labels) - len(self._anchors)


def matrix(results: Results, shelf: ExchangeIndex) -> Matrix | None:
    """The conformance part of a results file; None when no check was made."""
    checks = results.checks()
    if not checks:
        return None
    views = [_check(check, number, shelf) for number, check in enumerate(checks, start=1)]
    levels = tuple(dict.fromkeys([*(level.value for level in Level), *(view.level for view in views)]))
    names = dict.fromkeys([*areas(), *(_area(view.id) for view in views)])
    found = Counter(view.verdict for view in views)
    rank = {name: place for place, name in enumerate(CATALOGUE)}
    views.sort(key=lambda view: rank.get(view.id, len(rank)))
    by_area = {name: [view for view in views if _area(view.id) == name] for name in names}
    return Matrix(
        levels=levels,
        areas=tuple(_area_view(name, inside, levels) for name, inside in by_area.items() if inside),
        legend=tuple(
            LegendRow(SYMBOLS[word], word, found[word], MEANINGS[word]) for word in VERDICTS if found[word]
        ),
        unchecked=tuple(name for name in CATALOGUE if name not in {view.id for view in views}),
    )


def policies(found: Matrix | None) -> tuple[CheckView, ...]:
    """The checks that judge nothing and say how the server decided what the API leaves open."""
    views = [check for area in found.areas for check in area.checks] if found else []
    return tuple(check for check in views if check.level == Level.INFO.value)


def _area(requirement: str) -> str:
    return requirement.partition(".")[0]


def _area_view(name: str, checks: Sequence[CheckView], levels: Sequence[str]) -> AreaView:
    found = Counter(check.verdict for check in checks)
    return AreaView(
        name=name,
        tally=", ".join(f"{found[word]} {word}" for word in VERDICTS if found[word]),
        quiet=all(check.verdict in QUIET for check in checks),
        cells=tuple(tuple(check for check in checks if check.level == level) for level in levels),
        checks=tuple(checks),
    )


def _check(check: CheckRecord, number: int, shelf: ExchangeIndex) -> CheckView:
    known = CATALOGUE.get(check.id)
    shown, links = _evidence(check, shelf)
    return CheckView(
        # Only ids of our own become anchors that people may link to; a stranger's is just a number.
        anchor=check.id if known else f"check-{number}",
        id=check.id,
        level=check.level,
        verdict=check.verdict,
        symbol=SYMBOLS[check.verdict],
        requirement=known.text if known else "not in this version's catalogue",
        source=known.source if known else "",
        needs=known.needs if known else "",
        detail=check.detail,
        took="" if check.duration_s is None else duration(check.duration_s * 1000),
        shown=tuple(shown),
        links=tuple(links[:LINKS]),
        unlinked=max(len(links) - LINKS, 0),
    )


def _evidence(check: CheckRecord, shelf: ExchangeIndex) -> tuple[list[Citation], list[Link]]:
    """What a check refers to: shown with it, or linked to. What is said of one exchange is gathered."""
    shown: list[Citation] = []
    links: list[Link] = []
    pointed_at: dict[str, set[int]] = {}
    notes: dict[str, list[str]] = {}
    for one in check.evidence:
        name, event, note = one.get("exchange"), one.get("event"), str(one.get("note") or "")
        if not isinstance(name, str):
            shown.append(Citation(note))
            continue
        said = notes.setdefault(name, [])
        if isinstance(event, int):
            pointed_at.setdefault(name, set()).add(event)
            note = f"event {event}: {note}" if note else f"event {event}"
        if note:
            said.append(note)
    for place, name in enumerate(notes):
        note = "; ".join(dict.fromkeys(notes[name]))
        found = shelf.place(name)
        if found is None:
            shown.append(Citation(f"{note} (exchange {name!r} is not in the results file)".strip()))
        elif check.verdict in QUIET or place >= INLINE:
            links.append(Link(found[1], found[0], note))
        else:
            shown.append(Citation(note, shelf.full(name, frozenset(pointed_at.get(name, ())))))
    return shown, links
