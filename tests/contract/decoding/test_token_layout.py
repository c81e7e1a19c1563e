"""The reader of tokens in C takes what the decoders would take, and nothing else."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.contract.decoding.frame_template import learn_template
from harness.contract.decoding.full_decoder import FullDecoder
from harness.contract.decoding.read_log import Read, ReadLog
from harness.contract.decoding.response import Response
from harness.contract.decoding.token_layout import (
    CONTENT,
    COUNTER,
    INTEGER,
    JSON_COUNTER,
    LINE,
    NO_READER,
    NUMBER,
    STREAM_ID,
    STRING,
    TEXT,
    TokenReader,
    bytes_of,
    token_reader,
)
from harness.profiles import library
from harness.profiles.profile import Profile
from tests.contract.decoding.token_readers import TOKEN_READERS, token_reader_in_use
from tests.contract.exchanges import LAST_CHUNK, STREAM, chunk, done, head, token
from tests.protocol.cuts import at_places

needs_native = pytest.mark.usefixtures("native_token_reader")
HEAD = head(200, {**STREAM, "Transfer-Encoding": "chunked"})


def armed(layout: bytes, last: tuple[int, int] = (0, 0)) -> tuple[TokenReader, ReadLog]:
    log = ReadLog()
    reader = token_reader(log)
    reader.limit(10**6)
    reader.arm(layout, *last)
    return reader, log


def takes(layout: bytes, text: bytes) -> bool:
    reader, log = armed(layout)
    is_taken = reader.take(5, 1, chunk(text))
    assert is_taken is (len(log) == 1) is (reader.events == 1)
    counting, _ = armed(layout)
    assert counting.count(chunk(text), 0) == (len(chunk(text)) if is_taken else 0)
    return is_taken


# Values

PIECES = st.lists(
    st.from_regex(rb'\\u[0-9a-fA-F]{4}|\\["\\/bfnrta]|[\xc0-\xf7]?[\x80-\xbf]{0,3}', fullmatch=True),
    max_size=4,
).map(b"".join)
"""Escapes and characters in UTF-8, right and wrong."""


@needs_native
@pytest.mark.parametrize(
    ("step", "right", "wrong"),
    [
        (bytes_of(b"ab"), [b"ab"], [b"", b"a", b"abc", b"AB"]),
        (bytes_of(b"x" * 70_000), [b"x" * 70_000], [b"x" * 69_999, b"x" * 70_001]),
        (INTEGER, [b"0", b"-0", b"7", b"-12", b"9" * 18], [b"", b"-", b"00", b"01", b"1.0", b"+1", b"9" * 19]),
        (NUMBER, [b"0", b"1.5", b"-0.0", b"9" * 15, b"1." + b"1" * 17], [b".5", b"1.", b"1e5", b"1." + b"1" * 18]),
        (LINE, [b"", b"a b~"], [b"\x7f", b"\n", b"\xc3\xa9", b"x" * 201]),
        (STREAM_ID, [b"0-1", b"1-0", b"007-08", b"9" * 18 + b"-0"], [b"0-0", b"1", b"1-", b"-1", b"9" * 19 + b"-0"]),
        (COUNTER, [b"1", b"01"], [b"", b"0", b"1-1", b"a"]),
        (JSON_COUNTER, [b"1", b"10"], [b"0", b"01", b"1.0"]),
    ],
)  # fmt: skip
def test_values(step: bytes, right: list[bytes], wrong: list[bytes]) -> None:
    layout = bytes_of(b"<") + step + bytes_of(b"\n")
    assert [text for text in right if not takes(layout, b"<" + text + b"\n")] == []
    assert [text for text in wrong if takes(layout, b"<" + text + b"\n")] == []


@needs_native
@pytest.mark.parametrize("step", [CONTENT, TEXT, STRING])
@given(text=st.binary(max_size=12) | st.text(max_size=8).map(str.encode) | PIECES)
def test_a_text_that_it_takes_is_a_string_of_strict_json(step: bytes, text: bytes) -> None:
    if takes(bytes_of(b'"') + step + bytes_of(b'"'), b'"' + text + b'"'):
        value = json.loads((b'"' + text + b'"').decode("utf-8"))
        assert not re.search("[\ud800-\udfff]", value)
        assert b'"' not in re.sub(rb"\\.", b"", text)
        assert value or step != TEXT


@needs_native
@pytest.mark.parametrize(
    "text",
    [b"word ", "é".encode(), "😀".encode(), "\u2028".encode(), b"\\n", b"\\u00e9", rb"\"\\\/", b"x" * 4000],
)
def test_usual_texts_are_taken(text: bytes) -> None:
    assert takes(bytes_of(b'"') + TEXT + bytes_of(b'"'), b'"' + text + b'"')


@needs_native
@pytest.mark.parametrize(
    "text",
    [
        *(b"", b"\x00", b"\t", b"\x7f", b"\\", b"\\x", b"\\u12", b"\\ud800", b"\\ude00", b"x" * 4002),
        *(b"\x80", b"\xc0\x80", b"\xc1\xbf", b"\xe0\x9f\xbf", b"\xed\xa0\x80", b"\xf0\x8f\xbf\xbf", ),
        *(b"\xf4\x90\x80\x80", b"\xf5\x80\x80\x80", b"\xc3", b"\xe2\x82", b"\xf0\x9f\x98"),
    ],
)  # fmt: skip
def test_texts_that_need_a_closer_look_are_left(text: bytes) -> None:
    assert not takes(bytes_of(b'"') + TEXT + bytes_of(b'"'), b'"' + text + b'"')


# Reads

TEMPLATE = learn_template(token(0).removesuffix(b"\n\n"), b"\n")


@needs_native
def test_only_reads_of_one_chunk_with_one_token_are_taken() -> None:
    one, two = chunk(token(1)), chunk(token(2))
    for data in (
        one[:-1], one + b"\n", one + two, chunk(token(1) + token(2)), b"0" * 8 + one, b"0\r\n\r\n", b"", b"\r\n",
        one.replace(b"\r\n", b"\n"), one.replace(b"\r\n", b";x=1\r\n", 1), b"fffffff" + one, chunk(b": beat\n\n"),
    ):  # fmt: skip
        reader, log = armed(TEMPLATE.layout)
        assert (reader.take(5, None, data), len(log), reader.events) == (False, 0, 0), data
    reader, log = armed(TEMPLATE.layout)
    assert reader.take(5, 2, one)
    assert reader.take(5, None, two)
    assert tuple(log) == (Read(5, 2, one), Read(5, None, two))
    assert (reader.events, reader.tokens, list(log.token_arrivals_ns())) == (2, 2, [5, 5])


@needs_native
def test_whole_chunks_are_counted() -> None:
    one, two, three = chunk(token(1)), chunk(token(2) + token(3, "")), chunk(token(4))
    for data, taken, events, tokens in (
        (one + two + three, len(one + two + three), 4, 3),
        (one + two + three[:-1], len(one + two), 3, 2),
        (one + one, len(one), 1, 1),
        (one + chunk(b": beat\n\n") + two, len(one), 1, 1),
        (three + two, len(three), 1, 1),
        (one[1:], 0, 0, 0),
    ):
        reader, log = armed(TEMPLATE.layout)
        assert reader.count(b"???" + data, 3) == 3 + taken
        assert (reader.events, reader.tokens, len(log)) == (events, tokens, 0)


@needs_native
def test_what_ends_it() -> None:
    one, two = chunk(token(1)), chunk(token(2))
    reader, log = armed(TEMPLATE.layout)
    reader.limit(len(one))
    assert [reader.take(5, 1, one), reader.take(5, 1, two)] == [True, False]  # as large as it may be
    reader.limit(10**6)
    assert [reader.take(4, 1, two), reader.take(5, 1, one), reader.take(5, 1, two)] == [False, False, True]
    assert b"id: %d-%d\n" % reader.last in two
    reader.disarm()
    assert [reader.armed, reader.take(6, 1, chunk(token(3))), reader.count(chunk(token(3)), 0)] == [
        False,
        False,
        0,
    ]
    reader.arm(TEMPLATE.layout, *reader.last)
    reader.close()
    reader.arm(TEMPLATE.layout, 0, 0)
    assert [reader.armed, reader.take(6, 1, chunk(token(3))), len(log)] == [False, False, 2]


# Streams


def chat(content: str, **more: object) -> bytes:
    choice = {"index": 0, "delta": {"content": content}, "finish_reason": None}
    value = {"id": "c-1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
    return f"data: {json.dumps(value | more, separators=(',', ':'), ensure_ascii=False)}\n\n".encode()


CONTENTS = st.sampled_from(["word ", "a", "", "é", '"', "\n", "\u2028", "😀", "\\", "\x01"])


@st.composite
def raw_streams(draw: st.DrawFn, api: str) -> bytes:
    """A chunked response, most often of plain tokens, perhaps with a wrong byte."""
    body = []
    for place in range(draw(st.integers(1, 12))):
        content = draw(CONTENTS)
        frame = token(place, content) if api == "workflow-actions" else chat(content)
        odd = draw(st.integers(0, 25))
        if odd == 0:
            frame += b": beat\n\n"
        elif odd == 1:
            frame = frame.replace(b"\n", b"\r\n")
        elif odd == 2:
            frame = token(0) if api == "workflow-actions" else chat(content, id="c-2")
        split = len(frame) if draw(st.integers(0, 9)) else draw(st.integers(1, len(frame)))
        body += [frame[:split], frame[split:]] if split < len(frame) else [frame]
    if draw(st.booleans()):
        body.append(done(99) if api == "workflow-actions" else b"data: [DONE]\n\n")
    sizes = draw(st.lists(st.integers(1, 3), min_size=len(body), max_size=len(body)))
    raw = b""
    while body:
        raw += chunk(b"".join(body[: sizes[0]]))
        body, sizes = body[sizes[0] :], sizes[sizes[0] :]
    raw = HEAD + raw + (LAST_CHUNK if draw(st.booleans()) else b"")
    if draw(st.integers(0, 7)) == 0:
        place = draw(st.integers(len(HEAD), len(raw) - 1))
        raw = (
            raw[:place]
            + draw(st.sampled_from([b"\xff", b"\n", b"0", b"", b'"', b"-", b" "]))
            + raw[place + 1 :]
        )
    return raw


def boundaries(raw: bytes) -> list[int]:
    """Where chunks of frames begin: most reads of a load end there."""
    return [match.end() for match in re.finditer(rb"\n\r\n|\r\n\r\n", raw)]


@st.composite
def reads(draw: st.DrawFn, api: str) -> list[Read]:
    raw = draw(raw_streams(api))
    places = [place for place in boundaries(raw) if draw(st.integers(0, 4))]
    places += draw(st.lists(st.integers(0, len(raw)), max_size=3))
    pieces = [piece for piece in at_places(raw, places) if piece]
    return [Read(100 + number, 1, piece) for number, piece in enumerate(pieces)]


def assert_equal_to_full_decoder(received: list[Read], profile: Profile) -> None:
    fast = Response.from_reads(received, connection_ended=True, profile=profile)
    full = Response.from_reads(received, connection_ended=True, profile=profile, decoder=FullDecoder(profile))
    assert fast.summary == full.summary
    assert tuple(fast.log) == tuple(full.log)
    assert (fast.complete, fast.malformed, fast.surplus) == (full.complete, full.malformed, full.surplus)
    assert fast.identities() == full.identities()


@pytest.mark.parametrize("reader", TOKEN_READERS)
@pytest.mark.parametrize("api", ["workflow-actions", "openai-chat"])
@given(data=st.data())
def test_any_stream_in_any_reads(reader: str, api: str, data: st.DataObject) -> None:
    with token_reader_in_use(reader):
        assert_equal_to_full_decoder(data.draw(reads(api)), library.load(api))


def regular(api: str) -> Iterator[bytes]:
    for number in range(40):
        content = "é\n" if number % 7 == 3 else f"word{number} "
        yield chunk(token(number, content) if api == "workflow-actions" else chat(content))


@needs_native
@pytest.mark.parametrize("api", ["workflow-actions", "openai-chat"])
@pytest.mark.parametrize("at_once", [1, 5, 40])
def test_a_regular_stream_is_taken_but_for_its_ends(api: str, at_once: int) -> None:
    chunks = list(regular(api))
    response = Response(profile=library.load(api))
    response.feed(1, 1, HEAD)
    for start in range(0, len(chunks), at_once):
        response.feed(2 + start, 1, b"".join(chunks[start : start + at_once]))
    assert response._reader.events >= 35
    assert (response.events, response.is_regular) == (40, True)
    assert NO_READER.events == 0
