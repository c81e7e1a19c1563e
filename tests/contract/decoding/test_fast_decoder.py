"""The fast decoder agrees with the full decoder and the rules, on any stream in any reads."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
from hypothesis import event, example, given, settings
from hypothesis import strategies as st

from harness.contract.decoding.fast_decoder import FastDecoder
from harness.contract.decoding.frame_template import FastPathError
from harness.contract.decoding.full_decoder import FullDecoder
from harness.contract.decoding.line_checks import ids_increase
from harness.contract.decoding.memory import MemoryBudget
from harness.contract.decoding.response import Response, ResponseSummary
from harness.contract.exchange import Ending, Exchange
from harness.contract.expectations import Expectations
from harness.contract.finding import Verdict
from harness.contract.rules.stream import STREAM_RULES, rules_for
from harness.load.journeys.stream_runner import check_delivery
from tests.cases import all_cases
from tests.contract.exchanges import (
    EPOCH_MS,
    LAST_CHUNK,
    STREAM,
    chunk,
    done,
    head,
    scripted,
    token,
    whole_run,
)
from tests.protocol.cuts import at_places

pytestmark = pytest.mark.usefixtures("each_token_reader")

FORMAT_RULES = [rule for rule in STREAM_RULES if rule.format_only]
HEAD = head(200, {**STREAM, "Transfer-Encoding": "chunked"})
TEXTS = st.sampled_from(
    ["word ", "", "é", '"', '"type":', '{"a" :1}', " :", "\n\ndata: x\n\n", "\r", "\u2028", "\ufeff", "type"]
)
ODD_DATA = st.sampled_from(
    [
        "",
        " ",
        "{}",
        "1",
        "[1]",
        '{"type":"token"}',
        '{"type":"token","content":1}',
        '{"type":"token","content":"a","content":"b"}',
        '{"type":"token","content":"a","content" :"b"}',
        '{"type":"token","content":"a","\\u0063ontent":"b"}',
        '{"type":"token","content":"a"',
        '{"type":"token","content":"\\ud800"}',
        '{"type":"token","content":"\\ud83d\\ude00"}',
        '{"type":"token","content":"a","n":' + "9" * 999 + "}",
        '{"type":"token","content":"a","n":' + "9" * 1200 + "}",
        '{"type":"token","content":"a","s":"\\ude00"}',
        '{"type":"done","runId":"\\ude00"}',
        '{"type":"done","runId":"a","x":' + "[" * 150 + "]" * 150 + "}",
        '{"type":"done","runId":"a","x":' + "[" * 2000 + "]" * 2000 + "}",
        '{"type":"done","runId":"a","x":' + "9" * 5000 + "}",
        '{"type":"token","content":"\x01"}',
        '{"type":"token","content":"\t"}',
        '{"type":"token","content":"a","n":NaN}',
        '{"type":"token","content":"a","n":1e999}',
        '{"type":"token","content":"a","n":[1]}',
        '{"type":"token","content":"a"},{"type":"token","content":"b"}',
        '{"type":"token","content":"a"}{"type":"token","content":"b"}',
        '{"type":"token","content":"a","x":[{}',
        '{"y":1}]}',
        '{"type":"status","state":"thinking"}',
        '{"type":1}',
        '{"type":"done"}',
        '{"type":"done","runId":1}',
        '{"type":"error","code":409}',
        '{"type":"cancelled"}',
        '{"type":"done","runId":"a","runId":"b"}',
        "\ufeff{}",
    ]
)


@st.composite
def frames(draw: st.DrawFn, newline: str, place: int, spaced: bool) -> str:
    """One frame, most often of the common form."""
    kind = draw(st.sampled_from(["token"] * 12 + ["comment", "odd", "odd", "extra", "done", "blank"]))
    if kind == "comment":
        return (
            draw(st.sampled_from([":", ": beat", ": é", f":a{newline}:b", f": a{newline}data: b"]))
            + newline * 2
        )
    if kind == "blank":
        return newline
    number = place + draw(st.sampled_from([0] * 20 + [-1, -3, 5]))
    odd_ids = [f"0{number}-00", "", "x-1", "5-\0", "1-18446744073709551615", f"{10**24}-0"]
    own_id = draw(st.sampled_from([f"{EPOCH_MS + number}-0"] * 12 + [f"{EPOCH_MS}-{number}", *odd_ids]))
    separators = (", ", ": ") if spaced else (",", ":")
    if kind == "odd":
        data = draw(ODD_DATA)
    elif kind == "done":
        data = json.dumps({"type": "done", "runId": "r"}, separators=separators)
    else:
        value = {"type": "token", "content": draw(TEXTS)}
        if kind == "extra":
            value |= draw(st.sampled_from([{"t": 1}, {"t": None, "u": 1.5}, {"t": {"a": 1}}]))
        data = json.dumps(value, separators=separators, ensure_ascii=draw(st.booleans()))
    lines = [f"id: {own_id}", f"data: {data}"]
    extra = draw(
        st.sampled_from(
            [""] * 16 + ["event: token", "event: message", "event: x", "retry: 5", "retry: x", "a"]
        )
    )
    if extra:
        lines.insert(draw(st.integers(0, 2)), extra)
    if draw(st.integers(0, 15)) == 0:
        lines.reverse()
    end = draw(st.sampled_from([newline] * 20 + ["\n", "\r\n", "\r"]))
    return newline.join(lines) + end + newline


@st.composite
def streams(draw: st.DrawFn) -> bytes:
    newline = draw(st.sampled_from(["\n", "\n", "\r\n", "\r"]))
    spaced = draw(st.booleans())
    regular = draw(st.integers(0, 3)) > 0
    parts = []
    for place in range(draw(st.integers(0, 7))):
        if regular:
            data = json.dumps(
                {"type": "token", "content": draw(TEXTS)}, separators=(",", ": " if spaced else ":")
            )
            comment = draw(st.sampled_from(["", "", "", f": beat{newline * 2}"]))
            parts.append(f"{comment}id: {EPOCH_MS + place}-0{newline}data: {data}{newline * 2}")
        else:
            parts.append(draw(frames(newline, place, spaced)))
    if draw(st.integers(0, 4)):
        parts.append(f'id: {EPOCH_MS + 9}-0{newline}data: {{"type":"done","runId":"r"}}{newline * 2}')
    if draw(st.integers(0, 7)) == 0:
        parts.append(draw(frames(newline, 10, spaced)))
    if draw(st.integers(0, 15)) == 0:
        parts.insert(0, "\ufeff")
    body = "".join(parts).encode("utf-8", "surrogatepass")
    if body and draw(st.integers(0, 9)) == 0:  # one wrong byte
        place = draw(st.integers(0, len(body) - 1))
        body = (
            body[:place]
            + draw(st.sampled_from([b"\xff", b"\n", b"\r", b"", b"0", b"}", b" "]))
            + body[place + 1 :]
        )
    return body


def of_pieces(body: bytes, places: list[int], ending: Ending) -> Exchange:
    pieces = [piece for piece in at_places(body, places) if piece]
    parts = [(float(at), chunk(piece)) for at, piece in enumerate(pieces, 1)]
    end = [(float(len(parts) + 1), LAST_CHUNK)] if ending is Ending.COMPLETE else []
    return scripted((0.0, HEAD), *parts, *end, ending=ending)


def full_summary(run: Exchange) -> ResponseSummary:
    return Response.from_reads(run.reads, connection_ended=False, decoder=FullDecoder()).summary


_LF_TOKEN = b'id: 1717000000000-0\ndata: {"type":"token","content":"w"}\n\n'
_DONE = b'id: 1717000000009-0\ndata: {"type":"done","runId":"r"}\n\n'


@settings(max_examples=max(120, settings().max_examples), deadline=None)
@given(
    streams(),
    st.lists(st.integers(0, 400), max_size=8),
    st.sampled_from([Ending.COMPLETE, Ending.COMPLETE, Ending.CUT, Ending.TRUNCATED]),
)
@example(b'id: 1-0\ndata: {"type":"token","content":"a"}\r\n\r\n', [], Ending.COMPLETE)
@example(
    b'id: 1-0\ndata:{"type":"token","content":"a"}\n\nid: 1-1\ndata: {"type":"done","runId":"r"}\n\n',
    [],
    Ending.COMPLETE,
)
@example(
    b'id: 1-0\ndata:{"type":"token","content":"a"}\n\nid: 1-1\ndata: {"type":"token","content":"b"}\n\n',
    [55],
    Ending.CUT,
)
@example(_LF_TOKEN + _DONE.replace(b"\n", b"\r\n"), [len(_LF_TOKEN)], Ending.COMPLETE)
@example(_LF_TOKEN.replace(b"\n", b"\r\n") + _DONE, [len(_LF_TOKEN) + 3], Ending.COMPLETE)
@example(b": beat\r\n\r\n" + _LF_TOKEN + _DONE, [], Ending.COMPLETE)
@example(b": beat\r\n\r\n" + _LF_TOKEN + _DONE, [10], Ending.COMPLETE)
@example(b": beat\n\n" + (_LF_TOKEN + _DONE).replace(b"\n", b"\r\n"), [8], Ending.COMPLETE)
@example(_LF_TOKEN + _DONE + _DONE.replace(b"\n", b"\r\n"), [], Ending.COMPLETE)
@example(_LF_TOKEN.replace(b"}", rb',"a\"b":1}') + _DONE, [], Ending.COMPLETE)
@example(_LF_TOKEN.replace(b"}", rb',"a\nb":1}') + _DONE, [], Ending.COMPLETE)
@example(_LF_TOKEN.replace(b"}", rb',"\ud800":1}') + _DONE, [], Ending.COMPLETE)
def test_the_fast_decoder_agrees_with_the_full_decoder_and_the_rules(
    body: bytes, places: list[int], ending: Ending
) -> None:
    run = of_pieces(body, places, ending)
    assert run.summary == full_summary(run)
    assert run.sequence == tuple(one.identity for one in run.events)
    event(f"regular: {run.is_regular}")
    if run.is_regular:
        found = [rule(run, expect=Expectations()) for rule in FORMAT_RULES]
        assert [one for one in found if one.verdict in {Verdict.FAIL, Verdict.WARN}] == []
        if ending is Ending.COMPLETE:
            assert {one.verdict for one in found} <= {Verdict.PASS, Verdict.NOT_APPLICABLE}


LAST = b'id: 2000-0\ndata: {"type":"done","runId":"r"}\n\n'
STYLES = {
    "compact": (b'id: %d-0\ndata: {"type":"token","content":"w"}\n\n', LAST),
    "python": (b'id: %d-0\ndata: {"type": "token", "content": "w"}\n\n', LAST),
    "no spaces": (b'id:%d-0\ndata:{"type":"token","content":"w"}\n\n', LAST.replace(b": ", b":")),
    "content first": (b'id: %d-0\ndata: {"content":"w","type":"token"}\n\n', LAST),
    "crlf": (b'id: %d-0\r\ndata: {"type":"token","content":"w"}\r\n\r\n', LAST.replace(b"\n", b"\r\n")),
    "names": (b'event: token\nid: %d-0\ndata: {"type":"token","content":"w"}\n\n', b"event: done\n" + LAST),
    "message": (
        b'event: message\nid: %d-0\ndata: {"type":"token","content":"w"}\n\n',
        b"event: message\n" + LAST,
    ),
    "data first": (
        b'data: {"type":"token","content":"w"}\nid: %d-0\n\n',
        b'data: {"type":"done","runId":"r"}\nid: 2000-0\n\n',
    ),
    "more keys": (b'id: %d-0\ndata: {"type":"token","content":"w","t":17,"m":"m","x":null}\n\n', LAST),
    "beats": (b': beat\n\nid: %d-0\ndata: {"type":"token","content":"w"}\n\n: more\n: beats\n\n', LAST),
    "utf-8": ('id: %d-0\ndata: {"type":"token","content":"é"}\n\n'.encode(), LAST),
    "escapes": (b'id: %d-0\ndata: {"type":"token","content":"{\\"a\\": 1, \\"b\\" :2}"}\n\n', LAST),
}


@all_cases(("each", "last"), STYLES.values(), ids=STYLES)
@all_cases("size", [1, 7, 50, 100_000])
def test_the_common_styles_are_regular_however_they_are_cut(each: bytes, last: bytes, size: int) -> None:
    body = b"".join(each % (1000 + number) for number in range(30)) + last
    run = of_pieces(body, list(range(size, len(body), size)), Ending.COMPLETE)
    assert (run.summary.events, len(run.summary.token_arrivals_ns)) == (31, 30)
    assert run.summary == full_summary(run)
    assert run.sequence == tuple(one.identity for one in run.events)
    cut_inside_a_line_end = any(body[at - 1 : at + 1] == b"\r\n" for at in range(size, len(body), size))
    assert run.is_regular is not cut_inside_a_line_end


@pytest.mark.parametrize(
    "body",
    [
        token(0) + token(0) + done(1),
        token(1) + token(0) + done(2),
        token(0) + done(1) + done(2),
        token(0) + done(1) + token(2),
        done(0),
        token(0) + b"data: x\n\n" + done(1),
        token(0) + b"retry: 5\n\n" + done(1),
        token(0).replace(b"token", b"status") + done(1),
    ],
)
def test_what_breaks_a_rule_or_is_unusual_is_not_regular(body: bytes) -> None:
    with pytest.raises(FastPathError):
        FastDecoder().feed_body(body)


def test_an_unfinished_event_is_not_regular() -> None:
    whole = token(0) + token(1)
    assert of_pieces(whole, [], Ending.CUT).is_regular
    assert not of_pieces(whole + b"id: 5", [], Ending.CUT).is_regular
    assert not of_pieces(whole, [], Ending.COMPLETE).is_regular  # no terminal event
    assert not of_pieces(whole, [], Ending.TRUNCATED).is_regular


def test_no_frame_is_made_of_a_regular_stream_until_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    fed: list[bytes] = []
    feed = FullDecoder.feed

    def watched(self: FullDecoder, arrival_ns: int, data: bytes) -> int:
        fed.append(data)
        return feed(self, arrival_ns, data)

    monkeypatch.setattr(FullDecoder, "feed", watched)
    run = of_pieces(token(0) + token(1) + done(2), [20, 70], Ending.COMPLETE)
    assert (run.is_regular, run.outcome, run.run_id, run.summary.events) == (True, "done", "run-1", 3)
    assert fed == []
    assert len(run.events) == 3
    assert fed


def test_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    budget = MemoryBudget(response_bytes=2 * 2**20)
    response = Response(memory=budget)
    response.feed(1, None, HEAD)
    piece = chunk(b": " + b"x" * 60_000 + b"\n\n")
    while response.limit is None:
        response.feed(2, None, piece)
    assert response.limit == "the response is larger than 2 MiB (limits.response)"
    assert (response.over, response.malformed) == (True, None)
    assert 2 * 2**20 < response.log.size_bytes < 2 * 2**20 + 2 * len(piece)
    endless_tokens = Response(memory=budget)
    endless_tokens.feed(1, None, HEAD)
    number = 0
    while endless_tokens.limit is None:
        endless_tokens.feed(2, None, chunk(token(number, "x" * 3000)))
        number += 1
    assert endless_tokens.is_regular
    before = endless_tokens.log.size_bytes
    assert endless_tokens.feed(3, None, chunk(token(number, "x" * 3000))) == 0
    assert (endless_tokens.log.size_bytes, endless_tokens.events) == (before, number)
    endless_head = Response()
    while endless_head.malformed is None:
        endless_head.feed(
            1, None, b"HTTP/1.1 200 OK\r\n" if not endless_head.log else b"A: " + b"b" * 5000 + b"\r\n"
        )
    assert endless_head.malformed == "no complete response head within 256 KiB"


@pytest.mark.parametrize("decoder", [FastDecoder, FullDecoder])
def test_the_number_of_events_and_reads_is_bounded(
    monkeypatch: pytest.MonkeyPatch, decoder: type[FastDecoder | FullDecoder]
) -> None:
    monkeypatch.setattr("harness.contract.decoding.response.CHECKED_EVERY_BYTES", 10_000)
    monkeypatch.setattr("harness.contract.decoding.response.MAX_EVENTS", 5000)
    monkeypatch.setattr("harness.contract.decoding.full_decoder.MAX_EVENTS", 5000)
    response = Response(decoder())
    response.feed(1, None, HEAD)
    number = 0
    while response.limit is None:
        response.feed(2, None, chunk(token(number)))
        number += 1
    assert response.limit == "the response has more than 5,000 events"
    assert 5000 < number < 5500
    monkeypatch.setattr("harness.contract.decoding.response.MAX_READS", 100)
    response = Response(decoder())
    for _ in range(102):
        response.feed(1, None, HEAD if not response.log else b"1\r\n:\r\n")
    assert response.limit == "the response arrived in more than 100 reads"


def test_a_load_judges_a_regular_stream_without_its_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else each stream of a load costs several times as much, and the harness measures itself."""
    run = whole_run(tokens=40)
    run = scripted(*((float(at), read.data) for at, read in enumerate(run.reads)))
    assert run.is_regular
    monkeypatch.setattr(Response, "decode_in_full", lambda _: pytest.fail("decoded in full"))
    findings = [rule(run, expect=Expectations()) for rule in rules_for(run)] + check_delivery(run)
    assert {finding.verdict for finding in findings} == {Verdict.PASS}


_NUMBERS = st.integers(0, 12) | st.sampled_from([99, 100, 999, 1000, 10**12, 10**18])


@given(st.lists(st.tuples(_NUMBERS, _NUMBERS), min_size=1, max_size=30), st.booleans())
@example([(1, 23), (12, 3)], True)  # of one width, with the dash elsewhere
@example([(12, 3), (1, 23)], True)
@example([(1, 9), (1, 10)], True)
def test_ids_are_compared_as_pairs_of_numbers(ids: list[tuple[int, int]], ordered: bool) -> None:
    ids = sorted(set(ids)) if ordered else ids
    lines = [b"id: %d-%d" % one for one in ids]
    increase = all(before < after for before, after in pairwise(ids))
    assert ids_increase(lines, b"id: ", formed=True) is increase
    assert ids_increase(lines, b"id: ") is increase
