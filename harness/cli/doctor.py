"""``harness doctor``: check this machine and the target before a test."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from .options import load_options, out_option, settings_from_options, target_options


@click.command()
@target_options
@load_options
@out_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document to standard output.")
def doctor(out: Path | None, as_json: bool, **options: Any) -> None:
    """Check this machine and the target before a test.

    If a target is configured, sends two requests to it; one of them runs its long action (or success). Pass
    the options of the planned load, so that the limits of this machine are checked against it.

    Exit codes: 0 no check failed, 1 a check failed, 2 wrong usage.

    \b
    Example: harness doctor --target https://agent.example.com --rate 200
    """
    from harness.setup.doctor import run_doctor

    sys.exit(run_doctor(settings_from_options(**options), out, as_json=as_json))
