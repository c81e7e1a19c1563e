"""The login's page, and what it submits."""

from __future__ import annotations

import math

from flask import Blueprint, Response, make_response, render_template, request
from werkzeug.wrappers import Response as AnyResponse

from harness.load.web import headers
from harness.load.web.guard import PageGuard
from harness.load.web.login import TooManyAttemptsError

_FORBIDDEN = 403
_TOO_MANY = 429


class LoginView:
    """Shows the form and opens sessions. The form has the token of requests without a session."""

    def __init__(self, guard: PageGuard) -> None:
        self._guard = guard

    def add_to(self, blueprint: Blueprint) -> None:
        """Add the view to the harness's routes."""
        blueprint.add_url_rule("/login", "login", self._view, methods=["GET", "POST"])

    def _view(self) -> AnyResponse:
        login = self._guard.login
        if login is None or self._guard.is_logged_in(request.environ):
            return _redirect()
        if request.method != "POST":
            return self._page("", 200)
        if not self._guard.is_anonymous_token(request.form.get("csrf_token", "")):
            return self._page("This form is too old. Try again.", _FORBIDDEN)
        try:
            session = login.open_session(request.form.get("password", ""), request.remote_addr or "")
        except TooManyAttemptsError as problem:
            response = self._page("Too many wrong passwords. Wait a minute.", _TOO_MANY)
            response.headers["Retry-After"] = str(math.ceil(problem.retry_after_s))
            return response
        if session is None:
            return self._page("The password is wrong.", _FORBIDDEN)
        response = _redirect()
        response.headers.add(*self._guard.cookie(session, request.environ))
        return response

    def _page(self, problem: str, status: int) -> Response:
        page = render_template("harness/login.html", problem=problem, token=self._guard.anonymous_token())
        response = make_response(page, status)
        response.headers["Content-Security-Policy"] = headers.OUR_PAGE
        return response


def _redirect() -> Response:
    response = make_response("", 303)
    response.headers["Location"] = "../"
    response.autocorrect_location_header = False
    return response
