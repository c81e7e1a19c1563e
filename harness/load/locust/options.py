"""Locust command-line options that say where results go."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def add_options(parser: Any) -> None:
    """Declare the options on Locust's parser."""
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


def path_option(options: Any, name: str) -> Path | None:
    """The value of a path option; None if it was not given."""
    value = getattr(options, name, None)
    return Path(value) if value else None
