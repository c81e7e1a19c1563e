"""The rules that apply to any single stream, and which of them a given stream still needs."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from harness.contract.exchange import Exchange
from harness.contract.expectations import Expectations
from harness.contract.finding import Finding
from harness.contract.requirements import RULES
from harness.contract.rules import headers
from harness.contract.rules.rule import Rule
from harness.profiles.capability import Capability

STREAM_RULES: tuple[Rule, ...] = tuple(rule for rule in RULES.values() if rule.any_stream)
"""The rules for any single stream that was read to its end, whatever was requested."""


@dataclass(frozen=True, slots=True)
class _Applicable:
    """The stream rules that apply to one API: all, those beyond the format, and of these those beyond the head."""

    whole: tuple[Rule, ...]
    not_format_only: tuple[Rule, ...]
    not_format_or_head: tuple[Rule, ...]


@lru_cache(maxsize=16)
def _applicable(promised: frozenset[Capability]) -> _Applicable:
    whole = tuple(rule for rule in STREAM_RULES if rule.requirement.promise <= promised)
    not_format_only = tuple(rule for rule in whole if not rule.format_only)
    return _Applicable(
        whole, not_format_only, tuple(rule for rule in not_format_only if rule not in headers.HEAD_RULES)
    )


def check_stream(run: Exchange, expect: Expectations) -> list[Finding]:
    """Apply every rule for a single stream that was read to its end, of those that apply to its API."""
    return [rule(run, expect=expect) for rule in _applicable(run.profile.capabilities).whole]


def rules_for(run: Exchange) -> tuple[Rule, ...]:
    """The stream rules that this stream could still fail: its API promises what they are about.

    A regular stream meets the format rules by construction. A head that passed before is not checked again.
    """
    rules = _applicable(run.profile.capabilities)
    if not run.is_regular:
        return rules.whole
    is_proper = run.head is not None and headers.is_proper(run.head)
    return rules.not_format_or_head if is_proper else rules.not_format_only
