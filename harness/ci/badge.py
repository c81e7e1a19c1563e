"""A badge of a test's outcome: an SVG in the flat style, and the JSON of which shields.io makes one."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any
from xml.sax.saxutils import escape, quoteattr

from harness.ci.outcome import Outcome, Word

LABEL = "agent runs"

_COLOURS: dict[Word, tuple[str, str]] = {
    "passed": ("brightgreen", "#4c1"),
    "failed": ("red", "#e05d44"),
    "inconclusive": ("yellow", "#dfb317"),
    "not measured": ("orange", "#fe7d37"),
    "nothing tested": ("lightgrey", "#9f9f9f"),
    "interrupted": ("lightgrey", "#9f9f9f"),
    "incomplete": ("orange", "#fe7d37"),
}
"""The name that shields.io gives a colour, and the colour."""

_SAID: dict[Word, str] = {"passed": "passing", "failed": "failing"}
_LABEL_COLOUR = "#555"
_DARK_TEXT_FROM = 0.65  # of brightness: above it white letters are hard to read
_FONT_PX = 11
_HEIGHT_PX = 20
_PADDING_PX = 6

# Advance widths of Verdana, in 1/2048 of the font's size, as its hmtx table has them. Badges are drawn in it, and
# `textLength` makes other fonts as wide.
_EM = 2048
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
    """label: what it is about; message: how it stands. colour_name: shields.io's word for `colour`."""

    label: str
    message: str
    colour_name: str
    colour: str


def badge_of(account: Outcome) -> Badge:
    """The badge of a test: passing · p95 TTFT 412 ms. The number stands only where it is the server's."""
    message = _SAID.get(account.status, account.status)
    ttft_ms = account.ttft_p95_ms
    if account.status in ("passed", "failed") and ttft_ms is not None:
        message += f" · p95 TTFT {_milliseconds(ttft_ms)}"
    return Badge(LABEL, message, *_COLOURS[account.status])


def _milliseconds(value_ms: float) -> str:
    if value_ms < 10:
        return f"{value_ms:.1f} ms"
    return f"{value_ms:.0f} ms" if value_ms < 999.5 else f"{value_ms / 1000:.2f} s"


def endpoint(badge: Badge) -> str:
    """The JSON that shields.io draws a badge of: https://shields.io/badges/endpoint-badge."""
    document: dict[str, Any] = {
        "schemaVersion": 1,
        "label": badge.label,
        "message": badge.message,
        "color": badge.colour_name,
    }
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def text_width_px(text: str) -> float:
    """How wide a text is in Verdana of the badge's size. A letter that is not in the table counts as the widest."""
    return sum(_ADVANCE.get(letter, max(_ADVANCES)) for letter in text) * _FONT_PX / _EM


def svg(badge: Badge) -> str:
    """The badge as an SVG that needs nothing from outside and says in words what it shows."""
    left, right = (round(text_width_px(text)) + 2 * _PADDING_PX for text in (badge.label, badge.message))
    said = f"{badge.label}: {badge.message}"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + right}" height="{_HEIGHT_PX}" role="img"'
        f" aria-label={quoteattr(said)}>\n"
        f"<title>{escape(said)}</title>\n"
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
    """A text and its shadow. The shadow is for the eye only."""
    dark = _brightness(background) > _DARK_TEXT_FROM
    fill, shadow = ("#333", "#ccc") if dark else ("#fff", "#010101")
    where = f'x="{middle_px:g}" textLength="{width_px - 2 * _PADDING_PX}"'
    return (
        f'<text {where} y="15" fill="{shadow}" fill-opacity=".3" aria-hidden="true">{escape(text)}</text>'
        f'<text {where} y="14" fill="{fill}">{escape(text)}</text>\n'
    )


def _brightness(colour: str) -> float:
    """Of #rgb or #rrggbb, 0 to 1. https://www.w3.org/TR/AERT/#color-contrast."""
    digits = colour.removeprefix("#")
    step = len(digits) // 3
    red, green, blue = (int((digits[at : at + step] * 2)[:2], 16) for at in range(0, len(digits), step))
    return (red * 299 + green * 587 + blue * 114) / 255_000
