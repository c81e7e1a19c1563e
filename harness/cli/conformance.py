"""``harness conformance``: the conformance suite only."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from harness.errors import SettingsError

from . import complete
from .artifact_options import artifact_options
from .options import (
    budget_requests_option,
    by_hand_option,
    max_concurrency_option,
    out_option,
    read_only_option,
    settings_from_options,
    target_options,
)
from .output_options import suite_output

if TYPE_CHECKING:
    from harness.ci.artifacts import Artifacts


@click.command(context_settings={"ignore_unknown_options": True, "allow_extra_args": True})
@target_options
@out_option
@click.option(
    "--json",
    "json_file",
    type=click.Path(path_type=Path, allow_dash=True),
    help="Write the verdicts as JSON. - is standard output; everything else then goes to standard error.",
)
@click.option("--quiet", is_flag=True, help="Print only the verdict, in one line.")
@click.option(
    "--known-failures",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="File that lists the known failures; these do not fail the run.",
)
@click.option("--update-known-failures", is_flag=True, help="Write the failures of this run to that file.")
@click.option("--strict", is_flag=True, help="Fail on warnings and on MUSTs that are inconclusive.")
@max_concurrency_option
@read_only_option
@by_hand_option
@budget_requests_option
@artifact_options
@click.argument("pytest_args", nargs=-1, type=click.UNPROCESSED, shell_complete=complete.requirements)
def conformance(
    out: Path | None,
    json_file: Path | None,
    quiet: bool,
    artifacts: Artifacts,
    known_failures: Path | None,
    update_known_failures: bool,
    strict: bool,
    max_concurrency: int | None,
    read_only: bool,
    restart_by_hand: bool,
    pytest_args: Sequence[str],
    **options: Any,
) -> None:
    """Run the conformance suite only. Other arguments are passed to pytest: -k, -x, -m, -n, -v, …

    \b
    Example: harness conformance --target https://agent.example.com -k resume -x --json verdicts.json
    """
    from harness.atomic_file import ensure_writable
    from harness.commands.conformance import run_conformance, write_untested
    from harness.commands.suite_process import own_terminal

    if max_concurrency is not None:
        pytest_args = ["--harness-max-concurrency", str(max_concurrency), *pytest_args]
    if read_only:
        pytest_args = ["--harness-read-only", *pytest_args]
    if restart_by_hand:
        pytest_args = ["--harness-restart", own_terminal(), *pytest_args]
    if known_failures is not None:
        pytest_args = ["--harness-known-failures", str(known_failures), *pytest_args]
    if update_known_failures:
        if known_failures is None:
            raise SettingsError("--update-known-failures needs --known-failures FILE: the file to write")
        ensure_writable(known_failures)
        pytest_args = ["--harness-update-known-failures", *pytest_args]
    with suite_output(json_file, quiet=quiet) as (output, file):
        try:
            settings = settings_from_options(**options)
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
            output=output,
        )
    sys.exit(code)
