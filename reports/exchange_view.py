"""Recorded exchanges as the page shows them: bounded, because a server decides how much there is to show."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from markupsafe import escape

from harness.contract.evidence.document import recorded_parts

from .text import NOTHING, TEXT_LIMIT, Gap, bounded, count, excerpt, visible

CURL_LIMIT = 3_000
HEAD_LIMIT = 3_000
ID_LIMIT = 200
READ_LIMIT = 1_500
DATA_LIMIT = 500
JSON_LIMIT = 3_000
FIRST_ROWS, LAST_ROWS = 40, 20
NEIGHBOURS = 2
"""Events, and reads, shown on either side of one that a check points at."""

PAGE_BUDGET = 1_800_000
"""Characters of exchanges on one page; those beyond it are named, but not shown."""

WITHHELD = "Left out to keep this page small; the results file has it."


@dataclass(frozen=True, slots=True)
class ReadSegment:
    """Bytes of a read, escaped. here: whether they are of an event that a finding is about."""

    text: str
    here: bool


@dataclass(frozen=True, slots=True)
class WireRow:
    """One read: offset from the request's sending in ms, its size in bytes, and the bytes escaped.

    parts: of a read that holds what a finding is about, that and what stands around it, in place of `text`; a
    Gap is of bytes.
    """

    at: str
    size: str
    text: str
    parts: tuple[ReadSegment | Gap, ...] = ()


@dataclass(frozen=True, slots=True)
class EventRow:
    """One decoded event, or a frame that carries none. pointed_at: whether a check's finding is about this one."""

    index: int
    at: str
    id: str
    data: str
    pointed_at: bool = False


@dataclass(frozen=True, slots=True)
class ExchangeView:
    """One request and its answer.

    notes: what its recorder pointed at. withheld: why nothing of it is shown; empty when it is.
    """

    anchor: str
    label: str
    outcome: str
    started_at: str
    curl: str
    head: str
    notes: tuple[str, ...] = ()
    wire: tuple[WireRow | Gap, ...] = ()
    events: tuple[EventRow | Gap, ...] = ()
    withheld: str = ""

    @property
    def pointed_at(self) -> tuple[EventRow, ...]:
        """The events that a finding is about."""
        return tuple(row for row in self.events if isinstance(row, EventRow) and row.pointed_at)

    @property
    def weight(self) -> int:
        """Characters that it puts on the page, about."""
        rows = [row for row in (*self.wire, *self.events) if not isinstance(row, Gap)]
        texts = [row.text if isinstance(row, WireRow) else row.data for row in rows]
        return len(escape("".join([self.curl, self.head, *texts]))) + 60 * len(texts) + 600


def exchange_view(
    document: Mapping[str, Any],
    *,
    anchor: str = "",
    label: str = "",
    pointed_at: frozenset[int] = frozenset(),
) -> ExchangeView:
    """What the page shows of a recorded exchange's document; a part that it lacks stays empty.

    pointed_at: indexes of events that a finding is about.
    """
    pointers = _table(document.get("pointed_at"))
    pointed_at = pointed_at | {one["event"] for one in pointers if isinstance(one.get("event"), int)}
    return ExchangeView(
        anchor=anchor,
        label=label or _text(document.get("label"), "exchange"),
        outcome=_outcome(document),
        started_at=_text(document.get("started_at")),
        curl=_shown(document.get("curl"), CURL_LIMIT),
        head=_shown(document.get("head"), HEAD_LIMIT),
        notes=tuple(_pointer(one) for one in pointers[:FIRST_ROWS]),
        wire=_wire(document, pointed_at),
        events=_events(document, pointed_at),
    )


def _wire(document: Mapping[str, Any], pointed_at: frozenset[int]) -> tuple[WireRow | Gap, ...]:
    rows, total = _numbered(document, "wire")
    found = recorded_parts(document, pointed_at, READ_LIMIT) if pointed_at else {}
    parts = {number: _parts(found.get(number) or row.get("parts")) for number, row in rows}
    reads = [(number, _wire_row(row, parts[number])) for number, row in rows]
    return tuple(
        excerpt(reads, total, FIRST_ROWS, LAST_ROWS, _near(number for number in parts if parts[number]))
    )


def _near(numbers: Iterable[int]) -> frozenset[int]:
    """Rows of these numbers and their neighbours."""
    return frozenset(near for one in numbers for near in range(one - NEIGHBOURS, one + NEIGHBOURS + 1))


def _wire_row(row: Mapping[str, Any], parts: tuple[ReadSegment | Gap, ...]) -> WireRow:
    joined = "".join(part.text for part in parts if isinstance(part, ReadSegment))
    text = joined if parts else _shown(row.get("bytes"), READ_LIMIT)
    return WireRow(_offset(row.get("at_ms")), _size(row.get("size")), text, parts)


def _parts(value: Any) -> tuple[ReadSegment | Gap, ...]:
    """A read's parts as its recorder, or `recorded_parts`, has them."""
    return tuple(
        Gap(part["left_out"])
        if isinstance(part.get("left_out"), int)
        else ReadSegment(_shown(part.get("text"), TEXT_LIMIT), bool(part.get("here")))
        for part in _table(value)
    )


def _events(document: Mapping[str, Any], pointed_at: frozenset[int]) -> tuple[EventRow | Gap, ...]:
    rows, total = _numbered(document, "events")
    events = [
        (
            number,
            EventRow(
                number,
                _offset(row.get("at_ms")),
                NOTHING if row.get("id") is None else _shown(row["id"], ID_LIMIT),
                NOTHING if row.get("data") is None else _shown(row["data"], DATA_LIMIT),
                number in pointed_at,
            ),
        )
        for number, row in rows
    ]
    return tuple(excerpt(events, total, FIRST_ROWS, LAST_ROWS, _near(pointed_at)))


def _numbered(document: Mapping[str, Any], part: str) -> tuple[list[tuple[int, dict[str, Any]]], int]:
    """A part's rows with their numbers in the exchange, and how many there were.

    What a recorder left out, as many rows as it says, stands between those whose indexes say so; where it gave none,
    in the middle of those that it kept.
    """
    rows = _table(document.get(part))
    left_out = document.get(f"{part}_left_out")
    skipped = left_out if isinstance(left_out, int) and left_out > 0 else 0
    total, half = len(rows) + skipped, len(rows) // 2
    indexes = [row["index"] for row in rows if type(row.get("index")) is int]
    if len(indexes) == len(rows) and indexes == sorted({*indexes} & {*range(total)}):
        return list(zip(indexes, rows, strict=True)), total
    return [(place if place < half else place + skipped, row) for place, row in enumerate(rows)], total


def _pointer(pointer: Mapping[str, Any]) -> str:
    event = pointer.get("event")
    where = f"event {event}" if isinstance(event, int) else ""
    return ": ".join(part for part in (where, _text(pointer.get("note"))) if part)


class SizeBudget:
    """How much evidence the page still has room for: first come, first shown."""

    def __init__(self, characters: int = PAGE_BUDGET) -> None:
        self.left = characters

    def truncate(self, view: ExchangeView) -> ExchangeView:
        """The view, or, when there is no room for it, no more of it than its name and outcome."""
        if view.weight <= self.left:
            self.left -= view.weight
            return view
        return replace(view, curl="", head="", notes=(), wire=(), events=(), withheld=WITHHELD)


def is_exchange(value: Any) -> bool:
    """Whether a piece of evidence is an exchange's document."""
    return isinstance(value, dict) and bool({"wire", "events", "curl"} & value.keys())


def pretty(value: Any) -> str:
    """Any other evidence: JSON text, bounded."""
    return bounded(visible(json.dumps(value, indent=2, ensure_ascii=False, default=str)), JSON_LIMIT)


def _outcome(document: Mapping[str, Any]) -> str:
    status = document.get("status")
    answered = "no answer" if status is None else f"status {_text(status)}"
    ending = _text(document.get("ending"))
    detail = _text(document.get("ending_detail"))
    said = f"{ending} ({detail})" if detail and detail != ending else ending
    return bounded(visible(", ".join(part for part in (answered, said) if part)), 300)


def _shown(value: Any, limit: int) -> str:
    return bounded(visible(_text(value)), limit)


def _table(value: Any) -> list[dict[str, Any]]:
    return [row for row in value if isinstance(row, dict)] if isinstance(value, list) else []


def _text(value: Any, absent: str = "") -> str:
    return absent if value is None else value if isinstance(value, str) else str(value)


def _offset(value: Any) -> str:
    return f"{value:,.1f}" if isinstance(value, int | float) and not isinstance(value, bool) else NOTHING


def _size(value: Any) -> str:
    return count(value) if isinstance(value, int) and not isinstance(value, bool) else NOTHING
