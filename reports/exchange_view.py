"""A recorded exchange as the page shows it, bounded in size because the server determines its length."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from markupsafe import escape

from harness.contract.evidence.document import recorded_parts
from harness.reports.trace_link import trace_link

from .text import NOTHING, TEXT_LIMIT, Gap, bounded, count, excerpt, visible

CURL_LIMIT = 3_000
HEAD_LIMIT = 3_000
ID_LIMIT = 200
READ_LIMIT = 1_500
DATA_LIMIT = 500
JSON_LIMIT = 3_000
FIRST_ROWS, LAST_ROWS = 40, 20
NEIGHBOURS = 2
"""Events or reads shown before and after one that a finding points at."""

PAGE_BUDGET = 1_800_000
"""Characters of exchanges on one page; further exchanges are listed without their content."""

WITHHELD = "Omitted to limit the size of this page; the results file has it."


@dataclass(frozen=True, slots=True)
class ReadSegment:
    """Escaped bytes of a read. here: whether they belong to an event that a finding is about."""

    text: str
    here: bool


@dataclass(frozen=True, slots=True)
class WireRow:
    """One read: ms after the request was sent, size in bytes, and the escaped bytes.

    parts: replaces `text` for a read that contains an event in question: that event and its surroundings. A Gap
    in it counts bytes.
    """

    at: str
    size: str
    text: str
    parts: tuple[ReadSegment | Gap, ...] = ()


@dataclass(frozen=True, slots=True)
class EventRow:
    """One decoded event, or a frame without one. pointed_at: whether a finding is about it."""

    index: int
    at: str
    id: str
    data: str
    pointed_at: bool = False


@dataclass(frozen=True, slots=True)
class ExchangeView:
    """One request and its response.

    trace: the trace id of its request, perhaps as a link. notes: what the recorder pointed out. withheld: why the
    content is not shown; empty if it is.
    """

    anchor: str
    label: str
    outcome: str
    started_at: str
    curl: str
    head: str
    trace: str = ""
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
        """Approximate number of characters it adds to the page."""
        rows = [row for row in (*self.wire, *self.events) if not isinstance(row, Gap)]
        texts = [row.text if isinstance(row, WireRow) else row.data for row in rows]
        return len(escape("".join([self.curl, self.head, *texts]))) + 60 * len(texts) + 600


def exchange_view(
    document: Mapping[str, Any],
    *,
    anchor: str = "",
    label: str = "",
    pointed_at: frozenset[int] = frozenset(),
    trace_url: str | None = None,
) -> ExchangeView:
    """The view of a recorded exchange's document; missing parts stay empty.

    pointed_at: indexes of the events that a finding is about. trace_url: the template of the address of a trace.
    """
    pointers = _dicts(document.get("pointed_at"))
    pointed_at = pointed_at | {
        pointer["event"] for pointer in pointers if isinstance(pointer.get("event"), int)
    }
    return ExchangeView(
        anchor=anchor,
        label=label or _text(document.get("label"), "exchange"),
        outcome=_outcome(document),
        started_at=_text(document.get("started_at")),
        curl=_visible_text(document.get("curl"), CURL_LIMIT),
        head=_visible_text(document.get("head"), HEAD_LIMIT),
        trace=trace_link(document.get("trace_id"), trace_url),
        notes=tuple(_pointer(pointer) for pointer in pointers[:FIRST_ROWS]),
        wire=_wire(document, pointed_at),
        events=_events(document, pointed_at),
    )


def _wire(document: Mapping[str, Any], pointed_at: frozenset[int]) -> tuple[WireRow | Gap, ...]:
    rows, total = _numbered(document, "wire")
    recorded = recorded_parts(document, pointed_at, READ_LIMIT) if pointed_at else {}
    parts = {number: _parts(recorded.get(number) or row.get("parts")) for number, row in rows}
    reads = [(number, _wire_row(row, parts[number])) for number, row in rows]
    return tuple(
        excerpt(
            reads, total, FIRST_ROWS, LAST_ROWS, _with_neighbours(number for number in parts if parts[number])
        )
    )


def _with_neighbours(numbers: Iterable[int]) -> frozenset[int]:
    """These row numbers and their neighbours."""
    return frozenset(
        near for number in numbers for near in range(number - NEIGHBOURS, number + NEIGHBOURS + 1)
    )


def _wire_row(row: Mapping[str, Any], parts: tuple[ReadSegment | Gap, ...]) -> WireRow:
    joined = "".join(part.text for part in parts if isinstance(part, ReadSegment))
    text = joined if parts else _visible_text(row.get("bytes"), READ_LIMIT)
    return WireRow(_offset(row.get("at_ms")), _size(row.get("size")), text, parts)


def _parts(value: Any) -> tuple[ReadSegment | Gap, ...]:
    """A read's parts, from its recorder or from `recorded_parts`."""
    return tuple(
        Gap(part["left_out"])
        if isinstance(part.get("left_out"), int)
        else ReadSegment(_visible_text(part.get("text"), TEXT_LIMIT), bool(part.get("here")))
        for part in _dicts(value)
    )


def _events(document: Mapping[str, Any], pointed_at: frozenset[int]) -> tuple[EventRow | Gap, ...]:
    rows, total = _numbered(document, "events")
    events = [
        (
            number,
            EventRow(
                number,
                _offset(row.get("at_ms")),
                NOTHING if row.get("id") is None else _visible_text(row["id"], ID_LIMIT),
                NOTHING if row.get("data") is None else _visible_text(row["data"], DATA_LIMIT),
                number in pointed_at,
            ),
        )
        for number, row in rows
    ]
    return tuple(excerpt(events, total, FIRST_ROWS, LAST_ROWS, _with_neighbours(pointed_at)))


def _numbered(document: Mapping[str, Any], part: str) -> tuple[list[tuple[int, dict[str, Any]]], int]:
    """A part's rows with their numbers in the exchange, and the total number of rows.

    Rows that the recorder omitted are where the indexes of the other rows leave holes, or in the middle if the
    rows have no indexes.
    """
    rows = _dicts(document.get(part))
    left_out = document.get(f"{part}_left_out")
    omitted = left_out if isinstance(left_out, int) and left_out > 0 else 0
    total, half = len(rows) + omitted, len(rows) // 2
    indexes = [row["index"] for row in rows if type(row.get("index")) is int]
    rising = all(before < after for before, after in pairwise([-1, *indexes, total]))
    if len(indexes) == len(rows) and rising:
        return list(zip(indexes, rows, strict=True)), total
    return [(place if place < half else place + omitted, row) for place, row in enumerate(rows)], total


def _pointer(pointer: Mapping[str, Any]) -> str:
    event = pointer.get("event")
    where = f"event {event}" if isinstance(event, int) else ""
    return ": ".join(part for part in (where, _text(pointer.get("note"))) if part)


class SizeBudget:
    """The remaining space on a page for exchanges; first come, first served."""

    def __init__(self, characters: int = PAGE_BUDGET) -> None:
        self.left = characters

    def truncate(self, view: ExchangeView) -> ExchangeView:
        """The view, or only its label and outcome if there is no space left for it."""
        if view.weight <= self.left:
            self.left -= view.weight
            return view
        return replace(view, curl="", head="", trace="", notes=(), wire=(), events=(), withheld=WITHHELD)


def is_exchange(value: Any) -> bool:
    """Whether a piece of evidence is the document of an exchange."""
    return isinstance(value, dict) and bool({"wire", "events", "curl"} & value.keys())


def pretty(value: Any) -> str:
    """Other evidence as indented JSON, bounded."""
    return bounded(visible(json.dumps(value, indent=2, ensure_ascii=False, default=str)), JSON_LIMIT)


def _outcome(document: Mapping[str, Any]) -> str:
    status = document.get("status")
    response = "no response" if status is None else f"status {_text(status)}"
    ending = _text(document.get("ending"))
    detail = _text(document.get("ending_detail"))
    end = f"{ending} ({detail})" if detail and detail != ending else ending
    return bounded(visible(", ".join(part for part in (response, end) if part)), 300)


def _visible_text(value: Any, limit: int) -> str:
    return bounded(visible(_text(value)), limit)


def _dicts(value: Any) -> list[dict[str, Any]]:
    return [row for row in value if isinstance(row, dict)] if isinstance(value, list) else []


def _text(value: Any, absent: str = "") -> str:
    return absent if value is None else value if isinstance(value, str) else str(value)


def _offset(value: Any) -> str:
    return f"{value:,.1f}" if isinstance(value, int | float) and not isinstance(value, bool) else NOTHING


def _size(value: Any) -> str:
    return count(value) if isinstance(value, int) and not isinstance(value, bool) else NOTHING
