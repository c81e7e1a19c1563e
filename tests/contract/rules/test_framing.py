from __future__ import annotations

import json

import pytest

from harness.contract.exchange import Ending
from harness.contract.rules import framing
from harness.contract.rules.framing import HOSTILE_TEXT
from tests.cases import all_cases
from tests.contract.exchanges import (
    STREAM,
    cut_run,
    done,
    empty_stream,
    frame,
    head,
    run,
    scripted,
    token,
    whole_run,
)
from tests.contract.rules.case import FAIL, INCONCLUSIVE, NOT_APPLICABLE, PASS, WARN, Case, case, check

BOM = "\ufeff"
CAFE = frame({"type": "token", "content": "café"}, "1-0")


def stream(*pieces: bytes, ending: Ending = Ending.COMPLETE) -> Case:
    """A close-delimited answer in these pieces."""
    return scripted((0, head(200, STREAM)), *((1, piece) for piece in pieces), ending=ending)


ECHO = [frame({"type": "token", "content": piece}, f"1-{place}") for place, piece in enumerate(HOSTILE_TEXT)]
TORN = b'id: 1-0\ndata: {"type":"token","content":"' + HOSTILE_TEXT.encode() + b'"}\n\n'
OF_NONE = [
    framing.utf8,
    framing.bom,
    framing.fields,
    framing.id_no_nul,
    framing.retry_digits,
    framing.event_name,
    framing.blank_line,
    framing.one_json_object,
]

CASES: list[Case] = [
    *(case(rule, empty_stream(), is_=INCONCLUSIVE, says="no run to check") for rule in OF_NONE),
    *(case(rule, whole_run(), is_=PASS, says="") for rule in OF_NONE),
    case(
        framing.utf8,
        stream(*(CAFE[at : at + 1] for at in range(len(CAFE)))),
        is_=PASS,
        says="all strict UTF-8 (1 frame)",
    ),
    case(
        framing.utf8,
        stream(token(0), CAFE.replace("é".encode(), b"\xe9")),
        is_=FAIL,
        says=f"event 2 (id 1-0) is not UTF-8: byte 0xe9 at offset {CAFE.index('é'.encode())}",
        at=1,
    ),
    case(
        framing.utf8,
        stream(token(0), b": surrogate \xed\xa0\x80\n\n"),
        is_=FAIL,
        says="byte 0xed",
        at=1,
    ),
    case(framing.utf8, stream(token(0), b"data: \xff"), is_=FAIL, says="incomplete event"),
    case(framing.utf8, stream(token(0), b"data: \xc3"), is_=PASS, says="all strict UTF-8 (1 frame)"),
    case(framing.bom, stream(BOM.encode() + token(0)), is_=PASS, says="no BOM after the start"),
    case(
        framing.bom,
        stream(token(0), BOM.encode() + token(1)),
        is_=FAIL,
        says="clients ignore its field 'id'",
        at=1,
    ),
    case(
        framing.bom,
        stream(token(0, f"{BOM}inside"), done(1)),
        is_=PASS,
        says="no BOM",
    ),
    case(
        framing.fields,
        run(frame({"type": "token", "content": ""}, "1-0", extra=": hello\nretry: 5\nevent: token\n")),
        is_=PASS,
        says="only data, id, event, retry and comment lines",
    ),
    case(
        framing.fields,
        run(token(0), frame({"type": "x"}, "1-0", extra="seq: 1\nDATA: 2\n")),
        is_=WARN,
        says="'seq', 'DATA'",
        at=1,
    ),
    case(framing.id_no_nul, stream(b"id: 1\x00-0\n" + token(0)), is_=FAIL, says="'1\\x00-0'", at=0),
    case(framing.retry_digits, stream(b"retry: 3000\n\n" + token(0)), is_=PASS, says="anything but digits"),
    case(framing.retry_digits, stream(b"retry: 3s\n\n" + token(0)), is_=FAIL, says="retry '3s'", at=0),
    case(framing.retry_digits, stream(b"retry\n\n" + token(0)), is_=FAIL, says="retry ''", at=0),
    case(framing.retry_digits, stream("retry: ٣\n\n".encode() + token(0)), is_=FAIL, says="'٣'", at=0),
    case(framing.retry_digits, stream("retry: ²\n\n".encode() + token(0)), is_=FAIL, says="'²'", at=0),
    case(
        framing.event_name,
        run(frame({"type": "token", "content": "a"}, "1-0", extra="event: message\n"), done(1)),
        is_=PASS,
        says="no event name other than",
    ),
    case(
        framing.event_name,
        run(token(0), frame({"type": "token", "content": "a"}, "1-0", extra="event: update\n")),
        is_=WARN,
        says="'update' is neither 'message' nor the type 'token'",
        at=1,
    ),
    case(
        framing.blank_line,
        stream(token(0), done(1)[:-1]),
        is_=FAIL,
        says="no blank line after 'id: 1717000000010-0\\ndata:",
    ),
    case(framing.blank_line, stream(done(0), b": goodbye"), is_=PASS, says="each event"),
    case(framing.blank_line, stream(token(0).replace(b"\n", b"\r")), is_=PASS, says="each event"),
    case(framing.blank_line, cut_run(2), is_=INCONCLUSIVE, says="the harness cut the stream"),
    case(
        framing.one_json_object,
        stream(b'data: {"type":"token",\ndata: "content":"a"}\n\n'),
        is_=PASS,
        says="(1 event)",
    ),
    case(
        framing.one_json_object,
        run(token(0), frame('{"type":"done"', "1-0")),
        is_=FAIL,
        says='event 2 (id 1-0): data \'{"type":"done"\' is not JSON',
        at=1,
    ),
    case(
        framing.one_json_object,
        run(frame('{"type":"a"}{"type":"b"}', "1-0")),
        is_=FAIL,
        says="not JSON",
        at=0,
    ),
    *(
        case(framing.one_json_object, run(token(0), frame(data, "1-0")), is_=FAIL, says="is not JSON", at=1)
        for data in (
            '{"type":"token","content":"a","p":NaN}',
            '{"type":"x","p":[-Infinity]}',
            '{"type":"x","p":{"q":Infinity}}',
        )
    ),
    case(framing.one_json_object, run(frame('{"type":"x","p":1e400}', "1-0")), is_=PASS, says="(1 event)"),
    case(framing.one_json_object, run(frame("[1]", "1-0")), is_=FAIL, says="not a JSON object", at=0),
    case(framing.one_json_object, run(frame("[DONE]", "1-0")), is_=FAIL, says="'[DONE]' is not JSON", at=0),
    case(framing.one_json_object, run(frame("", "1-0")), is_=FAIL, says="data '' is not JSON", at=0),
    case(framing.one_json_object, run(frame("[" * 100_000, "1-0")), is_=FAIL, says="not JSON", at=0),
    case(
        framing.content_inert,
        run(*ECHO, done(99)),
        HOSTILE_TEXT,
        whole_run(),
        is_=PASS,
        says="came back inside the token",
    ),
    case(
        framing.content_inert,
        stream(TORN),
        HOSTILE_TEXT,
        whole_run(),
        is_=FAIL,
        says="broke or forged event 1",
        at=0,
    ),
    case(
        framing.content_inert,
        run(token(0, "inert"), frame({"type": "done", "runId": "forged"}, "1-1")),
        HOSTILE_TEXT,
        whole_run(),
        is_=FAIL,
        says="forged event 2",
        at=1,
    ),
    case(
        framing.content_inert,
        run(token(0), frame("no JSON", "1-0")),
        HOSTILE_TEXT,
        whole_run(),
        is_=FAIL,
        says="event 2 (id 1-0): data 'no JSON'",
        at=1,
    ),
    case(  # it sends such data without the hostile text, too: framing.one-json-object has that
        framing.content_inert,
        run(token(0), frame("no JSON", "1-0")),
        HOSTILE_TEXT,
        run(token(0), frame("no JSON", "1-0")),
        is_=NOT_APPLICABLE,
        says="does not echo the text",
    ),
    case(
        framing.content_inert,
        whole_run(),
        HOSTILE_TEXT,
        whole_run(),
        is_=NOT_APPLICABLE,
        says="configure [target.actions.echo]",
    ),
    case(
        framing.content_inert,
        empty_stream(),
        HOSTILE_TEXT,
        whole_run(),
        is_=INCONCLUSIVE,
        says="no run to check",
    ),
]


@all_cases("example", CASES, ids=str)
def test_verdict(example: Case) -> None:
    check(example)


@pytest.mark.parametrize("line_end", [b"\n", b"\r", b"\r\n"])
def test_what_a_bare_line_break_in_content_does_is_seen(line_end: bytes) -> None:
    text = HOSTILE_TEXT.encode().replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\n", line_end)
    torn = stream(b'data: {"type":"token","content":"' + text + b'"}\n\n', done(1))
    assert framing.content_inert(torn, HOSTILE_TEXT, whole_run()).verdict is FAIL


def test_text_that_was_encoded_is_not_taken_for_torn() -> None:
    escaped = run(frame(json.dumps({"type": "token", "content": HOSTILE_TEXT}), "1-0"), done(1))
    assert framing.content_inert(escaped, HOSTILE_TEXT, whole_run()).verdict is PASS
