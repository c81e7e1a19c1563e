"""Extends Locust's web page: wraps its views and adds views under ./harness/. Its templates stay unchanged."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import gevent
from flask import Blueprint, Response, jsonify, make_response, render_template, request
from locust.env import Environment
from werkzeug.datastructures import MultiDict

from harness.config.settings import Settings
from harness.errors import SettingsError
from harness.load.stats.snapshot_publisher import SnapshotPublisher
from harness.load.web import streams_table
from harness.load.web.form import LoadForm
from harness.load.web.report_job import ReportFailedError, make_report
from harness.results.schema import ResultsError

_HERE = Path(__file__).parent
_END_TIMEOUT_S = 90.0  # more than draining the workers and writing the results take
_POLL_S = 0.1
_RUNNING_STATES = ("spawning", "running")
_ENDING_STATES = ("stopping", "cleanup", "stopped")
_LINK = """<style>
.harness-charts { position: absolute; z-index: 1200; top: 18px; left: calc(max(0px, (100vw - 1536px) / 2) + 226px);
  padding: 2px 12px; border: 1px solid #ffffff99; border-radius: 4px; color: #fff; text-decoration: none;
  font: 500 14px Roboto, Helvetica, Arial, sans-serif; }
@media (max-width: 1259px) {
  .harness-charts { position: fixed; top: auto; bottom: 8px; left: 16px; background: #15803d; } }
</style><a class="harness-charts" href="./harness/charts" target="_blank">Live charts</a></body>"""
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

    def prepare_test(self, host: str | None, users: int, values: Mapping[str, str]) -> Settings:
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

    def __init__(self, control: LoadControl, environment: Environment, web_ui: Any) -> None:
        self._control = control
        self._environment = environment
        self._web_ui = web_ui
        self._runner: Any = environment.runner
        self._options: Any = environment.parsed_options

    def attach(self) -> None:
        """Wrap Locust's views and add the harness's."""
        views = self._web_ui.app.view_functions
        locust_report = views["locust.stats_report"]
        for name, wrap in (
            ("locust.index", self._index),
            ("locust.swarm", self._swarm),
            ("locust.stop", self._stop),
            ("locust.request_stats", self._request_stats),
        ):
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
        blueprint.add_url_rule("/locust-report", "locust_report", locust_report)
        self._web_ui.app.register_blueprint(blueprint)

    def _guarded(self, view: View) -> View:
        guarded: View = self._web_ui.auth_required_if_enabled(view)
        return guarded

    def _update_template_args(self, update_locust_args: Callable[[], None]) -> None:
        """The arguments that Locust's script gets when the page loads."""
        update_locust_args()
        arguments = self._web_ui.template_args
        arguments["state"] = self._state(arguments["state"])
        for name, value in self._control.form.values(vars(self._options)).items():
            arguments["extra_options"][name]["default_value"] = value
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
                response.set_data(response.get_data(as_text=True).replace("</body>", _LINK, 1))
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
        form = MultiDict(request.form)
        users = _whole_number(form.get("user_count", ""))
        if users is None:
            return  # Locust's view reports the error
        self._control.wait_until_started()
        values = self._control.form.values({**vars(self._options), **form.to_dict()})
        if self._runner.state in _RUNNING_STATES:
            self._edit(values, users)
            return
        self._options.run_time = None  # an empty field would leave the previous test's value
        self._options.run_time = _seconds(form.get("run_time", ""))
        self._options.num_users = users
        self._options.spawn_rate = _number(form.get("spawn_rate", ""))
        workers = self._runner.worker_count
        if workers == 0:
            raise SettingsError("no worker is ready; try again when one is")
        host = str(form.get("host", self._environment.host) or "").replace("<", "").replace(">", "")
        settings = self._control.prepare_test(host or None, max(users, workers), values)
        if settings.load.is_open:  # one pacer per process; the schedule alone sets the rate
            form["user_count"] = form["spawn_rate"] = str(workers)
            form["run_time"] = ""
            self._options.run_time = None
        request.form = form  # type: ignore[assignment]  # a cached property of werkzeug, which may be replaced

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

    def _charts(self) -> str:
        document = self._control.publisher.document
        return render_template("harness/charts.html", version=document["version"])

    def _live(self) -> Response:
        response = make_response(self._control.publisher.text)
        response.mimetype = "application/json"
        response.headers["Cache-Control"] = "no-store"
        return response

    def _report(self) -> Response:
        """The report of the newest test, which may still be running."""
        self._await_end()
        results = self._control.flush_results()
        if results is None:
            return _error("no report: no test has been started", 404)
        try:
            page = make_report(results)
        except ReportFailedError as problem:
            logger.error("%s", problem)  # noqa: TRY400 - message for the user
            return _error(str(problem), 500)
        response = make_response(page)
        response.mimetype = "text/html"
        response.headers["Cache-Control"] = "no-store"
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


def _whole_number(text: str) -> int | None:
    try:
        return int(text)
    except ValueError:
        return None


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None  # Locust's view reports the error


def _seconds(text: str) -> int | None:
    from locust.util.timespan import parse_timespan

    try:
        return parse_timespan(text) if text.strip() else None
    except ValueError:
        return None  # Locust's view reports the error
