from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.contract.decoding.full_decoder import FullDecoder
from harness.contract.decoding.response import Response
from harness.contract.evidence.document import excerpt
from harness.contract.exchange import Ending
from harness.contract.expectations import Expectations
from harness.contract.finding import Verdict
from harness.contract.rules.stream import rules_for
from harness.profiles import library
from tests.contract.exchanges import (
    BODY,
    EPOCH_MS,
    LAST_CHUNK,
    POST,
    SENT_NS,
    STREAM,
    cancelled,
    chunk,
    cut_run,
    done,
    empty_stream,
    error,
    frame,
    head,
    id_at,
    in_one_read,
    no_answer,
    reply,
    run,
    scripted,
    tail,
    token,
    whole_run,
)

WHOLE = (
    head(200, {**STREAM, "Transfer-Encoding": "chunked"})
    + chunk(b": hello\n\n" + token(0, "caf\u00e9 "))
    + chunk(token(1))
    + chunk(done(2))
    + LAST_CHUNK
)


def test_head_frames_and_events_are_decoded_from_the_reads() -> None:
    exchange = run(b": hello\n\n", token(0), frame({"type": "progress"}, "9-1"), done(3), at=[1, 5, 6, 9])
    assert (exchange.status, exchange.outcome, exchange.run_id, exchange.text) == (
        200,
        "done",
        "run-1",
        "word0 ",
    )
    assert exchange.head_ns == SENT_NS
    assert [received.is_event for received in exchange.frames] == [False, True, True, True]
    assert [received.index for received in exchange.events] == [1, 2, 3]
    assert [exchange.offset_ms(received.arrival_ns) for received in exchange.frames] == [1, 5, 6, 9]
    assert [received.event.type for received in exchange.events if received.event] == [
        "token",
        "progress",
        "done",
    ]
    assert exchange.events[1].stream_id == (9, 1)
    assert exchange.terminals == (exchange.frames[3],)
    assert exchange.tokens == (exchange.frames[1],)
    assert exchange.pending == b""


def test_an_event_came_with_the_read_that_completed_it() -> None:
    data = token(0)
    exchange = scripted((0, head(200, STREAM)), (5, data[:-1]), (9, data[-1:]), (9, done(1)))
    assert [exchange.offset_ms(received.arrival_ns) for received in exchange.events] == [9, 9]


@given(st.lists(st.integers(0, len(WHOLE)), max_size=20))
def test_however_the_bytes_were_cut_the_answer_is_the_same(places: list[int]) -> None:
    cuts = [0, *sorted(places), len(WHOLE)]
    parts = [(float(n), WHOLE[a:b]) for n, (a, b) in enumerate(pairwise(cuts))]
    exchange, whole = scripted(*parts), scripted((0, WHOLE))
    assert exchange.sequence == whole.sequence
    assert [received.frame for received in exchange.frames] == [received.frame for received in whole.frames]
    assert (exchange.head, exchange.body, exchange.text) == (whole.head, whole.body, "café word1 ")


def test_an_event_of_no_known_shape_says_what_is_wrong_with_it() -> None:
    exchange = run(frame("[1]", "1-0"), frame("", "x"), b"id: 7-7\n\n", frame({"type": "token"}, "1-1"))
    assert [received.event for received in exchange.frames] == [None] * 4
    problems = [received.problem for received in exchange.frames]
    assert problems[1:] == ["the data is empty", None, "content: Field required"]
    assert problems[0] is not None
    assert [received.stream_id for received in exchange.frames] == [(1, 0), None, (7, 7), (1, 1)]
    assert exchange.terminals == ()
    assert exchange.outcome is None


@pytest.mark.parametrize(
    ("last", "run_id"),
    [
        (done(0, "a"), "a"),
        (cancelled(0, "b"), "b"),
        (error(0, runId="c"), "c"),
        (error(0, runId=7), None),
        (error(0), None),
        (token(0), None),
    ],
)
def test_the_run_id_is_the_terminal_events(last: bytes, run_id: str | None) -> None:
    assert run(last).run_id == run_id


def test_what_must_be_the_same_leaves_the_run_id_out_and_nothing_else() -> None:
    assert whole_run(run_id="a").sequence == whole_run(run_id='b"\\\u00e9').sequence
    spaced = frame('{"type":"done", "runId" : "a"}', "1-0")
    assert run(spaced).sequence != run(spaced.replace(b"done", b"error")).sequence
    in_token = frame({"type": "token", "content": "x", "runId": "a"}, "1-0")
    assert run(in_token).sequence != run(in_token.replace(b'"a"', b'"b"')).sequence
    assert tail(2).sequence == whole_run().sequence[2:]


@pytest.mark.parametrize(
    ("exchange", "description"),
    [
        (whole_run(), "status 200 with 4 events, complete"),
        (run(token(0), ending=Ending.TRUNCATED, detail="closed"), "status 200 with 1 event, closed"),
        (empty_stream(), "status 200 with no event, complete"),
        (reply(409), "status 409 with no event, complete"),
        (no_answer(), "no response (no event within 10 s)"),
        (scripted(ending=Ending.REFUSED), "no response (refused)"),
    ],
)
def test_what_came_back_in_a_few_words(exchange: object, description: str) -> None:
    assert exchange.describe() == description


def test_what_counts_as_a_run() -> None:
    assert whole_run().started_run
    assert cut_run(1).started_run
    assert run(error(0)).started_run
    assert run(token(0), error(1, code=409)).started_run
    assert not run(error(0, code=409)).started_run  # a bare rejection
    assert not run(token(0), status=202).started_run
    assert not empty_stream().started_run
    assert not reply(200).started_run
    assert not no_answer().started_run


def test_a_rejection_in_the_form_of_a_stream() -> None:
    assert run(error(0, code=409)).is_rejection_event
    assert run(error(0, code=409), status=409).is_rejection_event
    assert not run(error(0, code=400)).is_rejection_event
    assert not run(error(0, code=409), error(1, code=409)).is_rejection_event
    assert not run(frame({"type": "rejected", "code": 409})).is_rejection_event
    assert not empty_stream().is_rejection_event


def test_a_failed_run_is_no_rejection() -> None:
    named = run(error(0, code=409, runId="r-1"))
    assert named.has_conflict_event
    assert not named.is_rejection_event
    assert named.started_run
    known = replace(run(error(0, code=409)), begins_run=True)
    assert not known.is_rejection_event
    assert known.started_run
    asked = POST.with_json({**BODY, "runId": "mine"})
    assert run(error(0, code=409, runId="mine"), request=asked).is_rejection_event


def test_the_body_is_without_its_framing() -> None:
    split = head(400, {"Transfer-Encoding": "chunked"}) + chunk(b'{"a":') + chunk(b"1}") + LAST_CHUNK
    exchange = scripted((0, split[:60]), (1, split[60:]))
    assert exchange.body == b'{"a":1}'
    assert exchange.holds(b'{"a":1}')
    assert exchange.holds(b"HTTP/1.1 400")
    assert not exchange.holds(b'{"a":2')


def test_what_was_decoded_before_malformed_bytes_stays() -> None:
    bad = head(200, {**STREAM, "Transfer-Encoding": "chunked"}) + chunk(done(0)) + b"zz\r\n"
    exchange = scripted((0, bad), (1, b"more"), ending=Ending.MALFORMED, detail="not an HTTP/1.1 response")
    assert exchange.outcome == "done"
    assert exchange.body == done(0)


def test_a_message_that_ends_with_the_connection_is_complete_only_when_it_was_closed() -> None:
    closed = scripted((0, head(200, STREAM) + done(0)))
    cut = scripted((0, head(200, STREAM) + done(0)), ending=Ending.CUT)
    assert closed._response.complete
    assert not cut._response.complete


def test_a_success_of_another_type_is_read_as_a_stream_and_an_error_is_not() -> None:
    assert len(run(token(0), headers={"Content-Type": "text/plain"}).events) == 1
    assert len(run(token(0), headers={"Content-Type": "Text/Event-Stream"}, status=409).events) == 1
    assert run(token(0), headers={"Content-Type": "text/plain"}, status=409).events == ()
    assert run(token(0), headers={"Content-Type": None}, status=500).body == token(0)


def test_offsets_count_from_the_sending_or_from_the_start_where_nothing_was_sent() -> None:
    assert whole_run().timing.origin_ns == SENT_NS
    never = no_answer(Ending.REFUSED, "Connection refused", sent_ms=None)
    assert never.timing.origin_ns == never.timing.started_ns == SENT_NS - 2_000_000
    assert never.timing.sent_wall_ns is None


def test_lags_are_of_the_reads_that_the_kernel_stamped() -> None:
    exchange = whole_run()
    assert list(exchange.stamps_ns()[1]) == [1000] * len(exchange.reads)
    decoder = FullDecoder()
    decoder.feed(5, WHOLE)
    assert decoder.frames[0].arrival_ns == 5
    assert decoder.head_ns == 5
    assert decoder.terminal_ns == 5
    assert decoder.complete


def test_a_decoder_gives_up_at_the_first_malformed_byte() -> None:
    decoder = FullDecoder()
    assert decoder.feed(1, b"SSH-2.0-x\r\n") == 0
    assert decoder.malformed is not None
    assert decoder.malformed.startswith("not an HTTP/1.1 response")
    assert decoder.feed(2, WHOLE) == 0
    assert decoder.frames == []
    assert decoder.head is None


def test_the_ids_that_the_helper_gives_are_those_of_the_wall_clock() -> None:
    assert whole_run().events[1].frame.id == id_at(1) == f"{EPOCH_MS + 10}-0"


@pytest.mark.parametrize("at_once", [True, False])
def test_where_malformed_bytes_begin_does_not_depend_on_the_packets(at_once: bool) -> None:
    good = head(200, {**STREAM, "Transfer-Encoding": "chunked"}) + chunk(token(0)) + chunk(done(1))
    parts = [(0.0, good + b"zz\r\n")] if at_once else [(0.0, good), (0.0, b"zz\r\n")]
    exchange = scripted(*parts, ending=Ending.MALFORMED, detail="not an HTTP/1.1 response")
    assert (exchange.status, exchange.outcome, len(exchange.events)) == (200, "done", 2)
    assert exchange.head_ns == SENT_NS


def test_an_event_that_outgrew_the_limit_leaves_those_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.contract.decoding.full_decoder.MAX_FRAME_BYTES", 2 * 2**20)
    decoder = FullDecoder()
    decoder.feed(1, head(200, STREAM))
    huge = token(0) + b"data: " + b"x" * (2 * 2**20 + 1)
    assert decoder.feed(2, huge) == 1
    assert [frame.index for frame in decoder.frames] == [0]
    assert decoder.malformed is None
    assert decoder.limit == "an event is larger than 2 MiB"


def test_the_first_event_is_found_without_what_follows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rules often point at it, in responses of which a server decides how many events they have."""
    exchange = in_one_read(2000, reads=1000)
    assert exchange.summary.events == 2000
    fed: list[int] = []
    feed = FullDecoder.feed
    monkeypatch.setattr(
        FullDecoder, "feed", lambda self, at, data: fed.append(len(data)) or feed(self, at, data)
    )
    first = exchange.first_event
    assert len(fed) == 1
    assert first == exchange.events[0]
    assert reply(404).first_event is None


def test_a_received_response_is_not_decoded_again(monkeypatch: pytest.MonkeyPatch) -> None:
    recorded = whole_run()
    received = Response.from_reads(recorded.reads, connection_ended=True)
    exchange = replace(recorded, received=received)
    monkeypatch.setattr(Response, "feed", lambda *_: pytest.fail("it was decoded again"))
    assert (exchange.head, exchange.outcome, exchange.is_regular) == (received.head, "done", True)
    assert len(exchange.sequence) == len(exchange.events) == 4
    assert exchange == recorded


def test_only_a_stream_that_ended_or_was_cut_by_the_harness_is_regular() -> None:
    whole, open_ended = whole_run(), run(token(0), token(1))
    assert whole.is_regular
    assert replace(open_ended, ending=Ending.CUT).is_regular
    for ending in set(Ending) - {Ending.CUT, Ending.COMPLETE}:
        assert not replace(whole, ending=ending).is_regular
    assert not replace(open_ended, ending=Ending.COMPLETE).is_regular


def test_a_response_without_an_event_is_not_decoded_frame_by_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may have a million comments, and each rule would take seconds."""
    comments = scripted((0, head(200, STREAM) + b":\n\n" * 100_000))
    assert comments.summary.events == 0

    def refuse(_: object) -> None:
        raise AssertionError("decoded in full")

    monkeypatch.setattr("harness.contract.decoding.response.Response.decode_in_full", refuse)
    assert (comments.events, comments.terminals, comments.tokens, comments.text) == ((), (), (), "")
    shown = excerpt(comments, base_url="http://127.0.0.1:9")
    assert (shown["events"], shown["events_left_out"]) == ([], 0)


def chat_chunk(**choice: object) -> bytes:
    usage = {"usage": {"completion_tokens": 3}} if "finish_reason" in choice else {}
    return frame(
        {"object": "chat.completion.chunk", "id": "c-1", "choices": [{"index": 0, **choice}], **usage}
    )


@pytest.mark.parametrize("api", ["workflow-actions", "openai-chat"])
def test_the_rules_of_a_regular_stream_that_meets_them_decode_no_event(
    api: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A load reads a hundred thousand events per second only as long as they stay undecoded."""
    pieces = [chat_chunk(delta={"content": "tok "})] * 3
    chat = run(
        *pieces, chat_chunk(delta={}, finish_reason="stop"), frame("[DONE]"), profile=library.load(api)
    )
    good = whole_run() if api == "workflow-actions" else chat
    assert good.is_regular

    def refuse(_: object) -> None:
        raise AssertionError("decoded in full")

    monkeypatch.setattr("harness.contract.decoding.response.Response.decode_in_full", refuse)
    found = {rule.requirement.id: rule(good, expect=Expectations()).verdict for rule in rules_for(good)}
    assert "terminal.closes" in found
    assert set(found.values()) <= {Verdict.PASS}
