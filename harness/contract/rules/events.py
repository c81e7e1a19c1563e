"""events: the data of each frame is a RunEvent of the documented shape."""

from __future__ import annotations

from typing import Any

from harness.contract.exchange import Ending, Exchange
from harness.contract.finding import Location, RuleResult, failed, inconclusive, info, not_applicable, passed
from harness.contract.rules.rule import Level, Need, event_label, needs_events, quoted, rule
from harness.contract.rules.stack_traces import stack_trace
from harness.formatting import counted
from harness.profiles.capability import Capability
from harness.profiles.open_pairs import OpenPairs
from harness.profiles.text_so_far import TextSoFar
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
    "events.first",
    Level.MUST,
    "The first event is one with which a stream may start",
    why="Clients set a run up at its first event, and reject a stream that starts with another one.",
    fix="Send the event that starts a run before any other one, also for a run that fails at once.",
    source="api",
    promise=(Capability.FIRST_EVENT,),
    any_stream=True,
    format_only=True,
)
@needs_events
def first(run: Exchange) -> RuleResult:
    """A stream that begins later than its run starts with any event."""
    allowed = run.profile.events.first
    event = run.events[0]
    if event.event is not None and event.event.type in allowed:
        return passed(f"the first event is {event.event.type}")
    if not _is_whole(run):
        return inconclusive("the stream does not start with its run", Location(run, event))
    return failed(
        f"the first event is of type {quoted(event.kind)}, not {' or '.join(allowed)}", Location(run, event)
    )


@rule(
    "events.pairs",
    Level.MUST,
    "What an event opens is closed once, before the run is done, and gets no text after that",
    why="Clients show a message that is never closed as unfinished, and reject or lose text that follows its end.",
    fix="Close each message and step in one place, after its last piece and before the event that ends the run.",
    source="api",
    promise=(Capability.PAIRS,),
    any_stream=True,
    format_only=True,
)
@needs_events
def pairs(run: Exchange) -> RuleResult:
    """A run that failed or was cancelled need not close anything; a resumed stream may lack the opening event."""
    opened = OpenPairs(is_whole=_is_whole(run))
    for received in run.events:
        problem = opened.take(received.event) if received.event is not None else None
        if problem is not None:
            return failed(f"{event_label(received)} {problem}", Location(run, received))
    if run.ending is Ending.COMPLETE and run.outcome == "done" and opened.left_open:
        return failed(f"the run is done, but nothing closed {opened.left_open[0]}", Location(run, run.over))
    return passed("what was opened is closed in order")


def _is_whole(run: Exchange) -> bool:
    """Whether the stream starts with its run, by what was requested."""
    api = run.profile
    has_snapshots = api.resume is not None and api.resume.starts == "snapshot"
    return run.named_id is None and run.request.method == api.run.method and not has_snapshots


@rule(
    "events.usage",
    Level.SHOULD,
    "A run that is done reports its number of output tokens",
    why="Clients count and bill by this number; without it, or with 0, they have to estimate.",
    fix="Send the usage when the run has ended, with the tokens of all its events counted.",
    source="api",
    promise=(Capability.USAGE,),
    any_stream=True,
)
def usage(run: Exchange) -> RuleResult:
    count, tokens = run.summary.output_tokens, len(run.summary.token_arrivals_ns)
    if not run.started_run or run.outcome != "done" or run.ending is not Ending.COMPLETE:
        return inconclusive(f"no run that is done: {run.describe()}", Location(run))
    if count is None:
        return failed("no event reports the number of output tokens", Location(run, run.over))
    if count == 0 and tokens:
        return failed(
            f"the usage is 0 output tokens, but {counted(tokens, 'event')} brought text",
            Location(run, run.over),
        )
    return passed(f"the usage is {counted(count, 'output token')}")


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
    is_whole = _is_whole(run)
    sent = TextSoFar()
    repeated = 0
    for received in run.events:
        event = received.event
        if event is None:
            continue
        if event.is_token:
            sent.add(event.part, event.text)
        if event.whole_text is None:
            continue
        repeated += 1
        if not sent.ends(event.part, event.whole_text, exactly=is_whole):
            return failed(
                f"{event_label(received)} has the whole text {quoted(event.whole_text)}, but the tokens before it are "
                f"{quoted(sent.of(event.part))}",
                Location(run, received),
            )
    if repeated:
        return passed("the whole text is that of the tokens")
    if run.outcome in {"error", "cancelled"} or (run.outcome == "done" and not run.tokens):
        return not_applicable("a run without text, or that was broken off, need not repeat it")
    return inconclusive("no event repeats the whole text", Location(run))


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
