"""Locust command-line options that say where results go."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from harness.errors import SettingsError
from harness.load.bounds.limits import refuse_processes


def add_options(parser: Any) -> None:
    """Declare the options on Locust's parser, and bound its --processes: it forks before the locustfile is asked."""
    for action in parser._actions:  # noqa: SLF001 - argparse has no way to look an option up
        if action.dest == "processes":
            action.type = _processes
    parser.add_argument(
        "--harness-out",
        metavar="DIR",
        default=None,
        include_in_web_ui=False,
        help="Write results.sqlite and summary.json of each test to this directory.",
    )
    parser.add_argument(
        "--harness-live",
        metavar="FILE",
        default=None,
        include_in_web_ui=False,
        help="Keep a live snapshot of the test in this file, as JSON, updated once a second.",
    )
    parser.add_argument(
        "--harness-restarts",
        metavar="FILE",
        default=None,
        include_in_web_ui=False,
        help="The file by which the conformance suite tells that it restarts the server.",
    )


def _processes(text: str) -> int:
    processes = int(text)
    try:
        refuse_processes(processes)
    except SettingsError as problem:
        raise argparse.ArgumentTypeError(str(problem)) from None
    return processes


def path_option(options: Any, name: str) -> Path | None:
    """The value of a path option; None if it was not given."""
    value = getattr(options, name, None)
    return Path(value) if value else None
