"""Texts of a server and of a locustfile that try to run a script: on every page, in charts, tables and downloads."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from harness.reports.html import write_report
from tests.load.locust_process import wait_for
from tests.load.web.hostile import SCRIPTS, hostile_server
from tests.load.web.web_page import served
from tests.reports import samples

from .conftest import PATIENCE_MS

if TYPE_CHECKING:
    from playwright.sync_api import Browser, ConsoleMessage, Page

pytestmark = [pytest.mark.browser, pytest.mark.slow]

_TEXTS_PER_REPORT = 8  # reports cut texts of 4,000 characters
LOCUSTFILE = Path(__file__).parents[1] / "load" / "web" / "hostile_locustfile.py"
TABS = {"Charts", "Failures", "Exceptions", "Logs", "Streams", "Violations", "Ledger"}
INJECTED = (
    "() => [...document.querySelectorAll('script, img, iframe, svg, a, base, meta, link, animate, object, form')]"
    ".filter(node => [...node.attributes].some(one => one.value.includes('window.ran') && one.name !== 'value'))"
    ".map(node => node.outerHTML.slice(0, 200))"
)


class Watched:
    """A tab in which no script but the page's own may run. complaints: refused scripts, errors, dialogs."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.complaints: list[str] = []
        page.set_default_timeout(PATIENCE_MS)
        page.on("console", self._heard)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("dialog", lambda dialog: self.complaints.append(dialog.message))

    def visit(self, url: str) -> None:
        self.page.goto(url)
        self.page.bring_to_front()  # a page in the background draws no frames

    def _heard(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            self.complaints.append(message.text)

    def check(self, missing: str | None = None) -> None:
        """Nothing ran, nothing was about to run, and no element came out of a text.

        missing: the browser's words about a resource that is not there, which are no complaint.
        """
        self.page.wait_for_timeout(300)
        assert self.page.evaluate("() => window.ran") is None
        assert self.page.evaluate(INJECTED) == []
        assert [one for one in self.complaints if missing is None or missing not in one] == []
        names = self.page.evaluate("() => [...document.querySelectorAll('*')].map(node => node.localName)")
        assert not {"base", "iframe", "math", "animate", "object"} & set(names)


@contextmanager
def opened(browser: Browser, url: str) -> Iterator[Watched]:
    """The page in a tab that is closed afterwards: each that stays open goes on asking and drawing."""
    watched = Watched(browser.new_page(viewport={"width": 1280, "height": 900}))
    watched.visit(url)
    yield watched
    watched.page.close()


def hover_charts(tab: Page) -> None:
    """Locust's charts build their tooltips of HTML."""
    for canvas in tab.locator("canvas").all():
        canvas.scroll_into_view_if_needed()
        box = canvas.bounding_box()
        if box is not None:
            tab.mouse.move(box["x"] + box["width"] * 0.6, box["y"] + box["height"] / 2)
            tab.wait_for_timeout(100)


def test_no_text_runs_a_script(tmp_path: Path, browser: Browser) -> None:
    out = tmp_path / 'out"><img src=x onerror=window.ran=1>'
    with (
        hostile_server(gap_s=0.06) as server,
        served(
            tmp_path,
            server.base_url,
            "local",
            file=LOCUSTFILE,
            users=4,
            more=("--harness-out", str(out)),
            keep=False,
        ) as page,
    ):
        with opened(browser, page.url) as locust:
            locust.page.get_by_role("button", name="Custom parameters").click()
            assert locust.page.locator("[name=region]").input_value() == SCRIPTS[1]
            locust.check()
            locust.page.get_by_role("button", name="Start").click()
            wait_for(lambda: server.stats.counts["requests"] > 3 * len(SCRIPTS))
            with opened(browser, f"{page.url}/harness/charts") as charts:
                charts.page.locator("#journeys tbody tr").nth(len(SCRIPTS)).wait_for()
                shown = charts.page.locator("#journeys tbody th").all_inner_texts()
                assert sum("window.ran" in name for name in shown) >= len(SCRIPTS) - 1
                charts.check()
            look_at_tabs(locust)
        page.post("/stop")
        document = page.wait_for_state("finished")
        assert document["violations"]
        with opened(browser, "about:blank") as report:  # a new tab for each costs more than the pages
            for path in (
                "/stats/report",
                "/harness/locust-report",
                "/harness/locust-report?theme=</script><script>x",
            ):
                report.visit(f"{page.url}{path}")
                report.page.evaluate(
                    "document.querySelectorAll('details').forEach(details => details.open = true)"
                )
                # Asked again and again: a tab in the background may wait for its next frame for ever.
                wait_for(
                    lambda page=report.page: page.get_by_text("window.ran").count() > 0, PATIENCE_MS / 1000
                )
                hover_charts(report.page)
                report.check()
        downloads(browser, page.url, tmp_path)
        with opened(browser, "about:blank") as plain:
            for path in ("/exceptions", "/logs", "/stats/requests", "/harness/live.json", "/tasks"):
                plain.visit(f"{page.url}{path}")
                plain.check()
            plain.visit(f"{page.url}/nowhere<script>")
            plain.check(missing="status of 404")
    assert "Traceback" not in page.printed or "window.ran" in page.printed


def look_at_tabs(locust: Watched) -> None:
    names = locust.page.get_by_role("tab").all_inner_texts()
    assert {name.title() for name in names} >= TABS
    for index, name in enumerate(names):
        tab = locust.page.get_by_role("tab").nth(index)
        tab.press("Enter")  # the row scrolls: a tab that moves under a pressed mouse gets no click
        locust.page.wait_for_timeout(200)
        assert tab.get_attribute("aria-selected") == "true"
        if name.title() == "Charts":
            hover_charts(locust.page)
        locust.check()


def downloads(browser: Browser, url: str, where: Path) -> None:
    """Each has a plain name, and a page that was downloaded runs nothing from disk either."""
    tab = browser.new_page()
    tab.set_default_timeout(PATIENCE_MS)
    tab.goto(f"{url}/harness/charts")
    paths: tuple[Any, ...] = (
        *("/stats/report?download=1", "/harness/locust-report?download=1"),
        *("/stats/requests/csv", "/stats/failures/csv", "/exceptions/csv"),
    )
    for path in paths:
        with tab.expect_download() as downloading:
            tab.evaluate("path => { const a = document.createElement('a'); a.href = path; a.click(); }", path)
        name = downloading.value.suggested_filename
        assert set(name) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-"), name
        if name.endswith(".html"):
            downloading.value.save_as(where / name)
            with opened(browser, (where / name).as_uri()) as saved:
                saved.check(missing="ERR_FILE_NOT_FOUND")  # Locust's icon
    tab.close()


def test_reports_of_hostile_results_run_no_script(tmp_path: Path, browser: Browser) -> None:
    """As files, from names, reasons, details and evidence in the results."""
    watched = Watched(browser.new_page())
    for number in range(0, len(SCRIPTS), _TEXTS_PER_REPORT):
        text = " ".join(SCRIPTS[number : number + _TEXTS_PER_REPORT])
        results = samples.failing(tmp_path / f"{number}.sqlite", text)
        page = write_report(results, tmp_path / f"{number}.html")
        watched.page.goto(page.as_uri())
        shown = watched.page.locator("body").inner_text()
        assert shown.count("window.ran") >= _TEXTS_PER_REPORT
        assert watched.page.evaluate("() => window.ran") is None
        assert watched.page.evaluate(INJECTED) == []
        assert watched.page.locator("script, iframe, object, base, img").count() == 0
        assert watched.complaints == []
    watched.page.close()
