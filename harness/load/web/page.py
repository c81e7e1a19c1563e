"""Locust's web page with ours in it: its views are wrapped, its templates and scripts stay as they are."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gevent
from flask import Blueprint, Response, jsonify, make_response, render_template, request
from locust.env import Environment
from werkzeug.datastructures import MultiDict

from harness.errors import SettingsError
from harness.load.web import streams_table
from harness.load.web.report_job import ReportFailedError, report_of
from harness.results.schema import ResultsError

if TYPE_CHECKING:
    from harness.load.session import Session

_HERE = Path(__file__).parent
_ENDING_S = 90.0  # a drain and the writing of the last results take less
_LOOK_AGAIN_S = 0.1
_UNDER_WAY = ("spawning", "running")
_ENDING = ("stopping", "cleanup", "stopped")
_LINK = """<style>
.harness-charts { position: absolute; z-index: 1200; top: 72px; right: calc(max(0px, (100vw - 1536px) / 2) + 24px);
  padding: 4px 12px; border-radius: 4px; background: #15803d; color: #fff; text-decoration: none;
  font: 500 14px Roboto, Helvetica, Arial, sans-serif; }
@media (max-width: 1259px) { .harness-charts { position: fixed; top: auto; right: auto; bottom: 8px; left: 16px; } }
</style><a class="harness-charts" href="./harness/charts" target="_blank">Live charts</a></body>"""
"""It stands beside what Locust's script draws, which never hears of it."""

logger = logging.getLogger(__name__)

View = Callable[..., Any]


class LocustPage:
    """The page of one Locust process: of a local runner, or of the master, which knows what all workers report."""

    def __init__(self, session: Session, environment: Environment, web_ui: Any) -> None:
        self._session = session
        self._environment = environment
        self._web_ui = web_ui
        self._runner: Any = environment.runner
        self._options: Any = environment.parsed_options

    def attach(self) -> None:
        """Wrap the views, and add our own under ./harness/."""
        views = self._web_ui.app.view_functions
        locusts_report = views["locust.stats_report"]
        for name, wrap in (
            ("locust.index", self._index),
            ("locust.swarm", self._swarm),
            ("locust.stop", self._stop),
            ("locust.request_stats", self._request_stats),
        ):
            views[name] = wrap(views[name])
        views["locust.stats_report"] = self._guarded(self._report)
        arguments = self._web_ui.update_template_args
        self._web_ui.update_template_args = lambda: self._fill(arguments)
        ours = Blueprint(
            "harness",
            __name__,
            url_prefix=f"{(self._options.web_base_path or '').rstrip('/')}/harness",
            template_folder=str(_HERE / "templates"),
            static_folder=str(_HERE / "static"),
            static_url_path="/static",
        )
        ours.add_url_rule("/charts", "charts", self._guarded(self._charts))
        ours.add_url_rule("/live.json", "live", self._guarded(self._live))
        ours.add_url_rule("/report", "report", self._guarded(self._report))
        ours.add_url_rule("/locust-report", "locust_report", locusts_report)
        self._web_ui.app.register_blueprint(ours)

    def _guarded(self, view: View) -> View:
        guarded: View = self._web_ui.auth_required_if_enabled(view)
        return guarded

    def _fill(self, locusts: Callable[[], None]) -> None:
        """What Locust's script is told of the page when it is loaded."""
        locusts()
        arguments = self._web_ui.template_args
        arguments["state"] = self._state(arguments["state"])
        for name, value in self._session.form.values(vars(self._options)).items():
            arguments["extra_options"][name]["default_value"] = value
        arguments["extended_tabs"] = [*_others(arguments, "extended_tabs"), streams_table.TAB]
        arguments["extended_tables"] = [*_others(arguments, "extended_tables"), streams_table.TABLE]
        arguments["extended_csv_files"] = [
            *[
                one
                for one in arguments.get("extended_csv_files") or []
                if "./harness/" not in one.get("href", "")
            ],
            {"href": "./harness/charts", "title": "Live charts of the streams"},
            {"href": "./harness/live.json", "title": "Numbers of the streams (JSON)"},
            {"href": "./harness/locust-report", "title": "Locust's own report"},
        ]

    def _state(self, locusts: str) -> str:
        """A test goes on until its results are written, or the page would not ask for its last numbers."""
        if locusts in {"stopping", "cleanup"} or (locusts == "stopped" and self._session.is_open):
            return "running"
        return locusts

    def _index(self, locusts: View) -> View:
        def index() -> Response:
            response = make_response(locusts())
            if response.mimetype == "text/html":
                response.set_data(response.get_data(as_text=True).replace("</body>", _LINK, 1))
            return response

        return index

    def _request_stats(self, locusts: View) -> View:
        def request_stats() -> Response:
            report = locusts().get_json()
            report["state"] = self._state(report["state"])
            data = streams_table.rows(self._session.board.document)
            others = [
                one for one in report.get("extended_stats", []) if one["key"] != streams_table.TAB["key"]
            ]
            report["extended_stats"] = [*others, {"key": streams_table.TAB["key"], "data": data}]
            return jsonify(report)

        return self._guarded(request_stats)

    def _swarm(self, locusts: View) -> View:
        def swarm() -> Response:
            try:
                self._prepare()
            except (SettingsError, ResultsError) as problem:
                logger.error("%s", problem)  # noqa: TRY400 - a sentence for the user
                return jsonify({"success": False, "message": str(problem), "host": self._environment.host})
            response: Response = locusts()
            return response

        return self._guarded(swarm)

    def _prepare(self) -> None:
        """Refuse what cannot be started, before anything has begun. Raises SettingsError and ResultsError."""
        form = MultiDict(request.form)
        users = _whole_number(form.get("user_count", ""))
        if users is None:
            return  # Locust's own view says what is wrong with it
        self._session.await_begin()
        values = self._session.form.values({**vars(self._options), **form.to_dict()})
        if self._runner.state in _UNDER_WAY:
            self._edit(values, users)
            return
        self._options.run_time = None  # Locust keeps that of the test before where the field is empty
        self._options.run_time = _seconds(form.get("run_time", ""))
        self._options.num_users = users
        workers = self._runner.worker_count
        if workers == 0:
            raise SettingsError("no worker is ready; start the test when one is")
        host = str(form.get("host", self._environment.host) or "").replace("<", "").replace(">", "")
        settings = self._session.refuse_or_not(host or None, max(users, workers), values)
        if settings.load.is_open:  # a pump in each process; how fast runs begin is not for users to say
            form["user_count"] = form["spawn_rate"] = str(workers)
            form["run_time"] = ""
            self._options.run_time = None
        request.form = form  # type: ignore[assignment]  # a property that werkzeug caches, and lets replace

    def _edit(self, values: dict[str, str], users: int) -> None:
        if values != self._session.form.values(vars(self._options)):
            raise SettingsError("a test is going on; stop it before you change its settings")
        if self._session.board.document.get("users") is None:
            raise SettingsError("an open loop begins its runs by a schedule, whatever the number of users")
        self._session.users_are_now(users)

    def _stop(self, locusts: View) -> View:
        def stop() -> Response:
            self._session.await_begin()
            response: Response = locusts()
            self._await_end()
            return response

        return self._guarded(stop)

    def _await_end(self) -> bool:
        """Wait until no test is going on that is already told to stop; whether that came about."""
        left_s = _ENDING_S
        while self._session.is_open and self._runner.state in _ENDING and left_s > 0:
            gevent.sleep(_LOOK_AGAIN_S)
            left_s -= _LOOK_AGAIN_S
        return left_s > 0

    def _charts(self) -> str:
        document = self._session.board.document
        return render_template("harness/charts.html", version=document["version"])

    def _live(self) -> Response:
        response = make_response(self._session.board.text)
        response.mimetype = "application/json"
        response.headers["Cache-Control"] = "no-store"
        return response

    def _report(self) -> Response:
        """The report of the newest test, as far as it has come."""
        self._await_end()
        results = self._session.flush()
        if results is None:
            return _refused("there is no report yet: no test has been started", 404)
        try:
            page = report_of(results)
        except ReportFailedError as problem:
            logger.error("%s", problem)  # noqa: TRY400 - a sentence for the user
            return _refused(str(problem), 500)
        response = make_response(page)
        response.mimetype = "text/html"
        response.headers["Cache-Control"] = "no-store"
        if request.args.get("download"):
            response.headers["Content-Disposition"] = f'attachment; filename="{results.stem}-report.html"'
        return response


def _refused(sentence: str, status: int) -> Response:
    response = make_response(f"{sentence}\n", status)
    response.mimetype = "text/plain"
    return response


def _others(arguments: dict[str, Any], key: str) -> list[Any]:
    """What a locustfile put there for tabs of its own."""
    return [one for one in arguments.get(key) or [] if one["key"] != streams_table.TAB["key"]]


def _whole_number(text: str) -> int | None:
    try:
        return int(text)
    except ValueError:
        return None


def _seconds(text: str) -> int | None:
    from locust.util.timespan import parse_timespan

    try:
        return parse_timespan(text) if text.strip() else None
    except ValueError:
        return None  # Locust's own view says so
