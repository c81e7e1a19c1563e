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
from harness.contract.rules.rule import Judge

#: What any one stream that was read to its end can be held to, whatever was asked.
STREAM_JUDGES: tuple[Judge, ...] = (
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


_BEYOND_FORM = tuple(judge for judge in STREAM_JUDGES if not judge.of_form)


_BEYOND_HEAD = tuple(judge for judge in _BEYOND_FORM if judge not in headers.OF_HEAD)


def judge_stream(run: Exchange, expect: Expectations) -> list[Finding]:
    """Everything that one stream, read to its end, can be held to."""
    return [judge(run, expect=expect) for judge in STREAM_JUDGES]


def judges_of(run: Exchange) -> tuple[Judge, ...]:
    """Those of them that could find fault with it: of a regular stream the form needs no looking at, nor does
    a head that was found proper before.
    """
    if not run.is_regular:
        return STREAM_JUDGES
    return _BEYOND_HEAD if run.head is not None and headers.is_proper(run.head) else _BEYOND_FORM
