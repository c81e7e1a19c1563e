"""Findings: what a judge says of the Exchanges it saw, and where in them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from harness.contract.decoding.full_decoder import DecodedFrame
from harness.contract.exchange import Exchange


class Verdict(StrEnum):
    """The catalogue's words. Only `PASS` counts as a pass."""

    PASS = "pass"  # noqa: S105 - a verdict
    FAIL = "fail"
    WARN = "warn"  # a SHOULD that is not met
    INFO = "info"
    NOT_APPLICABLE = "not applicable"  # the target does not offer what the check needs
    INCONCLUSIVE = "inconclusive"  # the situation could not be brought about
    ERROR = "error"  # the harness's own fault
    KNOWN = "known"  # failing, and listed in the baseline
    STALE = "stale"  # listed in the baseline, and passing


#: From what hides the others to what is hidden by them: a requirement with several checks gets the first.
SEVERITY = (
    Verdict.FAIL,
    Verdict.ERROR,
    Verdict.STALE,
    Verdict.KNOWN,
    Verdict.WARN,
    Verdict.INCONCLUSIVE,
    Verdict.PASS,
    Verdict.INFO,
    Verdict.NOT_APPLICABLE,
)


@dataclass(frozen=True, slots=True)
class Location:
    """Where a finding points: an Exchange, and one of its frames where there is one."""

    exchange: Exchange
    frame: DecodedFrame | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class RuleResult:
    """What a judge's rule found, before it is known how grave that is."""

    verdict: Verdict
    detail: str
    places: tuple[Location, ...] = ()


def passed(detail: str) -> RuleResult:
    """The requirement is met."""
    return RuleResult(Verdict.PASS, detail)


def failed(detail: str, *places: Location) -> RuleResult:
    """The requirement is not met."""
    return RuleResult(Verdict.FAIL, detail, places)


def info(detail: str) -> RuleResult:
    """A policy of the server, discovered."""
    return RuleResult(Verdict.INFO, detail)


def inconclusive(detail: str, *places: Location) -> RuleResult:
    """What the requirement speaks of did not happen."""
    return RuleResult(Verdict.INCONCLUSIVE, detail, places)


def not_applicable(detail: str) -> RuleResult:
    """The target does not offer what the requirement speaks of; `detail` says what to configure."""
    return RuleResult(Verdict.NOT_APPLICABLE, detail)


@dataclass(frozen=True, slots=True)
class Finding:
    """A judgement under its requirement, at its requirement's level."""

    requirement: str
    verdict: Verdict
    detail: str
    places: tuple[Location, ...] = ()


def worst(verdicts: list[Verdict]) -> Verdict:
    """The one verdict that several checks of a requirement add up to."""
    return min(verdicts, key=SEVERITY.index)
