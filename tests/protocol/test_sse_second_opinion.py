"""The decoder compared with two independent ones: httpx-sse and launchdarkly-eventsource.

Both deviate from the standard. `DIFFERENCES` lists every deviation, so a version that changes one is noticed. The
random tests exclude no stream: they derive the other decoder's expected result from ours.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import httpx
import httpx_sse
import ld_eventsource
import ld_eventsource.actions
import ld_eventsource.config
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.protocol.sse import Frame, SseDecoder
from tests.cases import all_cases
from tests.protocol.cuts import cuttings, in_pieces_of
from tests.protocol.sse_cases import BOM, CASES


@dataclass(frozen=True)
class Decoded:
    """One event as returned by a decoder; None for values that it does not have."""

    event: str
    data: str
    id: str | None
    retry_ms: int | None = None


def ours(pieces: Iterable[bytes]) -> list[Frame]:
    decoder = SseDecoder()
    return [frame for piece in pieces for frame in decoder.feed(piece)]


def decode_with_httpx_sse(pieces: Iterable[bytes]) -> list[Decoded]:
    response = httpx.Response(200, headers={"Content-Type": "text/event-stream"}, content=iter(pieces))
    events = httpx_sse.EventSource(response).iter_sse()
    return [Decoded(event.event, event.data, event.id, event.retry) for event in events]


class FromPieces(ld_eventsource.config.ConnectStrategy, ld_eventsource.config.ConnectionClient):
    """Feeds LaunchDarkly's client with pieces of bytes instead of a connection."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self.pieces = pieces

    def create_client(self, logger: Any) -> "FromPieces":
        return self

    def connect(self, last_event_id: str | None) -> ld_eventsource.config.ConnectionResult:
        return ld_eventsource.config.ConnectionResult(iter(self.pieces), None)


def launchdarkly_actions(pieces: Iterable[bytes]) -> Iterator[Any]:
    """Events and comments."""
    actions = ld_eventsource.SSEClient(FromPieces(pieces)).all
    events_and_comments = (ld_eventsource.actions.Event, ld_eventsource.actions.Comment)
    return (action for action in actions if isinstance(action, events_and_comments))


def decode_with_launchdarkly(pieces: Iterable[bytes]) -> list[Decoded]:
    actions = launchdarkly_actions(pieces)
    events = [action for action in actions if isinstance(action, ld_eventsource.actions.Event)]
    return [Decoded(event.event, event.data, event.last_event_id) for event in events]


def decode(pieces: Iterable[bytes]) -> list[Decoded]:
    return [
        Decoded(frame.event or "message", frame.data, frame.last_event_id, frame.retry_ms)
        for frame in ours(pieces)
        if frame.data is not None
    ]


@dataclass(frozen=True)
class Difference:
    """A stream that the other decoder reads differently. theirs: its events, or the exception it raises."""

    what: str
    decoder: Callable[[Iterable[bytes]], list[Decoded]]
    stream: bytes
    ours: list[Decoded]
    theirs: list[Decoded] | type[Exception]


def message(data: str, last_id: str | None = "", retry_ms: int | None = None) -> Decoded:
    return Decoded("message", data, last_id, retry_ms)


DIFFERENCES = [
    Difference(
        "httpx-sse takes a leading BOM as part of the first name",
        decode_with_httpx_sse,
        BOM + b"data:x\n\ndata:y\n\n",
        [message("x"), message("y")],
        [message("y")],
    ),
    Difference(
        "httpx-sse dispatches a block with a name but no data",
        decode_with_httpx_sse,
        b"event:e\n\n",
        [],
        [Decoded("e", "", "")],
    ),
    Difference(
        "httpx-sse dispatches a block with an id but no data",
        decode_with_httpx_sse,
        b"id:1\n\n",
        [],
        [message("", "1")],
    ),
    Difference(
        "httpx-sse dispatches a block with a retry but no data",
        decode_with_httpx_sse,
        b"retry:5\n\n",
        [],
        [message("", "", 5)],
    ),
    Difference(
        "httpx-sse dispatches every blank line and comment after an id",
        decode_with_httpx_sse,
        b"id:1\ndata:x\n\n\n:c\n\n",
        [message("x", "1")],
        [message("x", "1"), message("", "1"), message("", "1")],
    ),
    Difference(
        "httpx-sse parses retry with int()",
        decode_with_httpx_sse,
        b"retry:-1\ndata:a\n\nretry:1_0\ndata:b\n\nretry:  7 \ndata:c\n\nretry:\xd9\xa1\ndata:d\n\n",
        [message("a"), message("b"), message("c"), message("d")],
        [message("a", "", -1), message("b", "", 10), message("c", "", 7), message("d", "", 1)],
    ),
    Difference(
        "httpx-sse ignores a retry with more digits than int() accepts",
        decode_with_httpx_sse,
        b"retry:" + b"9" * 5000 + b"\ndata:x\n\n",
        [message("x", "", 10**18)],
        [message("x")],
    ),
    Difference(
        "launchdarkly-eventsource takes a leading BOM as part of the first name",
        decode_with_launchdarkly,
        BOM + b"data:x\n\ndata:y\n\n",
        [message("x"), message("y")],
        [message("y", None)],
    ),
    Difference(
        "launchdarkly-eventsource forgets the id of a block without data",
        decode_with_launchdarkly,
        b"id:1\ndata:x\n\nid:2\n\ndata:y\n\n",
        [message("x", "1"), message("y", "2")],
        [message("x", "1"), message("y", "1")],
    ),
    Difference(
        "launchdarkly-eventsource does not distinguish no id from an empty one",
        decode_with_launchdarkly,
        b"data:x\n\nid\ndata:y\n\n",
        [message("x", ""), message("y", "")],
        [message("x", None), message("y", "")],
    ),
    Difference(
        "launchdarkly-eventsource stops at invalid UTF-8",
        decode_with_launchdarkly,
        b"data:x\n\ndata:\xff\n\n",
        [message("x"), message("\ufffd")],
        UnicodeDecodeError,
    ),
]


class TestKnownDifferences:
    @all_cases("known", DIFFERENCES, ids=lambda known: known.what)
    def test_difference(self, known: Difference):
        assert decode([known.stream]) == known.ours
        if isinstance(known.theirs, list):
            assert known.decoder([known.stream]) == known.theirs
        else:
            with pytest.raises(known.theirs):
                known.decoder([known.stream])

    def test_launchdarkly_keeps_the_space_of_a_comment(self):
        (comment,) = launchdarkly_actions([b": c\n"])
        assert comment.comment == " c"
        (frame,) = ours([b": c\n\n"])
        assert frame.comments == ("c",)

    def test_launchdarkly_returns_a_comment_before_its_block_ends(self):
        assert [comment.comment for comment in launchdarkly_actions([b":c\n"])] == ["c"]
        assert ours([b":c\n"]) == []


_FIELDS = [
    b"data",
    b"data:",
    b"data: ",
    b"data:x",
    b"data: a: b",
    b"data:  y ",
    b"event:e",
    b"event",
    b"event: f",
]
_FIELDS += [b"id:1", b"id: 2", b"id", b"id:3\0", b"data:\0", b" data:no", b"Data:no", b"other:no", b"no"]
_FIELDS += [b":", b": c", b"::", b":data:no", "data:\u20ac\u2028\x85".encode(), "id:\U0001f680".encode(), BOM]
_FIELDS += [BOM + b"data:no", b"data:" + BOM]
_FIELDS += [
    b"retry" + value
    for value in (b"", b":", b": 5", b":007", b":5x", b":-1", b":  7", b":1_0", b":" + b"9" * 5000)
]
_FIELDS += ["retry:\u0661".encode()]
_BROKEN = [
    b"data:\xff",
    b"id:\xe2\x82",
    b"data\xf0\x9f:no",
    b"event:\xc0\xaf",
    b":\xff",
    b"data:\xed\xa0\x80",
]


def _streams(lines: list[bytes]) -> st.SearchStrategy[bytes]:
    line = st.sampled_from(lines) | st.sampled_from([b"", b"", b"data:x", b"id:4"])
    end = st.sampled_from([b"\n", b"\n", b"\r\n", b"\r"])
    return st.lists(st.tuples(line, end).map(b"".join), max_size=25).map(b"".join)


def _bom_kept(pieces: list[bytes]) -> list[bytes]:
    """The pieces that give our decoder what a decoder sees that does not drop the BOM."""
    return [BOM, *pieces] if b"".join(pieces).startswith(BOM) else pieces


def _is_invented(event: Decoded) -> bool:
    """Whether httpx-sse may have dispatched it for a block without data."""
    return event.data == "" and (event.event != "message" or event.id != "" or event.retry_ms is not None)


def _retry_parsed_with_int(frame: Frame) -> int | None:
    retry_ms = None
    for name, value in frame.fields:
        if name == "retry":
            with suppress(ValueError):
                retry_ms = int(value)
    return retry_ms


def assert_httpx_sse_agrees(pieces: list[bytes]) -> None:
    expected = [
        Decoded(frame.event or "message", frame.data, frame.last_event_id, _retry_parsed_with_int(frame))
        for frame in ours(_bom_kept(pieces))
        if frame.data is not None
    ]
    for event in decode_with_httpx_sse(pieces):
        if expected and event == expected[0]:
            del expected[0]
        else:
            assert _is_invented(event), expected[:1]
    assert expected == []


def assert_launchdarkly_agrees(pieces: list[bytes]) -> None:
    *finished, _ = re.split(b"\r\n|\r|\n", b"".join(pieces))
    if any(line.decode("utf-8", "ignore").encode() != line for line in finished):
        with pytest.raises(UnicodeDecodeError):
            decode_with_launchdarkly(pieces)
        return
    expected = []
    sticky: str | None = None
    for frame in ours(_bom_kept(pieces)):
        if frame.data is not None:
            sticky = sticky if frame.id is None else frame.id
            expected.append(Decoded(frame.event or "message", frame.data, sticky))
    assert decode_with_launchdarkly(pieces) == expected


class TestAgreement:
    @given(cuttings(_streams(_FIELDS + _BROKEN)))
    def test_httpx_sse_on_any_stream_in_any_split(self, cutting):
        assert_httpx_sse_agrees(cutting[1])

    @given(cuttings(_streams(_FIELDS) | _streams(_FIELDS + _BROKEN)))
    def test_launchdarkly_on_any_stream_in_any_split(self, cutting):
        assert_launchdarkly_agrees(cutting[1])

    @given(cuttings(_streams(_FIELDS)))
    def test_launchdarkly_returns_the_same_comments(self, cutting):
        _, pieces = cutting
        actions = launchdarkly_actions(pieces)
        comments = [
            action.comment for action in actions if isinstance(action, ld_eventsource.actions.Comment)
        ]
        closed = [*_bom_kept(pieces), b"\n\n"]  # ends the last block, so its comments are in a frame
        expected = [comment for frame in ours(closed) for comment in frame.comments]
        assert [comment.removeprefix(" ") for comment in comments] == expected

    @all_cases("size", [1, 2, 1 << 20])
    @all_cases("case", CASES, ids=lambda case: f"{case.origin}: {case.title}")
    def test_both_on_the_table_of_cases(self, case, size):
        assert_httpx_sse_agrees(in_pieces_of(size, case.stream))
        assert_launchdarkly_agrees(in_pieces_of(size, case.stream))
