"""Extends Locust's web page: wraps its views and adds views under ./harness/. Its templates stay unchanged."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import gevent
from flask import Blueprint, Response, jsonify, make_response, render_template, request
from locust.env import Environment
from werkzeug.datastructures import MultiDict

from harness.config.parsing import LONGEST_S
from harness.config.settings import Settings
from harness.errors import SettingsError
from harness.load.stats.snapshot_publisher import SnapshotPublisher
from harness.load.web import form, headers, streams_table
from harness.load.web.form import LoadForm
from harness.load.web.guard import PageGuard
from harness.load.web.login_view import LoginView
from harness.load.web.report_job import ReportFailedError, make_report
from harness.load.web.submitted import FormRules
from harness.results.schema import ResultsError

_HERE = Path(__file__).parent
_END_TIMEOUT_S = 90.0  # more than draining the workers and writing the results take
_POLL_S = 0.1
_REPORT_SCRIPT = '<script type="module" crossorigin>'
_RUNNING_STATES = ("spawning", "running")
_ENDING_STATES = ("stopping", "cleanup", "stopped")
_HEAD = """<meta name="csrf-token" content="{token}">
<link rel="stylesheet" href="./harness/static/page.css"><script src="./harness/static/page.js"></script></head>"""
_LINK = """<a class="harness-charts" href="./harness/charts" target="_blank">Live charts</a></body>"""
"""A link in the bar that Locust's script renders, or in a corner if the bar has no room."""

logger = logging.getLogger(__name__)

View = Callable[..., Any]


class LoadControl(Protocol):
    """What the page needs of the process's session."""

    form: LoadForm
    publisher: SnapshotPublisher

    @property
    def is_test_active(self) -> bool:
        """Whether a test is starting or running, or its results are not completely written."""
        ...

    def prepare_test(self, users: int, values: Mapping[str, str]) -> Settings:
        """Check a test before it starts. Raises SettingsError and ResultsError."""
        ...

    def wait_until_started(self) -> None:
        """Wait until a test that is just being started has started."""
        ...

    def set_users(self, users: int) -> None:
        """The number of users of the running test is about to change. Raises SettingsError if it is impossible."""
        ...

    def flush_results(self) -> Path | None:
        """Write everything known so far to the newest test's results file. Returns the file, if any."""
        ...


class LocustPage:
    """The page of one Locust process: a local runner or the master."""

    def __init__(
        self, control: LoadControl, environment: Environment, web_ui: Any, guard: PageGuard, rules: FormRules
    ) -> None:
        self._control = control
        self._environment = environment
        self._web_ui = web_ui
        self._runner: Any = environment.runner
        self._options: Any = environment.parsed_options
        self._guard = guard
        self._rules = rules

    def attach(self) -> None:
        """Wrap Locust's views and add the harness's."""
        views = self._web_ui.app.view_functions
        locust_report = views["locust.stats_report"]
        for name, wrap in (
            ("locust.index", self._index),
            ("locust.swarm", self._swarm),
            ("locust.stop", self._stop),
            ("locust.request_stats", self._request_stats),
            ("locust.update_user", self._update_user),
        ):
            if name in views:  # old versions of Locust lack some
                views[name] = wrap(views[name])
        views["locust.stats_report"] = self._guarded(self._report)
        update_locust_args = self._web_ui.update_template_args
        self._web_ui.update_template_args = lambda: self._update_template_args(update_locust_args)
        blueprint = Blueprint(
            "harness",
            __name__,
            url_prefix=f"{(self._options.web_base_path or '').rstrip('/')}/harness",
            template_folder=str(_HERE / "templates"),
            static_folder=str(_HERE / "static"),
            static_url_path="/static",
        )
        blueprint.add_url_rule("/charts", "charts", self._guarded(self._charts))
        blueprint.add_url_rule("/live.json", "live", self._guarded(self._live))
        blueprint.add_url_rule("/report", "report", self._guarded(self._report))
        blueprint.add_url_rule("/locust-report", "locust_report", self._locust_report(locust_report))
        LoginView(self._guard).add_to(blueprint)
        self._web_ui.app.register_blueprint(blueprint)

    def _guarded(self, view: View) -> View:
        guarded: View = self._web_ui.auth_required_if_enabled(view)
        return guarded

    def _update_template_args(self, update_locust_args: Callable[[], None]) -> None:
        """The arguments that Locust's script gets when the page loads."""
        update_locust_args()
        arguments = self._web_ui.template_args
        arguments["state"] = self._state(arguments["state"])
        extra: dict[str, dict[str, Any]] = arguments["extra_options"]
        for name, value in self._control.form.values(vars(self._options)).items():
            option = self._rules.options.get(name)
            if name not in extra and option is not None and option.choices:
                extra[name] = {**extra[form.WARM_UP.name], "choices": list(option.choices)}
            if name in extra:
                extra[name]["default_value"] = value
        tabs = streams_table.TABS
        arguments["extended_tabs"] = [*_others(arguments, "extended_tabs"), *(tab.tab for tab in tabs)]
        arguments["extended_tables"] = [*_others(arguments, "extended_tables"), *(tab.table for tab in tabs)]
        arguments["extended_csv_files"] = [
            *[
                link
                for link in arguments.get("extended_csv_files") or []
                if "./harness/" not in link.get("href", "")
            ],
            {"href": "./harness/charts", "title": "Live charts"},
            {"href": "./harness/live.json", "title": "Live snapshot (JSON)"},
            {"href": "./harness/locust-report", "title": "Locust's own report"},
        ]

    def _state(self, locust_state: str) -> str:
        """The state for Locust's script: "running" until the results are written, or it would stop polling too soon."""
        if locust_state in {"stopping", "cleanup"} or (
            locust_state == "stopped" and self._control.is_test_active
        ):
            return "running"
        return locust_state

    def _index(self, locust_view: View) -> View:
        def index() -> Response:
            response = make_response(locust_view())
            if response.mimetype == "text/html":
                nonce = secrets.token_urlsafe(16)
                head = _HEAD.format(token=self._guard.token(request.environ))
                # Locust escapes "<" in its data, so these are tags.
                text = response.get_data(as_text=True).replace("<script>", f'<script nonce="{nonce}">')
                response.set_data(text.replace("</head>", head, 1).replace("</body>", _LINK, 1))
                response.headers["Content-Security-Policy"] = headers.locust_page(nonce)
            return response

        return index

    def _request_stats(self, locust_view: View) -> View:
        def request_stats() -> Response:
            report = locust_view().get_json()
            report["state"] = self._state(report["state"])
            document = self._control.publisher.document
            report["extended_stats"] = [
                *_others(report, "extended_stats"),
                *({"key": tab.key, "data": tab.rows(document)} for tab in streams_table.TABS),
            ]
            return jsonify(report)

        return self._guarded(request_stats)

    def _swarm(self, locust_view: View) -> View:
        def swarm() -> Response:
            try:
                self._prepare()
            except (SettingsError, ResultsError) as problem:
                logger.error("%s", problem)  # noqa: TRY400 - message for the user
                return jsonify({"success": False, "message": str(problem), "host": self._environment.host})
            response: Response = locust_view()
            return response

        return self._guarded(swarm)

    def _prepare(self) -> None:
        """Check the form before Locust's view starts the test. Raises SettingsError and ResultsError."""
        self._rules.check(dict(request.form.lists()))
        form = MultiDict(request.form)
        form["host"] = self._environment.host or ""
        request.form = form  # type: ignore[assignment]  # a cached property of werkzeug, which may be replaced
        if "user_count" not in form:
            return  # Locust's view reports the error, or follows a shape
        users, run_time = int(form["user_count"]), _seconds(form.get("run_time", ""))
        self._control.wait_until_started()
        values = self._control.form.values({**vars(self._options), **form.to_dict()})
        if self._runner.state in _RUNNING_STATES:
            self._edit(values, users)
            return
        self._options.run_time = run_time  # an empty field would leave the previous test's value
        self._options.num_users = users
        self._options.spawn_rate = float(form["spawn_rate"]) if "spawn_rate" in form else None
        workers = self._runner.worker_count
        if workers == 0:
            raise SettingsError("no worker is ready; try again when one is")
        settings = self._control.prepare_test(max(users, workers), values)
        if settings.load.is_open:  # one pacer per process; the schedule alone sets the rate
            form["user_count"] = form["spawn_rate"] = str(workers)
            form["run_time"] = ""
            self._options.run_time = None

    def _update_user(self, locust_view: View) -> View:
        """The class picker's dialog, which may set a few attributes of a class, but not its target."""

        def update_user() -> Any:
            document = request.get_json(force=True, silent=True)
            name = document.get("user_class_name") if isinstance(document, dict) else None
            known: Any = (self._environment.available_user_classes or {}).get(str(name))
            if known is None:
                return _error("unknown user class", 400)
            try:
                self._rules.check_user_class(document, known.json())
            except SettingsError as problem:
                return _error(str(problem), 400)
            return locust_view()

        return self._guarded(update_user)

    def _edit(self, values: dict[str, str], users: int) -> None:
        if values != self._control.form.values(vars(self._options)):
            raise SettingsError("a test is running; stop it before you change its settings")
        if self._control.publisher.document.get("users") is None:
            raise SettingsError("an open loop follows its schedule; the number of users has no effect")
        self._control.set_users(users)

    def _stop(self, locust_view: View) -> View:
        def stop() -> Response:
            self._control.wait_until_started()
            response: Response = locust_view()
            self._await_end()
            return response

        return self._guarded(stop)

    def _await_end(self) -> bool:
        """Wait until a stopping test has ended. Returns whether it did in time."""
        left_s = _END_TIMEOUT_S
        while self._control.is_test_active and self._runner.state in _ENDING_STATES and left_s > 0:
            gevent.sleep(_POLL_S)
            left_s -= _POLL_S
        return left_s > 0

    def _charts(self) -> Response:
        document = self._control.publisher.document
        response = make_response(render_template("harness/charts.html", version=document["version"]))
        response.headers["Content-Security-Policy"] = headers.OUR_PAGE
        return response

    def _live(self) -> Response:
        response = make_response(self._control.publisher.text)
        response.mimetype = "application/json"
        return response

    def _locust_report(self, locust_view: View) -> View:
        def locust_report() -> Response:
            response = make_response(locust_view())
            nonce = secrets.token_urlsafe(16)
            start, tag, rest = response.get_data(as_text=True).partition(_REPORT_SCRIPT)
            script, last_tag, data = rest.rpartition("<script>")  # its data is after it, with "<" escaped
            marked = (one.replace("<script", f'<script nonce="{nonce}"') for one in (tag, last_tag))
            response.set_data("".join((start, next(marked), script, next(marked), data)))
            response.headers["Content-Security-Policy"] = headers.locust_report(nonce)
            return response

        return locust_report

    def _report(self) -> Response:
        """The report of the newest test, which may still be running."""
        self._await_end()
        results = self._control.flush_results()
        if results is None:
            return _error("no report: no test has been started", 404)
        try:
            page = make_report(results, is_test_active=self._control.is_test_active)
        except ReportFailedError as problem:
            logger.error("%s", problem)  # noqa: TRY400 - message for the user
            return _error(str(problem), 500)
        response = make_response(page)
        response.mimetype = "text/html"
        response.headers["Content-Security-Policy"] = headers.our_report(page.decode())
        if request.args.get("download"):
            response.headers["Content-Disposition"] = f'attachment; filename="{results.stem}-report.html"'
        return response


def _error(message: str, status: int) -> Response:
    response = make_response(f"{message}\n", status)
    response.mimetype = "text/plain"
    return response


def _others(arguments: dict[str, Any], key: str) -> list[Any]:
    """The entries that a locustfile added for its own tabs."""
    return [entry for entry in arguments.get(key) or [] if entry["key"] not in streams_table.KEYS]


def _seconds(text: str) -> int | None:
    """Locust's field of the run time. Raises SettingsError."""
    from locust.util.timespan import parse_timespan

    try:
        found = parse_timespan(text) if text.strip() else None
    except ValueError:
        raise SettingsError(
            f"Run time: {text[:60]!r} is not a time; write for example 90s, 20m or 1h30m"
        ) from None
    if found is not None and found > LONGEST_S:
        raise SettingsError(f"Run time: {text[:60]!r} is longer than {LONGEST_S / 86_400:g} days")
    return found
