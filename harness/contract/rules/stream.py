"""The rules that apply to any single stream, and which of them a given stream still needs."""

from __future__ import annotations

from harness.contract.exchange import Exchange
from harness.contract.expectations import Expectations
from harness.contract.finding import Finding
from harness.contract.rules import (
    events,
    framing,
    headers,
    ids,
    terminal,
)
from harness.contract.rules.rule import Rule

#: What any one stream that was read to its end can be held to, whatever was asked.
STREAM_RULES: tuple[Rule, ...] = (
    headers.event_stream,
    headers.charset,
    headers.complete,
    headers.no_cache,
    framing.utf8,
    framing.bom,
    framing.fields,
    framing.id_no_nul,
    framing.retry_digits,
    framing.event_name,
    framing.blank_line,
    framing.one_json_object,
    events.type_,
    events.schema,
    events.strict_json,
    ids.present,
    ids.unique,
    ids.increasing,
    ids.clock,
    terminal.always,
    terminal.exactly_one,
    terminal.last,
    terminal.closes,
)


_NOT_FORMAT_ONLY = tuple(judge for judge in STREAM_RULES if not judge.of_form)


_NOT_FORMAT_OR_HEAD = tuple(judge for judge in _NOT_FORMAT_ONLY if judge not in headers.OF_HEAD)


def check_stream(run: Exchange, expect: Expectations) -> list[Finding]:
    """Everything that one stream, read to its end, can be held to."""
    return [judge(run, expect=expect) for judge in STREAM_RULES]


def rules_for(run: Exchange) -> tuple[Rule, ...]:
    """Those of them that could find fault with it: of a regular stream the form needs no looking at, nor does
    a head that was found proper before.
    """
    if not run.is_regular:
        return STREAM_RULES
    return _NOT_FORMAT_OR_HEAD if run.head is not None and headers.is_proper(run.head) else _NOT_FORMAT_ONLY
