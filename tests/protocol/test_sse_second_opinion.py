"""The decoder beside two others that its authors had no part in: httpx-sse and launchdarkly-eventsource.

Each departs from the standard in ways of its own. `DIFFERENCES` pins every one of them, so that a version
that changes one is noticed. The random tests exclude no stream for them: they say of any stream what the
other decoder must make of it, given what ours does.
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
from tests.protocol.cuts import cuttings, in_pieces_of
from tests.protocol.sse_cases import BOM, CASES


@dataclass(frozen=True)
class Told:
    """One event as a decoder tells it; None for what it has no word for."""

    event: str
    data: str
    id: str | None
    retry_ms: int | None = None


def ours(pieces: Iterable[bytes]) -> list[Frame]:
    decoder = SseDecoder()
    return [frame for piece in pieces for frame in decoder.feed(piece)]


def httpx_sse_tells(pieces: Iterable[bytes]) -> list[Told]:
    response = httpx.Response(200, headers={"Content-Type": "text/event-stream"}, content=iter(pieces))
    events = httpx_sse.EventSource(response).iter_sse()
    return [Told(one.event, one.data, one.id, one.retry) for one in events]


class FromPieces(ld_eventsource.config.ConnectStrategy, ld_eventsource.config.ConnectionClient):
    """Lets LaunchDarkly's client read pieces of bytes instead of a connection."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self.pieces = pieces

    def create_client(self, logger: Any) -> "FromPieces":
        return self

    def connect(self, last_event_id: str | None) -> ld_eventsource.config.ConnectionResult:
        return ld_eventsource.config.ConnectionResult(iter(self.pieces), None)


def launchdarkly_hears(pieces: Iterable[bytes]) -> Iterator[Any]:
    """Events and comments."""
    actions = ld_eventsource.SSEClient(FromPieces(pieces)).all
    events_and_comments = (ld_eventsource.actions.Event, ld_eventsource.actions.Comment)
    return (one for one in actions if isinstance(one, events_and_comments))


def launchdarkly_tells(pieces: Iterable[bytes]) -> list[Told]:
    heard = launchdarkly_hears(pieces)
    events = [one for one in heard if isinstance(one, ld_eventsource.actions.Event)]
    return [Told(one.event, one.data, one.last_event_id) for one in events]


def we_tell(pieces: Iterable[bytes]) -> list[Told]:
    return [
        Told(frame.event or "message", frame.data, frame.last_event_id, frame.retry_ms)
        for frame in ours(pieces)
        if frame.data is not None
    ]


@dataclass(frozen=True)
class Difference:
    """A stream that another decoder reads in its own way. `theirs` may be an exception that it raises."""

    what: str
    decoder: Callable[[Iterable[bytes]], list[Told]]
    stream: bytes
    ours: list[Told]
    theirs: list[Told] | type[Exception]


def message(data: str, last_id: str | None = "", retry_ms: int | None = None) -> Told:
    return Told("message", data, last_id, retry_ms)


DIFFERENCES = [
    Difference(
        "httpx-sse takes a leading BOM for a part of the first name",
        httpx_sse_tells,
        BOM + b"data:x\n\ndata:y\n\n",
        [message("x"), message("y")],
        [message("y")],
    ),
    Difference(
        "httpx-sse makes an event of a block that has a name but no data",
        httpx_sse_tells,
        b"event:e\n\n",
        [],
        [Told("e", "", "")],
    ),
    Difference(
        "httpx-sse makes an event of a block that has an id but no data",
        httpx_sse_tells,
        b"id:1\n\n",
        [],
        [message("", "1")],
    ),
    Difference(
        "httpx-sse makes an event of a block that has a retry but no data",
        httpx_sse_tells,
        b"retry:5\n\n",
        [],
        [message("", "", 5)],
    ),
    Difference(
        "httpx-sse makes an event of every blank line and comment, once there was an id",
        httpx_sse_tells,
        b"id:1\ndata:x\n\n\n:c\n\n",
        [message("x", "1")],
        [message("x", "1"), message("", "1"), message("", "1")],
    ),
    Difference(
        "httpx-sse reads a retry as Python reads a number",
        httpx_sse_tells,
        b"retry:-1\ndata:a\n\nretry:1_0\ndata:b\n\nretry:  7 \ndata:c\n\nretry:\xd9\xa1\ndata:d\n\n",
        [message("a"), message("b"), message("c"), message("d")],
        [message("a", "", -1), message("b", "", 10), message("c", "", 7), message("d", "", 1)],
    ),
    Difference(
        "httpx-sse ignores a retry of more digits than Python converts",
        httpx_sse_tells,
        b"retry:" + b"9" * 5000 + b"\ndata:x\n\n",
        [message("x", "", 10**18)],
        [message("x")],
    ),
    Difference(
        "launchdarkly-eventsource takes a leading BOM for a part of the first name",
        launchdarkly_tells,
        BOM + b"data:x\n\ndata:y\n\n",
        [message("x"), message("y")],
        [message("y", None)],
    ),
    Difference(
        "launchdarkly-eventsource forgets the id of a block without data",
        launchdarkly_tells,
        b"id:1\ndata:x\n\nid:2\n\ndata:y\n\n",
        [message("x", "1"), message("y", "2")],
        [message("x", "1"), message("y", "1")],
    ),
    Difference(
        "launchdarkly-eventsource tells no id from an empty one",
        launchdarkly_tells,
        b"data:x\n\nid\ndata:y\n\n",
        [message("x", ""), message("y", "")],
        [message("x", None), message("y", "")],
    ),
    Difference(
        "launchdarkly-eventsource breaks off at bytes that are not UTF-8",
        launchdarkly_tells,
        b"data:x\n\ndata:\xff\n\n",
        [message("x"), message("\ufffd")],
        UnicodeDecodeError,
    ),
]


class TestKnownDifferences:
    @pytest.mark.parametrize("known", DIFFERENCES, ids=lambda known: known.what)
    def test_it_stands(self, known: Difference):
        assert we_tell([known.stream]) == known.ours
        if isinstance(known.theirs, list):
            assert known.decoder([known.stream]) == known.theirs
        else:
            with pytest.raises(known.theirs):
                known.decoder([known.stream])

    def test_launchdarkly_keeps_the_space_of_a_comment(self):
        (comment,) = launchdarkly_hears([b": c\n"])
        assert comment.comment == " c"
        (frame,) = ours([b": c\n\n"])
        assert frame.comments == ("c",)

    def test_launchdarkly_gives_a_comment_before_its_block_ends(self):
        assert [one.comment for one in launchdarkly_hears([b":c\n"])] == ["c"]
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
    one = st.sampled_from(lines) | st.sampled_from([b"", b"", b"data:x", b"id:4"])
    end = st.sampled_from([b"\n", b"\n", b"\r\n", b"\r"])
    return st.lists(st.tuples(one, end).map(b"".join), max_size=25).map(b"".join)


def _bom_kept(pieces: list[bytes]) -> list[bytes]:
    """What we must be fed to see what a decoder sees that does not drop the BOM."""
    return [BOM, *pieces] if b"".join(pieces).startswith(BOM) else pieces


def _is_invented(event: Told) -> bool:
    """Whether httpx-sse may have made it of a block without data."""
    return event.data == "" and (event.event != "message" or event.id != "" or event.retry_ms is not None)


def _retry_as_python_reads_it(frame: Frame) -> int | None:
    retry_ms = None
    for name, value in frame.fields:
        if name == "retry":
            with suppress(ValueError):
                retry_ms = int(value)
    return retry_ms


def assert_httpx_sse_agrees(pieces: list[bytes]) -> None:
    expected = [
        Told(frame.event or "message", frame.data, frame.last_event_id, _retry_as_python_reads_it(frame))
        for frame in ours(_bom_kept(pieces))
        if frame.data is not None
    ]
    for event in httpx_sse_tells(pieces):
        if expected and event == expected[0]:
            del expected[0]
        else:
            assert _is_invented(event), expected[:1]
    assert expected == []


def assert_launchdarkly_agrees(pieces: list[bytes]) -> None:
    *finished, _ = re.split(b"\r\n|\r|\n", b"".join(pieces))
    if any(line.decode("utf-8", "ignore").encode() != line for line in finished):
        with pytest.raises(UnicodeDecodeError):
            launchdarkly_tells(pieces)
        return
    expected = []
    sticky: str | None = None
    for frame in ours(_bom_kept(pieces)):
        if frame.data is not None:
            sticky = sticky if frame.id is None else frame.id
            expected.append(Told(frame.event or "message", frame.data, sticky))
    assert launchdarkly_tells(pieces) == expected


class TestAgreement:
    @given(cuttings(_streams(_FIELDS + _BROKEN)))
    def test_httpx_sse_on_any_stream_in_any_cutting(self, cutting):
        assert_httpx_sse_agrees(cutting[1])

    @given(cuttings(_streams(_FIELDS) | _streams(_FIELDS + _BROKEN)))
    def test_launchdarkly_on_any_stream_in_any_cutting(self, cutting):
        assert_launchdarkly_agrees(cutting[1])

    @given(cuttings(_streams(_FIELDS)))
    def test_launchdarkly_hears_the_same_comments(self, cutting):
        _, pieces = cutting
        heard = launchdarkly_hears(pieces)
        comments = [one.comment for one in heard if isinstance(one, ld_eventsource.actions.Comment)]
        closed = [*_bom_kept(pieces), b"\n\n"]  # so that the last block's comments are in a frame
        expected = [comment for frame in ours(closed) for comment in frame.comments]
        assert [comment.removeprefix(" ") for comment in comments] == expected

    @pytest.mark.parametrize("size", [1, 2, 1 << 20])
    @pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.origin}: {case.title}")
    def test_both_on_the_table_of_cases(self, case, size):
        assert_httpx_sse_agrees(in_pieces_of(size, case.stream))
        assert_launchdarkly_agrees(in_pieces_of(size, case.stream))
