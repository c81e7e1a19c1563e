"""A page in a real Chromium that may load nothing but itself and must have nothing to complain of."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pytest

from scripts import chromium

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, Route


#: How long the browser waits for an event, in ms. Beside other tests, each may take long.
PATIENCE_MS = 120_000


class BrowserPage:
    """Opens files in one tab: each is loaded anew, but a new tab would cost three times as much as most pages.

    complaints: console errors and warnings, and uncaught exceptions. refused: every request for anything
    but the file itself.
    """

    def __init__(self, browser: Browser) -> None:
        self.complaints: list[str] = []
        self.refused: list[str] = []
        self._url = ""
        context = browser.new_context()
        context.set_default_timeout(PATIENCE_MS)
        context.route("**/*", self._judge)
        self._tab = context.new_page()
        self._tab.on("console", lambda message: self._heard(message.type, message.text))
        self._tab.on("pageerror", lambda error: self.complaints.append(str(error)))

    def open(
        self,
        path: Path,
        *,
        fragment: str = "",
        width: int = 1280,
        color_scheme: Literal["light", "dark"] = "light",
    ) -> Page:
        """The file, in place of the one before. Reports store nothing, so they know nothing of each other."""
        self._tab.goto("about:blank")
        self._tab.set_viewport_size({"width": width, "height": 800})
        self._tab.emulate_media(color_scheme=color_scheme, media="screen")
        self._url = path.resolve().as_uri()
        self._tab.goto(f"{self._url}{fragment}")
        return self._tab

    def _judge(self, route: Route) -> None:
        if route.request.url.partition("#")[0] == self._url:
            route.continue_()
        else:
            self.refused.append(route.request.url)
            route.abort()

    def _heard(self, kind: str, text: str) -> None:
        if kind in {"error", "warning"}:
            self.complaints.append(f"{kind}: {text}")


# While it lives this thread has a running event loop, and others want their own: so no longer than a module.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """An installed Chromium, headless. Where there is none the tests are skipped, but in CI they fail."""
    from playwright.sync_api import sync_playwright

    executable = chromium.executable()
    if executable is None:
        lacking = pytest.fail if os.environ.get("CI") else pytest.skip
        lacking(
            "no Chromium was found: install Debian's package chromium-headless-shell to run the browser tests"
        )
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=list(chromium.ARGUMENTS))
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def browser_page_of_module(browser: Browser) -> BrowserPage:
    return BrowserPage(browser)


@pytest.fixture
def browser_page(browser_page_of_module: BrowserPage) -> Iterator[BrowserPage]:
    """Opens files; in the end there must have been no complaint and no request for anything else."""
    browser_page_of_module.complaints.clear()
    browser_page_of_module.refused.clear()
    yield browser_page_of_module
    assert browser_page_of_module.complaints == []
    assert browser_page_of_module.refused == []
