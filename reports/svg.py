"""Converts matplotlib figures to inline SVG with known elements and attributes only, coloured by the page's theme.

The page's policy forbids style attributes, so styles become presentation attributes. A colour of INKS becomes a
class, so that the style sheet chooses the colour for the light theme, the dark theme and print. A bitmap inside a
figure is included twice, for the light and the dark theme.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

from markupsafe import Markup

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INKS = {
    "ink": "#010001",
    "soft": "#020002",
    "rule": "#030003",
    "first": "#040004",
    "second": "#050005",
    "third": "#060006",
    "bad": "#070007",
    "limit": "#080008",
    "fourth": "#090009",
}
"""Placeholder colours: what is drawn in one of them gets the page's colour of that name."""

THEMES = ("light", "dark")
"""Gids of bitmaps in a figure. They become classes, of which the style sheet shows one."""

_NAME_OF_INK = {colour: name for name, colour in INKS.items()}
_ELEMENTS = frozenset({"svg", "g", "path", "defs", "use", "clipPath", "rect", "text", "tspan", "image"})
_ATTRIBUTES = frozenset({
    "clip-path", "d", "fill", "fill-opacity", "font-size", "font-weight", "height", "id", "image-rendering", "opacity",
    "stroke",
    "stroke-dasharray", "stroke-dashoffset", "stroke-linecap", "stroke-linejoin", "stroke-opacity",
    "stroke-width", "text-anchor", "transform", "viewBox", "width", "x", "y",
})  # fmt: skip
_NUMBER = re.compile(r"-?\d+\.\d{3,}")
_XLINK_HREF = "{http://www.w3.org/1999/xlink}href"
_INLINE_PNG = "data:image/png;base64,"


def inline_svg(figure: Figure, name: str, label: str) -> Markup:
    """The figure as an SVG element for an HTML page; the same figure gives the same text.

    name: prefix that makes its ids unique in the page. label: text alternative of the picture.
    """
    import matplotlib as mpl

    written = io.BytesIO()
    settings: Any = {
        "svg.fonttype": "none",
        "svg.hashsalt": "harness",
        "font.family": "DejaVu Sans",
        # Keeps bitmaps at one pixel per cell; the browser scales them.
        "image.composite_image": False,
    }
    with mpl.rc_context(settings):
        figure.savefig(
            written,
            format="svg",
            transparent=True,
            metadata={"Date": None, "Creator": None, "Format": None, "Type": None},
        )
    root = _clean(ET.fromstring(written.getvalue()), name)  # noqa: S314 - written by matplotlib
    root.attrib.pop("width", None)
    root.attrib.pop("height", None)
    root.set("role", "img")
    root.set("aria-label", label)
    root.set("class", "chart")
    return Markup(ET.tostring(root, encoding="unicode", short_empty_elements=True))  # noqa: S704 - built from known parts


def _clean(element: ET.Element, name: str) -> ET.Element:
    """A copy with only elements and attributes that are known to be harmless."""
    tag = element.tag.rpartition("}")[2]
    clean = ET.Element(tag, dict(_attributes(element, name)))
    clean.text = element.text if tag in {"text", "tspan"} else None
    clean.extend(_clean(child, name) for child in element if _is_known(child))
    return clean


def _is_known(element: ET.Element) -> bool:
    return isinstance(element.tag, str) and element.tag.rpartition("}")[2] in _ELEMENTS


def _attributes(element: ET.Element, name: str) -> Iterator[tuple[str, str]]:
    classes = []
    tag = element.tag.rpartition("}")[2]
    for key, value in (*element.attrib.items(), *_declarations(element.get("style", ""))):
        if key in {"fill", "stroke"} and value in _NAME_OF_INK:
            classes.append(f"{key}-{_NAME_OF_INK[value]}")
        elif key == _XLINK_HREF and value.startswith("#"):
            yield "href", f"#{name}-{value[1:]}"
        elif key == _XLINK_HREF and tag == "image" and value.startswith(_INLINE_PNG):
            yield "href", "".join(value.split())
        elif key == "id" and tag == "image" and value in THEMES:
            classes.append(value)
        elif key == "transform" and tag == "image":
            yield key, value  # unrounded: its scale is multiplied by many pixels
        elif key in _ATTRIBUTES and (key != "id" or tag in {"path", "clipPath"}):
            yield key, _local(key, value, name)
    if classes:
        yield "class", " ".join(classes)


def _declarations(style: str) -> Iterator[tuple[str, str]]:
    for declaration in style.split(";"):
        key, _, value = declaration.partition(":")
        yield key.strip(), value.strip()


def _local(key: str, value: str, name: str) -> str:
    if key == "id":
        return f"{name}-{value}"
    if key == "clip-path":
        return value.replace("url(#", f"url(#{name}-")
    # Finer digits are invisible, but would double the size of the page.
    if key in {"d", "x", "y", "transform"}:
        return _NUMBER.sub(lambda match: f"{float(match[0]):.2f}", " ".join(value.split()))
    return value
