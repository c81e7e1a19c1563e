"""The options that name the files to write for a CI system."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import click


def artifact_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that name files. The command receives them as `artifacts`, an Artifacts.

    In a GitHub workflow, annotations, step summary and outputs are written without an option.
    """

    @click.option(
        "--junit",
        type=click.Path(path_type=Path),
        help="Write JUnit XML: a case per objective and requirement.",
    )
    @click.option("--ctrf", type=click.Path(path_type=Path), help="Write the same cases as CTRF JSON.")
    @click.option(
        "--badge",
        "badges",
        type=click.Path(path_type=Path),
        multiple=True,
        help="Write a badge: FILE.svg, or FILE.json for shields.io. Repeatable.",
    )
    @click.option("--summary-md", type=click.Path(path_type=Path), help="Write the summary as Markdown.")
    @click.option(
        "--comment-md",
        type=click.Path(path_type=Path),
        help="Write a short comment for a pull request, which harness comment posts or updates.",
    )
    @wraps(command)
    def with_artifacts(
        junit: Path | None,
        ctrf: Path | None,
        badges: tuple[Path, ...],
        summary_md: Path | None,
        comment_md: Path | None,
        **options: Any,
    ) -> Any:
        from harness.ci.artifacts import Artifacts
        from harness.config.settings import CONFIG_FILE, CONFIG_VARIABLE

        settings_file = options.get("config") or Path(os.environ.get(CONFIG_VARIABLE) or CONFIG_FILE)
        artifacts = Artifacts(junit, badges, summary_md, settings_file, ctrf=ctrf, comment_md=comment_md)
        return command(artifacts=artifacts, **options)

    return with_artifacts
