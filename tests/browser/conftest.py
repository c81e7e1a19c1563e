"""A page in a real Chromium that may load nothing but itself and must have nothing to complain of."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from scripts import chromium

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, Route


#: How long the browser waits for an event, in ms. Beside other tests, each may take long.
PATIENCE_MS = 120_000


class BrowserPage:
    """Opens files, each in a context of its own.

    complaints: console errors and warnings, and uncaught exceptions. refused: every request for anything
    but the file itself.
    """

    def __init__(self, browser: Browser) -> None:
        self._browser = browser
        self.complaints: list[str] = []
        self.refused: list[str] = []

    def open(self, path: Path, *, fragment: str = "", width: int = 1280, **context: Any) -> Page:
        """The file in a new tab; `context` is playwright's, such as color_scheme="dark"."""
        url = path.resolve().as_uri()
        tab = self._browser.new_context(viewport={"width": width, "height": 800}, **context)

        def judge(route: Route) -> None:
            if route.request.url.partition("#")[0] == url:
                route.continue_()
            else:
                self.refused.append(route.request.url)
                route.abort()

        tab.set_default_timeout(PATIENCE_MS)
        tab.route("**/*", judge)
        page = tab.new_page()
        page.on("console", lambda message: self._heard(message.type, message.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.goto(f"{url}{fragment}")
        return page

    def _heard(self, kind: str, text: str) -> None:
        if kind in {"error", "warning"}:
            self.complaints.append(f"{kind}: {text}")

    def close(self) -> None:
        """Close every tab."""
        for tab in self._browser.contexts:
            tab.close()


# While it lives this thread has a running event loop, and others want their own: so no longer than a module.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Debian's Chromium, headless. Where there is none the tests are skipped, but in CI they fail."""
    from playwright.sync_api import sync_playwright

    executable = chromium.executable()
    if executable is None:
        lacking = pytest.fail if os.environ.get("CI") else pytest.skip
        lacking("no Chromium was found: install Debian's package chromium to run the browser tests")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=list(chromium.ARGUMENTS))
        yield browser
        browser.close()


@pytest.fixture
def browser_page(browser: Browser) -> Iterator[BrowserPage]:
    """Opens files; in the end there must have been no complaint and no request for anything else."""
    opened = BrowserPage(browser)
    yield opened
    opened.close()
    assert opened.complaints == []
    assert opened.refused == []
