"""What GitHub Actions is told: annotations, outputs, a step summary; and that a server's words are no commands to it.

https://docs.github.com/actions/reference/workflows-and-actions/workflow-commands
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, TextIO

from harness.ci.badge import badge_of
from harness.ci.outcome import Case, Outcome

AnnotationKind = Literal["error", "warning", "notice"]

MOST_OF_A_KIND = 10
"""GitHub shows no more annotations of one kind for a step."""

_MESSAGE_CHARS = 2_000
_TITLE_CHARS = 120
_NAMED_IN_REST = 20


def in_github(environment: Mapping[str, str]) -> bool:
    """Whether this is a step of a GitHub workflow."""
    return environment.get("GITHUB_ACTIONS") == "true"


def command(kind: str, message: str, **properties: str) -> str:
    """A workflow command, one line: ``::error title=…::message``.

    The escapes are those of GitHub's own toolkit (actions/toolkit, packages/core/src/command.ts).
    """
    given = ",".join(f"{name}={_property(value)}" for name, value in properties.items() if value)
    return f"::{kind}{f' {given}' if given else ''}::{_data(message)}"


def _data(text: str) -> str:
    text = text.encode("utf-8", "backslashreplace").decode()
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


def annotate(account: Outcome, settings_file: Path | None = None, root: Path | None = None) -> list[str]:
    """The commands that annotate a test: an error for what is red, a warning for what deserves a look.

    settings_file: where the objectives stand, so that theirs point there; root: the checkout, of which GitHub knows
    paths. There are at most MOST_OF_A_KIND of a kind; the last sums up what else there would be.
    """
    red = [case for case in account.cases if case.red]
    looks = [case for case in account.cases if case.warns]
    place = _Place.of(settings_file, root)
    lines = [*_of_kind("error", red, place), *_of_kind("warning", looks, place)]
    if not red:
        badge = badge_of(account)
        lines.append(command("notice", badge.message, title=badge.label.capitalize()))
    return lines


def _of_kind(kind: AnnotationKind, cases: Sequence[Case], place: _Place) -> Iterator[str]:
    shown = cases if len(cases) <= MOST_OF_A_KIND else cases[: MOST_OF_A_KIND - 1]
    for case in shown:
        title = f"{case.name}: {case.word}"[:_TITLE_CHARS]
        text = case.text.partition("\n")[0] if case.group == "conformance" else ""
        message = f"{case.message}\n{text}".strip()[:_MESSAGE_CHARS]
        yield command(kind, message, **(place.properties(case) if case.group == "gate" else {}), title=title)
    rest = cases[len(shown) :]
    if rest:
        names = ", ".join(case.name for case in rest[:_NAMED_IN_REST])
        more = f" and {len(rest) - _NAMED_IN_REST} more" if len(rest) > _NAMED_IN_REST else ""
        yield command(kind, f"{names}{more}: see the summary", title=f"{len(rest)} more")


class _Place:
    """Where in the repository an objective is written down."""

    def __init__(self, name: str, lines: Sequence[str]) -> None:
        self._name, self._lines = name, lines

    @classmethod
    def of(cls, settings_file: Path | None, root: Path | None) -> _Place:
        if settings_file is None or not settings_file.is_file():
            return cls("", ())
        path = settings_file.resolve()
        if root is not None and path.is_relative_to(root.resolve()):
            path = path.relative_to(root.resolve())
        return cls(path.as_posix(), settings_file.read_text(encoding="utf-8", errors="replace").splitlines())

    def properties(self, case: Case) -> dict[str, str]:
        """Its file and line; nothing for what no settings file asks for."""
        named = re.compile(rf"(?<![\w.]){re.escape(case.name)}(?![\w.])")
        within = False
        for number, line in enumerate(self._lines, 1):
            if line.lstrip().startswith("["):
                within = "objectives" in line
            if within and named.search(line.partition("#")[0]):
                return {"file": self._name, "line": str(number)}
        return {}


def outputs(account: Outcome, delimiter: str) -> str:
    """Lines for GITHUB_OUTPUT: verdict, exit-code, results, report.

    delimiter: a text that nobody can guess, so that no value can end itself and set another output.
    """
    values = {
        "verdict": account.status,
        "exit-code": str(account.exit_code),
        "results": str(account.results or ""),
        "report": str(account.report or ""),
    }
    return "".join(f"{name}<<{delimiter}\n{value}\n{delimiter}\n" for name, value in values.items())


def artifacts_url(environment: Mapping[str, str]) -> str:
    """The page of the workflow's run, where its files are; empty outside of one."""
    parts = [environment.get(f"GITHUB_{name}", "") for name in ("SERVER_URL", "REPOSITORY", "RUN_ID")]
    return f"{parts[0]}/{parts[1]}/actions/runs/{parts[2]}#artifacts" if all(parts) else ""


def new_delimiter() -> str:
    """A text that no server can have said."""
    return f"harness-{secrets.token_hex(16)}"


@contextmanager
def suspend_workflow_commands(
    out: TextIO, title: str, environment: Mapping[str, str] = os.environ
) -> Iterator[None]:
    """In the block GitHub takes nothing that is printed for a command, by this process or a child.

    What a server says comes to stand at the beginning of lines, and could be ``::add-mask::`` or worse. title: of the
    group of lines that a reader can fold; empty for none. Outside of GitHub nothing is done.
    """
    if not in_github(environment):
        yield
        return
    token = new_delimiter()
    group = f"{command('group', title)}\n" if title else ""
    out.write(f"{group}::stop-commands::{token}\n")
    out.flush()
    try:
        yield
    finally:
        ends = "::endgroup::\n" if title else ""
        out.write(f"::{token}::\n{ends}")
        out.flush()
