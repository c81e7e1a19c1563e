"""``harness check``: load and conformance suite at the same time."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from harness.ci.artifacts import Artifacts
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
def check(
    out: Path | None, artifacts: Artifacts, baseline: Path | None, screen: Output, **options: Any
) -> None:
    """Drive concurrent runs and judge the contract at the same time; then report and gate.

    Without a target the embedded server is started, tested and stopped.

    \b
    Example: harness check --target https://agent.example.com --users 20 --duration 60s
    """
    from harness.commands.check import run_check

    sys.exit(run_check(settings_of(**options), out, artifacts, baseline, screen))
