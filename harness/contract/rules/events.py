"""events: the data of each frame is a RunEvent of the documented shape."""

from __future__ import annotations

from typing import Any

from harness.contract.exchange import Exchange
from harness.contract.finding import Location, RuleResult, failed, inconclusive, info, passed
from harness.contract.rules.rule import Level, Need, event_label, needs_events, quoted, rule
from harness.contract.rules.stack_traces import stack_trace
from harness.profiles.capability import Capability
from harness.protocol.strict_json import loads, loads_strict

_DETAIL_FIELDS = "code", "message", "error", "detail", "reason", "title", "status"


def _object(data: str | None) -> dict[str, Any] | None:
    try:
        value = loads(data or "")
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


@rule(
    "events.schema",
    Level.MUST,
    "Each event of a known type has its fields: token.content (string), done.runId (string)",
    why="Clients read token.content and done.runId unchecked; a missing field breaks them.",
    fix="Send `content` as a string with each `token`, and `runId` as a string with `done`.",
    source="api",
    any_stream=True,
    format_only=True,
)
@needs_events
def schema(run: Exchange) -> RuleResult:
    for event in run.events:
        if event.problem and event.kind:
            return failed(
                f"{event_label(event)}, of type {event.kind!r}: {event.problem}", Location(run, event)
            )
    return passed("each event of a documented type has its fields")


@rule(
    "events.type",
    Level.MUST,
    "Each event has a string `type`",
    why="Clients dispatch on the type; without it they cannot handle the event.",
    fix="Put a string `type` into the JSON of each event.",
    source="api",
    any_stream=True,
    format_only=True,
)
@needs_events
def type_(run: Exchange) -> RuleResult:
    for event in run.events:
        value = _object(event.frame.data)
        is_known = event.event is not None and event.event.is_known
        if value is not None and not event.kind and not is_known:
            kind = _kind(value["type"]) if "type" in value else "missing"
            return failed(f"{event_label(event)}: its type is {kind}", Location(run, event))
    return passed("each event has a type")


def _kind(value: Any) -> str:
    """A value in a sentence; not the content of one that may be nested deeply."""
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    return quoted(repr(value))


@rule(
    "events.error-detail",
    Level.SHOULD,
    "An `error` event says what failed (a code or a message), without a stack trace",
    why="Without a code or message the user cannot act; a stack trace exposes internals.",
    fix="Put a `code` or a `message` into the `error` event, and write the stack trace to the server's log.",
    source="ours",
    promise=(Capability.ERROR_EVENT,),
    needs=Need.FAILING_ACTION,
)
@needs_events
def error_detail(run: Exchange) -> RuleResult:
    errors = [event for event in run.terminals if event.event and event.event.outcome == "error"]
    if not errors:
        return inconclusive(f"the failing action sent no error event: {run.describe()}", Location(run))
    error = errors[0]
    value = _object(error.frame.data) or {}
    if frame := stack_trace(value):
        return failed(f"the error event contains a stack trace: {quoted(frame)}", Location(run, error))
    present = [name for name in _DETAIL_FIELDS if value.get(name)]
    if not present and not (error.event and error.event.message):
        return failed(
            f"the error event does not say what failed: {quoted(error.frame.data or '')}",
            Location(run, error),
        )
    return passed(f"the error event has {', '.join(present) or 'a message'}")


@rule(
    "events.strict-json",
    Level.SHOULD,
    "No duplicate keys, no lone surrogates, at most 128 levels and 1,000 digits",
    why="Parsers disagree on these, or reject them.",
    fix=("Use a strict JSON encoder, and write each key once."),
    source="RFC 8259",
    any_stream=True,
    format_only=True,
)
@needs_events
def strict_json(run: Exchange) -> RuleResult:
    for event in run.events:
        if event.event is None and _object(event.frame.data) is None:
            continue  # framing.one-json-object reports that
        if event.event is not None and event.event.is_literal:
            continue
        try:
            loads_strict(event.frame.data or "")
        except ValueError as problem:
            return failed(f"{event_label(event)}: {problem}", Location(run, event))
    return passed("nothing that parsers read differently")


@rule(
    "events.whole-text",
    Level.MUST,
    "Where an event repeats the whole text, it is the text of the tokens before it",
    why="Clients that show the tokens and those that store the whole text have different answers of the same run.",
    fix="Make the whole text from the tokens that were sent, and send no token that it lacks.",
    source="ours",
    promise=(Capability.WHOLE_TEXT,),
    any_stream=True,
)
@needs_events
def whole_text(run: Exchange) -> RuleResult:
    """A stream that begins later than its run has only the last tokens of the whole text."""
    api = run.profile
    has_snapshots = api.resume is not None and api.resume.starts == "snapshot"
    is_whole = run.named_id is None and run.request.method == api.run.method and not has_snapshots
    sent: dict[str | None, str] = {}
    repeated = 0
    for received in run.events:
        event = received.event
        if event is None:
            continue
        if event.is_token:
            sent[event.part] = sent.get(event.part, "") + event.text
        if event.whole_text is None:
            continue
        repeated += 1
        tokens = sent.get(event.part, "")
        if not event.whole_text.endswith(tokens) or (is_whole and event.whole_text != tokens):
            return failed(
                f"{event_label(received)} has the whole text {quoted(event.whole_text)}, but the tokens before it are "
                f"{quoted(tokens)}",
                Location(run, received),
            )
    if not repeated:
        return inconclusive("no event repeats the whole text", Location(run))
    return passed("the whole text is that of the tokens")


@rule(
    "events.unknown-types",
    Level.INFO,
    "Which event types exist beyond the four documented ones",
    why="New types are allowed; client authors need to know which ones exist.",
    fix="List these types in the API's documentation, so that clients can handle or ignore them.",
    source="reading 6",
)
@needs_events
def unknown_types(run: Exchange) -> RuleResult:
    kinds = sorted(
        {event.event.type for event in run.events if event.event and not event.event.is_documented}
    )
    return info(
        "types beyond the documented ones: " + ", ".join(quoted(kind, 40) for kind in kinds)
        if kinds
        else "none"
    )
