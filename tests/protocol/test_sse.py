import codecs
import random
import re
import sys
import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from harness.protocol import sse
from harness.protocol.sse import MAX_RETRY_MS, Field, Frame, FrameTooLargeError, SseDecoder, lines
from tests.cases import all_cases
from tests.protocol.cuts import at_places, cuttings, everywhere_twice, in_pieces_of
from tests.protocol.sse_cases import BOM, CASES, Case
from tests.protocol.sse_model import interpret

#: A short stream with every place where a split could cause an error.
TRICKY = (
    BOM
    + "id: é\r\ndata: \U0001f680\r\n\r\n:c\rdata\r\r\n\ndata: \u20ac\ufeff\n\nid\n\r\ndata: x".encode()
    + BOM[:2]
)

_PIECES = [b"\n", b"\r", b"\r\n", b":", b" ", b"\0", BOM, b"data", b"id", b"event", b"retry", b"data: x\n"]
_PIECES += [
    b"id:1\n",
    b"42",
    "\u20ac".encode(),
    "\U0001f680".encode(),
    b"\xff",
    b"\xe2\x82",
    b"\xf0\x9f",
    b"x",
]

#: Arbitrary bytes, mostly meaningful pieces.
streams = st.lists(st.sampled_from(_PIECES) | st.binary(max_size=3), max_size=40).map(b"".join)


def decode(pieces) -> tuple[list[Frame], bytes, str]:
    """The complete visible state of a decoder: frames, pending bytes, last id."""
    decoder = SseDecoder()
    frames = decode_all(decoder, pieces)
    return frames, decoder.pending, decoder.last_event_id


def decode_all(decoder: SseDecoder, pieces) -> list[Frame]:
    return [frame for piece in pieces for frame in decoder.feed(piece)]


def frames_of(*pieces: bytes) -> list[Frame]:
    return decode(pieces)[0]


def only(*pieces: bytes) -> Frame:
    (frame,) = frames_of(*pieces)
    return frame


class TestTable:
    @all_cases("size", [1, 2, 3, 1 << 20])
    @all_cases("case", CASES, ids=lambda case: f"{case.origin}: {case.title}")
    def test_events(self, case: Case, size: int):
        frames, pending, _ = decode(in_pieces_of(size, case.stream))
        events = [(frame.event, frame.data, frame.last_event_id) for frame in frames if frame.dispatches]
        assert tuple(events) == case.events
        assert [frame.retry_ms for frame in frames if frame.retry_ms is not None][-1:] == (
            [] if case.retry_ms is None else [case.retry_ms]
        )
        assert pending == case.pending

    def test_titles_are_unique(self):
        names = [(case.origin, case.title) for case in CASES]
        assert len(set(names)) == len(names)


class TestCuts:
    def test_every_cut_into_three(self):
        whole = decode([TRICKY])
        assert len(whole[0]) == 4
        for pieces in everywhere_twice(TRICKY):
            assert decode(pieces) == whole, pieces

    @all_cases(
        ("pieces", "expected"),
        [
            ((b"data: te", b"st\n\ndata:", b"two\n\n"), ["test", "two"]),
            ((b"data: a\r", b"\ndata: b\r", b"\n\r\ndata: c\r", b"\n", b"\r", b"\n"), ["a\nb", "c"]),
            ((BOM[:2], BOM[2:] + b"data: x\n\n"), ["x"]),
            ((BOM[:1], BOM[1:2], BOM[2:], b"data: x\n\n"), ["x"]),
            ((b"", BOM[:1], b"", BOM[1:], b"", b"data: x\n", b"", b"\n"), ["x"]),
            ((BOM, BOM + b"data: x\n\ndata: y\n\n"), [None, "y"]),
            ((b"data: \xf0", b"\x9f", b"\x9a", b"\x80\n\n"), ["\U0001f680"]),
            ((b"data: \xe2", b"\n\xac\n\n"), ["\ufffd"]),
            ((b"data: x\n\r",), ["x"]),
            ((b"data: x\r\r", b"\n\ndata: y\r\r", b"\n"), ["x", "y"]),
        ],
    )
    def test_pieces(self, pieces, expected):
        assert [frame.data for frame in frames_of(*pieces)] == expected

    @given(cuttings(streams))
    def test_any_split_gives_the_same_frames(self, cutting):
        stream, pieces = cutting
        assert decode(pieces) == decode([stream])

    @given(streams)
    @example(TRICKY)
    def test_one_byte_at_a_time_gives_the_same_frames(self, stream):
        assert decode(in_pieces_of(1, stream)) == decode([stream])


class TestAgainstTheModel:
    @given(streams)
    @example(TRICKY)
    def test_frames_of_every_prefix(self, stream):
        """Each frame is returned with the first byte of its blank line's end, not earlier or later."""
        decoder = SseDecoder()
        frames: list[Frame] = []
        for at in range(len(stream)):
            frames += decoder.feed(stream[at : at + 1])
            decoded = [
                (frame.data, frame.event, frame.id, frame.last_event_id, frame.retry_ms, list(frame.comments))
                for frame in frames
            ]
            assert decoded == [
                (block.data, block.event, block.own_id, block.last_event_id, block.retry_ms, block.comments)
                for block in interpret(stream[: at + 1])
            ]

    @given(streams)
    @example(TRICKY)
    def test_raw_bytes_are_the_stream(self, stream):
        """Frames, the blank lines between them and the pending bytes are the whole stream, in order."""
        frames, pending, _ = decode([stream])
        rest = stream.removeprefix(BOM)
        for frame in frames:
            rest = re.sub(rb"\A[\r\n]+", b"", rest)
            assert rest.startswith(frame.raw)
            rest = rest.removeprefix(frame.raw)
            assert re.match(rb"[\r\n]", rest)
        assert pending == re.sub(rb"\A[\r\n]+", b"", rest)

    @given(st.binary(max_size=12))
    def test_invalid_utf8_is_replaced_like_in_the_standard_library(self, value):
        expected = codecs.getincrementaldecoder("utf-8")("replace").decode(
            b"data:" + value + b"\n\n", final=True
        )
        decoded = [frame.data for frame in frames_of(b"data:" + value + b"\n\n")][:1]
        assert decoded == [block.data for block in interpret(b"data:" + value + b"\n\n")][:1]
        if not re.search(rb"[\r\n]", value) and not value.startswith(b" "):
            assert decoded == [expected.removeprefix("data:").removesuffix("\n\n")]


class TestFrame:
    def test_all_its_parts(self):
        frame = only(b":hb\r\nid: 5\r\nevent: e\r\ndata: a\r\ndata:b\r\nretry: 3\r\nshape\r\n\r\n")
        assert frame == Frame(
            raw=b":hb\r\nid: 5\r\nevent: e\r\ndata: a\r\ndata:b\r\nretry: 3\r\nshape\r\n",
            data="a\nb",
            event="e",
            id="5",
            last_event_id="5",
            retry_ms=3,
        )
        assert frame.dispatches
        assert frame.comments == ("hb",)
        assert frame.fields == (
            Field("", "hb"),
            Field("id", "5"),
            Field("event", "e"),
            Field("data", "a"),
            Field("data", "b"),
            Field("retry", "3"),
            Field("shape", ""),
        )

    def test_a_block_of_comments_is_a_frame_without_data(self):
        frame = only(b": one\n:  two\n\n")
        assert (frame.data, frame.dispatches, frame.id) == (None, False, None)
        assert frame.comments == ("one", " two")

    def test_a_block_with_only_an_id_sets_the_id(self):
        decoder = SseDecoder()
        (frame,) = decoder.feed(b"id: 7\n\n")
        assert (frame.dispatches, frame.id, frame.last_event_id) == (False, "7", "7")
        assert decoder.last_event_id == "7"

    def test_id_and_last_event_id(self):
        frames = frames_of(b"id:1\n\ndata:x\n\nid\n\nid:a\0\n\n")
        assert [frame.id for frame in frames] == ["1", None, "", None]
        assert [frame.last_event_id for frame in frames] == ["1", "1", "", ""]

    def test_an_incomplete_block_has_no_effect(self):
        decoder = SseDecoder()
        decoder.feed(b"id:1\ndata:x\n\nid:2\nretry:5\n")
        assert decoder.last_event_id == "1"
        assert decoder.pending == b"id:2\nretry:5\n"

    def test_retry_saturates(self):
        values = {b"9" * 18: MAX_RETRY_MS - 1, b"1" + b"0" * 18: MAX_RETRY_MS, b"9" * 19: MAX_RETRY_MS}
        for digits, retry_ms in values.items():
            assert only(b"retry:" + digits + b"\n\n").retry_ms == retry_ms

    def test_decoders_are_independent(self):
        first, other = SseDecoder(), SseDecoder()
        first.feed(b"id:1\ndata:x")
        assert other.feed(b"data:y\n\n")[0].last_event_id == ""
        assert other.pending == b""

    @pytest.mark.parametrize(
        ("raw", "expected"),
        [
            (b"", []),
            (b"a", [b"a"]),
            (b"a\n", [b"a"]),
            (b"a\r\nb\rc\nd", [b"a", b"b", b"c", b"d"]),
            (b"a\x0b\x0c\x1c\x85b\n", [b"a\x0b\x0c\x1c\x85b"]),
        ],
    )
    def test_lines(self, raw, expected):
        assert list(lines(raw)) == expected


def bounded(limit: int, pieces) -> tuple[list[Frame], bool]:
    """The frames of a decoder with a limit, including those of its error, and whether it raised."""
    decoder = SseDecoder(limit)
    frames: list[Frame] = []
    for piece in pieces:
        try:
            frames += decoder.feed(piece)
        except FrameTooLargeError as problem:
            return frames + problem.frames, True
    return frames, False


class TestLimit:
    @pytest.mark.parametrize("size", [1, 2, 5, 1000])
    def test_the_exact_limit(self, size):
        block = b"data: 12\r\ndata: 345\n"
        stream = b"data:1\n\n" + block + b"\r\ndata:2\n\n"
        frames, exceeded = bounded(len(block), in_pieces_of(size, stream))
        assert ([frame.data for frame in frames], exceeded) == (["1", "12\n345", "2"], False)
        frames, exceeded = bounded(len(block) - 1, in_pieces_of(size, stream))
        assert ([frame.data for frame in frames], exceeded) == (["1"], True)

    @given(cuttings(streams), st.integers(3, 30))
    def test_any_split_has_the_same_limit(self, cutting, limit):
        stream, pieces = cutting
        assert bounded(limit, pieces) == bounded(limit, in_pieces_of(1, stream)) == bounded(limit, [stream])

    @pytest.mark.parametrize("endless", [b"x", b":", b"data:x\n", b":\r\n", b"\xef"])
    def test_every_later_call_raises(self, endless):
        decoder = SseDecoder(1000)
        piece = endless * 10
        with pytest.raises(FrameTooLargeError) as first:
            decode_all(decoder, [piece] * 1000)
        assert str(first.value) == "an event exceeds 1000 bytes without a blank line"
        pending = decoder.pending
        assert 1000 < len(pending) <= 1000 + len(piece)
        for more in (b"data: x\n\n", b"\n\n", b""):
            with pytest.raises(FrameTooLargeError) as raised:
                decoder.feed(more)
            assert raised.value.frames == []
        assert decoder.pending == pending

    @pytest.mark.parametrize("size", [1, 1000])
    def test_the_lines_of_a_block_are_limited_too(self, size):
        stream = b"data:1\n\n" + b"data: x\n" * 5 + b"\n"
        assert len(decode_all(SseDecoder(max_frame_lines=5), in_pieces_of(size, stream))) == 2
        decoder = SseDecoder(max_frame_lines=4)
        with pytest.raises(FrameTooLargeError, match="exceeds 4 lines") as raised:
            decode_all(decoder, in_pieces_of(size, stream))
        assert raised.value.has_many_lines
        assert decoder.line_count == 2 + 5

    def test_blank_lines_and_finished_frames_do_not_count(self):
        decoder = SseDecoder(20)
        for _ in range(1000):
            decoder.feed(b"\n\r\n\r")
            assert len(decoder.feed(b"data: 0123456789\n\n")) == 1
        assert decoder.pending == b""

    def test_events_of_megabytes_pass_by_default(self):
        value = b"0123456789abcdef" * (5 << 16)  # 5 MiB
        (frame,) = frames_of(b"data: ", value[: 1 << 20], value[1 << 20 :], b"\n", b"\n")
        assert frame.data == value.decode()

    def test_events_over_the_default_limit_do_not(self):
        frames, exceeded = bounded(10_000, [b"data: ", b"x" * 10_000])
        assert (frames, exceeded) == ([], True)


class CountingPattern:
    """Replaces the line-end pattern and counts the bytes it searches."""

    def __init__(self, pattern: re.Pattern[bytes]) -> None:
        self.pattern = pattern
        self.searched_bytes = 0

    def search(self, block: bytearray, start: int) -> re.Match[bytes] | None:
        match = self.pattern.search(block, start)
        self.searched_bytes += (len(block) if match is None else match.end()) - start
        return match


def steps_of(pieces: list[bytes]) -> int:
    """Number of Python lines that the decoder executes for `pieces`."""
    count = 0

    def trace(frame, event, arg):
        nonlocal count
        if frame.f_code.co_filename != sse.__file__:
            return None
        count += event == "line"
        return trace

    decoder = SseDecoder()
    before = sys.gettrace()
    sys.settrace(trace)
    try:
        for piece in pieces:
            decoder.feed(piece)
    finally:
        sys.settrace(before)
    return count


SHAPES = {
    "one long line": lambda n: b"data: " + b"x" * n + b"\n\n",
    "many lines in one block": lambda n: b"data: x\n" * (n // 8) + b"\n",
    "many lines ended by CRLF": lambda n: b"data: x\r\n" * (n // 9) + b"\r\n",
    "many frames": lambda n: b"data: x\n\n" * (n // 9),
    "comments without a blank line": lambda n: b":\r\n" * (n // 3),
    "blank lines": lambda n: b"\r\n" * (n // 2),
    "an unfinished line": lambda n: b"x" * n,
}


class TestCost:
    @pytest.mark.parametrize("size", [1, 2, 7, 100, 1 << 20])
    @pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
    def test_every_byte_is_searched_once(self, monkeypatch, shape, size):
        pattern = CountingPattern(sse._LINE_END)
        monkeypatch.setattr(sse, "_LINE_END", pattern)
        stream = shape(20_000)
        decode(in_pieces_of(size, stream))
        assert len(stream) // 2 <= pattern.searched_bytes <= len(stream)

    @pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
    def test_twice_the_bytes_take_twice_the_steps(self, shape):
        once, twice = (steps_of(in_pieces_of(1, shape(n))) for n in (5_000, 10_000))
        assert once > 5_000
        assert twice <= 2.01 * once

    @pytest.mark.parametrize(
        ("name", "piece"),
        [("one long line", 64), ("many lines in one block", 64), ("many frames", 1 << 20)],
    )
    def test_bytes_are_not_copied_repeatedly(self, name, piece):
        """Copying at each step, invisible in a count of steps, would take 64 times as long for 8 times the bytes."""

        def seconds(size: int) -> float:
            pieces = in_pieces_of(piece, SHAPES[name](size))
            start = time.process_time()
            decode(pieces)
            return time.process_time() - start

        small = min(seconds(1 << 16) for _ in range(3))
        large = min(seconds(1 << 19) for _ in range(2))
        assert large < 20 * small + 0.05


def test_at_places():
    assert at_places(b"abcd", (3, 1, 1)) == [b"a", b"", b"bc", b"d"]
    assert at_places(b"", (0,)) == [b"", b""]


@pytest.mark.parametrize("newline", [b"\n", b"\r\n", b"\r"])
def test_comments_that_are_skipped_are_counted_all_the_same(newline: bytes) -> None:
    parts = [b":", b":x", b": a:b", b"data: x", b"id: 1", b"", b"", b"retry: 2", b"\xff"]
    order = random.Random(7)
    for _ in range(100):
        text = newline.join(order.choices(parts, k=40)) + newline * order.randint(0, 2)
        whole, skipping = SseDecoder(), SseDecoder()
        skipping.skips_comments = True
        size = order.randint(1, len(text))
        pieces = [text[start : start + size] for start in range(0, len(text), size)]
        expected = [frame for piece in pieces for frame in whole.feed(piece)]
        found = [frame for piece in pieces for frame in skipping.feed(piece)]
        assert [one for one in found if one.data is not None] == [
            one for one in expected if one.data is not None
        ]
        assert all(name == "" for one in expected if one not in found for name, _ in one.fields)
        assert (skipping.line_count, skipping.comment_lines) == (whole.line_count, whole.comment_lines)
        assert skipping.pending == whole.pending


def test_a_million_lines_of_comments_are_skipped_in_few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    ended = []
    end_line = SseDecoder._end_line
    monkeypatch.setattr(
        SseDecoder, "_end_line", lambda self, end: (ended.append(end), end_line(self, end))[1]
    )
    decoder = SseDecoder()
    decoder.skips_comments = True
    assert decoder.feed(b":\n\n" * 500_000 + b"data: x\n\n")[0].data == "x"
    assert (decoder.line_count, decoder.comment_lines, len(ended)) == (1_000_002, 500_000, 2)
