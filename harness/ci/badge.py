"""A badge of a test's outcome: an SVG in the flat style, and the JSON for a shields.io endpoint badge."""

from __future__ import annotations

import json
from dataclasses import dataclass
from html import escape
from typing import Any

from harness.ci.outcome import Outcome, OutcomeStatus
from harness.formatting import duration

LABEL = "agent runs"

_COLOURS: dict[OutcomeStatus, tuple[str, str]] = {
    "passed": ("brightgreen", "#4c1"),
    "failed": ("red", "#e05d44"),
    "inconclusive": ("yellow", "#dfb317"),
    "not measured": ("orange", "#fe7d37"),
    "nothing tested": ("lightgrey", "#9f9f9f"),
    "aborted": ("red", "#e05d44"),
    "interrupted": ("lightgrey", "#9f9f9f"),
    "incomplete": ("orange", "#fe7d37"),
}
"""The name of the colour at shields.io, and the colour."""

_MESSAGES: dict[OutcomeStatus, str] = {"passed": "passing", "failed": "failing"}
_LABEL_COLOUR = "#555"
_DARK_TEXT_BRIGHTNESS = 0.65  # above it, white letters are hard to read
_FONT_PX = 11
_HEIGHT_PX = 20
_PADDING_PX = 6

# Advance widths of Verdana in 1/2048 of the font size, from its hmtx table. Badges use Verdana; `textLength` stretches
# other fonts to the same width.
_UNITS_PER_EM = 2048
_ADVANCES = {
    720: " f",
    550: "'",
    562: "il",
    705: "j",
    745: ",.·",
    807: "t",
    806: "!",
    862: "I",
    874: "r",
    930: "()-/:;[\\]|",
    931: "J",
    940: '"',
    1067: "cs",
    1076: "z",
    1117: "?",
    1140: "L",
    1177: "F",
    1212: "kvxy",
    1220: "e",
    1230: "a",
    1235: "P",
    1243: "o",
    1260: "Y",
    1262: "T",
    1276: "bdgpq",
    1295: "E",
    1296: "hnu",
    1300: "{}",
    1302: "$*_`0123456789",
    1400: "ASV",
    1403: "XZ",
    1404: "B",
    1419: "K",
    1424: "R",
    1430: "C",
    1488: "&",
    1499: "U",
    1532: "N",
    1539: "H",
    1578: "D",
    1588: "G",
    1612: "OQ",
    1676: "#+<=>^~w≤≥…",
    1726: "M",
    1992: "m",
    2025: "W",
    2048: "@",
    2204: "%",
}
_ADVANCE = {letter: width for width, letters in _ADVANCES.items() for letter in letters}


@dataclass(frozen=True, slots=True)
class Badge:
    """label: the left half; message: the right half. colour_name: shields.io's name of `colour`."""

    label: str
    message: str
    colour_name: str
    colour: str


def badge_of(outcome: Outcome) -> Badge:
    """The badge of a test: passing · p95 TTFT 412 ms. Without the number if the harness was saturated."""
    message = _MESSAGES.get(outcome.status, outcome.status)
    ttft_ms = outcome.ttft_p95_ms
    if outcome.status in ("passed", "failed") and ttft_ms is not None:
        message += f" · p95 TTFT {duration(ttft_ms)}"
    return Badge(LABEL, message, *_COLOURS[outcome.status])


def endpoint(badge: Badge) -> str:
    """The JSON of an endpoint badge: https://shields.io/badges/endpoint-badge."""
    document: dict[str, Any] = {
        "schemaVersion": 1,
        "label": badge.label,
        "message": badge.message,
        "color": badge.colour_name,
    }
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def text_width_px(text: str) -> float:
    """The width of a text in Verdana at the badge's size. Letters that are not in the table count as the widest one."""
    return sum(_ADVANCE.get(letter, max(_ADVANCES)) for letter in text) * _FONT_PX / _UNITS_PER_EM


def svg(badge: Badge) -> str:
    """The badge as a self-contained SVG with a text alternative."""
    left, right = (round(text_width_px(text)) + 2 * _PADDING_PX for text in (badge.label, badge.message))
    title = f"{badge.label}: {badge.message}"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + right}" height="{_HEIGHT_PX}" role="img"'
        f' aria-label="{escape(title)}">\n'
        f"<title>{escape(title)}</title>\n"
        '<linearGradient id="s" x2="0" y2="100%"><stop offset="0" stop-color="#bbb" stop-opacity=".1"/>'
        '<stop offset="1" stop-opacity=".1"/></linearGradient>\n'
        f'<clipPath id="r"><rect width="{left + right}" height="{_HEIGHT_PX}" rx="3"/></clipPath>\n'
        '<g clip-path="url(#r)">'
        f'<rect width="{left}" height="{_HEIGHT_PX}" fill="{_LABEL_COLOUR}"/>'
        f'<rect x="{left}" width="{right}" height="{_HEIGHT_PX}" fill="{badge.colour}"/>'
        f'<rect width="{left + right}" height="{_HEIGHT_PX}" fill="url(#s)"/></g>\n'
        f'<g text-anchor="middle" font-family="Verdana,Geneva,DejaVu Sans,sans-serif" font-size="{_FONT_PX}"'
        ' text-rendering="geometricPrecision">\n'
        f"{_text(badge.label, left / 2, left, _LABEL_COLOUR)}"
        f"{_text(badge.message, left + right / 2, right, badge.colour)}"
        "</g>\n</svg>\n"
    )


def _text(text: str, middle_px: float, width_px: int, background: str) -> str:
    """A text and its shadow, which is hidden from screen readers."""
    dark = _brightness(background) > _DARK_TEXT_BRIGHTNESS
    fill, shadow = ("#333", "#ccc") if dark else ("#fff", "#010101")
    position = f'x="{middle_px:g}" textLength="{width_px - 2 * _PADDING_PX}"'
    return (
        f'<text {position} y="15" fill="{shadow}" fill-opacity=".3" aria-hidden="true">{escape(text)}</text>'
        f'<text {position} y="14" fill="{fill}">{escape(text)}</text>\n'
    )


def _brightness(colour: str) -> float:
    """The brightness of #rgb or #rrggbb, 0 to 1. https://www.w3.org/TR/AERT/#color-contrast."""
    digits = colour.removeprefix("#")
    step = len(digits) // 3
    red, green, blue = (int((digits[at : at + step] * 2)[:2], 16) for at in range(0, len(digits), step))
    return (red * 299 + green * 587 + blue * 114) / 255_000
