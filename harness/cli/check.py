"""``harness check``: load and conformance suite at the same time."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .artifact_options import artifact_options
from .options import (
    budget_requests_option,
    by_hand_option,
    gate_options,
    load_options,
    max_concurrency_option,
    out_option,
    read_only_option,
    settings_from_options,
    target_options,
)
from .output_options import output_options

if TYPE_CHECKING:
    from harness.ci.artifacts import Artifacts
    from harness.terminal.output import Output


@click.command()
@target_options
@load_options
@out_option
@gate_options
@max_concurrency_option
@read_only_option
@by_hand_option
@budget_requests_option
@artifact_options
@output_options
def check(
    out: Path | None,
    artifacts: Artifacts,
    baseline: Path | None,
    max_concurrency: int | None,
    read_only: bool,
    restart_by_hand: bool,
    output: Output,
    **options: Any,
) -> None:
    """Run the load and the conformance suite at the same time.

    Then write the report and evaluate the gate. Without a target, the embedded server is started, tested and stopped.

    \b
    Example: harness check --target https://agent.example.com --users 20 --duration 60s
    """
    from harness.commands.check import run_check

    settings = settings_from_options(**options)
    sys.exit(
        run_check(
            settings,
            out,
            artifacts,
            baseline,
            output,
            max_concurrency=max_concurrency,
            read_only=read_only,
            restart_by_hand=restart_by_hand,
        )
    )
