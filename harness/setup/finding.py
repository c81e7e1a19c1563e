"""The result of one ``harness doctor`` check."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Status(StrEnum):
    """Outcome of a check."""

    OK = "ok"
    WARN = "warn"  # a test can run, but its results may be misleading
    FAIL = "fail"  # a test cannot run with these settings


@dataclass(frozen=True, slots=True)
class SetupFinding:
    """One check: what was found (`detail`), and what to do about it (`advice`, empty when ok)."""

    name: str
    status: Status
    detail: str
    advice: str = ""


def ok(name: str, detail: str) -> SetupFinding:
    return SetupFinding(name, Status.OK, detail)


def warn(name: str, detail: str, advice: str) -> SetupFinding:
    return SetupFinding(name, Status.WARN, detail, advice)


def fail(name: str, detail: str, advice: str) -> SetupFinding:
    return SetupFinding(name, Status.FAIL, detail, advice)
