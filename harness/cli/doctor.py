"""``harness doctor``: check this machine and the target before a test."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from .options import load_options, out_option, settings_of, target_options


@click.command()
@target_options
@load_options
@out_option
@click.option("--json", "as_json", is_flag=True, help="One JSON document on standard output.")
def doctor(out: Path | None, as_json: bool, **options: Any) -> None:
    """Look this machine over, and the target where one is named: what stands in the way of a test, and what to do.

    Two requests are sent to the target, one of which runs its long action (or success). Give the options of
    the load that is planned: limits are held against it. Exit codes: 0 nothing failed, 1 something did, 2 usage.

    \b
    Example: harness doctor --target https://agent.example.com --rate 200
    """
    from harness.setup.doctor import run_doctor

    sys.exit(run_doctor(settings_of(**options), out, as_json=as_json))
