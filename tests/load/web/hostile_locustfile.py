"""A locustfile whose names and exceptions are hostile texts, with options and a route of its own."""

from __future__ import annotations

import itertools
import json
import logging
from pathlib import Path
from typing import Any

from locust import events, task

from harness.load.session import Session, settings_or_exit
from harness.load.users import AgentRunUser
from tests.load.web.hostile import SCRIPTS

_streams = itertools.count()
_failures = itertools.count()


class HostileUser(AgentRunUser):
    """Runs journeys of such names, and fails with such messages."""

    @task(5)
    def stream(self) -> None:
        text = SCRIPTS[next(_streams) % len(SCRIPTS)]
        with self.journey(text) as journey:
            journey.stream(text, journey.target.run("success"))

    @task(1)
    def fail(self) -> None:
        number = next(_failures)
        if number >= len(SCRIPTS):
            return
        text = SCRIPTS[number]
        logging.getLogger(text).error("%s", text)
        raise ValueError(text)


@events.init_command_line_parser.add_listener
def _add_options(parser: Any) -> None:
    parser.add_argument("--region", default=SCRIPTS[1], help=SCRIPTS[2])
    parser.add_argument("--data", type=Path, default=None)
    parser.add_argument("--input-file", default=None)


Session(settings_or_exit()).listen(events)


@events.init.add_listener
def _add_routes(environment: Any, web_ui: Any, **_: Any) -> None:
    if web_ui is None:
        return

    @web_ui.app.route("/own/routes")
    def routes() -> str:
        """Every rule of the application with its methods."""
        return json.dumps({str(rule): sorted(rule.methods) for rule in web_ui.app.url_map.iter_rules()})

    @web_ui.app.route("/own/options")
    def options() -> str:
        return json.dumps({**vars(environment.parsed_options), "host": environment.host}, default=str)

    @web_ui.app.route("/own/change", methods=["POST"])
    def change() -> str:
        return "changed"
