"""One line of the doctor's findings."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Status(StrEnum):
    """How what was found stands to a test that can be believed."""

    OK = "ok"
    WARN = "warn"  # the test can be done, but may not show what it seems to
    FAIL = "fail"  # the test cannot be done as it is set


@dataclass(frozen=True, slots=True)
class SetupFinding:
    """One thing that was looked at: what was found, and what to do about it."""

    name: str
    standing: Status
    found: str
    advice: str = ""


def ok(name: str, found: str) -> SetupFinding:
    return SetupFinding(name, Status.OK, found)


def warn(name: str, found: str, advice: str) -> SetupFinding:
    return SetupFinding(name, Status.WARN, found, advice)


def fail(name: str, found: str, advice: str) -> SetupFinding:
    return SetupFinding(name, Status.FAIL, found, advice)
