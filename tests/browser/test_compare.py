"""The comparison page in a browser."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from harness.reports.comparison_page import compare_files
from harness.reports.html import write_comparison
from tests.reports import samples

from .axe import violations_in_both_themes
from .conftest import BrowserPage

pytestmark = pytest.mark.browser

PHONE_WIDTH = 360


@pytest.fixture(scope="module")
def comparison(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A test that passed, a failed one against a hostile server, and one that was killed at once."""
    folder = tmp_path_factory.mktemp("tests")
    files = [
        samples.full(folder / "before" / "results.sqlite"),
        samples.failing(folder / "after" / "results.sqlite", samples.HOSTILE),
        samples.empty(folder / "empty" / "results.sqlite"),
    ]
    return write_comparison(compare_files(files), folder / "compare.html")


def test_conformance_changes_come_first_then_metrics_then_charts(
    browser_page: BrowserPage, comparison: Path
) -> None:
    page = browser_page.open(comparison)
    title, *headings = page.locator("h2").all_inner_texts()
    assert title.startswith("1 of 2 worse: ")
    assert headings == [
        "Conformance changes",
        "Metrics",
        "Latency",
        "Tests",
        "Setup differences",
    ]
    broke = page.get_by_role("row").filter(has_text="terminal.last").first
    assert broke.locator(".chip").all_inner_texts() == ["broke", "pass", "fail"]
    page.evaluate("document.querySelectorAll('details').forEach(details => details.open = true)")
    metrics = page.get_by_role("region", name=re.compile("Table: (after against before|changes of after)"))
    assert metrics.get_by_role("row").filter(has_text="Time to first token (TTFT) p95").count() == 1
    assert page.get_by_role("img").count() == 6
    assert page.locator("script, img").count() == 0


def test_axe_finds_nothing_serious(browser_page: BrowserPage, comparison: Path) -> None:
    page = browser_page.open(comparison)
    page.evaluate("document.querySelectorAll('details').forEach(details => details.open = true)")
    assert violations_in_both_themes(page) == []


def test_a_phone_never_scrolls_sideways(browser_page: BrowserPage, comparison: Path) -> None:
    page = browser_page.open(comparison, width=PHONE_WIDTH)
    page.evaluate("document.querySelectorAll('details').forEach(details => details.open = true)")
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE_WIDTH


def test_a_phone_shows_what_failed_without_scrolling(browser_page: BrowserPage, comparison: Path) -> None:
    page = browser_page.open(comparison, width=PHONE_WIDTH)
    inside = "tables => tables.every(table => table.scrollWidth <= table.parentElement.clientWidth)"
    assert page.locator("table.stack").evaluate_all(inside)
    broke = page.locator("tr").filter(has_text="terminal.last").first
    detail = broke.locator("td .formula").filter(has_text="follow the terminal event").bounding_box()
    assert detail is not None
    assert detail["x"] >= 0
    assert detail["x"] + detail["width"] <= PHONE_WIDTH
    assert detail["width"] > 150
    labels = "cells => cells.map(cell => getComputedStyle(cell, '::before').content)"
    assert broke.locator("td").evaluate_all(labels) == ['"change"', '"before"', '"after"', '"empty"']


def test_the_data_table_of_a_chart_opens_by_keyboard(browser_page: BrowserPage, comparison: Path) -> None:
    page = browser_page.open(comparison)
    summary = page.get_by_text("Data table").first
    summary.focus()
    page.keyboard.press("Enter")
    assert page.get_by_role("group", name="Data: Time to first token (TTFT)").first.is_visible()
