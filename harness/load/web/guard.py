"""Checks each request before any route sees it, of Locust, the harness or a locustfile, and secures each response."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from http.cookies import CookieError, SimpleCookie
from typing import Any

from harness.load.web import headers
from harness.load.web.login import Login, RequestTokens
from harness.load.web.origin import OwnOrigin, WsgiEnvironment

TOKEN_HEADER = "X-CSRF-Token"  # noqa: S105 - a name
LARGEST_BODY = 64 * 1024
"""Bytes of a request's body. A start form has a few hundred."""

_TOKEN_VARIABLE = "HTTP_" + TOKEN_HEADER.upper().replace("-", "_")
_READING = frozenset({"GET", "HEAD"})
_CHANGING = frozenset({"/swarm", "/stop", "/stats/reset", "/user"})
"""Locust's paths that change something. Old versions of it take GET for some."""

_LOGIN = "/harness/login"
_BEFORE_LOGIN = frozenset({_LOGIN, "/harness/static/login.css"})
_FILES = ("/assets/", "/harness/static/")
_LINKED = ("/", "", "/harness/charts", _LOGIN)
"""Pages that a link on a foreign page may lead to."""

WsgiApp = Callable[[WsgiEnvironment, Callable[..., Any]], Iterable[bytes]]


class PageGuard:
    """The WSGI application around Locust's.

    base_path: the path under which the page lies, without a slash at its end. login: None without a password.
    cookie: the name of the session's cookie; cookies are shared by all ports of a host.
    """

    def __init__(
        self, app: WsgiApp, origin: OwnOrigin, login: Login | None, *, base_path: str = "", cookie: str = ""
    ) -> None:
        self._app = app
        self._origin = origin
        self._base_path = base_path
        self._linked = frozenset(f"{base_path}{path}" for path in _LINKED)
        self._cookie = cookie
        self._tokens = RequestTokens()
        self.login = login

    def __call__(self, environment: WsgiEnvironment, start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Answer a request, as WSGI asks."""
        path = self._path(environment)
        is_file = path.startswith(_FILES)

        def secured(status: str, fields: headers.Headers, *more: Any) -> Any:
            return start_response(status, headers.secured(status, fields, is_file=is_file), *more)

        refused = self._refusal(environment, path)
        if refused is None:
            return self._app(environment, secured)
        status, sentence, fields = refused
        body = f"{sentence}\n".encode()
        plain = [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(body)))]
        secured(status, [*plain, *fields])
        return [] if environment["REQUEST_METHOD"] == "HEAD" else [body]

    def _refusal(self, environment: WsgiEnvironment, path: str) -> tuple[str, str, headers.Headers] | None:
        """Status, sentence and header fields of a request that is refused; None for one that is not."""
        if sentence := self._origin.refusal(environment, self._linked):
            return "403 Forbidden", sentence, []
        if self.login is not None and path not in _BEFORE_LOGIN and not self.is_logged_in(environment):
            if environment["REQUEST_METHOD"] == "GET" and "text/html" in environment.get("HTTP_ACCEPT", ""):
                return "303 See Other", "log in", [("Location", f"{self._base_path}{_LOGIN}")]
            return "401 Unauthorized", "log in first", []
        if environment["REQUEST_METHOD"] in _READING and path not in _CHANGING:
            return None
        length = environment.get("CONTENT_LENGTH") or "0"
        if "HTTP_TRANSFER_ENCODING" in environment:
            return "411 Length Required", "send the body with its length", []
        if not length.isdecimal() or int(length[:10]) > LARGEST_BODY:
            return "413 Content Too Large", f"a body has at most {LARGEST_BODY} bytes", []
        if path != _LOGIN and not self._has_token(environment):
            return (
                "403 Forbidden",
                f"the request lacks the page's token in {TOKEN_HEADER}; reload the page",
                [],
            )
        return None

    def token(self, environment: WsgiEnvironment) -> str:
        """The token that the page sends with each change."""
        return self._tokens.token(self._session(environment))

    def anonymous_token(self) -> str:
        """The token of requests without a session: the login's."""
        return self._tokens.token("")

    def is_anonymous_token(self, token: str) -> bool:
        """Whether it is that token."""
        return self._tokens.is_valid(token, "")

    def is_logged_in(self, environment: WsgiEnvironment) -> bool:
        """Whether the request is in an open session."""
        return self.login is not None and self.login.is_open(self._session(environment))

    def cookie(self, session: str, environment: WsgiEnvironment) -> tuple[str, str]:
        """The header field that sets the session's cookie."""
        secure = "; Secure" if environment["wsgi.url_scheme"] == "https" else ""
        path = self._base_path or "/"
        return "Set-Cookie", f"{self._cookie}={session}; Path={path}; HttpOnly; SameSite=Strict{secure}"

    def _has_token(self, environment: WsgiEnvironment) -> bool:
        return self._tokens.is_valid(environment.get(_TOKEN_VARIABLE, ""), self._session(environment))

    def _session(self, environment: WsgiEnvironment) -> str:
        if self.login is None:
            return ""
        try:
            found = SimpleCookie(environment.get("HTTP_COOKIE", "")).get(self._cookie)
        except CookieError:
            return ""
        return "" if found is None else found.value

    def _path(self, environment: WsgiEnvironment) -> str:
        """The path below the base path; any other path gets a form that no rule here has."""
        path: str = environment["PATH_INFO"]
        if not self._base_path or path == self._base_path or path.startswith(f"{self._base_path}/"):
            return path[len(self._base_path) :]
        return f"elsewhere: {path}"
