"""What pages of other origins get out of the load test's page in a real Chromium, and that its own login works."""

from __future__ import annotations

import http.server
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from harness.config.settings import PASSWORD_VARIABLE
from scripts import chromium
from tests.load.locust_process import wait_for
from tests.load.run_server import run_server
from tests.load.web.web_page import harness_load_web, served
from tests.ports import free_port

from .conftest import PATIENCE_MS

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = [pytest.mark.browser, pytest.mark.slow]

ATTACK = """async ([url, mine]) => {
  const got = {};
  const attempt = async (name, work) => { try { got[name] = await work(); } catch (e) { got[name] = "refused"; } };
  const form = "user_count=1&spawn_rate=1&host=" + encodeURIComponent(mine);
  const type = { "Content-Type": "application/x-www-form-urlencoded" };
  for (const path of ["/", "/stats/requests", "/harness/live.json", "/stats/report", "/exceptions", "/logs"]) {
    await attempt("read " + path, async () => (await fetch(url + path)).text());
    await attempt("read with credentials " + path, async () =>
      (await fetch(url + path, { credentials: "include" })).text());
  }
  const post = { method: "POST", headers: type, body: form };
  await attempt("post", async () => (await fetch(url + "/swarm", post)).text());
  await attempt("post with a token", async () => (await fetch(url + "/swarm", { method: "POST",
    headers: { ...type, "X-CSRF-Token": "0" }, body: form })).text());
  await fetch(url + "/swarm", { method: "POST", mode: "no-cors", headers: type, body: form }).catch(() => null);
  await fetch(url + "/stop", { method: "POST", mode: "no-cors" }).catch(() => null);
  navigator.sendBeacon(url + "/swarm", new URLSearchParams(form));
  const load = (tag, attribute, path) => new Promise((resolve) => {
    const node = document.createElement(tag);
    node.onload = () => resolve("loaded"); node.onerror = () => resolve("refused");
    node[attribute] = url + path; document.body.append(node);
    setTimeout(() => resolve("nothing"), 60_000);
  });
  got.script = await load("script", "src", "/harness/live.json");
  got.image = await load("img", "src", "/assets/favicon-light.png");
  return got;
}"""


@contextmanager
def foreign_site() -> Iterator[str]:
    """A site of its own on this machine: another port is another origin, but the same site."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(b"<!doctype html><title>foreign</title><body>")

        def log_message(self, *_: object) -> None:
            return

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_foreign_page_reads_nothing_and_starts_nothing(tmp_path: Path, browser: Browser) -> None:
    with (
        run_server() as server,
        run_server() as attacker,
        served(tmp_path, server.base_url, "local", users=2) as page,
        foreign_site() as foreign,
    ):
        context = browser.new_context()
        context.set_default_timeout(PATIENCE_MS)
        for origin in (foreign, foreign.replace("127.0.0.1", "localhost")):
            tab = context.new_page()
            tab.goto(origin)
            got = tab.evaluate(ATTACK, [page.url, attacker.base_url])
            assert set(got.values()) == {"refused"}, got
            # A form needs no permission to be sent.
            tab.set_content(
                f"<form method=post action='{page.url}/swarm'><input name=host value='{attacker.base_url}'>"
                "<input name=user_count value=1><input name=spawn_rate value=1></form>"
            )
            with tab.expect_navigation() as sent:
                tab.evaluate("document.forms[0].submit()")
            assert sent.value is not None
            assert sent.value.status == 403
            tab.goto(origin)
            tab.set_content(f"<iframe src='{page.url}/harness/charts'></iframe>")
            tab.wait_for_timeout(1000)
            assert "Live charts" not in (tab.frames[-1].content() if len(tab.frames) > 1 else "")
            # A link may lead to the page.
            tab.set_content(f"<a href='{page.url}/harness/charts'>charts</a>")
            tab.get_by_role("link").click()
            tab.get_by_role("heading", name="Live charts").wait_for()
        context.close()
        assert page.get("/stats/requests")["state"] == "ready"
        assert page.live()["run"] is None
        assert server.stats.counts["requests"] == attacker.stats.counts["requests"] == 0


def test_a_name_that_points_to_this_machine_is_refused(tmp_path: Path, browser: Browser) -> None:
    """DNS rebinding: the foreign page's own name leads to the page."""
    rules = "--host-resolver-rules=MAP rebound.example 127.0.0.1"
    rebinding = browser.browser_type.launch(
        executable_path=chromium.executable(), args=[*chromium.ARGUMENTS, rules]
    )
    with run_server() as server, served(tmp_path, server.base_url, "local") as page:
        tab = rebinding.new_page()
        tab.set_default_timeout(PATIENCE_MS)
        response = tab.goto(page.url.replace("127.0.0.1", "rebound.example"))
        assert response is not None
        assert response.status == 403
        read = tab.goto(page.url.replace("127.0.0.1", "rebound.example") + "/harness/live.json")
        assert read is not None
        assert read.status == 403
    rebinding.close()


def test_the_login_in_a_browser(tmp_path: Path, browser: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole page works behind the login, in Locust's own check too."""
    monkeypatch.setenv(PASSWORD_VARIABLE, "correct horse battery")
    port = free_port()
    with (
        run_server(gap_s=0.005) as server,
        harness_load_web(tmp_path, server.base_url, port, "--web-login") as url,
    ):
        context = browser.new_context()
        context.set_default_timeout(PATIENCE_MS)
        tab = context.new_page()
        complaints: list[str] = []
        tab.on("console", lambda message: complaints.append(message.text))
        tab.goto(f"{url}/harness/charts")
        assert tab.url == f"{url}/harness/login"
        tab.get_by_label("Password").fill("wrong")
        tab.get_by_role("button", name="Log in").click()
        tab.get_by_role("alert").get_by_text("The password is wrong.").wait_for()
        complaints.clear()  # the browser's own, of the status 403
        tab.get_by_label("Password").fill("correct horse battery")
        tab.get_by_role("button", name="Log in").click()
        tab.get_by_role("button", name="Start").wait_for()
        assert tab.url == f"{url}/"
        tab.get_by_role("button", name="Start").click()
        wait_for(lambda: server.stats.counts["requests"] > 20)
        tab.get_by_role("button", name="Stop").press("Enter")  # it moves while numbers beside it change
        tab.get_by_role("button", name="New").wait_for()
        charts = context.new_page()
        charts.goto(f"{url}/harness/charts")
        charts.get_by_text("The ledger adds up.").wait_for()
        cookies = {cookie["name"]: cookie for cookie in context.cookies()}
        session = cookies[f"harness_session_{port}"]
        assert (session["httpOnly"], session["sameSite"]) == (True, "Strict")
        assert all(cookie["sameSite"] == "Strict" and cookie["httpOnly"] for cookie in cookies.values())
        assert complaints == []
        context.clear_cookies()
        charts.reload()
        assert charts.url == f"{url}/harness/login"
        context.close()
    assert os.environ[PASSWORD_VARIABLE] not in (tmp_path / "printed").read_text()
