"""Formats numbers, durations and shares as text, makes a server's text visible, and draws bars and sparklines."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePath

BLOCKS = "▁▂▃▄▅▆▇"  # without the full block, which would touch the line above
PLAIN_BLOCKS = ".:-=+*#@"
NOT_MEASURED = "-"
"""Replaces a value that was not measured."""


def clock(seconds: float) -> str:
    """Hours, minutes and seconds: ``1:05`` or ``1:02:05``."""
    whole = int(seconds)
    hours, minutes, rest = whole // 3600, whole // 60 % 60, whole % 60
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def number(value: float | None) -> str:
    """Three significant digits, or every digit before the point: ``0.21``, ``12.4``, ``1,842``."""
    if value is None:
        return NOT_MEASURED
    return f"{value:,.0f}" if value >= 99.95 else f"{value:.1f}" if value >= 9.995 else f"{value:.2f}"


def share(value: float | None) -> str:
    """A share from 0 to 1 in percent, two decimals: ``0.00%`` and ``100.00%`` only for exactly 0 and 1."""
    if value is None:
        return NOT_MEASURED
    text = f"{value:.2%}"
    if text == "0.00%" and value > 0:
        return "<0.01%"
    return ">99.99%" if text == "100.00%" and value < 1 else text


def percent(value: float | None) -> str:
    """A share in percent, three significant digits: ``0.05%``, ``12.3%``, ``100%``."""
    if value is None:
        return NOT_MEASURED
    return f"{value * 100:.3g}%" if abs(value) < 1 else f"{value * 100:,.0f}%"


def duration(value_ms: float | None) -> str:
    """Milliseconds in the unit that fits: ``85 µs``, ``12.4 ms``, ``1.84 s``, ``3 min``."""
    if value_ms is None:
        return NOT_MEASURED
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


def counted(count: int, noun: str, plural: str = "") -> str:
    """A count and its noun: ``1 stream``, ``12,345 streams``."""
    return f"{count:,} {noun if count == 1 else plural or f'{noun}s'}"


def sparkline(values: Sequence[float | None], highest: float, blocks: str = BLOCKS) -> str:
    """One character per value, on a scale from 0 to `highest`; a blank for None."""
    top = len(blocks) - 1
    return "".join(
        " " if value is None else blocks[min(top, round(value / highest * top)) if highest > 0 else 0]
        for value in values
    )


def bar(done: float, width: int, *, plain: bool = False) -> str:
    """A progress bar of `width` characters. done: a share from 0 to 1."""
    full = min(width, max(0, int(done * width)))
    filled, empty = ("#", "-") if plain else ("━", "─")
    return filled * full + empty * (width - full)


def visible(text: str, keep: str = "") -> str:
    """Text of a server for a terminal or a log: what controls it, or is not seen, is shown as an escape.

    Those are control characters (ESC and its 8-bit forms, line breaks), marks of writing direction, characters without
    width, and lone surrogates. keep: control characters that stay, for example line breaks.
    """
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() or char in keep else escaped(char) for char in text)


def shown_path(path: PurePath) -> str:
    """A path for a message, on one line."""
    return visible(str(path))


def shortened(text: str, limit: int = 80) -> str:
    """The beginning of a text that is longer than `limit` characters, with a mark."""
    return text if len(text) <= limit else f"{text[:limit]}…"


def escaped(char: str) -> str:
    r"""One character as an ASCII escape: ``\x1b``, ``\n``, ``\u202e``."""
    return char.encode("unicode_escape").decode("ascii")
