"""Writes the CI artifacts of a test: the requested files, and in a GitHub workflow annotations, summary and outputs."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from harness.atomic_file import ensure_writable, write_text
from harness.ci import github, workflow_commands
from harness.ci.badge import badge_of, endpoint, svg
from harness.ci.comment import comment
from harness.ci.ctrf import ctrf
from harness.ci.junit import junit
from harness.ci.markdown import LIMIT_BYTES, markdown
from harness.ci.outcome import Outcome
from harness.errors import FileWriteError, SettingsError
from harness.exit_codes import NOT_TESTED

_BADGES = {".svg": svg, ".json": endpoint}


@dataclass(frozen=True, slots=True)
class Artifacts:
    """The files to write. settings_file: where the objectives are set; annotations point to it."""

    junit: Path | None = None
    badges: tuple[Path, ...] = ()
    summary_md: Path | None = None
    settings_file: Path | None = None
    ctrf: Path | None = None
    comment_md: Path | None = None

    @property
    def files(self) -> tuple[Path, ...]:
        """Every file to write."""
        paths = (self.junit, self.ctrf, *self.badges, self.summary_md, self.comment_md)
        return tuple(path for path in paths if path is not None)

    def ensure_writable(self) -> None:
        """Create the folders and check permissions, before a test that may take an hour.

        Raises FileWriteError for a file that cannot be written, SettingsError for a badge that is neither .svg nor
        .json.
        """
        for path in self.badges:
            if path.suffix not in _BADGES:
                raise SettingsError(f"--badge {path} is neither .svg nor .json; use one of these extensions")
        for path in self.files:
            ensure_writable(path)


def publish(
    outcome: Outcome,
    artifacts: Artifacts,
    environment: Mapping[str, str] = os.environ,
    out: TextIO | None = None,
) -> int:
    """Write all artifacts. Returns the exit code: the outcome's, or 2 if that is 0 and a file could not be written.

    GitHub's own files may be missing in a container; that is a warning, not a failure.
    """
    out = out or sys.stdout
    code = outcome.exit_code
    for path, text in _files(outcome, artifacts, environment):
        try:
            write_text(path, text)
        except FileWriteError as problem:
            out.write(f"harness: {problem}\n")
            code = code or NOT_TESTED
    if workflow_commands.in_github(environment):
        _publish_to_github(outcome, artifacts, environment, out)
    out.flush()
    return code


def _files(outcome: Outcome, artifacts: Artifacts, environment: Mapping[str, str]) -> list[tuple[Path, str]]:
    files = [(path, _BADGES[path.suffix](badge_of(outcome))) for path in artifacts.badges]
    if artifacts.junit is not None:
        files.append((artifacts.junit, junit(outcome)))
    if artifacts.ctrf is not None:
        files.append((artifacts.ctrf, ctrf(outcome)))
    if artifacts.summary_md is not None:
        files.append((artifacts.summary_md, markdown(outcome)))
    if artifacts.comment_md is not None:
        files.append((artifacts.comment_md, comment(outcome, environment)))
    return files


def _publish_to_github(
    outcome: Outcome, artifacts: Artifacts, environment: Mapping[str, str], out: TextIO
) -> None:
    workspace = environment.get("GITHUB_WORKSPACE")
    root = Path(workspace) if workspace else None
    out.writelines(f"{line}\n" for line in github.annotate(outcome, artifacts.settings_file, root))

    def summary(size: int) -> str:
        return markdown(
            outcome,
            artifacts_url=github.artifacts_url(environment),
            limit_bytes=max(0, LIMIT_BYTES - size),
        )

    _append(environment, "GITHUB_STEP_SUMMARY", summary, out)
    _append(
        environment,
        "GITHUB_OUTPUT",
        lambda _: github.outputs(outcome, workflow_commands.new_delimiter()),
        out,
    )


def _append(environment: Mapping[str, str], variable: str, make: Callable[[int], str], out: TextIO) -> None:
    """Append to the file that an environment variable names. make: takes its size, returns the text."""
    name = environment.get(variable)
    if not name:
        return
    try:
        with Path(name).open("ab") as file:
            file.write(make(file.tell()).encode("utf-8", "backslashreplace"))
    except OSError as problem:
        text = f"{variable}: cannot write {name}: {problem.strerror or problem}"
        out.write(f"{workflow_commands.workflow_command('warning', text)}\n")


NO_ARTIFACTS = Artifacts()
