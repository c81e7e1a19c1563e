"""Annotations and outputs of a test for GitHub Actions."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

from harness.ci.badge import badge_of
from harness.ci.outcome import Case, Outcome
from harness.ci.workflow_commands import workflow_command
from harness.errors import SettingsError
from harness.input_file import SETTINGS_BYTES, read_text

AnnotationKind = Literal["error", "warning", "notice"]

ANNOTATION_LIMIT = 10
"""GitHub shows at most this many annotations of one kind per step."""

_MESSAGE_CHARS = 2_000
_TITLE_CHARS = 120
_REST_NAMES = 20


def annotate(outcome: Outcome, settings_file: Path | None = None, root: Path | None = None) -> list[str]:
    """The workflow commands that annotate a test: an error per failed case, a warning per case with a warning.

    settings_file: where the objectives are set; annotations of objectives point to their lines. root: the checkout, to
    which GitHub's paths are relative. At most ANNOTATION_LIMIT per kind; the last one lists the rest.
    """
    red = [case for case in outcome.cases if case.red]
    warnings = [case for case in outcome.cases if case.warns]
    objectives = _ObjectiveLines.read(settings_file, root)
    lines = [*_annotations("error", red, objectives), *_annotations("warning", warnings, objectives)]
    if not red:
        badge = badge_of(outcome)
        lines.append(workflow_command("notice", badge.message, title=badge.label.capitalize()))
    return lines


def _annotations(kind: AnnotationKind, cases: Sequence[Case], objectives: _ObjectiveLines) -> Iterator[str]:
    shown = cases if len(cases) <= ANNOTATION_LIMIT else cases[: ANNOTATION_LIMIT - 1]
    for case in shown:
        title = f"{case.name}: {case.verdict}"[:_TITLE_CHARS]
        requirement = case.text.partition("\n")[0] if case.group == "conformance" else ""
        message = f"{case.message}\n{requirement}".strip()[:_MESSAGE_CHARS]
        location = objectives.location(case.name) if case.group == "gate" else {}
        yield workflow_command(kind, message, **location, title=title)
    rest = cases[len(shown) :]
    if rest:
        names = ", ".join(case.name for case in rest[:_REST_NAMES])
        more = f" and {len(rest) - _REST_NAMES} more" if len(rest) > _REST_NAMES else ""
        yield workflow_command(kind, f"{names}{more}: see the summary", title=f"{len(rest)} more")


class _ObjectiveLines:
    """The lines of a settings file, to find where an objective is set."""

    def __init__(self, path: str, lines: Sequence[str]) -> None:
        self._path, self._lines = path, lines

    @classmethod
    def read(cls, settings_file: Path | None, root: Path | None) -> _ObjectiveLines:
        if settings_file is None or not settings_file.is_file():
            return cls("", ())
        path = settings_file.resolve()
        if root is not None and path.is_relative_to(root.resolve()):
            path = path.relative_to(root.resolve())
        try:
            text = read_text(settings_file, "the settings file", SETTINGS_BYTES)
        except SettingsError:  # it was readable when the test began; without it, annotations have no line
            text = ""
        return cls(path.as_posix(), text.splitlines())

    def location(self, objective: str) -> dict[str, str]:
        """The properties `file` and `line` of an annotation; empty for an objective that the file does not set."""
        name = re.compile(rf"(?<![\w.]){re.escape(objective)}(?![\w.])")
        in_objectives = False
        for number, line in enumerate(self._lines, 1):
            if line.lstrip().startswith("["):
                in_objectives = "objectives" in line
            if in_objectives and name.search(line.partition("#")[0]):
                return {"file": self._path, "line": str(number)}
        return {}


def outputs(outcome: Outcome, delimiter: str) -> str:
    """Lines for GITHUB_OUTPUT: verdict, exit-code, results, report.

    delimiter: a random text, so that no value can end itself and set another output.
    """
    values = {
        "verdict": outcome.status,
        "exit-code": str(outcome.exit_code),
        "results": str(outcome.results or ""),
        "report": str(outcome.report or ""),
    }
    return "".join(f"{name}<<{delimiter}\n{value}\n{delimiter}\n" for name, value in values.items())


def artifacts_url(environment: Mapping[str, str]) -> str:
    """The page of the workflow run, which lists its files; empty outside GitHub."""
    parts = [environment.get(f"GITHUB_{name}", "") for name in ("SERVER_URL", "REPOSITORY", "RUN_ID")]
    return f"{parts[0]}/{parts[1]}/actions/runs/{parts[2]}#artifacts" if all(parts) else ""
