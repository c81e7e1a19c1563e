"""The options that choose between text for people, one line and JSON on standard output."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from harness.errors import HarnessError, SettingsError
from harness.exit_codes import NOT_TESTED

if TYPE_CHECKING:
    from harness.terminal.output import Output

_STANDARD_OUTPUT = Path("-")


def output_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add --quiet and --json. The command runs inside an Output and receives it as `output`."""

    @click.option("--quiet", is_flag=True, help="Print only the verdict, in one line.")
    @click.option(
        "--json",
        "as_json",
        is_flag=True,
        help="Print one JSON document to standard output, everything else to standard error.",
    )
    @wraps(command)
    def with_output(*, quiet: bool, as_json: bool, **options: Any) -> Any:
        return _call(command, quiet=quiet, as_json=as_json, **options)

    return with_output


def _call(command: Callable[..., Any], *, quiet: bool, as_json: bool, **options: Any) -> Any:
    """Call `command` with an Output. With --json, a test that cannot start is a JSON document too."""
    from harness.terminal.output import Output, OutputMode

    if quiet and as_json:
        raise SettingsError("--quiet and --json are mutually exclusive; use one of them")
    mode = OutputMode.PROGRAM if as_json else OutputMode.QUIET if quiet else OutputMode.PERSON
    with Output(mode) as output:
        try:
            return command(output=output, **options)
        except HarnessError as problem:
            if as_json:
                output.emit_json(
                    {
                        "version": 1,
                        "verdict": "not begun",
                        "exit_code": NOT_TESTED,
                        "problems": [str(problem)],
                    }
                )
            raise


@contextmanager
def suite_output(json_file: Path | None, *, quiet: bool) -> Iterator[tuple[Output, Path | None]]:
    """An Output for the suite, and the file for its JSON. For ``-`` a temporary file, printed when the block ends.

    Raises SettingsError for --quiet together with ``--json -``.
    """
    from harness.atomic_file import temporary_folder
    from harness.terminal.output import Output, OutputMode

    if json_file != _STANDARD_OUTPUT:
        with Output(OutputMode.QUIET if quiet else OutputMode.PERSON) as output:
            yield output, json_file
        return
    if quiet:
        raise SettingsError("--quiet and --json - are mutually exclusive; use one of them")
    with Output(OutputMode.PROGRAM) as output, temporary_folder() as folder:
        file = folder / "verdicts.json"
        try:
            yield output, file
        finally:
            if file.exists():
                output.emit_json(json.loads(file.read_text(encoding="utf-8")))
