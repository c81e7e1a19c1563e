"""Text for HTML pages: unprintable characters escaped, lengths bounded, numbers with a dash for None."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from harness import formatting
from harness.formatting import counted

Item = TypeVar("Item")

NOTHING = "\u2013"
"""An en dash: replaces a missing value."""

TEXT_LIMIT = 4_000
"""Most characters of any single text on a page."""


def visible(text: str) -> str:
    """The text with every unprintable or reordering character escaped, except line feeds and tabs.

    So a NUL cannot break the page, and a bidirectional override cannot make "fail" read as "pass".
    """
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() or character in "\n\t" else _escape(character)
        for character in text
    )


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def bounded(text: str, limit: int = TEXT_LIMIT) -> str:
    """The text, or its first `limit` characters and how many were omitted."""
    omitted = len(text) - limit
    return text if omitted <= 0 else f"{text[:limit]}… ({counted(omitted, 'more character')} omitted)"


def count(number: int) -> str:
    """An integer with thousands separators: 12,345."""
    return f"{number:,}"


def agree(number: int, singular: str, plural: str) -> str:
    """The form of a verb or pronoun that agrees with a count."""
    return singular if number == 1 else plural


def milliseconds(value_ms: float | None) -> str:
    """Milliseconds without the unit, for a column whose head has it: 0.213, 12.4, 1,842."""
    if value_ms is None:
        return NOTHING
    size = abs(value_ms)
    if size >= 999.95:
        return f"{value_ms:,.0f}"
    decimals = 1 if size >= 10 or size == 0 else 2 if size >= 1 else 3
    return f"{value_ms:.{decimals}f}"


def duration(value_ms: float | None) -> str:
    """A duration in the unit that fits, see `formatting.duration`."""
    return NOTHING if value_ms is None else formatting.duration(value_ms)


def percent(share: float | None) -> str:
    """A share, 0 to 1, in percent, see `formatting.percent`."""
    return NOTHING if share is None else formatting.percent(share)


@dataclass(frozen=True, slots=True)
class Gap:
    """Replaces omitted items of a long list."""

    left_out: int


def excerpt(
    items: Sequence[tuple[int, Item]], total: int, first: int, last: int, keep: frozenset[int] = frozenset()
) -> list[Item | Gap]:
    """The first and last items of a long list, and those numbered `keep`, with a Gap for each hole.

    items: pairs of a number, ascending from 0, and the item; they may already have holes. total: length of the
    complete list. A list of at most `first` + `last` items is returned whole.
    """
    head_end, tail_start = min(first, len(items)), max(len(items) - last, 0)
    rows: list[Item | Gap] = []
    expected = 0
    for place, (number, item) in enumerate(items):
        if head_end <= place < tail_start and number not in keep:
            continue
        if number > expected:
            rows.append(Gap(number - expected))
        rows.append(item)
        expected = number + 1
    if expected < total:
        rows.append(Gap(total - expected))
    return rows


__all__ = [
    "NOTHING",
    "TEXT_LIMIT",
    "Gap",
    "agree",
    "bounded",
    "count",
    "counted",
    "duration",
    "excerpt",
    "milliseconds",
    "percent",
    "visible",
]
