"""Puts the guard in front of Locust's page, and the harness's views into it."""

from __future__ import annotations

import argparse
import logging
import os
import re
import secrets
import sys
from pathlib import PurePath
from typing import Any

from flask import request
from locust import argument_parser
from locust.env import Environment

from harness.config.settings import PASSWORD_VARIABLE
from harness.errors import SettingsError
from harness.load.web import login
from harness.load.web.form import TRACE
from harness.load.web.guard import LARGEST_BODY, PageGuard
from harness.load.web.origin import LOOPBACK, OwnOrigin, is_loopback
from harness.load.web.page import LoadControl, LocustPage
from harness.load.web.submitted import FormOption, FormRules

_FILE_WORDS = re.compile(r"(?:^|[_ .-])(?:file|path|dir|directory|folder)s?$", re.IGNORECASE)

logger = logging.getLogger(__name__)


class _LoggedIn:
    """The user of a session, for Locust's own check."""

    is_authenticated = is_active = True
    is_anonymous = False


def install(control: LoadControl, environment: Environment, web_ui: Any) -> None:
    """Guard the page and extend it. Raises SettingsError if other machines could use it without a password."""
    options: Any = environment.parsed_options
    if not options.web_login:
        _stay_on_loopback(options, web_ui)
    base_path = (options.web_base_path or "").rstrip("/")
    guard = PageGuard(
        web_ui.app.wsgi_app,
        OwnOrigin(web_ui.host, (_host_name(options.web_host_display_name),)),
        login.Login(_password()) if options.web_login else None,
        base_path=base_path,
        cookie=f"harness_session_{options.web_port}",
    )
    app = web_ui.app
    app.wsgi_app = guard
    app.config.update(
        MAX_CONTENT_LENGTH=LARGEST_BODY, SESSION_COOKIE_HTTPONLY=True, SESSION_COOKIE_SAMESITE="Strict"
    )
    app.secret_key = app.secret_key or secrets.token_bytes(32)
    if options.web_login:
        web_ui.login_manager.request_loader(
            lambda _: _LoggedIn() if guard.is_logged_in(request.environ) else None
        )
    LocustPage(control, environment, web_ui, guard, _rules(control, environment, web_ui)).attach()


def _stay_on_loopback(options: Any, web_ui: Any) -> None:
    """Without a password the page is for this machine. Locust's default is every address."""
    if not options.web_host:
        web_ui.host = LOOPBACK
        logger.info(
            "the page listens on %s only; for other machines use --web-host ADDRESS --web-login", LOOPBACK
        )
    elif not is_loopback(web_ui.host):
        raise SettingsError(
            f"with --web-host {options.web_host} other machines could start tests and see the results; "
            "add --web-login, which asks for a password"
        )


def _password() -> str:
    """The login's password: the variable's, or a random one that is printed."""
    password = os.environ.pop(PASSWORD_VARIABLE, "")
    if password:
        return login.checked_password(password)
    password = login.new_password()
    sys.stderr.write(f"password of the page: {password}\n")
    return password


def _host_name(url: str | None) -> str:
    """The host in a URL, or in a host with a port."""
    return re.sub(r"^\w+://|[:/].*$", "", url or "")


def _rules(control: LoadControl, environment: Environment, web_ui: Any) -> FormRules:
    picks_classes = bool(web_ui.userclass_picker_is_active)
    return FormRules(
        target=environment.host or "",
        options=_options(control, environment.parsed_options),
        user_classes=frozenset(environment.available_user_classes or ()) if picks_classes else None,
        shape_classes=frozenset({"Default", *(environment.available_shape_classes or ())}),
    )


def _options(control: LoadControl, values: Any) -> dict[str, FormOption]:
    """The options that Locust shows in its form."""
    of_locust = argument_parser.default_args_dict()
    found = {
        name: _option(action, getattr(values, name, None), is_parsed=name in control.form.defaults)
        for name, action in argument_parser.get_parser().args_included_in_web_ui.items()
        if name not in of_locust
    }
    if trace := getattr(values, TRACE, ""):
        found[TRACE] = FormOption(initial=frozenset({trace}), choices=("", trace))
    return found


def _option(action: Any, value: Any, *, is_parsed: bool) -> FormOption:
    names = (action.dest, action.metavar if isinstance(action.metavar, str) else "")
    has_file_type = action.type is open or isinstance(value, PurePath) or hasattr(value, "read")
    is_path_type = isinstance(action.type, type) and issubclass(action.type, PurePath)
    is_file_type = isinstance(action.type, argparse.FileType)
    return FormOption(
        initial=frozenset(str(one) for one in (value if isinstance(value, list | tuple) else (value,))),
        choices=tuple(str(choice) for choice in action.choices) if action.choices else None,
        names_file=not is_parsed
        and (has_file_type or is_path_type or is_file_type or any(map(_FILE_WORDS.search, names))),
        is_parsed=is_parsed and not action.choices,
    )
