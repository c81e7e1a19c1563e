import re
from xml.etree import ElementTree as ET

from harness.reports.svg import INKS, inline_svg


def _drawn(text: str = "plain", name: str = "one") -> str:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4, 2))
    axes = figure.add_subplot()
    axes.plot([1, 2], [3, 4], color=INKS["first"], marker="o")
    axes.fill_between([1, 2], [3, 4], color=INKS["bad"], alpha=0.2)
    axes.text(1, 3, text, color=INKS["ink"], parse_math=False)
    return str(inline_svg(figure, name, f"a label of {text}"))


def test_inks_become_classes_and_no_style_is_left() -> None:
    svg = _drawn()
    assert "style" not in svg
    assert 'class="stroke-first"' in svg
    assert "fill-bad" in svg
    assert 'fill-opacity="0.2"' in svg
    assert not re.search("|".join(INKS.values()), svg)


def test_hostile_text_stays_text() -> None:
    root = ET.fromstring(_drawn("</text><script>alert(1)</script>"))
    assert "</text><script>alert(1)</script>" in [element.text for element in root.iter("text")]
    assert root.get("aria-label") == "a label of </text><script>alert(1)</script>"
    assert root.get("role") == "img"
    assert not list(root.iter("script"))


def test_only_known_elements_and_attributes_are_left() -> None:
    root = ET.fromstring(_drawn())
    assert {element.tag for element in root.iter()} <= {
        "svg",
        "g",
        "path",
        "defs",
        "use",
        "clipPath",
        "rect",
        "text",
    }
    names = {name for element in root.iter() for name in element.attrib}
    assert names <= {
        "viewBox", "role", "aria-label", "class", "d", "id", "clip-path", "href", "x", "y", "width", "height",
        "transform", "fill", "fill-opacity", "stroke-width", "stroke-linecap", "stroke-linejoin", "font-size",
        "text-anchor", "stroke", "stroke-opacity",
    }  # fmt: skip


def test_ids_are_unique_to_the_chart_and_every_reference_has_a_target() -> None:
    svg = _drawn(name="over-time")
    ids = set(re.findall(r'id="([^"]+)"', svg))
    references = set(re.findall(r'(?:href="#|url\(#)([^")]+)', svg))
    assert references
    assert references <= ids
    assert all(name.startswith("over-time-") for name in ids)


def test_the_same_figure_gives_the_same_text() -> None:
    assert _drawn() == _drawn()
