"""Each limit of the full decoder, alone: which it is, and that nothing beyond it is decoded."""

from __future__ import annotations

import gzip
import os
import tracemalloc

import brotli
import pytest
from backports import zstd

from harness.contract.decoding import full_decoder, memory, response
from harness.contract.decoding.fast_decoder import FastDecoder
from harness.contract.decoding.frame_template import FastPathError
from harness.contract.decoding.full_decoder import FullDecoder
from harness.contract.decoding.limits import DECODED_AT_ONCE_BYTES, LINES_OF_EVENT
from harness.contract.decoding.memory import MemoryBudget, MemoryShare
from harness.contract.decoding.response import Response
from harness.profiles import library
from harness.protocol import http1
from tests.contract.exchanges import LAST_CHUNK, STREAM, chunk, done, head, scripted, token

HEAD = head(200, {**STREAM, "Transfer-Encoding": "chunked"})
EVENT = b'data: {"type":"x"}\n\n'  # of an unknown type: no stream with it is regular


def fed(body: bytes, *, share: MemoryShare | None = None) -> FullDecoder:
    """A decoder that has read it at once."""
    decoder = FullDecoder(share=share)
    decoder.feed(1, HEAD)
    decoder.feed(2, chunk(body))
    return decoder


@pytest.mark.parametrize(
    ("name", "value", "body", "sentence"),
    [
        ("MAX_EVENTS", 50, EVENT * 60, "the response has more than 50 events"),
        ("MAX_FRAME_LINES", 50, b"data: x\n" * 60, "an event has more than 50 lines"),
        ("MAX_LINES", 50, b"\n" * 60, "the response has more than 50 lines"),
        ("MAX_LINES", 50, b":\n\n" * 30, "the response has more than 50 lines"),
        ("MAX_DECODED_BYTES", 2**20, EVENT * 600, "its events take more than 1 MiB in memory"),
        ("MAX_FRAME_BYTES", 2**20, b"data: " + b"x" * 2**20, "an event is larger than 1 MiB"),
    ],
)
def test_each_limit_is_named(
    monkeypatch: pytest.MonkeyPatch, name: str, value: int, body: bytes, sentence: str
) -> None:
    assert fed(body).limit is None
    monkeypatch.setattr(full_decoder, name, value)
    decoder = fed(body)
    assert decoder.limit == sentence
    frames = decoder.frame_count
    assert decoder.feed(3, chunk(EVENT)) == 0
    assert decoder.frame_count == frames


def test_a_read_of_many_events_is_decoded_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(full_decoder, "MAX_EVENTS", 10)
    assert fed(EVENT * 5000).frame_count <= 10 + DECODED_AT_ONCE_BYTES // len(EVENT)


def test_the_common_budget_counts_within_a_read() -> None:
    decoder = fed(EVENT * 5000, share=MemoryShare(MemoryBudget(total_events=100)))
    assert (
        decoder.limit
        == "the responses have too many events or lines together (more than 2,000 events in this one)"
    )
    assert decoder.frame_count <= 2000 + DECODED_AT_ONCE_BYTES // len(EVENT) + 1


@pytest.mark.parametrize("body", [b":\n\n", b"\n", b":\n"])
def test_lines_without_an_event_take_from_the_common_budget_too(body: bytes) -> None:
    """A million comments take as long as many events."""
    decoder = fed(body * 45_000, share=MemoryShare(MemoryBudget(total_events=100)))
    assert "too many events or lines together" in (decoder.limit or "")
    assert decoder.events == 0
    roomy = MemoryBudget(total_events=1_000_000)
    share = MemoryShare(roomy)
    assert fed(body * 40_000, share=share).limit is None
    assert roomy.used_events > 4 * 1900


def test_only_some_comments_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(full_decoder, "MAX_COMMENTS", 100)
    monkeypatch.setattr(full_decoder, "MAX_COMMENT_FRAMES", 100)
    decoder = fed(b":\n\n" * 20_000 + EVENT)
    assert (decoder.limit, decoder.events) == (None, 1)
    at_once = DECODED_AT_ONCE_BYTES // 3 + 1
    assert 100 < len(decoder.frames) < 100 + 2 * at_once
    assert 100 < len(decoder.comments_ns) < 100 + at_once


def test_only_some_bytes_of_comments_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(full_decoder, "MAX_COMMENT_BYTES", 10_000)
    decoder = fed((b":" + b"x" * 998 + b"\n\n") * 100 + EVENT)
    assert (decoder.limit, decoder.events, len(decoder.comments_ns)) == (None, 1, 100)
    assert 10 < len(decoder.frames) < 20


def test_large_events_of_one_read_are_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(response, "_KEPT_FRAMES_BYTES", 10_000)
    small = Response()
    small.feed(1, None, HEAD)
    for _ in range(20):
        small.feed(2, None, chunk(EVENT))
    large = Response()
    large.feed(1, None, HEAD)
    large.feed(2, None, chunk(EVENT * 5000))
    for one, events in ((small, 20), (large, 5000)):
        decoder = one._decoder
        assert isinstance(decoder, FullDecoder)
        assert (decoder.keeps_frames, decoder.frames) == (False, [])
        assert len(one.decode_in_full().frames) == one.events == events


def test_the_fast_decoder_does_not_collect_a_long_event() -> None:
    decoder = FastDecoder()
    decoder.feed(1, HEAD)
    decoder.feed(2, chunk(token(0)))
    with pytest.raises(FastPathError, match="too long"):
        decoder.feed(3, chunk(b"id: 2-0\ndata: " + b"x" * 70_000))


@pytest.mark.parametrize("fields", [{f"X-{place}": "a" for place in range(100)}, {"X-Large": "a" * 5000}])
def test_large_heads_are_not_cached(fields: dict[str, str]) -> None:
    before = http1._kept_head.cache_info().currsize
    parser = http1.ResponseParser()
    parser.feed(head(200, {**STREAM, **fields}))
    assert parser.head is not None
    assert http1._kept_head.cache_info().currsize == before
    parser.close()


CODED = {**STREAM, "Content-Encoding": "gzip"}


@pytest.mark.parametrize(
    ("status", "media_type", "fault"),
    [(200, "text/event-stream", None), (500, "text/plain", "the decompressed body is larger than 1 MiB")],
)
def test_a_bomb_is_decompressed_up_to_a_limit(
    monkeypatch: pytest.MonkeyPatch, status: int, media_type: str, fault: str | None
) -> None:
    monkeypatch.setattr(full_decoder, "MAX_RESPONSE_BYTES", 2**20)
    monkeypatch.setattr("harness.contract.decoding.body.MAX_RESPONSE_BYTES", 2**20)
    bomb = gzip.compress((b": " + b"x" * 998 + b"\n\n") * 20_000)
    exchange = scripted((0, head(status, {**CODED, "Content-Type": media_type}) + bomb))
    assert len(exchange.body) <= 2**20
    assert exchange.coding_fault == fault
    decoder = FullDecoder()
    decoder.feed(1, head(200, CODED))
    decoder.feed(2, bomb)
    assert decoder.limit == "the decompressed body is larger than 1 MiB"
    assert decoder.frame_count < 1200


@pytest.mark.parametrize(
    "fields",
    [
        {"Transfer-Encoding": "chunked", "Content-Length": "5"},
        {"Transfer-Encoding": "chunked, chunked"},
        {"Transfer-Encoding": "chunked", "Content-Encoding": "gzip"},
    ],
)
def test_a_stream_whose_framing_or_coding_is_wrong_is_not_regular(fields: dict[str, str]) -> None:
    plain = [
        head(200, {**STREAM, "Transfer-Encoding": "chunked"}),
        chunk(token(0)),
        chunk(done(1)) + LAST_CHUNK,
    ]
    assert scripted(*((0, part) for part in plain)).is_regular
    assert not scripted((0, head(200, {**STREAM, **fields})), *((0, part) for part in plain[1:])).is_regular


def test_a_stream_with_bytes_after_its_end_is_not_regular() -> None:
    for surplus, later in ((b"HTTP", False), (b"HTTP", True), (b"\r\n", True)):
        response = Response()
        response.feed(1, None, HEAD + chunk(token(0)) + chunk(done(1)))
        response.feed(2, None, LAST_CHUNK + (b"" if later else surplus))
        if later:
            response.add_surplus(3, None, surplus)
        assert response.surplus is (surplus != b"\r\n")
        assert response.is_regular is not response.surplus


@pytest.mark.parametrize(
    ("fields", "body"),
    [
        ({}, b":" + b"x" * 2 * 2**20),
        ({"Content-Encoding": "gzip"}, gzip.compress(b":" + b"x" * 2 * 2**20)),
        ({"Content-Encoding": "br"}, brotli.compress(b":" + b"x" * 2 * 2**20)),
        ({"Content-Encoding": "zstd"}, zstd.compress(b":" + b"x" * 2 * 2**20)),
        ({"Content-Encoding": "zstd"}, zstd.compress(os.urandom(2 * 2**20))),
    ],
)
def test_an_event_that_never_ended_is_not_held_once_the_response_has(
    fields: dict[str, str], body: bytes
) -> None:
    """The suite keeps every response, and many may end like this."""
    budget = MemoryBudget()
    kept = []
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(4):
            one = Response(memory=budget)
            one.feed(1, None, head(200, {**STREAM, **fields}))
            for start in range(0, len(body), 65_536):
                one.feed(2, None, body[start : start + 65_536])
            one.close()
            kept.append(one)
        held = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    logs = sum(one.log.memory_bytes for one in kept)
    assert held < logs + 2**20
    assert logs <= budget.used_bytes < logs + 2**20
    assert len(kept[0].decode_in_full().pending) >= 2 * 2**20 - 1 or body[:1] != b":"
    assert kept[0].coding_fault == kept[0].decode_in_full().coding_fault


def test_what_is_decoded_again_counts_what_never_ended() -> None:
    exchange = scripted((0, head(200, STREAM)), (1, b":" + b"x" * 2**20))
    assert exchange._decoded.held_bytes > 2**20
    assert len(exchange.pending) == 1 + 2**20


def test_lines_that_bring_no_event_count_as_events() -> None:
    """They take time too: the responses of a suite share a number of events."""
    decoder = FullDecoder()
    decoder.feed(0, head(200, STREAM) + token(0) * 10)
    assert decoder.extra_lines == 0
    decoder.feed(0, b":\n\n" * 1000)
    assert 1900 <= decoder.extra_lines <= 2000


@pytest.mark.parametrize("name", ["workflow-actions", "ag-ui"])
@pytest.mark.parametrize("block", [b":\n\n", b": x\n:\n\n", b":\r\n\r\n"])
def test_the_fast_decoders_count_lines_without_an_event_too(name: str, block: bytes) -> None:
    response = Response(profile=library.load(name))
    response.feed(1, None, HEAD)
    response.feed(2, None, chunk(block * 2000))
    decoder = response._decoder
    assert isinstance(decoder, FastDecoder)
    assert decoder.extra_lines == 2000 * block.count(b"\n")


def test_the_fast_decoder_of_a_profile_counts_notes_and_lines_of_one_event() -> None:
    notes = Response(profile=library.load("anthropic-messages"))
    notes.feed(1, None, HEAD)
    notes.feed(2, None, chunk(b'event: ping\ndata: {"type": "ping"}\n\n' * 100))
    assert (notes.events, notes._decoder.extra_lines) == (0, 300)
    long = Response(profile=library.load("ag-ui"))
    long.feed(1, None, HEAD)
    started = b'data: {"type":"RUN_STARTED","threadId":"t","runId":"r"\n' + b"data: \n" * 100 + b"data: }\n\n"
    long.feed(2, None, chunk(started))
    assert isinstance(long._decoder, FastDecoder)
    assert (long.events, long._decoder.extra_lines) == (1, 103 - LINES_OF_EVENT)


@pytest.mark.parametrize("name", ["workflow-actions", "ag-ui"])
@pytest.mark.parametrize(
    "block", [b":\n\n", b"\n", b"retry: 1\n\n", b"x\n\n", b"id: 1-0\n\n", b"event: x\n\n", b":\nx\n\n"]
)
def test_lines_without_an_event_end_any_response(
    monkeypatch: pytest.MonkeyPatch, name: str, block: bytes
) -> None:
    """Counted lines, not seconds, whichever decoder reads them."""
    monkeypatch.setattr(response, "CHECKED_EVERY_BYTES", 4096)
    monkeypatch.setattr(memory, "LEAST_EVENTS", 100)
    read = chunk(block * (4096 // len(block) + 1))
    shared = Response(memory=MemoryBudget(total_events=100), profile=library.load(name))
    shared.feed(1, None, HEAD)
    shared.feed(2, None, read)
    assert "too many events or lines together" in (shared.limit or "")
    monkeypatch.setattr(full_decoder, "MAX_LINES", 200)
    monkeypatch.setattr(response, "MAX_LINES", 200)
    endless = Response(profile=library.load(name))
    endless.feed(1, None, HEAD)
    endless.feed(2, None, read)
    assert endless.over
    assert endless.limit == "the response has more than 200 lines"
