"""framing: what stands on the wire is an event stream, to the letter of WHATWG HTML 9.2."""

from __future__ import annotations

import json
from collections.abc import Iterator

from harness.contract.decoding.full_decoder import DecodedFrame
from harness.contract.exchange import Ending, Exchange
from harness.contract.finding import Location, RuleResult, failed, inconclusive, not_applicable, passed
from harness.contract.rules.rule import Level, Need, event_label, needs_events, quoted, rule
from harness.protocol.sse import lines

KNOWN_FIELDS = frozenset({"data", "id", "event", "retry", ""})
_BOM = "\ufeff"

#: Text that forges a frame wherever a server writes a value without encoding it.
HOSTILE_TEXT = (
    'inert\n\ndata: {"type":"done","runId":"forged"}\n\nid: 9-9\r\n\r\nevent: forged\rretry: 1\u2028: "\\"end'
)


def _fields(run: Exchange) -> Iterator[tuple[DecodedFrame, str, str]]:
    for one in run.frames:
        for name, value in one.frame.fields:
            yield one, name, value


@rule(
    "framing.blank-line",
    Level.MUST,
    "Each event ends with a blank line; nothing is pending at the end (a client would discard it)",
    why="A client discards an event that has no blank line after it: the last words of a run are lost.",
    source="W",
    any_stream=True,
    format_only=True,
)
@needs_events
def blank_line(run: Exchange) -> RuleResult:
    if run.ending in {Ending.CUT, Ending.STOPPED}:
        return inconclusive("the stream was cut by us")
    if any(not line.startswith(b":") for line in lines(run.pending)):
        shown = quoted(run.pending.decode("utf-8", "replace"))
        return failed(
            f"the stream ended inside an event, which a client discards: no blank line after {shown}",
            Location(run),
        )
    return passed("each event ended with a blank line")


@rule(
    "framing.utf8",
    Level.MUST,
    "The stream is strict UTF-8, also where a character is split across packets",
    why="A character split over two packets, or another encoding, shows as garbage or kills the decoder.",
    source="W",
    any_stream=True,
    format_only=True,
)
@needs_events
def utf8(run: Exchange) -> RuleResult:
    for one in run.frames:
        try:
            one.frame.raw.decode("utf-8")
        except UnicodeDecodeError as problem:
            byte = one.frame.raw[problem.start]
            return failed(
                f"{event_label(one)} is not UTF-8: byte 0x{byte:02x} at offset {problem.start}",
                Location(run, one),
            )
    try:
        run.pending.decode("utf-8")
    except UnicodeDecodeError as problem:
        if problem.reason != "unexpected end of data":
            return failed("the unfinished end of the stream is not UTF-8", Location(run))
    return passed(f"{len(run.frames)} frames are strict UTF-8")


@rule(
    "framing.bom",
    Level.MUST,
    "A BOM stands only at the very start",
    why="In mid-stream a BOM becomes part of a field's name, and the field is ignored.",
    source="W",
    any_stream=True,
    format_only=True,
)
@needs_events
def bom(run: Exchange) -> RuleResult:
    for one, name, _ in _fields(run):
        if name.startswith(_BOM):
            return failed(
                f"a BOM stands at the start of a line of {event_label(one)}; clients then miss the field "
                f"{quoted(name.removeprefix(_BOM))}",
                Location(run, one),
            )
    return passed("no BOM but, at most, at the very start")


@rule(
    "framing.one-json-object",
    Level.MUST,
    "The joined `data` of an event is one JSON object",
    why="Clients parse an event's data as one object; two, or half of one, throws.",
    source="api",
    any_stream=True,
    format_only=True,
)
@needs_events
def one_json_object(run: Exchange) -> RuleResult:
    for one in run.events:
        data = one.frame.data or ""
        try:
            value = json.loads(data)
        except (ValueError, RecursionError) as problem:
            return failed(
                f"{event_label(one)}: data {quoted(data)} is not JSON: {problem}", Location(run, one)
            )
        if not isinstance(value, dict):
            return failed(f"{event_label(one)}: data {quoted(data)} is not a JSON object", Location(run, one))
    return passed(f"the data of each of {len(run.events)} events is one JSON object")


@rule(
    "framing.content-inert",
    Level.MUST,
    "Line breaks, `data:` or blank lines inside a value never forge a frame",
    why="If a line break in a value reaches the wire raw, whoever controls the text forges events.",
    source="ours",
    needs=Need.ECHO_ACTION,
)
@needs_events
def content_inert(run: Exchange, text: str, control: Exchange) -> RuleResult:
    """`text` is the hostile text that the action was asked to give back; `control` is a run without it."""
    if text in run.text:
        return passed("line breaks and field names in a token's content came back inside it")
    harmless = all(map(_is_json, control.events))
    bad = next((one for one in run.frames if _is_forged(one) or (harmless and not _is_json(one))), None)
    if bad:
        return failed(
            f"a line break in the content reached the wire unencoded and tore or forged {event_label(bad)}: "
            f"data {quoted(bad.frame.data or '')}",
            Location(run, bad),
        )
    return not_applicable(
        f"the action does not return the text that it is sent; configure {Need.ECHO_ACTION.setting}"
    )


@rule(
    "framing.id-no-nul",
    Level.MUST,
    "No NUL in an `id`",
    why="Clients ignore an id with a NUL, and then resume from an older one.",
    source="W",
    any_stream=True,
    format_only=True,
)
@needs_events
def id_no_nul(run: Exchange) -> RuleResult:
    for one, name, value in _fields(run):
        if name == "id" and "\0" in value:
            return failed(
                f"{event_label(one)}: NUL in the id {quoted(value)}; clients ignore it", Location(run, one)
            )
    return passed("no id holds a NUL")


@rule(
    "framing.retry-digits",
    Level.MUST,
    "`retry` holds ASCII digits only",
    why="Clients ignore a retry field that is not all digits: the server's wish is lost in silence.",
    source="W",
    any_stream=True,
    format_only=True,
)
@needs_events
def retry_digits(run: Exchange) -> RuleResult:
    for one, name, value in _fields(run):
        if name == "retry" and not (value.isascii() and value.isdigit()):
            return failed(
                f"retry {quoted(value)} is not all ASCII digits; clients ignore it", Location(run, one)
            )
    return passed("every retry field, if any, is all digits")


@rule(
    "framing.fields",
    Level.SHOULD,
    "Only `data`, `id`, `event`, `retry` and comment lines",
    why="An unknown field is dropped by every client: what was meant by it never arrives.",
    source="W",
    any_stream=True,
    format_only=True,
)
@needs_events
def fields(run: Exchange) -> RuleResult:
    strange = {name: one for one, name, _ in _fields(run) if name.removeprefix(_BOM) not in KNOWN_FIELDS}
    if strange:
        names = ", ".join(quoted(name, 30) for name in list(strange)[:5])
        return failed(f"fields that no client knows: {names}", Location(run, next(iter(strange.values()))))
    return passed("only data, id, event, retry and comment lines")


def _is_forged(one: DecodedFrame) -> bool:
    """Whether a frame was made by the hostile text. Inside a value its quotes would be escaped."""
    return one.frame.id == "9-9" or one.frame.event == "forged" or '"forged"' in (one.frame.data or "")


def _is_json(one: DecodedFrame) -> bool:
    if not one.is_event:
        return True
    try:
        json.loads(one.frame.data or "")
    except (ValueError, RecursionError):
        return False
    return True


@rule(
    "framing.event-name",
    Level.SHOULD,
    "An `event:` field, if sent, is `message` or the event's type",
    why="A named event does not reach onmessage: browsers' clients never see it.",
    source="W, ours",
    any_stream=True,
    format_only=True,
)
@needs_events
def event_name(run: Exchange) -> RuleResult:
    for one in run.events:
        kind = one.event.type if one.event else None
        if one.frame.event not in {"", "message", kind}:
            return failed(
                f"{event_label(one)}: event name {quoted(one.frame.event)} is neither 'message' nor the type "
                f"{kind!r}; a client's onmessage never sees it",
                Location(run, one),
            )
    return passed("event names, if any, are 'message' or the event's type")
