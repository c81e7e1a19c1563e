"""The options that say who reads what a test says, and the Screen that they make."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click

from harness.errors import HarnessError, SettingsError
from harness.exit_codes import NOT_TESTED
from harness.terminal.output import Output, OutputMode

STANDARD_OUTPUT = Path("-")


def output_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds --quiet and --json; the command gets what they make as `screen`, entered."""

    @click.option("--quiet", is_flag=True, help="Only the verdict, in one line.")
    @click.option(
        "--json", "as_json", is_flag=True, help="One JSON document on standard output; all else on stderr."
    )
    @wraps(command)
    def with_screen(*, quiet: bool, as_json: bool, **options: Any) -> Any:
        return output_for(command, quiet=quiet, as_json=as_json, **options)

    return with_screen


def output_for(command: Callable[..., Any], *, quiet: bool, as_json: bool, **options: Any) -> Any:
    """Call `command` with a Screen; a program is told in JSON also that nothing was tested, and why."""
    if quiet and as_json:
        raise SettingsError("--quiet and --json exclude each other; give one")
    voice = OutputMode.PROGRAM if as_json else OutputMode.QUIET if quiet else OutputMode.PERSON
    with Output(voice) as screen:
        try:
            return command(screen=screen, **options)
        except HarnessError as problem:
            if as_json:
                screen.emit_json(
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
    """A Screen for the suite, and the file that its verdicts go to: of ``-`` one whose content is printed at the end.

    Raises SettingsError where both were asked for.
    """
    if json_file != STANDARD_OUTPUT:
        with Output(OutputMode.QUIET if quiet else OutputMode.PERSON) as screen:
            yield screen, json_file
        return
    if quiet:
        raise SettingsError("--quiet and --json - exclude each other; give one")
    with Output(OutputMode.PROGRAM) as screen, TemporaryDirectory(prefix="harness-") as folder:
        file = Path(folder) / "verdicts.json"
        try:
            yield screen, file
        finally:
            if file.exists():
                screen.emit_json(json.loads(file.read_text(encoding="utf-8")))
