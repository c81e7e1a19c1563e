"""Runs the shipped conformance suite in a pytest process of its own.

Of its own, because Locust patches the interpreter that it is loaded into, and because a user's pytest
settings must not reach into a verdict about a server.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import harness.conformance
from harness.children import Children
from harness.preflight import PreflightError, ensure_testable
from harness.settings import ENV_PREFIX, Settings, SettingsError
from harness.verdicts import Verdicts

SUITE = Path(harness.conformance.__file__).resolve().parent
_PYTEST_USAGE_ERROR = 4
_PYTEST_NO_TESTS = 5


@contextmanager
def private_settings(settings: Settings) -> Iterator[Path]:
    """The settings in a file that only this user can read, for processes of ours, until the block ends."""
    with tempfile.TemporaryDirectory(prefix="harness-") as folder:
        path = Path(folder) / "harness.toml"
        settings.write_private(path)
        yield path


def clean_environment() -> dict[str, str]:
    """The environment without HARNESS_* variables: they are resolved, and must not outrank flags again."""
    return {name: value for name, value in os.environ.items() if not name.startswith(ENV_PREFIX)}


def suite_command(
    settings_file: Path,
    *,
    results_file: Path | None = None,
    json_file: Path | None = None,
    junit_file: Path | None = None,
    strict: bool = False,
    pytest_args: Sequence[str] = (),
) -> list[str]:
    """The command that runs the suite by the settings in a file."""
    command = [sys.executable, "-m", "pytest", str(SUITE), "--harness-config", str(settings_file)]
    if results_file is not None:
        command += ["--harness-results", str(results_file)]
    if json_file is not None:
        command += ["--harness-json", str(json_file)]
    if junit_file is not None:
        command += ["--junitxml", str(junit_file)]
    if strict:
        command.append("--harness-strict")
    return [*command, *pytest_args]


def exit_code(pytest_code: int) -> int:
    """Our exit code for pytest's: usage errors and an empty selection are both 2."""
    return 2 if pytest_code in {_PYTEST_USAGE_ERROR, _PYTEST_NO_TESTS} else pytest_code


def run_conformance(
    settings: Settings,
    *,
    out: Path | None,
    json_file: Path | None,
    junit_file: Path | None,
    strict: bool,
    pytest_args: Sequence[str],
) -> int:
    """Run the suite alone; returns the exit code.

    Raises PreflightError or SettingsError when the target cannot be tested; the JSON says so too.
    """
    from harness import run_folder

    try:
        ensure_testable(settings)
    except (PreflightError, SettingsError) as problem:
        if json_file is not None:
            write_untested(json_file, str(problem))
        raise
    path = run_folder.begin(out, settings) if out is not None else None
    children = Children()
    with private_settings(settings) as settings_file, children.signals():
        command = suite_command(
            settings_file,
            results_file=path,
            json_file=json_file,
            junit_file=junit_file,
            strict=strict,
            pytest_args=pytest_args,
        )
        code = exit_code(children.wait(children.start(command, clean_environment())))
    if path is not None:
        report = run_folder.finish(path, interrupted=children.interrupted)
        print(f"results: {path}\nreport:  {report}")
    return code


def write_untested(json_file: Path, sentence: str) -> None:
    """The JSON report of a run that could not begin: every requirement is there, and none was decided."""
    json_file.parent.mkdir(parents=True, exist_ok=True)
    json_file.write_text(
        json.dumps(Verdicts(untested=sentence).to_json({}), indent=2) + "\n", encoding="utf-8"
    )
