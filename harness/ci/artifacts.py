"""Writes what a CI was promised: the files that were asked for, and what GitHub reads where a test runs there."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from harness.ci import github
from harness.ci.badge import badge_of, endpoint, svg
from harness.ci.junit import junit
from harness.ci.markdown import LIMIT_BYTES, markdown
from harness.ci.outcome import Outcome
from harness.errors import SettingsError

_BADGES = {".svg": svg, ".json": endpoint}


@dataclass(frozen=True, slots=True)
class Artifacts:
    """The files that a command is to write. settings_file: where the objectives stand, for annotations."""

    junit: Path | None = None
    badges: tuple[Path, ...] = ()
    summary_md: Path | None = None
    settings_file: Path | None = None

    def ensure_writable(self) -> None:
        """Make the folders, before a test that may take an hour.

        Raises SettingsError for a file that could not be written, and for a badge that is neither .svg nor .json.
        """
        for path in self.badges:
            if path.suffix not in _BADGES:
                raise SettingsError(
                    f"--badge {path} is neither .svg nor .json; give the file one of these endings"
                )
        for path in filter(None, (self.junit, *self.badges, self.summary_md)):
            if path.is_dir():
                raise SettingsError(f"cannot write {path}: it is a folder; name a file in it")
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
            except OSError as problem:
                raise SettingsError(f"cannot write {path}: {problem.strerror or problem}") from None
            if not os.access(path if path.exists() else path.parent, os.W_OK):
                raise SettingsError(f"cannot write {path}: no permission")


def publish(
    account: Outcome,
    wanted: Artifacts,
    environment: Mapping[str, str] = os.environ,
    out: TextIO | None = None,
) -> int:
    """Write everything, and return the exit code: the account's, or 2 where it was 0 and a file is missing.

    What GitHub offers and cannot be written (in a container its folders may not be there) is said, and no failure.
    """
    out = out or sys.stdout
    code = account.exit_code
    for path, text in _files(account, wanted):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        except OSError as problem:
            out.write(f"harness: cannot write {path}: {problem.strerror or problem}\n")
            code = code or 2
    if github.in_github(environment):
        _tell_github(account, wanted, environment, out)
    out.flush()
    return code


def _files(account: Outcome, wanted: Artifacts) -> list[tuple[Path, str]]:
    files = [(path, _BADGES[path.suffix](badge_of(account))) for path in wanted.badges]
    if wanted.junit is not None:
        files.append((wanted.junit, junit(account)))
    if wanted.summary_md is not None:
        files.append((wanted.summary_md, markdown(account)))
    return files


def _tell_github(account: Outcome, wanted: Artifacts, environment: Mapping[str, str], out: TextIO) -> None:
    workspace = environment.get("GITHUB_WORKSPACE")
    root = Path(workspace) if workspace else None
    out.writelines(f"{line}\n" for line in github.annotate(account, wanted.settings_file, root))

    def summary(already: int) -> str:
        return markdown(
            account,
            artifacts_url=github.artifacts_url(environment),
            limit_bytes=max(0, LIMIT_BYTES - already),
        )

    _append(environment, "GITHUB_STEP_SUMMARY", summary, out)
    _append(environment, "GITHUB_OUTPUT", lambda _: github.outputs(account, github.new_delimiter()), out)


def _append(environment: Mapping[str, str], variable: str, make: Callable[[int], str], out: TextIO) -> None:
    """Add to the file that a variable names. make: gives the text, told how many bytes there are already."""
    name = environment.get(variable)
    if not name:
        return
    try:
        with Path(name).open("ab") as file:
            file.write(make(file.tell()).encode("utf-8", "backslashreplace"))
    except OSError as problem:
        text = f"{variable} names {name}, which cannot be written: {problem.strerror or problem}"
        out.write(f"{github.command('warning', text)}\n")
