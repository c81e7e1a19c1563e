"""What the guard lets through to Locust's application, without Locust: requests of foreign pages, tokens, sessions."""

from __future__ import annotations

import re
import secrets
from typing import Any

import pytest
from flask import Blueprint, Flask, Response, make_response
from flask_cors import CORS
from werkzeug.test import Client, TestResponse

from harness.load.web import headers, login
from harness.load.web.guard import LARGEST_BODY, PageGuard
from harness.load.web.login import Login, RequestTokens
from harness.load.web.login_view import LoginView
from harness.load.web.origin import OwnOrigin, is_loopback
from tests.cases import all_cases

OWN = "127.0.0.1:8089"
PASSWORD = "correct horse battery"
READS = ("/", "/stats/requests", "/harness/live.json", "/exceptions", "/logs", "/assets/a.js", "/nowhere")
CHANGES = ("/swarm", "/stop", "/stats/reset", "/user", "/own-route")


class Site:
    """An application like Locust's, which sends CORS permissions, behind a guard. reached: paths that views got."""

    def __init__(
        self, bound: str = "127.0.0.1", *, password: str = "", base_path: str = "", **names: Any
    ) -> None:
        self.reached: list[str] = []
        self.now = 0.0
        app = Flask(__name__)
        CORS(app, supports_credentials=True)  # type: ignore[no-untyped-call]

        def view(path: str) -> Response:
            self.reached.append(path)
            response = make_response(path)
            response.headers["Content-Disposition"] = 'attachment;filename=a_http://h:1/"x.csv'
            return response

        app.add_url_rule("/<path:path>", "any", view, methods=["GET", "POST", "PUT", "DELETE"])
        app.add_url_rule("/", "index", lambda: view("/"))
        self.login = Login(password, lambda: self.now) if password else None
        self.guard = PageGuard(
            app.wsgi_app,
            OwnOrigin(bound, **names),
            self.login,
            base_path=base_path,
            cookie="harness_session_8089",
        )
        blueprint = Blueprint(
            "harness",
            "harness.load.web.login_view",
            url_prefix=f"{base_path}/harness",
            template_folder="templates",
            static_folder="static",
        )
        LoginView(self.guard).add_to(blueprint)
        app.register_blueprint(blueprint)
        app.wsgi_app = self.guard  # type: ignore[method-assign]
        self.client = Client(app)

    def ask(self, method: str, path: str, *, token: str | None = None, **fields: Any) -> TestResponse:
        sent = {"Host": OWN} | fields.pop("headers", {})
        if token is not None:
            sent["X-CSRF-Token"] = token
        scheme = fields.pop("scheme", "http")
        return self.client.open(
            path, method=method, headers=sent, base_url=f"{scheme}://{OWN}", buffered=True, **fields
        )

    @property
    def token(self) -> str:
        return self.guard.anonymous_token()

    def log_in(self, password: str = PASSWORD, **fields: Any) -> TestResponse:
        page = self.ask("GET", "/harness/login")
        token = re.search(r'name="csrf_token" value="(\w+)"', page.get_data(as_text=True))
        form = {"password": password, "csrf_token": token[1] if token else ""}
        return self.ask("POST", "/harness/login", data=form, **fields)


@pytest.fixture
def site() -> Site:
    return Site()


@pytest.mark.parametrize("host", [OWN, "localhost:8089", "LocalHost", "127.0.0.2:9", "[::1]:8089"])
def test_the_page_answers_to_its_own_names(site: Site, host: str) -> None:
    assert site.ask("GET", "/", headers={"Host": host}).status_code == 200


@all_cases(
    "host",
    [
        "rebound.example:8089",
        "127.0.0.1.rebound.example",
        "localhost.rebound.example",
        "localhost@rebound.example",
        "127.0.0.1,rebound.example",
        "192.0.2.7:8089",
        "0.0.0.0:8089",
        "[::ffff:c000:0207]",
        "127.0.0.1:8089:1",
        "2130706433",
        "",
    ],
)
@all_cases("path", READS)
def test_another_name_in_host_is_refused_whatever_the_path(site: Site, host: str, path: str) -> None:
    """With DNS rebinding a foreign page is of the same origin as this one, and only the name differs."""
    same_origin = {"Host": host, "Origin": f"http://{host}", "Sec-Fetch-Site": "same-origin"}
    for method, token in (("GET", None), ("POST", site.token)):
        response = site.ask(method, path, token=token, headers=same_origin)
        assert response.status_code == 403
        assert "does not answer to the Host" in response.get_data(as_text=True)
    assert site.reached == []


def test_beyond_loopback_addresses_and_the_machines_names_are_accepted() -> None:
    for site in (Site("", names=["page.example"]), Site("0.0.0.0", names=["page.example"])):
        for host in ("192.0.2.7:8089", "[2001:db8::1]:8089", "page.example", "localhost:8089"):
            assert site.ask("GET", "/", headers={"Host": host}).status_code == 200
        assert site.ask("GET", "/", headers={"Host": "other.example"}).status_code == 403


@pytest.mark.parametrize(
    ("host", "local"),
    [("127.0.0.1", True), ("::1", True), ("localhost", True), ("", False), ("0.0.0.0", False), ("::", False)],
)
def test_what_loopback_is(host: str, local: bool) -> None:
    assert is_loopback(host) is local


@all_cases(
    "origin",
    ["http://evil.example", "null", "http://127.0.0.1:3000", "http://localhost:8089", f"https://{OWN}", ""],
)
@all_cases("path", [*READS, *CHANGES])
def test_another_origin_is_refused_even_with_the_token(site: Site, origin: str, path: str) -> None:
    for method in ("GET", "POST", "PUT", "OPTIONS"):
        response = site.ask(method, path, token=site.token, headers={"Origin": origin})
        assert response.status_code == 403
        assert not any("access-control" in name.lower() for name, _ in response.headers)
    assert site.reached == []


@pytest.mark.parametrize("fetch_site", ["cross-site", "same-site"])
@pytest.mark.parametrize("path", READS[1:])
def test_a_foreign_page_cannot_load_a_picture_or_a_frame(site: Site, fetch_site: str, path: str) -> None:
    """Such requests have no Origin. Making a report costs time that a measurement lacks."""
    for mode, destination in (("no-cors", "image"), ("navigate", "iframe"), ("navigate", "document")):
        fields = {"Sec-Fetch-Site": fetch_site, "Sec-Fetch-Mode": mode, "Sec-Fetch-Dest": destination}
        assert site.ask("GET", path, headers=fields).status_code == 403
    assert site.reached == []


def test_a_link_may_lead_to_the_page_but_not_into_a_frame(site: Site) -> None:
    link = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    assert site.ask("GET", "/", headers=link | {"Sec-Fetch-Dest": "document"}).status_code == 200
    assert site.ask("GET", "/", headers=link | {"Sec-Fetch-Dest": "iframe"}).status_code == 403
    for mode in ("no-cors", "cors", "websocket", ""):  # no navigation, whatever it is said to be for
        fields = link | {"Sec-Fetch-Dest": "document", "Sec-Fetch-Mode": mode}
        assert site.ask("GET", "/", headers=fields).status_code == 403
    assert (
        site.ask("POST", "/", token=site.token, headers=link | {"Sec-Fetch-Dest": "document"}).status_code
        == 403
    )


@pytest.mark.parametrize("path", CHANGES)
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_a_change_needs_the_token(site: Site, method: str, path: str) -> None:
    own = {"Origin": f"http://{OWN}", "Sec-Fetch-Site": "same-origin"}
    for wrong in (None, "", "0" * 64, Site().token, site.token[:-1], site.token + "0", "ü"):
        response = site.ask(method, path, token=wrong, headers=own)
        assert response.status_code == 403
        assert "lacks the page's token" in response.get_data(as_text=True)
    assert site.reached == []
    assert site.ask(method, path, token=site.token, headers=own).status_code == 200
    assert site.reached == [path[1:]]


@pytest.mark.parametrize("path", CHANGES[:3])
def test_old_versions_of_locust_change_with_get(site: Site, path: str) -> None:
    assert site.ask("GET", path).status_code == 403
    assert site.ask("GET", path, token=site.token).status_code == 200


def test_a_body_has_a_length_and_a_bound(site: Site) -> None:
    long = site.ask("POST", "/swarm", token=site.token, data=b"x" * (LARGEST_BODY + 1))
    assert long.status_code == 413
    for length in ("9" * 5000, "-1", "1e3"):
        fields = {"CONTENT_LENGTH": length}
        response = site.ask("POST", "/swarm", token=site.token, environ_overrides=fields)
        assert response.status_code == 413
    chunked = site.ask("POST", "/swarm", token=site.token, headers={"Transfer-Encoding": "chunked"})
    assert chunked.status_code == 411
    assert site.reached == []
    assert site.ask("POST", "/swarm", token=site.token, data=b"x" * LARGEST_BODY).status_code == 200


def test_no_response_permits_anything_to_another_origin(site: Site) -> None:
    for method in ("GET", "POST", "OPTIONS"):
        response = site.ask(method, "/stats/requests", token=site.token)
        assert not [name for name, _ in response.headers if name.lower().startswith("access-control")]


@pytest.mark.parametrize("path", READS)
def test_every_response_limits_the_browser(site: Site, path: str) -> None:
    for response in (site.ask("GET", path), site.ask("GET", path, headers={"Host": "evil.example"})):
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert response.headers["X-Frame-Options"] == "DENY"
        assert response.headers["Referrer-Policy"] == "same-origin"
        assert response.headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert response.headers["Cross-Origin-Opener-Policy"] == "same-origin"
        assert "frame-ancestors 'none'" in response.headers["Content-Security-Policy"]
        if not path.startswith("/assets/"):
            assert response.headers.getlist("Cache-Control") == ["no-store"]


def test_the_policies() -> None:
    def policy(status: str, kind: str) -> str:
        return dict(headers.secured(status, [("Content-Type", kind)], is_file=False))[
            "Content-Security-Policy"
        ]

    nothing = policy("200 OK", "application/json")
    assert nothing.startswith("default-src 'none'; ")
    assert nothing.endswith("; sandbox")
    # Locust's error pages contain the exception's text, and claim to be HTML.
    assert policy("500 INTERNAL SERVER ERROR", "text/html; charset=utf-8") == nothing
    assert "sandbox" not in policy("200 OK", "text/html; charset=utf-8")
    for ours in (headers.OUR_PAGE, headers.our_report("<html>"), nothing):
        assert "unsafe" not in ours
        assert ours.startswith("default-src 'none'")
    for of_locust in (headers.locust_page("N"), headers.locust_report("N")):
        scripts = next(part for part in of_locust.split("; ") if part.startswith("script-src"))
        assert "unsafe" not in scripts
        assert "'nonce-N'" in scripts


def test_a_report_has_its_own_policy_as_a_header_too() -> None:
    meta = "default-src &#39;none&#39;; style-src &#39;sha256-x=&#39;"
    html = f'<head><meta http-equiv="Content-Security-Policy" content="{meta}">'
    assert headers.our_report(html) == "default-src 'none'; style-src 'sha256-x='; frame-ancestors 'none'"


def test_the_name_of_a_download_has_plain_characters(site: Site) -> None:
    response = site.ask("GET", "/stats/requests")
    assert response.headers["Content-Disposition"] == 'attachment;filename="a_http_h_1_x.csv"'


@pytest.fixture
def locked() -> Site:
    return Site(password=PASSWORD)


@pytest.mark.parametrize("path", [*READS, "/harness/login/../live.json", "/harness/static/page.js"])
def test_without_a_session_nothing_but_the_login_is_shown(locked: Site, path: str) -> None:
    assert locked.ask("GET", path).status_code == 401
    assert locked.ask("POST", path, token=locked.token).status_code == 401
    browser = locked.ask("GET", path, headers={"Accept": "text/html,*/*"})
    assert (browser.status_code, browser.headers["Location"]) == (303, "/harness/login")
    assert locked.reached == []
    assert locked.ask("GET", "/harness/login").status_code == 200
    assert locked.ask("GET", "/harness/static/login.css").status_code == 200


def test_the_password_opens_a_session(locked: Site) -> None:
    response = locked.log_in(headers={"Origin": f"http://{OWN}"})
    assert (response.status_code, response.headers["Location"]) == (303, "../")
    cookie = response.headers["Set-Cookie"]
    assert re.fullmatch(r"harness_session_8089=[\w-]{43}; Path=/; HttpOnly; SameSite=Strict", cookie)
    assert locked.ask("GET", "/stats/requests").status_code == 200
    assert locked.ask("GET", "/harness/login").status_code == 303


def test_over_tls_the_cookie_stays_on_tls(locked: Site) -> None:
    response = locked.log_in(scheme="https")
    assert response.headers["Set-Cookie"].endswith("; Secure")


def test_a_token_belongs_to_its_session(locked: Site) -> None:
    locked.log_in()
    session = locked.client.get_cookie("harness_session_8089", OWN.partition(":")[0])
    assert session is not None
    environment = {"HTTP_COOKIE": f"harness_session_8089={session.value}"}
    assert locked.ask("POST", "/swarm", token=locked.token).status_code == 403  # the login's token
    other = Site(password=PASSWORD)
    other.log_in()
    assert locked.ask("POST", "/swarm", token=other.guard.token(environment)).status_code == 403
    assert locked.ask("POST", "/swarm", token=locked.guard.token(environment)).status_code == 200


@pytest.mark.parametrize(
    "cookie", ["", "x", "harness_session_8089=", "harness_session_8089=guess", "a=\x00;;=;["]
)
def test_a_made_up_session_is_none(locked: Site, cookie: str) -> None:
    locked.log_in()
    locked.client = Client(locked.guard)
    assert locked.ask("GET", "/logs", headers={"Cookie": cookie}).status_code == 401


def test_a_session_ends(locked: Site) -> None:
    locked.log_in()
    locked.now = login.SESSION_S - 1
    assert locked.ask("GET", "/logs").status_code == 200
    locked.now = login.SESSION_S
    assert locked.ask("GET", "/logs").status_code == 401


def test_the_login_needs_its_forms_token(locked: Site) -> None:
    for token in ("", "0" * 64, Site().token):
        response = locked.ask("POST", "/harness/login", data={"password": PASSWORD, "csrf_token": token})
        assert response.status_code == 403
        assert "Set-Cookie" not in response.headers


def test_wrong_passwords_are_bounded(locked: Site) -> None:
    for _ in range(login.FAILURES_PER_ADDRESS):
        response = locked.log_in("wrong password")
        assert response.status_code == 403
        assert "The password is wrong." in response.get_data(as_text=True)
    locked.now = 20
    response = locked.log_in()  # the right one has to wait too, or guessing could go on
    assert (response.status_code, response.headers["Retry-After"]) == (429, "40")
    other = locked.log_in(environ_overrides={"REMOTE_ADDR": "192.0.2.8"})
    assert other.status_code == 303
    locked.client = Client(locked.guard)
    locked.now = login.WINDOW_S
    assert locked.log_in().status_code == 303


def test_many_addresses_do_not_help_to_guess(locked: Site) -> None:
    for number in range(login.FAILURES_IN_ALL):
        assert (
            locked.log_in("wrong", environ_overrides={"REMOTE_ADDR": f"192.0.2.{number}"}).status_code == 403
        )
    assert locked.log_in(environ_overrides={"REMOTE_ADDR": "198.51.100.1"}).status_code == 429


def test_what_a_login_keeps_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(login, "_MOST_SESSIONS", 2)
    monkeypatch.setattr(login, "_MOST_ADDRESSES", 2)
    checked = Login(PASSWORD)
    first, second, third = (str(checked.open_session(PASSWORD, "a")) for _ in range(3))
    assert [checked.is_open(session) for session in (first, second, third)] == [False, True, True]
    for number in range(5):
        checked.open_session("wrong", str(number))
    assert len(checked._failures) == 2


def test_secrets_are_random_and_of_this_process() -> None:
    assert len({RequestTokens().token("") for _ in range(20)}) == 20
    sessions = {str(Login(PASSWORD).open_session(PASSWORD, "a")) for _ in range(20)}
    assert len(sessions) == 20
    assert min(map(len, sessions)) == len(secrets.token_urlsafe(32))
    assert len({login.new_password() for _ in range(20)}) == 20
    assert len(login.new_password()) >= 22


@pytest.mark.parametrize("guess", ["", "c", PASSWORD[:-1], PASSWORD + "x", "ü", "\ud800", "x" * 100_000])
def test_secrets_are_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch, guess: str) -> None:
    """By the library's function for it, which takes the time of the shorter value: so digests of one length."""
    compared: list[tuple[int, int]] = []
    compare = login.hmac.compare_digest

    def spy(one: bytes, other: bytes) -> bool:
        compared.append((len(one), len(other)))
        return compare(one, other)

    monkeypatch.setattr(login.hmac, "compare_digest", spy)
    assert Login(PASSWORD).open_session(guess, "a") is None
    assert compared == [(32, 32)]
    assert not RequestTokens().is_valid("0" * 64, "")
    assert compared[1:] == [(64, 64)]


def test_a_short_password_is_refused() -> None:
    with pytest.raises(login.SettingsError, match="has 11 characters; use at least 12"):
        login.checked_password("x" * 11)
    assert login.checked_password("x" * 12)


def test_a_page_under_a_path() -> None:
    site = Site(password=PASSWORD, base_path="/load")
    browser = site.ask("GET", "/load/", headers={"Accept": "text/html"})
    assert browser.headers["Location"] == "/load/harness/login"
    assert site.ask("GET", "/load/harness/login").status_code == 200
    assert site.ask("GET", "/harness/login").status_code == 401
    assert site.ask("POST", "/load/swarm", token=site.token).status_code == 401
