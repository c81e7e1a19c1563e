import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from harness.profiles.workflow_actions.events import (
    KNOWN_TYPES,
    TERMINAL_TYPES,
    CancelledEvent,
    DoneEvent,
    ErrorEvent,
    OtherEvent,
    TokenEvent,
    parse_run_event,
)
from tests.cases import all_cases


def test_the_documented_types():
    assert frozenset({"done", "error", "cancelled"}) == TERMINAL_TYPES
    assert frozenset({"done", "error", "cancelled", "token"}) == KNOWN_TYPES


@all_cases(
    ("data", "expected"),
    [
        ('{"type":"token","content":"Result: 42"}', TokenEvent(type="token", content="Result: 42")),
        ('{"type":"token","content":""}', TokenEvent(type="token", content="")),
        ('{"type":"done","runId":"xyz-456"}', DoneEvent(type="done", runId="xyz-456")),
        ('{"type":"error"}', ErrorEvent(type="error")),
        ('{"type":"cancelled"}', CancelledEvent(type="cancelled")),
        ('{"type":"tool_call"}', OtherEvent(type="tool_call")),
        ('{"type":"TOKEN"}', OtherEvent(type="TOKEN")),
        ('{"type":"other"}', OtherEvent(type="other")),
        ('{"type":""}', OtherEvent(type="")),
        (' \t\r\n{ "content" : "x" , "type" : "token" }\n ', TokenEvent(type="token", content="x")),
        (
            '{"type":"\\u0074oken","content":"\\u20ac\\ud83d\\ude80\\n"}',
            TokenEvent(type="token", content="\u20ac\U0001f680\n"),
        ),
        ('{"type":"token","content":"\u2028"}', TokenEvent(type="token", content="\u2028")),
    ],
)
def test_what_it_says(data, expected):
    event = parse_run_event(data)
    assert type(event) is type(expected)
    assert event == expected


@pytest.mark.parametrize("kind", [*sorted(KNOWN_TYPES), "tool_call"])
def test_further_fields_are_kept(kind):
    fields = {"type": kind, "content": "c", "runId": "r", "code": 409, "nested": {"a": [1, None]}}
    event = parse_run_event(json.dumps(fields))
    assert event.model_dump() == fields


def test_the_last_of_two_equal_names_counts():
    assert parse_run_event('{"type":"done","runId":"a","runId":"b"}') == DoneEvent(type="done", runId="b")
    assert isinstance(parse_run_event('{"type":"done","type":"error"}'), ErrorEvent)


@all_cases(
    ("data", "said"),
    [
        ("", "Invalid JSON: EOF while parsing a value at line 1 column 0"),
        ("hello", "Invalid JSON: expected value at line 1 column 1"),
        ('{"type":"done","runId":"x"} x', "Invalid JSON: trailing characters at line 1 column 29"),
        ("null", "Input should be an object"),
        ("[]", "Input should be an object"),
        ('"done"', "Input should be an object"),
        ("42", "Input should be an object"),
        ("{}", "type: Field required"),
        ('{"content":"x"}', "type: Field required"),
        ('{"type":null}', "type: Input should be a valid string"),
        ('{"type":7}', "type: Input should be a valid string"),
        ('{"type":["done"]}', "type: Input should be a valid string"),
        ('{"type":{"done":1}}', "type: Input should be a valid string"),
        ('{"type":"token"}', "content: Field required"),
        ('{"type":"token","content":null}', "content: Input should be a valid string"),
        ('{"type":"token","content":7}', "content: Input should be a valid string"),
        ('{"type":"token","content":["x"]}', "content: Input should be a valid string"),
        ('{"type":"done"}', "runId: Field required"),
        ('{"type":"done","runid":"x"}', "runId: Field required"),
        ('{"type":"done","runId":42}', "runId: Input should be a valid string"),
    ],
)
def test_what_is_no_run_event(data, said):
    with pytest.raises(ValueError, match=r"^[^\n]+$") as raised:
        parse_run_event(data)
    assert str(raised.value) == said


@pytest.mark.parametrize(
    "data",
    [
        '{"type":"token","content":"a\nb"}',
        '{"type":"done","runId":"x"}{"type":"done","runId":"x"}',
        '\ufeff{"type":"error"}',
        "{'type':'error'}",
        '{"type":"error",}',
        '{"type":"error","x":' + "[" * 100_000 + "]" * 99_999 + "}",
        '{"type":"done","x":' + "[" * 100_000 + "]" * 100_000 + "}",
        '{"type":"done","runId":7,"x":"\\ud800"}',
        '{"type":["\\ud800"]}',
    ],
)
def test_hostile_data_is_one_sentence(data):
    with pytest.raises(ValueError, match=r"\A[^\n]+\Z") as raised:
        parse_run_event(data)
    assert len(str(raised.value)) < 200


def test_events_do_not_change():
    event = parse_run_event('{"type":"error","code":"x"}')
    with pytest.raises(ValidationError, match="frozen"):
        event.type = "done"


@given(st.text())
def test_any_text_is_an_event_or_one_sentence(data):
    problem = ""
    try:
        event = parse_run_event(data)
    except ValueError as raised:
        problem = str(raised)
    else:
        assert json.loads(data)["type"] == event.type
    assert "\n" not in problem


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_content_survives(content):
    for ascii_only in (True, False):
        event = parse_run_event(json.dumps({"type": "token", "content": content}, ensure_ascii=ascii_only))
        assert event == TokenEvent(type="token", content=content)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (r'{"type":"token","content":"\ud800"}', TokenEvent.model_construct(type="token", content="\ud800")),
        (r'{"type":"token","content":"a","x":"\udc00"}', TokenEvent(type="token", content="a")),
        (r'{"type":"done","runId":"\ude00"}', DoneEvent.model_construct(type="done", runId="\ude00")),
        (r'{"type":"\ude00"}', OtherEvent.model_construct(type="\ude00")),
        ('{"type":"done","runId":"r","x":' + "[" * 300 + "]" * 300 + "}", DoneEvent(type="done", runId="r")),
        ('{"x":' + '{"a":[' * 50_000 + "]}" * 50_000 + ',"type":"error"}', ErrorEvent(type="error")),
        ('{"type":"error","x":' + "9" * 10_000 + "}", ErrorEvent(type="error")),
    ],
    ids=lambda value: str(value)[:30],
)
def test_what_the_grammar_allows_is_an_event(data, expected):
    assert parse_run_event(data) == expected
