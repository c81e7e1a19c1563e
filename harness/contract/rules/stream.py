"""The rules that apply to any single stream, and which of them a given stream still needs."""

from __future__ import annotations

from harness.contract.exchange import Exchange
from harness.contract.expectations import Expectations
from harness.contract.finding import Finding
from harness.contract.requirements import RULES
from harness.contract.rules import headers
from harness.contract.rules.rule import Rule

STREAM_RULES: tuple[Rule, ...] = tuple(rule for rule in RULES.values() if rule.any_stream)
"""The rules for any single stream that was read to its end, whatever was requested."""

_NOT_FORMAT_ONLY = tuple(rule for rule in STREAM_RULES if not rule.format_only)
_NOT_FORMAT_OR_HEAD = tuple(rule for rule in _NOT_FORMAT_ONLY if rule not in headers.HEAD_RULES)


def check_stream(run: Exchange, expect: Expectations) -> list[Finding]:
    """Apply every rule for a single stream that was read to its end."""
    return [rule(run, expect=expect) for rule in STREAM_RULES]


def rules_for(run: Exchange) -> tuple[Rule, ...]:
    """The stream rules that this stream could still fail.

    A regular stream meets the format rules by construction. A head that passed before is not checked again.
    """
    if not run.is_regular:
        return STREAM_RULES
    return _NOT_FORMAT_OR_HEAD if run.head is not None and headers.is_proper(run.head) else _NOT_FORMAT_ONLY
