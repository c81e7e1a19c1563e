"""framing: what stands on the wire is an event stream, to the letter of WHATWG HTML 9.2."""

from __future__ import annotations

import json
from collections.abc import Iterator

from harness.contract.decoding.full_decoder import Received
from harness.contract.exchange import Ending, Exchange
from harness.contract.finding import Judgement, Place, broken, held, inconclusive, not_applicable
from harness.contract.rules.rule import judges, name_event, of_events, quoted
from harness.protocol.sse import lines

KNOWN_FIELDS = frozenset({"data", "id", "event", "retry", ""})
_BOM = "\ufeff"

#: Text that forges a frame wherever a server writes a value without encoding it.
HOSTILE_TEXT = (
    'inert\n\ndata: {"type":"done","runId":"forged"}\n\nid: 9-9\r\n\r\nevent: forged\rretry: 1\u2028: "\\"end'
)


def _fields(run: Exchange) -> Iterator[tuple[Received, str, str]]:
    for one in run.received:
        for name, value in one.frame.fields:
            yield one, name, value


@judges("framing.utf8", of_form=True)
@of_events
def utf8(run: Exchange) -> Judgement:
    for one in run.received:
        try:
            one.frame.raw.decode("utf-8")
        except UnicodeDecodeError as problem:
            byte = one.frame.raw[problem.start]
            return broken(
                f"{name_event(one)} is not UTF-8: byte 0x{byte:02x} at offset {problem.start}",
                Place(run, one),
            )
    try:
        run.pending.decode("utf-8")
    except UnicodeDecodeError as problem:
        if problem.reason != "unexpected end of data":
            return broken("the unfinished end of the stream is not UTF-8", Place(run))
    return held(f"{len(run.received)} frames are strict UTF-8")


@judges("framing.fields", of_form=True)
@of_events
def fields(run: Exchange) -> Judgement:
    strange = {name: one for one, name, _ in _fields(run) if name.removeprefix(_BOM) not in KNOWN_FIELDS}
    if strange:
        names = ", ".join(quoted(name, 30) for name in list(strange)[:5])
        return broken(f"fields that no client knows: {names}", Place(run, next(iter(strange.values()))))
    return held("only data, id, event, retry and comment lines")


@judges("framing.blank-line", of_form=True)
@of_events
def blank_line(run: Exchange) -> Judgement:
    if run.ending in {Ending.CUT, Ending.STOPPED}:
        return inconclusive("the stream was cut by us")
    if any(not line.startswith(b":") for line in lines(run.pending)):
        shown = quoted(run.pending.decode("utf-8", "replace"))
        return broken(
            f"the stream ended inside an event, which a client discards: no blank line after {shown}",
            Place(run),
        )
    return held("each event ended with a blank line")


@judges("framing.one-json-object", of_form=True)
@of_events
def one_json_object(run: Exchange) -> Judgement:
    for one in run.events:
        data = one.frame.data or ""
        try:
            value = json.loads(data)
        except (ValueError, RecursionError) as problem:
            return broken(f"{name_event(one)}: data {quoted(data)} is not JSON: {problem}", Place(run, one))
        if not isinstance(value, dict):
            return broken(f"{name_event(one)}: data {quoted(data)} is not a JSON object", Place(run, one))
    return held(f"the data of each of {len(run.events)} events is one JSON object")


@judges("framing.id-no-nul", of_form=True)
@of_events
def id_no_nul(run: Exchange) -> Judgement:
    for one, name, value in _fields(run):
        if name == "id" and "\0" in value:
            return broken(
                f"{name_event(one)}: NUL in the id {quoted(value)}; clients ignore it", Place(run, one)
            )
    return held("no id holds a NUL")


@judges("framing.retry-digits", of_form=True)
@of_events
def retry_digits(run: Exchange) -> Judgement:
    for one, name, value in _fields(run):
        if name == "retry" and not (value.isascii() and value.isdigit()):
            return broken(
                f"retry {quoted(value)} is not all ASCII digits; clients ignore it", Place(run, one)
            )
    return held("every retry field, if any, is all digits")


@judges("framing.event-name", of_form=True)
@of_events
def event_name(run: Exchange) -> Judgement:
    for one in run.events:
        kind = one.event.type if one.event else None
        if one.frame.event not in {"", "message", kind}:
            return broken(
                f"{name_event(one)}: event name {quoted(one.frame.event)} is neither 'message' nor the type "
                f"{kind!r}; a client's onmessage never sees it",
                Place(run, one),
            )
    return held("event names, if any, are 'message' or the event's type")


@judges("framing.content-inert")
@of_events
def content_inert(run: Exchange, text: str, control: Exchange) -> Judgement:
    """`text` is the hostile text that the action was asked to give back; `control` is a run without it."""
    if text in run.text:
        return held("line breaks and field names in a token's content came back inside it")
    harmless = all(map(_is_json, control.events))
    bad = next((one for one in run.received if _is_forged(one) or (harmless and not _is_json(one))), None)
    if bad:
        return broken(
            f"a line break in the content reached the wire unencoded and tore or forged {name_event(bad)}: "
            f"data {quoted(bad.frame.data or '')}",
            Place(run, bad),
        )
    return not_applicable(
        "the action does not give back the text it is sent; configure [target.actions.echo] with {text} in a "
        "parameter"
    )


def _is_forged(one: Received) -> bool:
    """Whether a frame was made by the hostile text. Inside a value its quotes would be escaped."""
    return one.frame.id == "9-9" or one.frame.event == "forged" or '"forged"' in (one.frame.data or "")


def _is_json(one: Received) -> bool:
    if not one.is_event:
        return True
    try:
        json.loads(one.frame.data or "")
    except (ValueError, RecursionError):
        return False
    return True


@judges("framing.bom", of_form=True)
@of_events
def bom(run: Exchange) -> Judgement:
    for one, name, _ in _fields(run):
        if name.startswith(_BOM):
            return broken(
                f"a BOM stands at the start of a line of {name_event(one)}; clients then miss the field "
                f"{quoted(name.removeprefix(_BOM))}",
                Place(run, one),
            )
    return held("no BOM but, at most, at the very start")
