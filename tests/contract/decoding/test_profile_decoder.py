"""The fast decoder of profiles agrees with the full decoder and the rules, on any stream in any reads."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.contract.decoding.full_decoder import FullDecoder
from harness.contract.decoding.profile_decoder import ProfileDecoder
from harness.contract.decoding.response import Response, ResponseSummary
from harness.contract.exchange import Ending, Exchange
from harness.contract.expectations import Expectations
from harness.contract.finding import Verdict
from harness.contract.rules.stream import STREAM_RULES
from harness.profiles import library
from tests.cases import all_cases
from tests.contract.exchanges import LAST_CHUNK, STREAM, chunk, head, scripted
from tests.profiles.test_captures import CAPTURES, CLEAN, DEFECTS
from tests.protocol.cuts import at_places

pytestmark = pytest.mark.usefixtures("each_token_reader")

FORMAT_RULES = [rule for rule in STREAM_RULES if rule.format_only]
HEAD = head(200, {**STREAM, "Transfer-Encoding": "chunked"})


def of_body(profile: str, body: bytes, places: list[int], ending: Ending) -> Exchange:
    pieces = at_places(body, places)
    parts = [(float(n), chunk(piece)) for n, piece in enumerate(pieces, 1) if piece]
    last = [(99.0, LAST_CHUNK)] if ending is Ending.COMPLETE else []
    return scripted((0.0, HEAD), *parts, *last, ending=ending, profile=library.load(profile))


def assert_agrees(run: Exchange) -> None:
    again = FullDecoder(run.profile)
    expected = Response.from_reads(run.reads, connection_ended=False, decoder=again, profile=run.profile)
    found: ResponseSummary = run.summary
    assert found == expected.summary
    assert run.sequence == tuple(one.identity for one in run.events)
    if run.is_regular:
        assert len({one.event.run_id for one in run.events if one.event} - {None}) <= 1
        findings = [rule(run, expect=Expectations()) for rule in FORMAT_RULES]
        assert [one for one in findings if one.verdict in {Verdict.FAIL, Verdict.WARN}] == []
        if run.ending is Ending.COMPLETE:
            assert {one.verdict for one in findings} <= {Verdict.PASS, Verdict.NOT_APPLICABLE}


def chat(delta: Any, finish: str | None = None, **more: Any) -> str:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    value = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1717, "model": "m"}
    return json.dumps({**value, "choices": [choice], **more}, separators=(",", ":"), ensure_ascii=False)


CHAT_DATA = st.sampled_from(
    [
        chat({"role": "assistant", "content": ""}),
        *(chat({"content": text}) for text in ("word ", "é", '"', "\n", "\x01", "a\\b", "\u2028", "😀")),
        chat({"content": "a"}).replace('"a"', '"\\u0061"'),
        chat({"content": "a"}).replace('"a"', '"\\ud800"'),
        chat({"content": "a"}).replace("1717", "1e3"),
        chat({"content": "a"}).replace("1717", "017"),
        chat({"content": "a"}).replace("1717", "-0.5"),
        chat({"content": "a"}).replace("1717", "9" * 1200),
        chat({"content": "a"}).replace("chatcmpl-1", "chatcmpl-2"),
        chat({"content": "a"}).replace('"m"', '"n"'),
        chat({"content": "a"}).replace('"model"', '"created"'),
        chat({"content": "a"}).replace(":null", ": null"),
        chat({"content": "a", "tool_calls": [{"index": 0}]}),
        chat({"reasoning_content": "hm"}),
        chat({"content": "last"}, "stop"),
        chat({}, "stop"),
        chat({}, "stop", usage={"completion_tokens": 7}),
        json.dumps({"error": {"message": "no"}}),
        json.dumps({"object": "other"}),
        "[DONE]",
        "[DONE] ",
        "{}",
        "null",
        "",
    ]
)  # fmt: skip
AGUI_DATA = st.sampled_from(
    [
        '{"type":"RUN_STARTED","threadId":"t","runId":"r"}',
        *(
            f'{{"type":"TEXT_MESSAGE_CONTENT","messageId":"m","delta":"{text}"}}'
            for text in ("a", "b c", "é")
        ),
        '{"type":"TEXT_MESSAGE_CONTENT","messageId":"m","delta":""}',
        '{"type":"TEXT_MESSAGE_CONTENT","messageId":"m2","delta":"a"}',
        '{"type":"TEXT_MESSAGE_START","messageId":"m"}',
        '{"type":"TEXT_MESSAGE_END","messageId":"m"}',
        '{"type":"TEXT_MESSAGE_END","messageId":"m"}',
        '{"type":"TEXT_MESSAGE_END","messageId":"m2"}',
        '{"type":"STEP_STARTED","stepName":"s"}',
        '{"type":"REASONING_MESSAGE_CONTENT","messageId":"m","delta":"hm"}',
        '{"type":"TOOL_CALL_START"}',
        '{"type":"RUN_FINISHED","runId":"r"}',
        '{"type":"RUN_FINISHED","runId":"q"}',
        '{"type":"RUN_ERROR","message":"no"}',
        '{"kind":1}',
    ]
)


@st.composite
def plain_bodies(draw: Any, data: st.SearchStrategy[str]) -> bytes:
    """Frames without ids, in the style of one server, or not."""
    newline = draw(st.sampled_from(["\n", "\n", "\n", "\r\n"]))
    prefix = draw(st.sampled_from(["data: ", "data:"]))
    between = draw(
        st.sampled_from(["", "", ": ping\n\n", "retry: 5\n\n", "id: 7\n\n", "\n", "\n\n", "\ufeff"])
    )
    frames = [f"{prefix}{one}\n\n" for one in draw(st.lists(data, max_size=8))]
    place = draw(st.integers(0, len(frames)))
    frames.insert(place, between)
    return "".join(frames).replace("\n", newline).encode("utf-8", "surrogatepass")


_PLACES = st.lists(st.integers(0, 900), max_size=6)
_ENDINGS = st.sampled_from([Ending.COMPLETE, Ending.COMPLETE, Ending.CUT, Ending.TRUNCATED])


@settings(max_examples=max(80, settings().max_examples), deadline=None)
@given(plain_bodies(CHAT_DATA), _PLACES, _ENDINGS)
def test_it_agrees_on_openai_chunks(body: bytes, places: list[int], ending: Ending) -> None:
    assert_agrees(of_body("openai-chat", body, places, ending))


@settings(max_examples=max(40, settings().max_examples), deadline=None)
@given(plain_bodies(AGUI_DATA), _PLACES, _ENDINGS)
def test_it_agrees_on_ag_ui_events(body: bytes, places: list[int], ending: Ending) -> None:
    assert_agrees(of_body("ag-ui", body, places, ending))


def agno(index: Any, content: str, run: str = "r-1") -> str:
    value = {"created_at": 17, "event": "RunContent", "run_id": run, "content": content, "event_index": index}
    return f"event: RunContent\ndata: {json.dumps(value)}\n\n"


AGNO = st.one_of(
    st.builds(agno, st.integers(0, 9), st.sampled_from(["a", "b", "", "\n"])),
    st.sampled_from(
        [
            agno(3, "a", "r-2"),
            agno("4", "a"),
            agno(None, "a"),
            agno(5, "a").replace("RunContent", "Other"),
            'event: RunCompleted\ndata: {"run_id":"r-1","event_index":9,"content":"ab"}\n\n',
            'event: replay\ndata: {"run_id":"r-1"}\n\n',
        ]
    ),
)


@settings(max_examples=max(40, settings().max_examples), deadline=None)
@given(st.lists(AGNO, max_size=8), _PLACES, _ENDINGS, st.booleans())
def test_it_agrees_on_ids_in_the_data(
    frames: list[str], places: list[int], ending: Ending, in_order: bool
) -> None:
    def index_of(frame: str) -> int:
        found = re.search(r'"event_index": ?"?(\d+)', frame)
        return int(found[1]) if found else 0

    body = "".join(sorted(set(frames), key=index_of) if in_order else frames)
    assert_agrees(of_body("agno", body.encode(), places, ending))


@all_cases(("profile", "capture"), [row[:2] for row in (*CLEAN, *DEFECTS)])
@all_cases("size", [7, 300, 100_000])
def test_it_agrees_on_recorded_streams(profile: str, capture: str, size: int) -> None:
    data = (CAPTURES / f"{capture}.http").read_bytes()
    parts = [(float(at), data[at : at + size]) for at in range(0, len(data), size)]
    ended = data.endswith((b"0\r\n\r\n", b"0\n\n"))
    ending = Ending.COMPLETE if ended else Ending.CUT
    assert_agrees(scripted(*parts, ending=ending, profile=library.load(profile)))


_AGUI_TOKEN = '{"type":"TEXT_MESSAGE_CONTENT","messageId":"m","delta":"%s"}'
REGULAR = {
    "openai-chat": ("data: ", chat({"content": "%s"}), [chat({}, "stop"), "[DONE]"]),
    "ag-ui": ("data: ", _AGUI_TOKEN, ['{"type":"RUN_FINISHED","runId":"r"}']),
    "ai-sdk": ("data: ", '{"type":"text-delta","id":"1","delta":"%s"}', ['{"type":"finish"}', "[DONE]"]),
    "anthropic-messages": (
        "data: ",
        '{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"%s"}}',
        ['{"type":"message_delta","delta":{"stop_reason":"end_turn"}}', '{"type":"message_stop"}'],
    ),
}


@pytest.mark.parametrize(("profile", "style"), REGULAR.items(), ids=REGULAR)
@pytest.mark.parametrize("size", [1, 50, 100_000])
def test_regular_streams_are_regular_and_few_events_are_read(
    profile: str, style: tuple[str, str, list[str]], size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    prefix, token, last = style
    first = ['{"type":"RUN_STARTED","threadId":"t","runId":"r"}'] if profile == "ag-ui" else []
    loaded = library.load(profile)
    reads = 0
    original = loaded.reader.read

    class Counting:
        def read(self, frame: Any) -> Any:
            nonlocal reads
            reads += 1
            return original(frame)

    monkeypatch.setitem(vars(loaded), "reader", Counting())
    monkeypatch.setattr(library, "load", lambda _: loaded)
    texts = ["a", "", "b", *(f"word{n} é " for n in range(100))]
    datas = [*first, token % "start", *(token % text for text in texts), *last]
    body = "".join(f"{prefix}{one}\n\n" for one in datas).encode()
    run = of_body(profile, body, list(range(size, len(body), size)), Ending.COMPLETE)
    assert run.is_regular
    assert (run.summary.events, len(run.summary.token_arrivals_ns)) == (len(datas), len(texts))
    assert reads <= 8 + len(first)  # the first token and its probes, the one without text, and the end
    assert isinstance(run._response._decoder, ProfileDecoder)


@settings(max_examples=max(40, settings().max_examples), deadline=None)
@given(st.lists(AGUI_DATA, max_size=8), _PLACES, _ENDINGS)
def test_it_agrees_on_what_is_opened_and_closed(datas: list[str], places: list[int], ending: Ending) -> None:
    """Runs that start as AG-UI's do, so that many are regular up to what they open and close."""
    start = [
        '{"type":"RUN_STARTED","threadId":"t","runId":"r"}',
        '{"type":"TEXT_MESSAGE_START","messageId":"m"}',
    ]
    last = '{"type":"RUN_FINISHED","runId":"r"}'
    body = "".join(f"data: {one}\n\n" for one in [*start, *datas, last])
    assert_agrees(of_body("ag-ui", body.encode(), places, ending))


@pytest.mark.parametrize(
    "datas",
    [
        ["TEXT_MESSAGE_CONTENT", "TEXT_MESSAGE_END", "TEXT_MESSAGE_CONTENT", "RUN_FINISHED"],
        ["TEXT_MESSAGE_CONTENT", "RUN_FINISHED"],
        ["TEXT_MESSAGE_END", "TEXT_MESSAGE_END", "RUN_FINISHED"],
    ],
)
def test_what_does_not_fit_together_is_not_regular(datas: list[str]) -> None:
    kinds = ["RUN_STARTED", "TEXT_MESSAGE_START", *datas]
    fields = '"messageId":"m","runId":"r","delta":"a"'
    body = "".join(f'data: {{"type":"{kind}",{fields}}}\n\n' for kind in kinds)
    run = of_body("ag-ui", body.encode(), list(range(40, len(body), 40)), Ending.COMPLETE)
    assert not run.is_regular
    assert_agrees(run)


def token_of(text: bytes, run: bytes = b"chatcmpl-1") -> bytes:
    frame = chat({"content": "@"}).encode().replace(b"@", text).replace(b"chatcmpl-1", run)
    return b"data: " + frame + b"\n\n"


PLAIN = [token_of(b"word%d " % number) for number in range(6)]
END = [b"data: " + chat({}, "stop").encode() + b"\n\n", b"data: [DONE]\n\n"]
ODD = {
    "a line end in the text": [token_of(b"a\n\nb")],
    "another line end": [token_of(b"a\rb")],
    "an open escape": [token_of(b"a\\")],
    "an unknown escape": [token_of(b"a\\x")],
    "a quote": [token_of(b'a"b')],
    "an escaped quote": [token_of(b'a\\"b')],
    "a character as an escape": [token_of(b"\\u00e9")],
    "half a character in each of two texts": [token_of(b"\xc3"), token_of(b"\xa9")],
    "no text": [token_of(b"")],
    "another run": [token_of(b"a", b"chatcmpl-2")],
    "a comment": [b": ping\n\n"],
    "an id": [b"id: 7\n" + token_of(b"a")],
    "a duplicate key": [token_of(b'a","content":"b')],
    "the bytes before the text": [token_of(b'abcdelta":{"content":"b')],
    "a control character": [token_of(b"a\x01b")],
    "a blank line": [b"\n"],
    "two lines of data": [b"data: \n" + token_of(b"a")],
}


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
@pytest.mark.parametrize("at", [1, 4, 6])
def test_it_agrees_on_one_odd_token_among_many_in_one_read(odd: list[bytes], at: int) -> None:
    assert_agrees(
        of_body("openai-chat", b"".join([*PLAIN[:at], *odd, *PLAIN[at:], *END]), [], Ending.COMPLETE)
    )


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
@pytest.mark.parametrize("run", [b"chatcmpl-1", b"chatcmpl-3"])
def test_it_agrees_on_a_stream_that_begins_otherwise_than_the_one_before(
    odd: list[bytes], run: bytes
) -> None:
    """Tokens that are written as those of an earlier stream are not read, nor is the first of them."""
    assert of_body("openai-chat", b"".join([*PLAIN, *END]), [], Ending.COMPLETE).is_regular
    tokens = [token.replace(b"chatcmpl-1", run) for token in PLAIN]
    assert_agrees(of_body("openai-chat", b"".join([*odd, *tokens, *END]), [], Ending.COMPLETE))
    assert_agrees(of_body("openai-chat", b"".join([tokens[0], *odd, *tokens, *END]), [], Ending.COMPLETE))


def test_of_a_stream_like_the_one_before_one_event_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = library.load("openai-chat")
    original, read = loaded.reader.read, []

    class Noting:
        def read(self, frame: Any) -> Any:
            read.append(frame.data)
            return original(frame)

    monkeypatch.setitem(vars(loaded), "reader", Noting())
    runs = []
    for number in (1, 2):
        read.clear()
        body = b"".join([*PLAIN, *END]).replace(b"chatcmpl-1", b"chatcmpl-%d" % number)
        runs.append(of_body("openai-chat", body, [], Ending.COMPLETE))
        assert runs[-1].run_id == f"chatcmpl-{number}"
        assert_agrees(runs[-1])
    assert all(run.is_regular for run in runs)
    read.clear()
    assert of_body("openai-chat", body, [], Ending.COMPLETE).is_regular
    assert read == [chat({}, "stop").replace("chatcmpl-1", "chatcmpl-2")]


def test_equal_tokens_are_taken_apart_at_the_text() -> None:
    run = of_body("openai-chat", b"".join([*PLAIN, token_of("é".encode()), *PLAIN]), [], Ending.CUT)
    decoder = run._response._decoder
    assert isinstance(decoder, ProfileDecoder)
    assert (decoder.tokens, decoder._equal is not None) == (13, True)
    other = [token_of(b"a").replace(b'"m"', b'"model-%d"' % number) for number in range(9)]
    run = of_body("openai-chat", b"".join([*PLAIN, *other]), [], Ending.CUT)
    decoder = run._response._decoder
    assert isinstance(decoder, ProfileDecoder)
    assert (decoder.tokens, decoder._equal) == (15, None), "they cost both ways of looking once"
