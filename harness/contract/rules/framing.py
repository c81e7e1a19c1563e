"""framing: the bytes on the wire are a valid event stream (WHATWG HTML 9.2)."""

from __future__ import annotations

from collections.abc import Iterator

from harness.contract.decoding.decoded_frame import DecodedFrame
from harness.contract.exchange import Ending, Exchange
from harness.contract.finding import Location, RuleResult, failed, inconclusive, not_applicable, passed
from harness.contract.rules.rule import Level, Need, event_label, needs_events, quoted, rule
from harness.formatting import counted
from harness.profiles.capability import Capability
from harness.protocol.sse import lines
from harness.protocol.strict_json import loads

KNOWN_FIELDS = frozenset({"data", "id", "event", "retry", ""})
_BOM = "\ufeff"

#: Text that forges a frame if a server writes it without escaping.
HOSTILE_TEXT = (
    'inert\n\ndata: {"type":"done","runId":"forged"}\n\nid: 9-9\r\n\r\nevent: forged\rretry: 1\u2028: "\\"end'
)


def _fields(run: Exchange) -> Iterator[tuple[DecodedFrame, str, str]]:
    for frame in run.frames:
        for name, value in frame.frame.fields:
            yield frame, name, value


@rule(
    "framing.blank-line",
    Level.MUST,
    "Each event ends with a blank line, the last one too",
    why="A client discards an event without a blank line after it, so the end of the run is lost.",
    fix="Write two line feeds after each event, after the last one too.",
    source="W",
    any_stream=True,
    format_only=True,
)
@needs_events
def blank_line(run: Exchange) -> RuleResult:
    if run.ending in {Ending.CUT, Ending.STOPPED, Ending.LIMIT}:
        return inconclusive(f"the harness cut the stream: {run.ending_detail}")
    if any(not line.startswith(b":") for line in lines(run.pending)):
        shown = quoted(run.pending.decode("utf-8", "replace"))
        return failed(
            f"the stream ended inside an event, and a client discards it: no blank line after {shown}",
            Location(run),
        )
    return passed("each event ends with a blank line")


@rule(
    "framing.utf8",
    Level.MUST,
    "The stream is strict UTF-8, even where a character is split across packets",
    why="Any other encoding shows as garbage or breaks the client's decoder.",
    fix="Encode the whole stream as UTF-8, and pass the encoded bytes on as they are.",
    source="W",
    any_stream=True,
    format_only=True,
)
@needs_events
def utf8(run: Exchange) -> RuleResult:
    for frame in run.frames:
        try:
            frame.frame.raw.decode("utf-8")
        except UnicodeDecodeError as problem:
            byte = frame.frame.raw[problem.start]
            return failed(
                f"{event_label(frame)} is not UTF-8: byte 0x{byte:02x} at offset {problem.start}",
                Location(run, frame),
            )
    try:
        run.pending.decode("utf-8")
    except UnicodeDecodeError as problem:
        if problem.reason != "unexpected end of data":
            return failed("the incomplete event at the end of the stream is not UTF-8", Location(run))
    return passed(f"all strict UTF-8 ({counted(len(run.frames), 'frame')})")


@rule(
    "framing.bom",
    Level.MUST,
    "A BOM appears only at the very start of the stream",
    why="Mid-stream, a BOM becomes part of the field name, and clients ignore the field.",
    fix="Encode without a BOM (in Python `utf-8`, not `utf-8-sig` or `utf-16`).",
    source="W",
    any_stream=True,
    format_only=True,
)
@needs_events
def bom(run: Exchange) -> RuleResult:
    for frame, name, _ in _fields(run):
        if name.startswith(_BOM):
            return failed(
                f"a line of {event_label(frame)} starts with a BOM, so clients ignore its field "
                f"{quoted(name.removeprefix(_BOM))}",
                Location(run, frame),
            )
    return passed("no BOM after the start of the stream")


@rule(
    "framing.one-json-object",
    Level.MUST,
    "The joined `data` of an event is one JSON object, without NaN and Infinity",
    why="Clients parse an event's data as one JSON object; anything else throws.",
    fix=(
        "Write each event's data with a JSON encoder, one object per event; do not use `str()`, `repr()` "
        "or string formatting, and send null for NaN and Infinity."
    ),
    source="api",
    any_stream=True,
    format_only=True,
)
@needs_events
def one_json_object(run: Exchange) -> RuleResult:
    for event in run.events:
        if event.event is not None and event.event.is_literal:
            continue
        data = event.frame.data or ""
        try:
            value = loads(data)
        except ValueError as problem:
            return failed(
                f"{event_label(event)}: data {quoted(data)} is not JSON: {problem}", Location(run, event)
            )
        if not isinstance(value, dict) and run.profile.events.data == "object":
            return failed(
                f"{event_label(event)}: data {quoted(data)} is not a JSON object", Location(run, event)
            )
    what = "object" if run.profile.events.data == "object" else "value"
    return passed(f"the data of every event is one JSON {what} ({counted(len(run.events), 'event')})")


@rule(
    "framing.content-inert",
    Level.MUST,
    "Line breaks, `data:` or blank lines inside a value never forge a frame",
    why="If a line break in a value reaches the wire unescaped, anyone who controls the text can forge events.",
    fix="Write the data with a JSON encoder, which escapes line breaks; never put raw text after `data:`.",
    source="ours",
    needs=Need.ECHO_ACTION,
)
@needs_events
def content_inert(run: Exchange, text: str, control: Exchange) -> RuleResult:
    """`text` is the hostile text that the action was asked to echo; `control` is a run without it."""
    if text in run.text:
        return passed("line breaks and field names came back inside the token's content")
    harmless = all(map(_is_json, control.events))
    bad = next(
        (frame for frame in run.frames if _is_forged(frame) or (harmless and not _is_json(frame))), None
    )
    if bad:
        return failed(
            f"a line break in the content reached the wire unescaped and broke or forged {event_label(bad)}: "
            f"data {quoted(bad.frame.data or '')}",
            Location(run, bad),
        )
    return not_applicable(
        f"the action does not echo the text it is sent; configure {Need.ECHO_ACTION.setting}"
    )


@rule(
    "framing.id-no-nul",
    Level.MUST,
    "`id` contains no NUL",
    why="Clients ignore an id with a NUL and later resume from an older one.",
    fix="Make ids only from digits and a hyphen, as in `1717000000000-0`.",
    source="W",
    any_stream=True,
    format_only=True,
)
@needs_events
def id_no_nul(run: Exchange) -> RuleResult:
    for frame, name, value in _fields(run):
        if name == "id" and "\0" in value:
            return failed(
                f"{event_label(frame)}: NUL in the id {quoted(value)}; clients ignore it",
                Location(run, frame),
            )
    return passed("no id contains a NUL")


@rule(
    "framing.retry-digits",
    Level.MUST,
    "`retry` contains ASCII digits only",
    why="Clients ignore a `retry` that is not all digits, so the reconnection time has no effect.",
    fix="Send `retry:` as whole milliseconds in ASCII digits, for example `retry: 3000`.",
    source="W",
    any_stream=True,
    format_only=True,
)
@needs_events
def retry_digits(run: Exchange) -> RuleResult:
    for frame, name, value in _fields(run):
        if name == "retry" and not (value.isascii() and value.isdigit()):
            return failed(
                f"retry {quoted(value)} is not all ASCII digits; clients ignore it", Location(run, frame)
            )
    return passed("no retry field with anything but digits")


@rule(
    "framing.fields",
    Level.SHOULD,
    "Only `data`, `id`, `event`, `retry` and comment lines",
    why="Clients drop unknown fields, so their content never arrives.",
    fix=(
        "Move what other fields carry into the JSON of `data:`, and write notes as comment lines, which "
        "start with a colon."
    ),
    source="W",
    any_stream=True,
    format_only=True,
)
@needs_events
def fields(run: Exchange) -> RuleResult:
    unknown = {name: frame for frame, name, _ in _fields(run) if name.removeprefix(_BOM) not in KNOWN_FIELDS}
    if unknown:
        names = ", ".join(quoted(name, 30) for name in list(unknown)[:5])
        return failed(
            f"unknown fields: {names}; clients drop them", Location(run, next(iter(unknown.values())))
        )
    return passed("only data, id, event, retry and comment lines")


def _is_forged(frame: DecodedFrame) -> bool:
    """Whether the hostile text made this frame. Inside a value its quotes would be escaped."""
    return frame.frame.id == "9-9" or frame.frame.event == "forged" or '"forged"' in (frame.frame.data or "")


def _is_json(frame: DecodedFrame) -> bool:
    if not frame.is_event:
        return True
    try:
        loads(frame.frame.data or "")
    except ValueError:
        return False
    return True


@rule(
    "framing.event-name",
    Level.SHOULD,
    "An `event:` field, if sent, is `message` or the event's type",
    why="A named event does not reach `onmessage`, so browser clients never see it.",
    fix="Leave `event:` out, or set it to the event's `type`.",
    source="W, ours",
    promise=(Capability.EVENT_NAMES,),
    any_stream=True,
    format_only=True,
)
@needs_events
def event_name(run: Exchange) -> RuleResult:
    for event in run.events:
        kind = event.event.type if event.event else None
        if event.frame.event not in {"", "message", kind}:
            return failed(
                f"{event_label(event)}: event name {quoted(event.frame.event)} is neither 'message' nor the type "
                f"{kind!r}; a client's onmessage never sees it",
                Location(run, event),
            )
    return passed("no event name other than 'message' or the event's type")
