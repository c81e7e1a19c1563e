"""``harness check``: load and conformance suite at the same time."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .artifact_options import artifact_options
from .options import gate_options, load_options, out_option, settings_from_options, target_options
from .output_options import output_options

if TYPE_CHECKING:
    from harness.ci.artifacts import Artifacts
    from harness.terminal.output import Output


@click.command()
@target_options
@load_options
@out_option
@gate_options
@artifact_options
@output_options
def check(
    out: Path | None, artifacts: Artifacts, baseline: Path | None, output: Output, **options: Any
) -> None:
    """Run the load and the conformance suite at the same time.

    Then write the report and evaluate the gate. Without a target, the embedded server is started, tested and stopped.

    \b
    Example: harness check --target https://agent.example.com --users 20 --duration 60s
    """
    from harness.commands.check import run_check

    sys.exit(run_check(settings_from_options(**options), out, artifacts, baseline, output))
