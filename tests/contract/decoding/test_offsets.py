from __future__ import annotations

import itertools
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.contract.decoding.full_decoder import FullDecoder
from harness.contract.decoding.offsets import ByteSpan, around, spans
from harness.contract.decoding.read_log import Read
from tests.contract.exchanges import LAST_CHUNK, STREAM, chunk, done, frame, head, in_one_read, token

HEAD = head(200, {**STREAM, "Transfer-Encoding": "chunked"})


def reads(*pieces: bytes) -> list[Read]:
    return [Read(place, None, data) for place, data in enumerate(pieces)]


def text(given: Sequence[Read], span: ByteSpan) -> bytes:
    return given[span.read].data[span.start : span.end]


@pytest.mark.parametrize("place", [0, 3, 200, 399])
def test_an_event_in_one_read_of_hundreds(place: int) -> None:
    given = tuple(in_one_read(400).reads)
    (span,) = spans(given, [place]).values()
    assert text(given, span) == chunk(done(399) if place == 399 else token(place))


def test_what_follows_the_last_event_is_not_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server decides how much that is."""
    fed: list[int] = []
    feed = FullDecoder.feed
    monkeypatch.setattr(
        FullDecoder, "feed", lambda self, at, data: fed.append(len(data)) or feed(self, at, data)
    )
    given = reads(HEAD, *(chunk(token(place)) for place in range(1000)))
    assert list(spans(given, [2])) == [2]
    assert len(fed) < 30
    fed.clear()
    assert spans(given, []) == {}
    assert fed == []


def test_what_there_is_not_is_left_out() -> None:
    given = reads(HEAD + chunk(token(0)), b"nonsense\r\n", chunk(token(1)))
    assert list(spans(given, [0, 1, 7])) == [0]
    assert spans([], [0]) == {}


def test_an_event_in_several_reads_lies_where_it_is_completed() -> None:
    whole = chunk(token(1))
    given = reads(HEAD + chunk(token(0)) + whole[:30], whole[30:] + chunk(token(2)))
    assert spans(given, [1]) == {1: ByteSpan(1, 0, len(whole) - 30)}


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_several_events_in_a_chunk_and_other_ends_of_lines(end: str) -> None:
    frames = [
        frame({"type": "token"}, f"{place}-0").decode().replace("\n", end).encode() for place in range(3)
    ]
    given = reads(HEAD, chunk(b"".join(frames)) + LAST_CHUNK)
    found = spans(given, [0, 1, 2])
    assert [b"id: %d-0" % place in text(given, found[place]) for place in range(3)] == [True] * 3
    assert [text(given, one).count(b"id: ") for one in found.values()] == [1] * 3


def test_around_several_places_each_has_its_share() -> None:
    one = in_one_read(400)
    (read,) = one.reads
    found = spans([read], [10, 11, 300])
    pieces = around(read.data, list(found.values()), 900)
    assert [read.data[piece.start : piece.end] for piece in pieces if piece.here] == [
        chunk(token(place)) for place in (10, 11, 300)
    ]
    assert sum(piece.end - piece.start for piece in pieces) <= 900
    gaps = sum(after.start > before.end for before, after in itertools.pairwise(pieces))
    assert gaps == 1


@given(st.data())
def test_pieces_are_in_order_bounded_and_show_the_beginning_of_every_place(data: st.DataObject) -> None:
    size = data.draw(st.integers(1, 400))
    content = data.draw(st.binary(min_size=size, max_size=size))
    cuts = sorted(data.draw(st.lists(st.integers(0, size), min_size=2, max_size=8, unique=True)))
    here = [ByteSpan(0, *pair) for pair in zip(cuts[::2], cuts[1::2], strict=False)]
    limit = data.draw(st.integers(8, 500))
    pieces = around(content, here, limit)
    assert all(one.start < one.end for one in pieces)
    assert all(one.end <= other.start for one, other in itertools.pairwise(pieces))
    assert pieces[-1].end <= size
    assert sum(one.end - one.start for one in pieces) <= limit
    for span in here:
        assert any(piece.here and piece.start == span.start for piece in pieces)
