"""The report in a browser: opened from disk, in light and dark themes, on a phone and in print."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from harness.reports.html import write_report
from tests.reports import samples

from .axe import axe_violations, violations_in_both_themes
from .conftest import BrowserPage

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.browser

PHONE_WIDTH = 360


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Reports of a test that passed, of a failed one against a hostile server, and of an empty results file."""
    folder = tmp_path_factory.mktemp("reports")
    files = {
        "full": samples.full(folder / "full.sqlite"),
        "hostile": samples.failing(folder / "hostile.sqlite", samples.HOSTILE),
        "empty": samples.empty(folder / "empty.sqlite"),
    }
    return {name: write_report(path, folder / f"{name}.html") for name, path in files.items()}


def _style(page: Page, selector: str, name: str) -> str:
    value: str = page.locator(selector).first.evaluate(f"element => getComputedStyle(element)[{name!r}]")
    return value


def _luminance(colour: str) -> float:
    red, green, blue = (int(part) / 255 for part in re.findall(r"\d+", colour)[:3])
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("name", ["full", "hostile", "empty"])
def test_the_page_opens_from_disk_and_runs_nothing(
    browser_page: BrowserPage, reports: dict[str, Path], name: str
) -> None:
    page = browser_page.open(reports[name])
    assert page.locator("h2").all_inner_texts()[1:5] == [
        "Objectives",
        "Measurement error",
        "Conformance",
        "Discovered policies",
    ]
    assert page.locator("script").count() == 0
    page.evaluate("document.querySelectorAll('details').forEach(details => details.open = true)")
    assert page.locator("img").count() == 0


def test_the_policy_lets_the_style_sheet_in(browser_page: BrowserPage, reports: dict[str, Path]) -> None:
    page = browser_page.open(reports["full"])
    assert _style(page, "#verdict", "borderLeftWidth") == "6px"
    assert _style(page, ".stroke-first", "stroke") == "rgb(36, 99, 176)"


def test_the_policy_lets_nothing_else_in(browser_page: BrowserPage, reports: dict[str, Path]) -> None:
    page = browser_page.open(reports["full"])
    blocked = page.evaluate(
        """() => new Promise(resolve => {
            document.addEventListener("securitypolicyviolation", event => resolve(event.effectiveDirective));
            setTimeout(() => resolve("nothing was blocked"), 60_000);
            const image = new Image();
            image.src = "https://elsewhere.invalid/pixel.png";
        })"""
    )
    assert blocked == "img-src"
    assert len(browser_page.complaints) == 1  # the browser's report of the request above
    browser_page.complaints.clear()


def test_a_mark_of_the_matrix_opens_the_evidence_by_click(
    browser_page: BrowserPage, reports: dict[str, Path]
) -> None:
    page = browser_page.open(reports["hostile"])
    inside = page.locator("[id='terminal.last']")
    assert not inside.is_visible()
    page.get_by_role("link", name="terminal.last: fail").click()
    assert inside.is_visible()
    exchange = inside.locator("details.exchange").first
    assert not exchange.get_by_text("Wire log").is_visible()
    exchange.locator("summary").click()
    assert exchange.get_by_text("Wire log").is_visible()
    assert exchange.locator("tr.here td").first.inner_text() == "2"
    assert "<script>alert(1)</script>" in exchange.locator(".events td:last-child").first.inner_text()


def test_a_passed_checks_evidence_opens_where_all_exchanges_are(
    browser_page: BrowserPage, reports: dict[str, Path]
) -> None:
    page = browser_page.open(reports["full"])
    page.get_by_role("link", name="terminal.last: pass").click()
    page.locator("[id='terminal.last']").get_by_role("link", name="run", exact=True).click()
    assert page.locator("#exchange-1").is_visible()
    assert page.locator("#exchange-2").is_hidden()


def test_evidence_opens_by_keyboard(browser_page: BrowserPage, reports: dict[str, Path]) -> None:
    page = browser_page.open(reports["hostile"])
    page.get_by_role("link", name="resume.every-cut: fail").focus()
    page.keyboard.press("Enter")
    inside = page.locator("[id='resume.every-cut']")
    assert inside.is_visible()
    # Tab moves from the link's target into it.
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.closest('.exchange') !== null")
    page.keyboard.press("Enter")
    assert inside.locator("details.exchange").first.get_by_text("Decoded events").is_visible()
    page.keyboard.press("Space")
    assert inside.locator("details.exchange").first.get_by_text("Decoded events").is_hidden()


def test_the_first_tab_stop_skips_to_the_verdict(browser_page: BrowserPage, reports: dict[str, Path]) -> None:
    page = browser_page.open(reports["full"])
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the verdict"
    assert page.locator(".skip").bounding_box()["x"] >= 0  # type: ignore[index]


def test_a_link_to_one_requirement_opens_it(browser_page: BrowserPage, reports: dict[str, Path]) -> None:
    page = browser_page.open(reports["full"], fragment="#ids.unique")
    assert page.locator("[id='ids.unique']").is_visible()


@pytest.mark.parametrize(("scheme", "is_dark"), [("light", False), ("dark", True)])
def test_the_theme_follows_the_browser(
    browser_page: BrowserPage, reports: dict[str, Path], scheme: Any, is_dark: bool
) -> None:
    page = browser_page.open(reports["full"], color_scheme=scheme)
    background, ink = (_luminance(_style(page, "body", name)) for name in ("backgroundColor", "color"))
    assert (background < ink) is is_dark
    chart_ink = _luminance(_style(page, ".chart .fill-soft", "fill"))
    assert abs(chart_ink - background) > 0.35


@pytest.mark.parametrize("name", ["full", "hostile", "empty"])
def test_a_phone_never_scrolls_sideways(
    browser_page: BrowserPage, reports: dict[str, Path], name: str
) -> None:
    page = browser_page.open(reports[name], width=PHONE_WIDTH)
    page.evaluate("document.querySelectorAll('details').forEach(details => details.open = true)")
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE_WIDTH


def test_a_phone_shows_limit_and_headroom_of_every_row_without_scrolling(
    browser_page: BrowserPage, reports: dict[str, Path]
) -> None:
    page = browser_page.open(reports["hostile"], width=390)
    table = page.get_by_role("region", name="Table: objectives")
    assert table.evaluate("element => element.scrollWidth <= element.clientWidth")
    rows = table.locator("tbody tr")
    assert rows.count() >= 5
    for row in rows.all():
        for column in ("value", "limit", "headroom"):
            box = row.locator(f"[data-of={column}]").bounding_box()
            assert box is not None
            assert box["x"] >= 0
            assert box["x"] + box["width"] <= 390
    labels = "cells => cells.map(cell => getComputedStyle(cell, '::before').content)"
    assert rows.first.locator("[data-of=limit]").evaluate_all(labels) == ['"limit"']


@pytest.mark.parametrize("width", [390, 1280])
def test_the_name_of_a_setting_is_not_broken_inside_a_word(
    browser_page: BrowserPage, reports: dict[str, Path], width: int
) -> None:
    page = browser_page.open(reports["full"], width=width)
    page.evaluate("document.querySelectorAll('details').forEach(details => details.open = true)")
    # Each text between two places where a name may be broken is on one line.
    broken = page.evaluate(
        """() => [...document.querySelectorAll("code, .facts dt")].flatMap(name => [...name.childNodes])
            .filter(node => node.nodeType === Node.TEXT_NODE && /^[\\w.]+$/.test(node.data))
            .filter(node => {
                const range = document.createRange();
                range.selectNodeContents(node);
                return new Set([...range.getClientRects()].map(box => Math.round(box.top))).size > 1;
            }).map(node => node.data)"""
    )
    assert broken == []
    assert page.locator("code wbr").count() > 20


def test_print_is_light_and_has_no_navigation(browser_page: BrowserPage, reports: dict[str, Path]) -> None:
    page = browser_page.open(reports["full"], color_scheme="dark")
    page.emulate_media(media="print")
    assert _luminance(_style(page, "body", "color")) < 0.2
    assert page.locator(".contents").is_hidden()
    assert page.locator("#exchanges").is_hidden()
    assert page.locator(".chart").first.is_visible()


def test_charts_have_a_text_alternative_and_a_data_table(
    browser_page: BrowserPage, reports: dict[str, Path]
) -> None:
    page = browser_page.open(reports["full"])
    images = page.get_by_role("img")
    names = [images.nth(index).get_attribute("aria-label") or "" for index in range(images.count())]
    beginnings = [
        "Percentiles as curves. Time to first token (TTFT): median ",
        "Time to first token (TTFT) over time. The median is between ",
        "Time to first token (TTFT) as a heat map over time. The fullest cell has ",
        "Inter-token latency (ITL) as a heat map over time. The fullest cell has ",
        "Arrivals and streams in flight over time. At most ",
        "Waterfall of the slowest runs. The slowest took ",
    ]
    assert len(names) == len(beginnings)
    assert [name[: len(begins)] for name, begins in zip(names, beginnings, strict=True)] == beginnings
    page.get_by_text("Data table").first.click()
    assert page.get_by_role("group", name="Data: Percentiles").is_visible()


@pytest.mark.parametrize(
    ("scheme", "shown", "hidden"), [("light", "light", "dark"), ("dark", "dark", "light")]
)
def test_a_heat_map_has_a_bitmap_for_each_theme(
    browser_page: BrowserPage, reports: dict[str, Path], scheme: Any, shown: str, hidden: str
) -> None:
    page = browser_page.open(reports["full"], color_scheme=scheme)
    assert page.locator("image").count() == 4
    assert _style(page, f"image.{shown}", "display") == "inline"
    assert _style(page, f"image.{hidden}", "display") == "none"
    assert page.locator(f"image.{shown}").first.evaluate("element => element.getBBox().width") > 30
    page.emulate_media(media="print")
    assert _style(page, "image.light", "display") == "inline"
    assert _style(page, "image.dark", "display") == "none"


@pytest.mark.parametrize("name", ["full", "hostile", "empty"])
def test_axe_finds_nothing_serious(browser_page: BrowserPage, reports: dict[str, Path], name: str) -> None:
    page = browser_page.open(reports[name])
    page.evaluate("document.querySelectorAll('details').forEach(details => details.open = true)")
    assert violations_in_both_themes(page) == []


def test_axe_would_find_something(browser_page: BrowserPage, tmp_path: Path) -> None:
    """Also among elements that are repeated but for one, and in one theme only."""
    bad = tmp_path / "bad.html"
    bad.write_text(
        "<!doctype html><html lang=en><title>bad</title><style>.pale, #own { color: #aaa }"
        " @media (prefers-color-scheme: dark) { .dim { color: #aaa } }</style>"
        "<p>one<p>two<p>three<p class=pale>pale<p class=pale><p class=pale><p><b class=dim>dim</b></p>"
        "<div><i>one</i></div><div><i>two</i></div><div id=own><i>own</i></div><div><i>three</i></div>"
        "<div><i>four</i></div><button></button>",
        encoding="utf-8",
    )
    page = browser_page.open(bad)
    violations = axe_violations(page)
    assert [violation.split(" at ")[0] for violation in violations] == [
        "critical: button-name",
        "serious: color-contrast",
    ]
    assert violations_in_both_themes(page) == [
        violations[0],
        "serious: color-contrast at ['.pale:nth-child(3)'], ['#own > i']",
        "serious: color-contrast at ['.pale:nth-child(3)'], ['b'], ['#own > i']",
    ]


def test_every_part_of_the_page_is_reached_by_keyboard_without_a_trap(
    browser_page: BrowserPage, reports: dict[str, Path]
) -> None:
    page = browser_page.open(reports["full"])
    focusable = page.evaluate(
        "[...document.querySelectorAll('a[href], summary, [tabindex=\"0\"]')]"
        ".filter(element => element.checkVisibility()).length"
    )
    reached = set()
    for place in range(focusable):
        page.keyboard.press("Tab")
        place_reached = page.evaluate(
            "place => { const element = document.activeElement; element.dataset.reached ??= place; "
            "return element === document.body ? null : element.dataset.reached; }",
            place,
        )
        reached.add(place_reached)
    assert None not in reached
    assert len(reached) == focusable > 60


def test_charts_scroll_sideways_on_a_phone(browser_page: BrowserPage, reports: dict[str, Path]) -> None:
    page = browser_page.open(reports["full"], width=PHONE_WIDTH)
    region = page.get_by_role("region", name="Chart: Percentiles")
    assert region.evaluate("element => element.scrollWidth > element.clientWidth")
    region.focus()
    page.keyboard.press("ArrowRight")
    for _ in range(200):  # the page's policy forbids page.wait_for_function
        if region.evaluate("element => element.scrollLeft") > 0:
            return
        page.wait_for_timeout(50)
    pytest.fail("the chart did not scroll")
