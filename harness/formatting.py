"""Numbers as the terminal writes them, and sparklines."""

from __future__ import annotations

from collections.abc import Sequence

BLOCKS = "▁▂▃▄▅▆▇"  # without the full one, which would touch the line above
PLAIN_BLOCKS = ".:-=+*#@"


def clock(seconds: float) -> str:
    """``1:05`` or ``1:02:05``."""
    whole = int(seconds)
    hours, minutes, rest = whole // 3600, whole // 60 % 60, whole % 60
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def number(value: float | None) -> str:
    """Three significant digits or all before the point, a dash for None."""
    if value is None:
        return "-"
    return f"{value:,.0f}" if value >= 99.95 else f"{value:.1f}" if value >= 9.995 else f"{value:.2f}"


def share(value: float | None) -> str:
    """A percentage that is 0% or 100% only where it is so exactly."""
    if value is None:
        return "-"
    text = f"{value:.2%}"
    if text == "0.00%" and value > 0:
        return "<0.01%"
    return ">99.99%" if text == "100.00%" and value < 1 else text


def sparkline(values: Sequence[float | None], highest: float, blocks: str = BLOCKS) -> str:
    """One character a value, from 0 to `highest`; a blank where nothing was measured."""
    top = len(blocks) - 1
    return "".join(
        " " if value is None else blocks[min(top, round(value / highest * top)) if highest > 0 else 0]
        for value in values
    )


def bar(done: float, width: int, *, plain: bool = False) -> str:
    """A share from 0 to 1 as a bar of that many characters."""
    full = min(width, max(0, int(done * width)))
    filled, empty = ("#", "-") if plain else ("━", "─")
    return filled * full + empty * (width - full)
