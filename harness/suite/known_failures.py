"""Known failures: a list that lets a suite be green on what a team has accepted for now, and that must shrink.

    [[known]]
    id = "resume.joins"
    reason = "the gateway cuts joined streams; fixed with the next release"
    issue = "https://tracker.example.com/123"     # optional
    expires = 2027-01-31                          # optional: after that day the failure counts again

A listed failure is *known*; a listed requirement that passes is *stale*, and fails until it is taken out.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import tomlkit
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from harness.contract.requirements import find
from harness.errors import SettingsError

UPDATE_REASON = "taken over by --baseline-update; say why"


class KnownFailure(BaseModel):
    """One accepted failure."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    reason: str = Field(min_length=1)
    issue: str | None = None
    expires: date | None = None

    def expired(self, today: date) -> bool:
        """Whether it no longer counts."""
        return self.expires is not None and today > self.expires

    def says(self) -> str:
        """The reason as a verdict's detail tells it."""
        until = f", until {self.expires}" if self.expires else ""
        return f"known: {self.reason}{f' ({self.issue})' if self.issue else ''}{until}"


def load_known_failures(path: Path, today: date | None = None) -> dict[str, KnownFailure]:
    """The list in a file, by requirement, without what has expired.

    Raises SettingsError when it cannot be read, or names a requirement that there is none of.
    """
    today = today or datetime.now(UTC).date()
    return {one.id: one for one in _read(path) if not one.expired(today)}


def _read(path: Path) -> list[KnownFailure]:
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as problem:
        raise SettingsError(f"cannot read the baseline {path}: {problem.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as problem:
        raise SettingsError(f"the baseline {path} is not valid TOML: {problem}") from None
    strange = set(document) - {"known"}
    rows = document.get("known", [])
    if strange or not isinstance(rows, list):
        raise SettingsError(
            f"the baseline {path} holds {', '.join(strange) or 'no list'}; write [[known]] tables"
        )
    return [_parse(path, number, row) for number, row in enumerate(rows, 1)]


def _parse(path: Path, number: int, row: Any) -> KnownFailure:
    try:
        known = KnownFailure.model_validate(row)
        find(known.id)
    except ValidationError as problem:
        first = problem.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise SettingsError(f"the baseline {path}, entry {number}: {place}: {first['msg']}") from None
    except KeyError as problem:
        raise SettingsError(f"the baseline {path}, entry {number}: {problem.args[0]}") from None
    return known


def update_known_failures(path: Path, failing: Iterable[str], decided: Mapping[str, bool]) -> None:
    """Write the list anew: what fails now. Reasons that are there stay.

    decided: which requirements were decided in this run; entries of the others are left alone.
    """
    before = {one.id: one for one in _read(path)} if path.exists() else {}
    kept = {name: one for name, one in before.items() if not decided.get(name, False)}
    for name in failing:
        kept[name] = before.get(name) or KnownFailure(id=name, reason=UPDATE_REASON)
    rows = tomlkit.aot()
    for one in kept.values():
        rows.append(tomlkit.item(one.model_dump(exclude_none=True)))
    document = tomlkit.document()
    document.add("known", rows)
    path.write_text(tomlkit.dumps(document), encoding="utf-8")
