"""The options that say what a CI is to be given, and the Artifacts that they make."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import click

from harness.ci.artifacts import Artifacts
from harness.config.settings import CONFIG_FILE, CONFIG_VARIABLE


def artifact_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds --junit, --badge and --summary-md; the command gets them as `artifacts`.

    In a GitHub workflow annotations, step summary and outputs come besides, without an option.
    """

    @click.option(
        "--junit", type=click.Path(path_type=Path), help="Write JUnit XML: a case per objective, requirement."
    )
    @click.option(
        "--badge",
        "badges",
        type=click.Path(path_type=Path),
        multiple=True,
        help="Write a badge: FILE.svg, or FILE.json for shields.io; may be repeated.",
    )
    @click.option("--summary-md", type=click.Path(path_type=Path), help="Write the summary as Markdown.")
    @wraps(command)
    def with_artifacts(
        junit: Path | None, badges: tuple[Path, ...], summary_md: Path | None, **options: Any
    ) -> Any:
        settings_file = options.get("config") or Path(os.environ.get(CONFIG_VARIABLE) or CONFIG_FILE)
        return command(artifacts=Artifacts(junit, badges, summary_md, settings_file), **options)

    return with_artifacts
