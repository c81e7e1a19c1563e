"""events: each frame's data is a RunEvent of the documented shape."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from harness.contract.exchange import Exchange
from harness.contract.finding import Location, RuleResult, failed, inconclusive, info, passed
from harness.contract.rules.rule import Level, Need, event_label, needs_events, quoted, rule
from harness.profiles.workflow_actions.events import KNOWN_TYPES, ErrorEvent
from harness.protocol.strict_json import loads_strict

_DETAIL_FIELDS = "code", "message", "error", "detail", "reason", "title", "status"
_STACK_TRACE = re.compile(
    r"Traceback \(most recent call last\)|File \"[^\"]+\", line \d+|\bat [\w.$<>]+ ?\([^)]*:\d+\)|goroutine \d+ \["
)


def _object(data: str | None) -> dict[str, Any] | None:
    try:
        value = json.loads(data or "")
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


@rule(
    "events.schema",
    Level.MUST,
    "Each event of a known type has its fields: token.content string, done.runId string",
    why="Clients read token.content and done.runId without asking; a missing one breaks them.",
    source="api",
    any_stream=True,
    format_only=True,
)
@needs_events
def schema(run: Exchange) -> RuleResult:
    for one in run.events:
        value = _object(one.frame.data)
        if (
            value is not None
            and isinstance(kind := value.get("type"), str)
            and kind in KNOWN_TYPES
            and one.problem
        ):
            return failed(f"{event_label(one)}, of type {kind!r}: {one.problem}", Location(run, one))
    return passed("each event of a documented type has its fields")


@rule(
    "events.type",
    Level.MUST,
    "Each event has a string `type`",
    why="The type decides what a client does with an event; without it there is nothing to do.",
    source="api",
    any_stream=True,
    format_only=True,
)
@needs_events
def type_(run: Exchange) -> RuleResult:
    for one in run.events:
        value = _object(one.frame.data)
        if value is not None and not isinstance(value.get("type"), str):
            said = quoted(repr(value["type"])) if "type" in value else "missing"
            return failed(f"{event_label(one)}: its type is {said}", Location(run, one))
    return passed("each event has a type")


def _texts(value: Any) -> Iterator[str]:
    """Every text in a JSON value, unescaped."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for one in value.values() if isinstance(value, dict) else value:
            yield from _texts(one)


@rule(
    "events.error-detail",
    Level.SHOULD,
    "An `error` event says what failed (a code or a message), without a stack trace",
    why="A user told only that something failed can do nothing; one shown a stack trace knows too much.",
    source="ours",
    needs=Need.FAILING_ACTION,
)
@needs_events
def error_detail(run: Exchange) -> RuleResult:
    errors = [one for one in run.terminals if isinstance(one.event, ErrorEvent)]
    if not errors:
        return inconclusive(f"the failing action sent no error event: {run.describe()}", Location(run))
    one = errors[0]
    value = _object(one.frame.data) or {}
    if any(map(_STACK_TRACE.search, _texts(value))):
        return failed("the error event holds a stack trace", Location(run, one))
    told = [name for name in _DETAIL_FIELDS if value.get(name)]
    if not told:
        return failed(
            f"the error event says nothing of what failed: {quoted(one.frame.data or '')}", Location(run, one)
        )
    return passed(f"the error event tells its {', '.join(told)}")


@rule(
    "events.strict-json",
    Level.SHOULD,
    "No NaN or Infinity, no duplicate keys",
    why="NaN and repeated keys are read in different ways by different clients, or not at all.",
    source="RFC 8259",
    any_stream=True,
    format_only=True,
)
@needs_events
def strict_json(run: Exchange) -> RuleResult:
    for one in run.events:
        if _object(one.frame.data) is None:
            continue  # framing.one-json-object has that
        try:
            loads_strict(one.frame.data or "")
        except ValueError as problem:
            return failed(f"{event_label(one)}: {problem}", Location(run, one))
    return passed("no NaN, no Infinity, no key twice")


@rule(
    "events.unknown-types",
    Level.INFO,
    "Types beyond the four are listed",
    why="New types are allowed; a client's author wants to know which there are.",
    source="reading 6",
)
@needs_events
def unknown_types(run: Exchange) -> RuleResult:
    kinds = sorted({one.event.type for one in run.events if one.event} - KNOWN_TYPES)
    return info(
        "types beyond the four: " + ", ".join(quoted(kind, 40) for kind in kinds) if kinds else "none"
    )
