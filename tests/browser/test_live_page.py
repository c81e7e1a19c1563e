"""Locust's page with ours in it, in a real Chromium: the form, the Streams tab, the charts, the report."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from harness.load.web import streams_table
from harness.results.ledger import outcome_label
from harness.results.reader import Results
from harness.results.summary import summarize
from tests.load.locust_process import wait_for
from tests.load.run_server import run_server
from tests.load.web.web_page import Mode, Served, served

from .axe import axe_violations
from .conftest import PATIENCE_MS

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Response, Route

pytestmark = [pytest.mark.browser, pytest.mark.slow]

CELLS = "[...document.querySelectorAll('tbody tr')].map(row => [...row.cells].map(cell => cell.textContent))"
SETTINGS: dict[str, Any] = {"users": 3, "warmup": 1, "journeys": {"fresh": 3, "resume": 2, "conflict": 1}}
HEARD = {"error", "warning"}
HAS_TTFT = (
    "() => [...document.querySelectorAll('tbody tr')].some("
    "row => row.cells[0].textContent === 'resume' && Number(row.cells[5].textContent) > 0)"
)
SHOWS = f"([wanted]) => JSON.stringify({CELLS}) === JSON.stringify(wanted)"
SAYS_STOPPED = (
    "() => [...document.querySelectorAll('header *')].some(one => /^stopped$/i.test(one.textContent))"
)
CHARTS = ("ttft", "itl", "in-flight", "arrivals", "violations")
EMPTY_PX = 90
"""A chart without data is lower than this; one with data is more than 240 px high."""

IS_AT = (
    "([run, state]) => { const shown = document.getElementById('state').dataset;"
    " return shown.run === run && shown.state === state }"
)


@contextmanager
def visit(browser: Browser, served_page: Served, **options: Any) -> Iterator[BrowserContext]:
    """Tabs that may ask nobody but that page, and must have nothing to complain of."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, color_scheme="dark", **options)
    context.set_default_timeout(PATIENCE_MS)
    complaints: list[str] = []
    refused: list[str] = []

    def guard(route: Route) -> None:
        if route.request.url.startswith(f"{served_page.url}/"):
            route.continue_()
        else:
            refused.append(route.request.url)
            route.abort()

    def heard(message: ConsoleMessage) -> None:
        if message.type in HEARD:
            complaints.append(f"{message.type}: {message.text}")

    def opened(tab: Page) -> None:
        tab.on("console", heard)
        tab.on("pageerror", lambda error: complaints.append(str(error)))

    context.route("**/*", guard)
    context.on("page", opened)
    yield context
    context.close()
    assert complaints == []
    assert refused == []


def until(tab: Page, script: str, *arguments: Any) -> None:
    # The pages' policies forbid what wait_for_function needs.
    wait_for(lambda: bool(tab.evaluate(script, list(arguments))), PATIENCE_MS / 1000)


def open_tab(tab: Page, title: str) -> None:
    """With the keyboard: Locust scrolls the row of tabs, and a tab that moves under a pressed mouse gets no click."""
    ours = tab.get_by_role("tab", name=title, exact=True)
    ours.press("Enter")
    until(
        tab,
        "([title]) => document.querySelector('[role=tab][aria-selected=true]').textContent === title",
        title,
    )


def cells_of(tab: streams_table.Tab, rows: list[streams_table.TabRow]) -> list[list[str]]:
    return [[row[key] for key, _ in tab.columns] for row in rows]


def assert_tabs_show(tab: Page, document: dict[str, Any]) -> None:
    """Each of our tabs has the last numbers, the one for journeys first."""
    for ours in streams_table.TABS:
        open_tab(tab, ours.title)
        wanted = cells_of(ours, ours.rows(document))
        with suppress(AssertionError):  # the next line tells what it shows instead
            until(tab, SHOWS, wanted)
        assert tab.evaluate(CELLS) == wanted
    open_tab(tab, streams_table.TABS[0].title)


def assert_drained(page: Served, name: str) -> dict[str, Any]:
    """The last document, which says what the results file says."""
    document = page.live()
    assert document["state"] == "finished"
    assert document["in_flight"] == 0
    with page.results(name) as results:
        summary = summarize(results)
        assert document["results"] == str(results.path)
    assert {one: found["all"] for one, found in document["metrics"].items()} == {
        one: numbers for one, numbers in summary["metrics"].items() if numbers["count"]
    }
    assert document["ledger"]["counts"] == summary["ledger"]
    assert document["rates"]["all"]["goodput"] == summary["goodput"]["share"]
    assert {one: found["count"] for one, found in document["violations"].items()} == summary["violations"]
    assert document["harness"] == summary["harness"]
    return document


def number(count: int) -> str:
    return f"{count:,}"


def assert_charts_show(charts: Page, document: dict[str, Any]) -> None:
    until(charts, IS_AT, document["run"], document["state"])
    rows = charts.evaluate(CELLS.replace("tbody tr", "#metrics tbody tr"))
    ttft = document["metrics"]["ttft_ms"]["all"]
    assert rows[0][:2] == ["TTFT, ms", number(ttft["count"])]
    journeys = charts.evaluate(CELLS.replace("tbody tr", "#journeys tbody tr"))
    assert [row[0] for row in journeys] == ["all", *document["ledger"]["journeys"]]
    streams = streams_table.TABS[0]
    # The page and the tab show the same numbers; the page has a dash where the tab has nothing.
    assert [[cell.replace("\u2013", "") for cell in row] for row in journeys] == cells_of(
        streams, streams.rows(document)
    )
    ledger = dict(charts.evaluate(CELLS.replace("tbody tr", "#ledger tbody tr")))
    assert ledger == {
        outcome_label(word): number(count)
        for word, count in document["ledger"]["counts"].items()
        if count or word == "scheduled"
    }
    assert "The ledger adds up." in charts.locator("#ledger").inner_text()
    last = charts.evaluate("CHARTS[2].table.querySelector('tbody tr').lastElementChild.textContent")
    assert last == number(document["series"]["in_flight"][-1]) == "0"
    shown = charts.locator("#violations tbody tr").all_inner_texts()
    assert len(shown) == len(document["violations"])


def start_first(tab: Page, page: Served) -> Page:
    """Look at the form, fill it in, start, and open the charts from the link."""
    tab.goto(page.url)
    tab.get_by_role("button", name="Custom parameters").click()
    found = {
        one: tab.locator(f"[name={one}]").input_value()
        for one in ("journeys", "warmUp", "objectives", "openLoopRate")
    }
    assert found == {
        "journeys": "fresh=3 resume=2 conflict=1",
        "warmUp": "1s",
        "objectives": "ttft_p95_ms <= 900 ms; violations <= 0",
        "openLoopRate": "",
    }
    assert tab.locator("[name=userCount]").input_value() == "3"
    tab.locator("[name=warmUp]").fill("soon")
    tab.get_by_role("button", name="Start").click()
    tab.get_by_role("alert").get_by_text("Warm up: 'soon' is not a duration").wait_for()
    assert page.live()["run"] is None
    tab.locator("[name=warmUp]").fill("500ms")
    tab.locator("[name=objectives]").fill("ttft_p95_ms < 1; violations == 0")
    tab.locator("[name=spawnRate]").fill("3")
    tab.get_by_role("button", name="Start").click()
    with tab.expect_popup() as popup:
        tab.get_by_role("link", name="Live charts").click()
    return popup.value


def watch(tab: Page, charts: Page) -> None:
    """The tab fills with what the page asks for, and the charts draw, and go on drawing."""
    open_tab(tab, "Streams")
    until(tab, HAS_TTFT)
    with tab.expect_response("**/stats/requests") as answered:
        pass
    answers = {answer["key"]: answer["data"] for answer in answered.value.json()["extended_stats"]}
    assert list(answers) == [ours.key for ours in streams_table.TABS]
    streams = streams_table.TABS[0]
    wanted = cells_of(streams, answers[streams.key])
    assert [row[0] for row in wanted].count("resume") == 1
    until(tab, SHOWS, wanted)
    until(charts, "() => document.querySelector('#chart-ttft path.mark')")
    drawn = charts.evaluate("CHARTS.map(chart => chart.svg.innerHTML)")
    until(
        charts,
        "([drawn]) => CHARTS.every((chart, index) => !chart.svg.innerHTML || chart.svg.innerHTML !== drawn[index])",
        drawn,
    )
    assert charts.locator("#chart-ttft .limit line").count() == 1
    assert charts.locator("#chart-ttft .limit text").text_content() == "ttft_p95_ms <= 1 ms"
    assert charts.locator("#chart-itl .limit").count() == 0
    text = charts.locator("#text-ttft").text_content() or ""
    assert "Objectives: ttft_p95_ms <= 1 ms." in text
    assert "p95" in text


def press(tab: Page, button: str, path: str) -> Response:
    """The answer to what a button sends. Playwright holds the request, which we route, until we wait for something."""
    with tab.expect_response(f"**/{path}") as answered:
        tab.get_by_role("button", name=button, exact=True).press("Enter")
    return answered.value


def stop(tab: Page, page: Served) -> None:
    assert press(tab, "Stop", "stop").json()["success"]
    page.wait_for_state("finished")


def download(charts: Page, where: Path, browser: Browser) -> None:
    with charts.expect_download() as downloading:
        charts.get_by_role("link", name="Download report").click(no_wait_after=True)
    assert downloading.value.suggested_filename == "results-2-report.html"
    file = where / "report.html"
    downloading.value.save_as(file)
    context = browser.new_context()
    opened = context.new_page()
    opened.goto(file.as_uri())
    assert "ids.increasing" in opened.locator("body").inner_text()
    context.close()


@pytest.mark.parametrize("mode", ["local", "processes"])
def test_a_test_in_the_page(tmp_path: Path, browser: Browser, mode: Mode) -> None:
    def fault(run: int) -> str:
        return "swap" if run % 10 == 3 else "none"

    with (
        run_server(tokens=6, gap_s=0.08, fault=fault) as server,
        served(tmp_path, server.base_url, mode, **SETTINGS) as page,
        visit(browser, page) as context,
    ):
        tab = context.new_page()
        charts = start_first(tab, page)
        watch(tab, charts)
        stop(tab, page)
        first = assert_drained(page, "results.sqlite")
        assert_tabs_show(tab, first)
        assert_charts_show(charts, first)
        assert first["violations"]["ids.increasing"]["count"] > 0
        until(tab, SAYS_STOPPED)

        tab.get_by_role("button", name="New").click()
        answer = press(tab, "Start", "swarm")
        assert answer.json()["success"], answer.text()
        wait_for(lambda: page.live()["run"] != first["run"])
        begun = page.live()
        assert begun["ledger"]["counts"]["scheduled"] < first["ledger"]["counts"]["scheduled"]
        assert (begun["state"], begun["workers_lost"]) == ("running", [])
        until(charts, "([run]) => document.getElementById('state').dataset.run === run", begun["run"])
        assert charts.evaluate("newest.run === document.getElementById('state').dataset.run")
        until(charts, "() => newest.series.arrivals.length > 1")
        stop(tab, page)
        second = assert_drained(page, "results-2.sqlite")
        assert second["run"] == begun["run"]
        assert second["series"]["from_s"] > first["series"]["from_s"]
        assert_tabs_show(tab, second)
        assert_charts_show(charts, second)
        download(charts, tmp_path, browser)
        requests = server.stats.counts["requests"]
    names = ("results.sqlite", "results-2.sqlite")
    with Results(tmp_path / "out" / names[0]) as one, Results(tmp_path / "out" / names[1]) as other:
        assert one.ledger().scheduled + other.ledger().scheduled == requests
    assert "Traceback" not in page.printed


@pytest.mark.parametrize("mode", ["local", "processes"])
def test_the_last_numbers_come_also_when_the_last_streams_take_their_time(
    tmp_path: Path, browser: Browser, mode: Mode
) -> None:
    """Locust's script asks every two seconds, and no more once it is told that a test is not running."""
    with (
        run_server(tokens=40, gap_s=0.1) as server,
        served(tmp_path, server.base_url, mode, users=4, journeys={"fresh": 1}) as page,
        visit(browser, page) as context,
    ):
        tab = context.new_page()
        tab.goto(f"{page.url}/?tab=streams")
        assert press(tab, "Start", "swarm").json()["success"]
        wait_for(lambda: server.stats.counts["requests"] >= 4)
        until(tab, "() => document.querySelectorAll('tbody tr').length > 1")
        stop(tab, page)
        document = assert_drained(page, "results.sqlite")
        assert document["ledger"]["counts"]["done"] == server.stats.counts["requests"]
        assert_tabs_show(tab, document)
        until(tab, SAYS_STOPPED)


def test_the_charts_can_be_read_without_seeing_and_without_a_mouse(tmp_path: Path, browser: Browser) -> None:
    with (
        run_server(tokens=4, gap_s=0.1) as server,
        served(tmp_path, server.base_url, "local", **SETTINGS) as page,
        visit(browser, page) as context,
    ):
        charts = context.new_page()
        charts.goto(f"{page.url}/harness/charts")
        charts.get_by_text("no test yet", exact=True).wait_for()
        assert charts.locator("figure.without").count() == len(CHARTS)
        assert charts.locator("figure").first.bounding_box()["height"] < EMPTY_PX  # type: ignore[index]
        assert charts.locator("html").get_attribute("data-theme") == "dark"
        assert page.post("/swarm", user_count="3", spawn_rate="3", warm_up="")["success"]
        until(charts, "() => newest.series.t_s.length > 3")
        page.post("/stop")
        document = page.wait_for_state("finished")
        assert_charts_show(charts, document)
        # No stream failed: that chart says so in one line, and the others are drawn.
        (without,) = charts.locator("figure.without").all()
        assert without.get_attribute("id") == "chart-violations"
        assert without.locator(".empty").inner_text() == "No violations and no failed streams."
        assert without.bounding_box()["height"] < EMPTY_PX  # type: ignore[index]
        assert charts.locator("figure > svg:visible").count() == len(CHARTS) - 1
        figure = charts.locator("#chart-arrivals > svg")
        assert figure.get_attribute("role") == "img"
        figure.focus()
        charts.keyboard.press("Home")
        first = f"0:00: arrivals {document['series']['arrivals'][0]}"
        assert (charts.locator("#chart-arrivals .readout").text_content() or "").startswith(first)
        charts.keyboard.press("ArrowRight")
        assert (charts.locator("#chart-arrivals .readout").text_content() or "").startswith("0:01: arrivals ")
        charts.locator("#chart-ttft summary").focus()
        charts.keyboard.press("Enter")
        assert charts.locator("#chart-ttft table").is_visible()
        assert axe_violations(charts) == []
        charts.get_by_role("button", name="Light theme").press("Enter")
        assert axe_violations(charts) == []
        charts.reload()
        until(charts, "() => newest && document.documentElement.dataset.theme === 'light'")
        charts.set_viewport_size({"width": 360, "height": 740})
        until(charts, "() => document.documentElement.scrollWidth <= 360")
