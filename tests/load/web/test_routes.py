"""Every route of the real application, Locust's, the harness's and a locustfile's, as foreign pages ask for it."""

from __future__ import annotations

import http.client
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.load.locust.command import load_environment, locustfile
from tests.forked_process import run
from tests.load.locust_process import wait_for
from tests.load.run_server import RunServer, run_server
from tests.load.web.web_page import Served, served

HOSTILE_LOCUSTFILE = Path(__file__).with_name("hostile_locustfile.py")
FORM = {"user_count": "2", "spawn_rate": "2"}
FORM_FIELDS = {"num_users", "spawn_rate", "run_time"}
URL_FORM = "application/x-www-form-urlencoded"

pytestmark = pytest.mark.slow


class Site:
    """A served page, with its server. routes: each path with its methods."""

    def __init__(self, page: Served, server: RunServer) -> None:
        self.page = page
        self.server = server
        found = self.page.get("/own/routes")
        self.routes: dict[str, list[str]] = {
            rule.replace("<path:path>", "a.js").replace("<path:filename>", "charts.js"): methods
            for rule, methods in found.items()
        }

    def ask(self, method: str, path: str, body: str = "", **fields: str) -> tuple[int, str, dict[str, str]]:
        """Status, text and header fields, whatever the status."""
        connection = http.client.HTTPConnection(
            "127.0.0.1", int(self.page.url.rpartition(":")[2]), timeout=60
        )
        sent = {name.replace("_", "-"): value for name, value in fields.items()}
        connection.request(method, path, body or None, {"Content-Type": URL_FORM, **sent})
        response = connection.getresponse()
        text = response.read().decode("utf-8", "replace")
        connection.close()
        return response.status, text, {name.lower(): value for name, value in response.getheaders()}

    def options(self) -> dict[str, Any]:
        """Locust's options; not those that a form may set."""
        found: dict[str, Any] = self.page.get("/own/options")
        return {name: value for name, value in found.items() if name not in FORM_FIELDS}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    where = tmp_path_factory.mktemp("site")
    more = ("--class-picker",)
    with (
        run_server(gap_s=0.005) as server,
        served(where, server.base_url, "local", file=HOSTILE_LOCUSTFILE, more=more) as page,
    ):
        page.post("/stats/reset")  # fetches the token
        yield Site(page, server)


def test_the_routes_are_known(site: Site) -> None:
    """Those of Locust in this version; what it adds is guarded too, by the tests below."""
    assert {
        *(
            "/",
            "/swarm",
            "/stop",
            "/stats/reset",
            "/stats/report",
            "/stats/requests/csv",
            "/stats/failures/csv",
        ),
        *(
            "/stats/requests_full_history/csv",
            "/stats/requests",
            "/exceptions",
            "/exceptions/csv",
            "/tasks",
            "/logs",
        ),
        *("/login", "/user", "/worker-count", "/assets/a.js", "/harness/charts", "/harness/live.json"),
        *("/harness/report", "/harness/locust-report", "/harness/login", "/harness/static/charts.js"),
    } <= set(site.routes)


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"Host": "rebound.example"}, "does not answer to the Host"),
        ({"Origin": "http://evil.example"}, "another origin"),
        ({"Origin": "null"}, "another origin"),
        ({"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "no-cors"}, "another site"),
        ({"Sec_Fetch_Site": "same-site", "Sec_Fetch_Mode": "cors"}, "another site"),
        (
            {"Upgrade": "websocket", "Connection": "Upgrade", "Origin": "http://evil.example"},
            "another origin",
        ),
    ],
)
def test_a_foreign_page_gets_nothing_from_any_route(
    site: Site, fields: dict[str, str], sentence: str
) -> None:
    before = site.server.stats.counts["requests"]
    for path, methods in site.routes.items():
        for method in {*methods, "OPTIONS", "GET", "POST"} - {"HEAD"}:
            status, text, got = site.ask(method, path, **{"X-CSRF-Token": site.page.token}, **fields)
            assert (status, sentence in text) == (403, True), (method, path, text)
            assert not [name for name in got if name.startswith("access-control")], (method, path)
    assert site.page.get("/stats/requests")["state"] == "ready"
    assert site.server.stats.counts["requests"] == before


def test_every_change_needs_the_token(site: Site) -> None:
    for path, methods in site.routes.items():
        for method in set(methods) - {"GET", "HEAD"}:
            if path != "/harness/login":
                status, text, _ = site.ask(method, path, "user_count=1&spawn_rate=1")
                assert (status, "lacks the page's token" in text) == (403, True), (method, path)
    assert site.page.get("/stats/requests")["state"] == "ready"
    assert site.ask("POST", "/own/change", **{"X-CSRF-Token": site.page.token})[1] == "changed"


def test_every_response_limits_the_browser(site: Site) -> None:
    for path, methods in site.routes.items():
        if "GET" in methods:
            status, _, got = site.ask("GET", path)
            assert status in {200, 303, 302, 404}, path
            assert got["x-content-type-options"] == "nosniff", path
            assert "frame-ancestors 'none'" in got["content-security-policy"], path
            assert not [name for name in got if name.startswith("access-control")], path
            if not path.startswith(("/assets", "/harness/static")):
                assert got["cache-control"] == "no-store", path


def test_the_form_changes_neither_the_target_nor_a_file(site: Site, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    before = site.options()
    for field, value in (
        ("host", "http://evil.example"),
        ("harness_out", str(tmp_path)),
        ("harness_live", str(tmp_path / "live")),
        ("csv_prefix", str(tmp_path / "csv")),
        ("open_loop_trace", "/etc/passwd"),
        ("open_loop_trace", str(tmp_path / "pipe")),
        ("region", "/etc/passwd"),
        ("region", str(tmp_path / "pipe")),
        ("data", "/etc/passwd"),
        ("data", "users"),
        ("input_file", "users"),
        ("warm_up", "/etc/passwd"),
        ("objectives", "/etc/passwd"),
        ("user_count", "1000000000"),
        ("spawn_rate", "1e9"),
        ("run_time", "99999h"),
        ("user_classes", "Other"),
        ("shape_class", "/etc/passwd"),
    ):
        answer = site.page.post("/swarm", **{**FORM, field: value})
        assert answer["success"] is False, field
        assert "root:" not in answer["message"]
        assert "\n" not in answer["message"]
    assert site.options() == before
    assert site.page.get("/stats/requests")["state"] == "ready"


def test_the_class_pickers_dialog_cannot_set_a_target(site: Site) -> None:
    for changed in (
        {"host": "http://evil.example"},
        {"on_start": 1},
        {"weight": 10**12},
        {"user_class_name": "X"},
    ):
        document = json.dumps({"user_class_name": "HostileUser", **changed})
        assert site.ask("POST", "/user", document, **{"X-CSRF-Token": site.page.token})[0] == 400
    document = json.dumps({"user_class_name": "HostileUser", "weight": 1, "fixed_count": 0})
    assert site.ask("POST", "/user", document, **{"X-CSRF-Token": site.page.token})[0] == 201


def test_the_token_goes_to_the_configured_target_only(tmp_path: Path) -> None:
    """A page of another origin sends the form that it could send to Locust's page alone."""
    with run_server() as server, run_server() as other, served(tmp_path, server.base_url, "local") as page:
        site = Site.__new__(Site)
        site.page, site.server = page, server
        form = f"user_count=1&spawn_rate=1&host={other.base_url}"
        assert site.ask("POST", "/swarm", form, Origin=other.base_url)[0] == 403
        assert page.post("/swarm", **FORM, host=other.base_url)["success"] is False
        assert page.post("/swarm", user_count="many", spawn_rate="1", host=other.base_url)["success"] is False
        assert page.post("/swarm", **FORM)["success"]
        wait_for(lambda: server.stats.counts["requests"] > 5)
        page.post("/stop")
        assert other.stats.counts["requests"] == 0


@pytest.mark.parametrize("address", ["0.0.0.0", "*", "::"])
def test_without_a_login_the_page_stays_on_this_machine(tmp_path: Path, address: str) -> None:
    (tmp_path / "harness.toml").write_text(
        '[target]\nbase_url = "http://127.0.0.1:1"\norganization_id = "o"\n'
    )
    with (tmp_path / "harness.toml").open("a") as settings:
        settings.write("[target.actions]\nsuccess = {toolId = 'x'}\n")
    for command in (
        [sys.executable, "-m", "locust", "-f", str(locustfile()), "--web-port", "1"],
        [sys.executable, "-m", "harness", "load", "--web", "--web-port", "1"],
    ):
        environment = load_environment(tmp_path / "harness.toml")
        code, printed = run([*command, "--web-host", address], environment=environment, folder=tmp_path)
        assert code == 2, printed
        assert f"with --web-host {address} other machines could start tests" in printed
        assert "Traceback" not in printed


def test_a_trace_is_chosen_but_not_named_on_the_page(tmp_path: Path) -> None:
    trace = tmp_path / "times"
    trace.write_text("0\n0.2\n0.4\n")
    with (
        run_server() as server,
        served(tmp_path, server.base_url, "local", trace=str(trace), journeys={"fresh": 1}) as page,
    ):
        shown = page.get("/")
        options = json.loads(shown.partition("window.templateArgs = ")[2].partition("\n")[0])["extra_options"]
        assert options["open_loop_trace"]["choices"] == ["", str(trace)]
        assert options["open_loop_trace"]["default_value"] == str(trace)
        refused = page.post("/swarm", **FORM, open_loop_trace="/etc/passwd")
        assert refused["message"] == f"Open loop trace: '/etc/passwd' is not one of: nothing, {trace}"
        assert page.post("/swarm", **FORM, open_loop_trace=str(trace))["success"]
        assert page.wait_for_state("finished")["ledger"]["counts"]["scheduled"] == 3
        wait_for(lambda: bool(page.post("/swarm", **FORM, open_loop_trace="")["success"]))
        wait_for(lambda: page.live()["users"] == 2)  # a closed loop
        page.post("/stop")
