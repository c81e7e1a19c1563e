"""``harness conformance``: the conformance suite alone."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from harness.ci.artifacts import Artifacts
from harness.errors import SettingsError

from .artifact_options import artifact_options
from .options import (
    out_option,
    settings_of,
    target_options,
)
from .output_options import suite_output


@click.command(context_settings={"ignore_unknown_options": True, "allow_extra_args": True})
@target_options
@out_option
@click.option(
    "--json",
    "json_file",
    type=click.Path(path_type=Path, allow_dash=True),
    help="Write the verdicts as JSON; - is standard output, and all else then goes to stderr.",
)
@click.option("--quiet", is_flag=True, help="Only the verdict, in one line.")
@click.option("--baseline", type=click.Path(path_type=Path), help="List of known failures.")
@click.option("--baseline-update", is_flag=True, help="Write that list from this run.")
@click.option("--strict", is_flag=True, help="Warnings and inconclusive MUSTs fail too.")
@artifact_options
@click.argument("pytest_args", nargs=-1, type=click.UNPROCESSED)
def conformance(
    out: Path | None,
    json_file: Path | None,
    quiet: bool,
    artifacts: Artifacts,
    baseline: Path | None,
    baseline_update: bool,
    strict: bool,
    pytest_args: Sequence[str],
    **options: Any,
) -> None:
    """Run the conformance suite alone. Further arguments go to pytest: -k, -x, -m, -n, -v, …

    \b
    Example: harness conformance --target https://agent.example.com -k resume -x --json verdicts.json
    """
    from harness.commands.conformance import run_conformance, write_untested

    if baseline is not None:
        pytest_args = ["--harness-baseline", str(baseline), *pytest_args]
    if baseline_update:
        if baseline is None:
            raise SettingsError("--baseline-update needs --baseline FILE: where to write the list")
        pytest_args = ["--harness-baseline-update", *pytest_args]
    with suite_output(json_file, quiet=quiet) as (screen, file):
        try:
            settings = settings_of(**options)
        except SettingsError as problem:
            if file is not None:
                write_untested(file, str(problem))
            raise
        code = run_conformance(
            settings,
            out=out,
            json_file=file,
            artifacts=artifacts,
            strict=strict,
            pytest_args=pytest_args,
            screen=screen,
        )
    sys.exit(code)
