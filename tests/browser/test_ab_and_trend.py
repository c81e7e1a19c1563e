"""The pages of `harness ab` and `harness trend` in a browser."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.gate.objective import Objective
from harness.gate.paired import PAIRED_EFFECTS, compare_pairs
from harness.gate.trend import trend_of
from harness.reports.html import write_paired, write_trend
from harness.reports.paired_page import PairedTest, paired_page
from harness.reports.trend_page import trend_page
from tests.gate.test_paired import noisy
from tests.gate.test_trend import history
from tests.reports import samples

from .axe import violations_in_both_themes
from .conftest import BrowserPage

pytestmark = pytest.mark.browser
PHONE_WIDTH = 360


def ab_page(folder: Path) -> Path:
    """A target that is 10% slower, and breaks requirements."""
    baseline = samples.full(folder / "baseline" / "results.sqlite")
    target = samples.failing(folder / "target" / "results.sqlite", samples.HOSTILE)
    pairs, objective = noisy(0.10, 12), Objective("ttft_p50_ms", 0.0)
    page = paired_page(
        PairedTest(
            names=("target", "baseline"),
            folder=folder,
            conformance=(target, baseline),
            blocks=([target], [baseline]),
            pairs=pairs,
            objectives=[objective],
            comparisons=[compare_pairs(objective, pairs, comparisons=1)],
            effects=PAIRED_EFFECTS,
            under_load={},
            notes=("a note",),
            took_s=300.0,
        )
    )
    return write_paired(page, folder / "ab.html")


def drifted_page(folder: Path) -> Path:
    steps = [1.04**step for step in range(1, 11)]
    return write_trend(trend_page(trend_of(history([1.0] * 10 + steps)), "main"), folder / "trend.html")


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {
        "ab": ab_page(tmp_path_factory.mktemp("ab")),
        "trend": drifted_page(tmp_path_factory.mktemp("trend")),
    }


def test_the_page_of_ab(browser_page: BrowserPage, pages: dict[str, Path]) -> None:
    page = browser_page.open(pages["ab"])
    title, *headings = page.locator("h2").all_inner_texts()
    assert title.startswith("Worse: ")
    assert headings == ["Conformance changes", "Metrics", "Latency", "Tests", "Setup differences"]
    row = page.get_by_role("row").filter(has_text="Time to first token (TTFT) p50").first
    assert row.locator(".chip").all_inner_texts() == ["worse"]
    assert page.get_by_role("heading", name="Time to first token (TTFT) p50: change by pair").count() == 1
    assert page.locator("script, img").count() == 0


def test_the_page_of_a_drift(browser_page: BrowserPage, pages: dict[str, Path]) -> None:
    page = browser_page.open(pages["trend"])
    assert page.locator("h2").first.inner_text().startswith("Drifted: Time to first token (TTFT) p50 +")
    row = page.get_by_role("row").filter(has_text="Time to first token (TTFT) p50").first
    assert row.locator(".chip").all_inner_texts() == ["worse"]
    assert "commit" in row.inner_text()
    assert page.get_by_role("img").count() == 5


@pytest.mark.parametrize("name", ["ab", "trend"])
def test_axe_finds_nothing_serious(browser_page: BrowserPage, pages: dict[str, Path], name: str) -> None:
    page = browser_page.open(pages[name])
    page.evaluate("document.querySelectorAll('details').forEach(details => details.open = true)")
    assert violations_in_both_themes(page) == []


@pytest.mark.parametrize("name", ["ab", "trend"])
def test_a_phone_needs_no_sideways_scrolling(
    browser_page: BrowserPage, pages: dict[str, Path], name: str
) -> None:
    page = browser_page.open(pages[name], width=PHONE_WIDTH)
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE_WIDTH
