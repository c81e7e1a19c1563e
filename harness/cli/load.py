"""The verbs that test a server: check, conformance, load, capacity."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from harness.ci.artifacts import Artifacts
from harness.errors import SettingsError
from harness.terminal.output import Output

from .artifact_options import artifact_options
from .options import (
    gate_options,
    load_options,
    out_option,
    settings_of,
    target_options,
)
from .output_options import output_options


@click.command()
@target_options
@load_options
@out_option
@gate_options
@artifact_options
@output_options
@click.option("--web", is_flag=True, help="Serve Locust's web page, and start tests there.")
@click.option(
    "--web-port",
    type=click.IntRange(1, 65535),
    default=8089,
    show_default=True,
    help="Port of that page, on this machine alone.",
)
def load(
    out: Path | None,
    artifacts: Artifacts,
    baseline: Path | None,
    screen: Output,
    web: bool,
    web_port: int,
    **options: Any,
) -> None:
    """Drive concurrent runs with headless Locust, or in its web page, judging every stream.

    \b
    Example: harness load --target https://agent.example.com --rate 5 --duration 2m --processes 2
    """
    from harness.commands.load import run_load

    if web:
        from harness.commands.load_web import run_load_web

        if baseline is not None or artifacts.junit or artifacts.badges or artifacts.summary_md:
            raise SettingsError(
                "--web starts tests by hand, and gives no verdict: leave baseline and artifacts out"
            )
        sys.exit(run_load_web(settings_of(**options), out, web_port))
    sys.exit(run_load(settings_of(**options), out, artifacts, baseline, screen))
