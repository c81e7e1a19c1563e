"""The badge: text and colour of every outcome, and its SVG."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import get_args

import jsonschema_rs
import pytest

from harness.ci.badge import Badge, badge_of, endpoint, svg, text_width_px
from harness.ci.outcome import OutcomeStatus
from tests.ci.samples import SCHEMAS, check, sample_outcome

SVG = "{http://www.w3.org/2000/svg}"
ENDPOINT = jsonschema_rs.validator_for(json.loads((SCHEMAS / "shields-endpoint.schema.json").read_text()))


@pytest.mark.parametrize(
    ("given", "message", "colour"),
    [
        ({}, "passing · p95 TTFT 412 ms", "brightgreen"),
        ({"objectives": {"ttft_p50_ms": 1}}, "failing · p95 TTFT 412 ms", "red"),
        ({"objectives": {"ttft_p50_ms": 1}, "lag_ms": 500.0}, "inconclusive", "yellow"),
        ({"objectives": {"ttft_p50_ms": 1}, "lag_ms": 50.0}, "failing · p95 TTFT 412 ms", "red"),
        ({"lag_ms": 500.0}, "inconclusive", "yellow"),
        ({"lag_ms": 50.0}, "passing · p95 TTFT 412 ms", "brightgreen"),
        ({"objectives": {"resume_p50_ms": 1}}, "not measured", "orange"),
        ({"ttft_ms": ()}, "nothing tested", "lightgrey"),
        ({"ttft_ms": (), "checks": [check("framing.utf8", "pass")]}, "passing", "brightgreen"),
        ({"exit_code": 130}, "interrupted", "lightgrey"),
        ({"exit_code": 3}, "aborted", "red"),
        ({"exit_code": 2}, "incomplete", "orange"),
    ],
)
def test_its_words_and_colour(tmp_path: Path, given: dict, message: str, colour: str) -> None:
    badge = badge_of(sample_outcome(tmp_path, **{"ttft_ms": [412.0] * 20, **given}))
    # A histogram's bucket is about 2% wide.
    assert (
        badge.message.replace("410 ms", "412 ms").replace("411 ms", "412 ms").replace("413 ms", "412 ms")
        == message
    )
    assert badge.colour_name == colour
    document = json.loads(endpoint(badge))
    ENDPOINT.validate(document)
    assert document == {
        "schemaVersion": 1,
        "label": "agent runs",
        "message": badge.message,
        "color": colour,
    }


@pytest.mark.parametrize(
    ("ttft_ms", "expected"), [(0.52, "520 µs"), (9.94, "9.9 ms"), (42.0, "42 ms"), (1240.0, "1.24 s")]
)
def test_the_number_is_short(tmp_path: Path, ttft_ms: float, expected: str) -> None:
    badge = badge_of(sample_outcome(tmp_path, ttft_ms=[ttft_ms]))
    shown = badge.message.rpartition("TTFT ")[2]
    assert shown.split()[1] == expected.split()[1]
    assert float(shown.split()[0]) == pytest.approx(float(expected.split(maxsplit=1)[0]), rel=0.02)


def test_every_outcome_has_a_colour() -> None:
    from harness.ci.badge import _COLOURS

    assert set(_COLOURS) == set(get_args(OutcomeStatus))
    assert [word for word, (name, _) in _COLOURS.items() if "green" in name] == ["passed"]


def test_the_schema_can_refuse() -> None:
    good = json.loads(endpoint(Badge("a", "b", "red", "#e05d44")))
    for change in ({"schemaVersion": 2}, {"message": ""}, {"color": "crimson"}, {"more": 1}):
        with pytest.raises(jsonschema_rs.ValidationError):
            ENDPOINT.validate({**good, **change})


def test_the_svg_is_accessible_and_self_contained() -> None:
    text = svg(Badge("agent runs", "passing · p95 TTFT 412 ms", "brightgreen", "#4c1"))
    root = ET.fromstring(text)
    assert root.tag == f"{SVG}svg"
    assert (root.get("role"), root.get("aria-label")) == ("img", "agent runs: passing · p95 TTFT 412 ms")
    assert root.findtext(f"{SVG}title") == root.get("aria-label")
    seen = [one for one in root.iter(f"{SVG}text") if one.get("aria-hidden") is None]
    assert [one.text for one in seen] == ["agent runs", "passing · p95 TTFT 412 ms"]
    assert text.count("http") == 1  # the SVG namespace
    assert "<script" not in text


def test_texts_fit_their_halves() -> None:
    root = ET.fromstring(svg(Badge("agent runs", "not measured", "orange", "#fe7d37")))
    width = int(root.get("width"))
    left, right, _ = [one for one in root.iter(f"{SVG}rect") if one.get("fill")]
    assert int(left.get("width")) + int(right.get("width")) == width
    for text in root.iter(f"{SVG}text"):
        half = left if text.text == "agent runs" else right
        start = float(text.get("x")) - float(text.get("textLength")) / 2
        assert start == pytest.approx(float(half.get("x", 0)) + 6, abs=0.5)
        assert start + float(text.get("textLength")) <= float(half.get("x", 0)) + float(half.get("width")) - 5


def test_light_colours_have_dark_letters() -> None:
    def letters(colour: str) -> str:
        root = ET.fromstring(svg(Badge("a", "b", "x", colour)))
        return [one.get("fill") for one in root.iter(f"{SVG}text")][-1]

    assert letters("#dfb317") == "#333"
    assert letters("#e05d44") == "#fff"
    assert letters("#fff") == "#333"
    assert letters("#000000") == "#fff"


def test_hostile_text_stays_text() -> None:
    hostile = "\"><script>alert(1)</script>&'"
    root = ET.fromstring(svg(Badge(hostile, hostile, "red", "#e05d44")))
    assert root.get("aria-label") == f"{hostile}: {hostile}"
    assert list(root.iter(f"{SVG}script")) == []


def test_the_widths_are_those_of_a_font_with_the_same_metrics() -> None:
    """DejaVu Sans has nearly the widths of Verdana and comes with matplotlib; Verdana is not free."""
    import matplotlib as mpl
    from matplotlib.ft2font import FT2Font

    font = FT2Font(str(Path(mpl.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"))
    font.set_size(11, 72)
    for text in ("agent runs", "passing · p95 TTFT 412 ms", "nothing tested", "not measured", "interrupted"):
        font.set_text(text)
        measured_px = font.get_width_height()[0] / 64
        assert text_width_px(text) == pytest.approx(measured_px, rel=0.07), text


def test_widths_in_verdana() -> None:
    assert text_width_px("") == 0
    assert text_width_px("0") == pytest.approx(1302 * 11 / 2048)
    assert text_width_px("il") == pytest.approx(2 * 562 * 11 / 2048)
    assert text_width_px("語") == pytest.approx(2204 * 11 / 2048)
