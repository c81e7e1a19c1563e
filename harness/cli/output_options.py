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
from harness.terminal.output import Screen, Voice

STANDARD_OUTPUT = Path("-")


def voice_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds --quiet and --json; the command gets what they make as `screen`, entered."""

    @click.option("--quiet", is_flag=True, help="Only the verdict, in one line.")
    @click.option(
        "--json", "as_json", is_flag=True, help="One JSON document on standard output; all else on stderr."
    )
    @wraps(command)
    def with_screen(*, quiet: bool, as_json: bool, **options: Any) -> Any:
        return speaking(command, quiet=quiet, as_json=as_json, **options)

    return with_screen


def speaking(command: Callable[..., Any], *, quiet: bool, as_json: bool, **options: Any) -> Any:
    """Call `command` with a Screen; a program is told in JSON also that nothing was tested, and why."""
    if quiet and as_json:
        raise SettingsError("--quiet and --json exclude each other; give one")
    voice = Voice.PROGRAM if as_json else Voice.QUIET if quiet else Voice.PERSON
    with Screen(voice) as screen:
        try:
            return command(screen=screen, **options)
        except HarnessError as problem:
            if as_json:
                screen.give(
                    {
                        "version": 1,
                        "verdict": "not begun",
                        "exit_code": NOT_TESTED,
                        "problems": [str(problem)],
                    }
                )
            raise


@contextmanager
def verdicts_on(json_file: Path | None, *, quiet: bool) -> Iterator[tuple[Screen, Path | None]]:
    """A Screen for the suite, and the file that its verdicts go to: of ``-`` one whose content is printed at the end.

    Raises SettingsError where both were asked for.
    """
    if json_file != STANDARD_OUTPUT:
        with Screen(Voice.QUIET if quiet else Voice.PERSON) as screen:
            yield screen, json_file
        return
    if quiet:
        raise SettingsError("--quiet and --json - exclude each other; give one")
    with Screen(Voice.PROGRAM) as screen, TemporaryDirectory(prefix="harness-") as folder:
        file = Path(folder) / "verdicts.json"
        try:
            yield screen, file
        finally:
            if file.exists():
                screen.give(json.loads(file.read_text(encoding="utf-8")))
