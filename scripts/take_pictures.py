"""Takes the screenshots in the documentation: python -m scripts.take_pictures [report] [live] [streams] [terminal]

Each shows a test of the reference server. Requires Chromium, and tmux for the terminal.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import tomlkit
from playwright.sync_api import Page, sync_playwright
from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

from harness.commands.reference_process import ReferenceServer
from harness.load.locust.command import DEFAULT_USERS
from harness.reference.settings import demo_config
from scripts import chromium

PICTURES = Path(__file__).resolve().parents[1] / "docs" / "pictures"
WIDTH, HEIGHT = 1100, 1500
COLUMNS, LINES = 100, 30
_PORT = 8189
_TEST_S = 25.0
"""How long a test runs before its screenshot."""


@contextmanager
def browser_page(width: int = WIDTH, height: int = HEIGHT) -> Iterator[Page]:
    """A page in a new Chromium. Raises FileNotFoundError if Chromium is not installed."""
    browser_path = chromium.executable()
    if browser_path is None:
        raise FileNotFoundError("Chromium is not installed")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_path, args=list(chromium.ARGUMENTS))
        yield browser.new_page(viewport={"width": width, "height": height})
        browser.close()


def harness(*arguments: str) -> list[str]:
    """A command line that runs the harness of this checkout."""
    return [sys.executable, "-m", "harness", *arguments]


def report(scratch: Path) -> None:
    """The top of a report."""
    subprocess.run(harness("check", "--quiet", "--out", str(scratch / "out")), check=True)
    with browser_page() as page:
        page.goto((scratch / "out" / "report.html").as_uri())
        page.screenshot(path=PICTURES / "report.png")


@contextmanager
def web_page(scratch: Path) -> Iterator[str]:
    """The URL of Locust's web page, with a test in progress."""
    with ReferenceServer() as server:
        config = scratch / "harness.toml"
        config.write_text(tomlkit.dumps(demo_config(server.base_url)), encoding="utf-8")
        command = harness("load", "--web", "--web-port", str(_PORT), "--config", str(config))
        url = f"http://127.0.0.1:{_PORT}"
        with subprocess.Popen([*command, "--out", str(scratch / "out")]) as web:
            try:
                _wait_for(url)
                form = {"user_count": DEFAULT_USERS, "spawn_rate": DEFAULT_USERS, "host": server.base_url}
                data = urllib.parse.urlencode(form).encode()
                request = urllib.request.Request(f"{url}/swarm", data, {"X-CSRF-Token": _token(url)})  # noqa: S310
                urllib.request.urlopen(request).read()  # noqa: S310 - loopback
                time.sleep(_TEST_S)
                yield url
            finally:
                web.send_signal(2)
                web.wait(60)


def _token(url: str) -> str:
    """The token that the page sends with each change."""
    page = urllib.request.urlopen(url).read().decode()  # noqa: S310 - loopback
    found = re.search(r'<meta name="csrf-token" content="(\w+)">', page)
    if found is None:
        raise LookupError(f"{url} has no token")
    return found[1]


def _wait_for(url: str) -> None:
    deadline_s = time.monotonic() + 60
    while True:
        try:
            urllib.request.urlopen(url).read()  # noqa: S310 - loopback
        except OSError:
            if time.monotonic() > deadline_s:
                raise
            time.sleep(0.2)
        else:
            return


def live(scratch: Path) -> None:
    """The live charts."""
    with web_page(scratch) as url, browser_page(1100, 1300) as page:
        page.goto(f"{url}/harness/charts")
        page.wait_for_selector("#chart-ttft path.mark")
        page.screenshot(path=PICTURES / "live.png")


def streams(scratch: Path) -> None:
    """The streams tab in Locust's web page."""
    with web_page(scratch) as url, browser_page(1280, 900) as page:
        page.goto(f"{url}/?tab=streams")
        page.wait_for_selector("tbody tr:nth-child(6)")
        page.screenshot(path=PICTURES / "streams.png")


def terminal(scratch: Path) -> None:
    """A test in progress in a terminal."""
    session = f"pictures-{time.time_ns()}"
    command = " ".join(harness("check", "--duration", "25s", "--out", str(scratch / "out")))
    size = ["-x", str(COLUMNS), "-y", str(LINES)]
    subprocess.run(["tmux", "new-session", "-d", "-s", session, *size, command], check=True)
    try:
        time.sleep(_TEST_S)
        screen = subprocess.run(
            ["tmux", "capture-pane", "-e", "-p", "-t", session], check=True, capture_output=True, text=True
        ).stdout
    finally:
        subprocess.run(["tmux", "kill-session", "-t", session], check=False, stderr=subprocess.DEVNULL)
    console = Console(record=True, width=COLUMNS, file=(scratch / "printed").open("w"), force_terminal=True)
    console.print(Text.from_ansi(screen.rstrip()))
    body = console.export_html(
        theme=MONOKAI,
        inline_styles=True,
        code_format='<pre style="margin: 0; font: 15px/1.35 DejaVu Sans Mono, monospace">{code}</pre>',
    )
    background = ", ".join(map(str, MONOKAI.background_color))
    with browser_page(960, 400) as page:
        page.set_content(
            f'<body style="margin: 0; padding: 16px; background: rgb({background}); color: #d9d9d9">{body}</body>'
        )
        page.locator("body").screenshot(path=PICTURES / "terminal.png")


PARTS: dict[str, Callable[[Path], None]] = {
    "report": report,
    "live": live,
    "streams": streams,
    "terminal": terminal,
}


if __name__ == "__main__":
    for name in sys.argv[1:] or PARTS:
        with tempfile.TemporaryDirectory() as folder:
            PARTS[name](Path(folder))
