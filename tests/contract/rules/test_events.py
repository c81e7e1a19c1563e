from __future__ import annotations

from harness.contract.exchange import Ending, Exchange
from harness.contract.rules import events
from harness.profiles import library
from harness.protocol.request import HttpRequest
from tests.cases import all_cases
from tests.contract.exchanges import POST, done, empty_stream, error, frame, id_at, run, token, whole_run
from tests.contract.rules.case import FAIL, INCONCLUSIVE, INFO, NOT_APPLICABLE, PASS, WARN, Case, case, check

PYTHON_TRACE = 'boom\n  File "/srv/app.py", line 3, in run\n    1 / 0'
NODE_TRACE = "Error: boom\n    at Object.run (/srv/app.js:10:5)\n    at main.js:1:1"
JAVA_TRACE = "boom\n\tat com.example.App$Run.go(App.java:12)"
GO_TRACE = "panic: boom\n\ngoroutine 1 [running]:\nmain.main()"
REPEATING = library.parse(
    """
name = "repeating"
run = { path = "/", json = {} }
ids = { at = "id" }
resume = { from = "after", method = "GET", path = "/more", headers = { Last-Event-ID = "${last_id}" } }
[events]
type = "data.type"
token = { is = "say", text = "data.text" }
done = { is = "over", text = "data.text" }
error = "failed"
""",
    "repeating.toml",
)
RESUMED = HttpRequest("GET", "/more", (("Last-Event-ID", "1"),))
OF_NONE = [events.type_, events.schema, events.strict_json, events.error_detail, events.unknown_types]


def said(text: str) -> dict[str, str]:
    return {"type": "say", "text": text}


def over(text: str) -> dict[str, str]:
    return {"type": "over", "text": text}


ENDED, FAILED = {"type": "over"}, {"type": "failed"}
AGUI = library.load("ag-ui")
CHAT = library.load("openai-chat")


def agent(*kinds: str, **options: object) -> Exchange:
    """A stream of AG-UI; a type with /m has that id of a message."""
    frames = []
    for kind in kinds:
        name, _, message = kind.partition("/")
        frames.append(
            frame({"type": name, "messageId": message, "delta": "a", "runId": "r", "stepName": "s"})
        )
    return run(*frames, profile=AGUI, **options)


START, BEGIN, PIECE, END, OVER = (
    "RUN_STARTED",
    "TEXT_MESSAGE_START/m",
    "TEXT_MESSAGE_CONTENT/m",
    "TEXT_MESSAGE_END/m",
    "RUN_FINISHED",
)


def chat(content: str | None = None, reason: str | None = None, **more: object) -> bytes:
    choice = {"delta": {} if content is None else {"content": content}, "finish_reason": reason}
    return frame({"id": "c", "object": "chat.completion.chunk", "choices": [choice], **more})


def counts(count: object) -> dict[str, object]:
    return {"usage": {"completion_tokens": count}}


CASES: list[Case] = [
    case(events.first, empty_stream(profile=AGUI), is_=INCONCLUSIVE, says="no run to check"),
    case(events.first, agent(START, OVER), is_=PASS, says="the first event is RUN_STARTED"),
    case(events.first, agent("RUN_ERROR"), is_=PASS, says="the first event is RUN_ERROR"),
    case(
        events.first, agent(BEGIN, END, OVER), is_=FAIL, says="'TEXT_MESSAGE_START', not RUN_STARTED or", at=0
    ),
    case(events.first, agent(BEGIN, request=RESUMED), is_=INCONCLUSIVE, says="does not start with its run"),
    case(events.pairs, empty_stream(profile=AGUI), is_=INCONCLUSIVE, says="no run to check"),
    *(
        case(events.pairs, agent(START, *kinds, **options), is_=PASS, says="closed in order")
        for kinds, options in (
            ((BEGIN, PIECE, END, OVER), {}),
            ((OVER,), {}),
            ((BEGIN, END, BEGIN, PIECE, END, OVER), {}),
            ((BEGIN, "TEXT_MESSAGE_START/n", END, "TEXT_MESSAGE_CONTENT/n", "TEXT_MESSAGE_END/n", OVER), {}),
            ((BEGIN, PIECE, "RUN_ERROR"), {}),
            (("RUN_ERROR", END), {}),
            ((BEGIN, PIECE), {"ending": Ending.CUT}),
            ((BEGIN, PIECE), {}),  # terminal.always is about the missing end
            ((END, OVER), {"request": RESUMED}),
            (("TEXT_MESSAGE_CHUNK/m", "TEXT_MESSAGE_CHUNK/m", OVER), {}),
            ((BEGIN, END, "REASONING_MESSAGE_CONTENT/m", "TOOL_CALL_RESULT/m", OVER), {}),
        )
    ),
    *(
        case(events.pairs, agent(START, *kinds), is_=FAIL, says=says, at=at)
        for kinds, says, at in (
            ((BEGIN, PIECE, OVER), "nothing closed TEXT_MESSAGE_START 'm'", 3),
            ((BEGIN, END, PIECE, OVER), "event 4 brings text of TEXT_MESSAGE_START 'm' after its end", 3),
            ((BEGIN, END, END, OVER), "event 4 closes TEXT_MESSAGE_START 'm', which is not open", 3),
            ((END, OVER), "event 2 closes TEXT_MESSAGE_START 'm', which is not open", 1),
            ((BEGIN, BEGIN, END, OVER), "event 3 opens TEXT_MESSAGE_START 'm' again, which is open", 2),
            (("STEP_STARTED", OVER), "nothing closed STEP_STARTED 's'", 2),
        )
    ),
    case(events.usage, empty_stream(profile=CHAT), is_=INCONCLUSIVE, says="no run that is done"),
    case(events.usage, run(chat("a"), profile=CHAT), is_=INCONCLUSIVE, says="no run that is done"),
    *(
        case(events.usage, run(*frames, frame("[DONE]"), profile=CHAT), is_=verdict, says=says, at=at)
        for frames, verdict, says, at in (
            ((chat("a"), chat(None, "stop", **counts(1))), PASS, "the usage is 1 output token", None),
            (
                (chat("a"), chat("b", "stop", **counts(0))),
                WARN,
                "0 output tokens, but 2 events brought text",
                1,
            ),
            ((chat(None, "stop", **counts(0)),), PASS, "the usage is 0 output tokens", None),
            ((chat("a"), chat(None, "stop")), WARN, "no event reports the number of output tokens", 1),
            ((chat("a"), chat(None, "stop", **counts("7"))), WARN, "no event reports", 1),
            ((chat("a"), chat(None, "stop", usage=None)), WARN, "no event reports", 1),
        )
    ),
    *(case(rule, empty_stream(), is_=INCONCLUSIVE, says="no run to check") for rule in OF_NONE),
    case(events.type_, whole_run(), is_=PASS, says="each event has a type"),
    case(events.type_, run(token(0), frame({"kind": "x"}, "1-0")), is_=FAIL, says="type is missing", at=1),
    case(events.type_, run(frame({"type": 7}, "1-0")), is_=FAIL, says="its type is '7'", at=0),
    case(events.type_, run(frame({"type": None}, "1-0")), is_=FAIL, says="its type is 'None'", at=0),
    case(events.schema, whole_run(), is_=PASS, says="has its fields"),
    case(events.schema, run(frame({"type": "progress"}, "1-0")), is_=PASS, says="has its fields"),
    case(
        events.schema,
        run(frame({"type": "token", "content": "", "more": [1]}, "1-0")),
        is_=PASS,
        says="has its fields",
    ),
    case(
        events.schema,
        run(token(0), frame({"type": "token"}, "1-0")),
        is_=FAIL,
        says="event 2 (id 1-0), of type 'token': content: Field required",
        at=1,
    ),
    case(events.schema, run(frame({"type": "token", "content": 7}, "1-0")), is_=FAIL, says="content:", at=0),
    case(events.schema, run(frame({"type": "done", "runId": None}, "1-0")), is_=FAIL, says="runId:", at=0),
    case(events.error_detail, run(error(0, code="quota")), is_=PASS, says="has code"),
    case(events.error_detail, run(error(0, message="no", status=500)), is_=PASS, says="message, status"),
    case(
        events.error_detail, run(token(0), error(1, code="")), is_=WARN, says="does not say what failed", at=1
    ),
    case(
        events.error_detail, run(error(0, error={}, trace=1)), is_=WARN, says="does not say what failed", at=0
    ),
    *(
        case(events.error_detail, run(error(0, message=trace)), is_=WARN, says="contains a stack trace", at=0)
        for trace in (PYTHON_TRACE, NODE_TRACE, JAVA_TRACE, GO_TRACE, "Traceback (most recent call last):")
    ),
    *(
        case(events.error_detail, run(error(0, message=text)), is_=PASS, says="has message")
        for text in ("look at section 3 (page 12)", "at 10:15", 'File "a.txt" has no line 3')
    ),
    case(events.error_detail, whole_run(), is_=INCONCLUSIVE, says="sent no error event"),
    case(events.strict_json, run(frame("{")), is_=INCONCLUSIVE, says="no event of the stream is a RunEvent"),
    case(events.strict_json, whole_run(), is_=PASS, says="nothing that parsers"),
    case(
        events.strict_json,
        run(frame('{"type":"x","a":{"b":1,"b":2}}')),
        is_=WARN,
        says="duplicate key 'b'",
        at=0,
    ),
    *(
        case(events.strict_json, run(token(0), frame(data, id_at(1)), done(2)), is_=verdict, says=says)
        for data, verdict, says in (
            (r'{"type":"x","a":"\ud83d"}', WARN, "event 2 (id 1717000000010-0): a lone surrogate"),
            (r'{"type":"x","\uDE00":1}', WARN, "a lone surrogate"),
            (r'{"type":"x","a":"\ude00\ud83d"}', WARN, "a lone surrogate"),
            (r'{"type":"x","a":"\ud83d\ude00"}', PASS, "nothing"),
            (r'{"type":"x","a":"\\ud83d"}', PASS, "nothing"),
            ('{"type":"x","a":' + "[" * 127 + "]" * 127 + "}", PASS, "nothing"),
            ('{"type":"x","a":' + "[" * 128 + "]" * 128 + "}", WARN, "more than 128 levels"),
            ('{"type":"x","a":' + "[" * 100_000 + "]" * 100_000 + "}", WARN, "more than 128 levels"),
            ('{"type":"x","a":' + "9" * 1000 + "}", PASS, "nothing"),
            ('{"type":"x","a":' + "9" * 1001 + "}", WARN, "a number of more than 1,000 digits"),
            ('{"type":"x","a":0.' + "9" * 1001 + "}", WARN, "a number of more than 1,000 digits"),
            ('{"type":"x","a":"' + "9" * 5000 + '"}', PASS, "nothing"),
        )
    ),
    case(
        events.type_,
        run(frame('{"type":' + "[" * 300 + "]" * 300 + "}")),
        is_=FAIL,
        says="its type is a list",
    ),
    case(
        events.strict_json,
        run(frame('{"type":"x","p":1e400}')),
        is_=PASS,
        says="nothing that parsers",
    ),
    case(
        events.strict_json, run(token(0), frame("{")), is_=PASS, says="nothing that parsers"
    ),  # framing.one-json-object has that
    case(events.whole_text, whole_run(), is_=NOT_APPLICABLE, says="promises no whole text"),
    *(
        case(
            events.whole_text,
            run(*map(frame, frames), profile=REPEATING, request=request),
            is_=verdict,
            says=says,
        )
        for frames, request, verdict, says in (
            ([said("a"), said("b"), over("ab")], POST, PASS, "that of the tokens"),
            ([over("")], POST, PASS, "that of the tokens"),
            ([said("a"), over("ab")], POST, FAIL, "the whole text 'ab', but the tokens before it are 'a'"),
            ([said("a"), said("b"), over("a")], POST, FAIL, "event 3 has the whole text 'a', but"),
            ([said("b"), over("ab")], RESUMED, PASS, "that of the tokens"),
            ([said("b"), over("a")], RESUMED, FAIL, "the tokens before it are 'b'"),
            ([said("a")], POST, INCONCLUSIVE, "no event repeats the whole text"),
            ([said("a"), ENDED], POST, INCONCLUSIVE, "no event repeats the whole text"),
            # What a run without an answer does not repeat says nothing about the others.
            ([said("a"), FAILED], POST, NOT_APPLICABLE, "that was broken off"),
            ([ENDED], POST, NOT_APPLICABLE, "a run without text"),
            ([said("a"), over("b"), FAILED], POST, FAIL, "the whole text 'b'"),
        )
    ),
    case(
        events.whole_text,
        run(
            *(
                frame(
                    {"type": f"response.output_text.{kind}", "item_id": item, "content_index": 0, name: text}
                )
                for kind, item, name, text in (
                    ("delta", "m-1", "delta", "one"),
                    ("done", "m-1", "text", "one"),
                    ("delta", "m-2", "delta", "two"),
                    ("done", "m-2", "text", "two"),
                )
            ),
            profile=library.load("openai-responses"),
        ),
        is_=PASS,
        says="that of the tokens",
    ),
    case(events.unknown_types, whole_run(), is_=INFO, says="none"),
    case(
        events.unknown_types,
        run(frame({"type": "tool"}), frame({"type": "progress"}), frame({"type": "tool"})),
        is_=INFO,
        says="types beyond the documented ones: 'progress', 'tool'",
    ),
]


@all_cases("example", CASES, ids=str)
def test_verdict(example: Case) -> None:
    check(example)
