"""Findings: the verdict of a rule, its reason, and where in the Exchanges to look."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from harness.contract.decoding.decoded_frame import DecodedFrame
from harness.contract.exchange import Exchange


class Verdict(StrEnum):
    """The verdict on a requirement. Only `PASS` counts as a pass."""

    PASS = "pass"  # noqa: S105 - a verdict
    FAIL = "fail"
    WARN = "warn"  # a SHOULD is not met
    INFO = "info"
    NOT_APPLICABLE = "not applicable"  # the target does not offer what the rule needs
    INCONCLUSIVE = "inconclusive"  # the situation to check did not occur
    ERROR = "error"  # the harness itself failed
    KNOWN = "known"  # failing, and listed as a known failure
    STALE = "stale"  # listed as a known failure, and passing


#: Most severe first. A requirement with several checks gets its most severe verdict.
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
    """Where a finding points: an Exchange, and one of its frames if any."""

    exchange: Exchange
    frame: DecodedFrame | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class RuleResult:
    """What a rule's function returns, before the requirement's level turns a failure into FAIL or WARN."""

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
    """What the server does, where the requirement leaves it open."""
    return RuleResult(Verdict.INFO, detail)


def inconclusive(detail: str, *places: Location) -> RuleResult:
    """The situation that the requirement is about did not occur."""
    return RuleResult(Verdict.INCONCLUSIVE, detail, places)


def not_applicable(detail: str) -> RuleResult:
    """The target does not offer what the requirement is about; `detail` says what to configure."""
    return RuleResult(Verdict.NOT_APPLICABLE, detail)


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of a rule, with the verdict at its requirement's level."""

    requirement: str
    verdict: Verdict
    detail: str
    places: tuple[Location, ...] = ()


_LISTED_CHARS = 600


def listed(details: Iterable[str]) -> str:
    """Several details as one sentence: each once, as many as are readable, then how many more there are."""
    distinct = list(dict.fromkeys(details))
    shown, length = 0, 0
    for detail in distinct:
        length += len(detail)
        if shown and length > _LISTED_CHARS:
            break
        shown += 1
    more = len(distinct) - shown
    return "; ".join([*distinct[:shown], *([f"and {more} more"] if more else [])])


def worst(verdicts: list[Verdict]) -> Verdict:
    """The most severe of the verdicts."""
    return min(verdicts, key=SEVERITY.index)
