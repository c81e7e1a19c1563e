"""The known failures of a target: a file that lists failures that a team accepts for now.

    [[known]]
    id = "resume.joins"
    reason = "the gateway cuts joined streams; fixed with the next release"
    issue = "https://tracker.example.com/123"     # optional
    expires = 2027-01-31                          # optional: from the next day on, the failure fails the suite again

A listed failure has the verdict *known*. A listed requirement that passes is *stale*, which fails the suite until the
entry is removed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import tomlkit
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from harness.atomic_file import write_text
from harness.contract.requirements import find
from harness.errors import SettingsError
from harness.input_file import read_toml

UPDATE_REASON = "added by --update-known-failures; explain why"


class KnownFailure(BaseModel):
    """One accepted failure."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    reason: str = Field(min_length=1)
    issue: str | None = None
    expires: date | None = None

    def expired(self, today: date) -> bool:
        """Whether the entry has expired."""
        return self.expires is not None and today > self.expires

    def describe(self) -> str:
        """The reason, for the detail of a verdict."""
        until = f", until {self.expires}" if self.expires else ""
        return f"known: {self.reason}{f' ({self.issue})' if self.issue else ''}{until}"


def load_known_failures(path: Path, today: date | None = None) -> dict[str, KnownFailure]:
    """The known failures that have not expired, by requirement.

    Raises SettingsError for a file that cannot be read or names an unknown requirement.
    """
    today = today or datetime.now(UTC).date()
    return {entry.id: entry for entry in _read(path) if not entry.expired(today)}


def _read(path: Path) -> list[KnownFailure]:
    document = read_toml(path, "the known failures")
    unknown = set(document) - {"known"}
    rows = document.get("known", [])
    if unknown or not isinstance(rows, list):
        raise SettingsError(
            f"the known failures {path} contain {', '.join(unknown) or 'no list'}; write [[known]] tables"
        )
    return [_parse(path, number, row) for number, row in enumerate(rows, 1)]


def _parse(path: Path, number: int, row: Any) -> KnownFailure:
    try:
        entry = KnownFailure.model_validate(row)
        find(entry.id)
    except ValidationError as problem:
        first = problem.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise SettingsError(f"the known failures {path}, entry {number}: {place}: {first['msg']}") from None
    except KeyError as problem:
        raise SettingsError(f"the known failures {path}, entry {number}: {problem.args[0]}") from None
    return entry


def update_known_failures(path: Path, failing: Iterable[str], decided: Mapping[str, bool]) -> None:
    """Replace the file's entries by the requirements that fail now. Existing entries keep their reasons.

    decided: whether this run decided a requirement; entries of undecided ones stay. Raises FileWriteError.
    """
    before = {entry.id: entry for entry in _read(path)} if path.exists() else {}
    entries = {name: entry for name, entry in before.items() if not decided.get(name, False)}
    for name in failing:
        entries[name] = before.get(name) or KnownFailure(id=name, reason=UPDATE_REASON)
    rows = tomlkit.aot()
    for entry in entries.values():
        rows.append(tomlkit.item(entry.model_dump(exclude_none=True)))
    document = tomlkit.document()
    document.add("known", rows)
    write_text(path, tomlkit.dumps(document))
