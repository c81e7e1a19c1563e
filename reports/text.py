"""Text for the page: whatever a server sent made visible and bounded, and numbers as people read them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

Item = TypeVar("Item")

NOTHING = "\u2013"
"""A dash: stands where there is no value."""

TEXT_LIMIT = 4_000
"""No single text on the page is longer than this many characters, whoever wrote it."""


def visible(text: str) -> str:
    """The text with every character that is unseen, or that reorders its neighbours, written as an escape.

    Line feeds and tabs stay. So a NUL cannot break the page, and a bidirectional override cannot make a
    failure read as a pass.
    """
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() or one in "\n\t" else _escape(one) for one in text)


def _escape(one: str) -> str:
    return one.encode("unicode_escape").decode("ascii")


def bounded(text: str, limit: int = TEXT_LIMIT) -> str:
    """The text itself, or its first `limit` characters and how many were left out."""
    left_out = len(text) - limit
    return text if left_out <= 0 else f"{text[:limit]}… ({count(left_out)} more characters left out)"


def count(number: int) -> str:
    """A whole number with its thousands apart: 12,345."""
    return f"{number:,}"


def counted(number: int, noun: str) -> str:
    """A count with its noun: "1 stream", "2 streams"."""
    return f"{count(number)} {noun}{'' if number == 1 else 's'}"


def milliseconds(value_ms: float | None) -> str:
    """Milliseconds without the unit, for a column that has it in its head: 0.213, 12.4, 1,842."""
    if value_ms is None:
        return NOTHING
    size = abs(value_ms)
    if size >= 999.95:
        return f"{value_ms:,.0f}"
    decimals = 1 if size >= 10 or size == 0 else 2 if size >= 1 else 3
    return f"{value_ms:.{decimals}f}"


def duration(value_ms: float | None) -> str:
    """A duration in its own best unit, for sentences and axes: "85 µs", "12.4 ms", "1.84 s", "3 min"."""
    if value_ms is None:
        return NOTHING
    if value_ms < 0:
        return f"-{duration(-value_ms)}"
    if value_ms < 0.9995:
        return f"{value_ms * 1000:.3g} µs"
    if value_ms < 999.5:
        return f"{value_ms:.3g} ms"
    if value_ms < 59_950:
        return f"{value_ms / 1000:.3g} s"
    minutes, seconds = divmod(round(value_ms / 1000), 60)
    if minutes < 60:
        return f"{minutes} min {seconds} s" if seconds else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"


def percent(share: float | None) -> str:
    """A share, 0 to 1, in percent: 0.05%, 12.3%, 100%."""
    return NOTHING if share is None else f"{share * 100:.3g}%" if abs(share) < 1 else f"{share * 100:,.0f}%"


@dataclass(frozen=True, slots=True)
class Gap:
    """Stands where items of a long list were left out."""

    left_out: int


def excerpt(
    items: Sequence[tuple[int, Item]], total: int, first: int, last: int, keep: frozenset[int] = frozenset()
) -> list[Item | Gap]:
    """A long list's first and last items, and those numbered `keep`, with a Gap for each hole.

    items: ascending numbers, from 0, and what they number; of `total` there may be holes already. A list
    of up to `first` + `last` comes whole.
    """
    head_end, tail_start = min(first, len(items)), max(len(items) - last, 0)
    rows: list[Item | Gap] = []
    due = 0
    for place, (number, item) in enumerate(items):
        if head_end <= place < tail_start and number not in keep:
            continue
        if number > due:
            rows.append(Gap(number - due))
        rows.append(item)
        due = number + 1
    if due < total:
        rows.append(Gap(total - due))
    return rows
