"""A whole stream, read with a profile: what does not fit is named with its event."""

from __future__ import annotations

import json

import pytest

from harness.contract.exchange import Exchange
from harness.profiles.library import load, parse
from harness.profiles.stream_reader import ProfileStream, read_stream
from harness.protocol.sse import SseDecoder
from tests.cases import all_cases
from tests.contract.exchanges import cancelled, error, run, token, whole_run

PROFILE = """
name = "mine"
[run]
path = "/run"
[events]
token = { is = "token", text = "data.text" }
snapshot = { is = "whole", text = "data.text" }
done = { is = "done", text = "data.text" }
error = "error"
cancelled = "cancelled"
note = "note"
pairs = [["open", "close", ""]]
"""
IDS = "[ids]\nat = 'id'\norder = '{}'\n"


def read(
    events: str, *, lines: str = "", order: str | None = None, is_complete: bool = True
) -> ProfileStream:
    """Read the events: types, each with an id after a colon and a text after an equals sign if it has one."""
    profile = parse(f"{PROFILE}{lines}\n{IDS.format(order) if order else ''}", "mine.toml")
    blocks = []
    for word in events.split():
        kind, _, text = word.partition("=")
        kind, _, id_ = kind.partition(":")
        blocks.append(
            (f"id: {id_}\n" if id_ else "") + f"event: {kind}\ndata: {json.dumps({'text': text})}\n\n"
        )
    return read_stream(profile, SseDecoder().feed("".join(blocks).encode()), is_complete=is_complete)


def test_a_whole_stream() -> None:
    stream = read("open token=a token=b close done=ab")
    assert stream.problems == []
    assert stream.text == "ab"
    assert [event.outcome for event in stream.outcomes] == ["done"]
    assert len(stream.ends) == 1


@all_cases(
    ("events", "lines", "problems"),
    [
        ("", "", ["it has no event"]),
        ("note", "", ["it has no event"]),
        ("token=a", "", ["no event tells how the run ended"]),
        ("token=a done=a done=a", "", ["2 outcomes: done, done"]),
        ("token=a cancelled done=a", "", ["2 outcomes: cancelled, done"]),
        ("token=a done=a token=b", "", ["event 3: 1 event after the end of the stream"]),
        ("token=a done=a note", "", []),
        (
            "token=a new new other done=a",
            "",
            ["'new' (and 1 more event)", "event 4: the profile knows no type 'other'"],
        ),
        ("token=a done=b", "", ["event 2: the whole text does not end with the tokens before it"]),
        ("token=a whole=ab token=b done=ab", "", ["event 2: the whole text does not end"]),
        ("token=b done=ab", "", []),  # a resumed stream has the last tokens only
        ("open token=a done=a", "", ["nothing closes open"]),
        ("open close token=a close done=a", "", ["event 4 closes open, which is not open"]),
        ("open open close token=a done=a", "", ["event 2 opens open again, which is open"]),
        ("open close open close token=a done=a", "", []),
        ("close token=a done=a", "", []),  # a resumed stream may lack the opening event
        ("open error close close", "", ["event 3: 2 events after the end of the stream"]),
        ("open token=a error", "", []),
        ("token=a done=a", "first = ['open']", ["event 1: the first event is 'token', not open"]),
        ("note open close token=a done=a", "first = ['open']", []),
        ("token=a done=a", "end = { is = 'stop' }", ["the event that ends the stream is missing"]),
        ("token=a done=a stop", "end = { is = 'stop' }", []),
        (
            "token=a done=a stop stop",
            "end = { is = 'stop' }",
            ["the event that ends the stream came 2 times"],
        ),
        ("token=a stop done=a", "end = { is = 'stop' }", ["event 3: 1 event after the end"]),
        ("token=a error", "end = { is = 'stop' }", ["the event that ends the stream is missing"]),
        ("token=a error", "end = { is = 'stop' }\nerror_may_end = true", []),
        ("token=a done=a", "end = 'close'", []),
    ],
)
def test_what_does_not_fit(events: str, lines: str, problems: list[str]) -> None:
    found = read(events, lines=lines).problems
    assert len(found) == len(problems), found
    for said, expected in zip(found, problems, strict=True):
        assert expected in said


@all_cases(
    ("order", "events", "problem"),
    [
        ("counter", "token:1 token:2 done:3", None),
        ("counter", "token:9 token:10 done:11", None),
        ("counter", "token:1 token:1 done:3", "event 2: the id '1' is not greater than '1'"),
        ("counter", "token:2 token:1 done:3", "event 2: the id '1' is not greater than '2'"),
        ("counter", "token:a token:2 done:3", "event 1: the id 'a' is not of the form counter"),
        ("counter", "token:1 note:1 done:2", None),  # notes are no part of the run
        ("ms-seq", "token:10-9 token:10-10 done:11-0", None),
        ("ms-seq", "token:10-9 token:9-10 done:11-0", "event 2: the id '9-10' is not greater than '10-9'"),
        ("ms-seq", "token:10 done:11", "event 1: the id '10' is not of the form ms-seq"),
        ("opaque", "token:b token:a done:c", None),
        ("opaque", "token:b token:a token:b done:c", "event 3: its id appeared before"),
        (None, "token:1 token:1 done:1", None),
    ],
)
def test_ids_have_the_order_that_the_profile_says(
    order: str | None, events: str, problem: str | None
) -> None:
    assert read(events, order=order).problems == ([problem] if problem else [])


def test_the_end_of_an_incomplete_answer_is_not_asked_for() -> None:
    assert read("open token=a", is_complete=False).problems == []


@pytest.mark.parametrize(
    "exchange",
    [
        whole_run(),
        run(token(0), error(1, message="no")),
        run(token(0), cancelled(1)),
        run(token(0), token(1, "é\u2028")),
    ],
)
def test_the_default_profile_reads_what_the_contract_reads(exchange: Exchange) -> None:
    """The rules read events with harness.profiles.workflow_actions."""
    stream = read_stream(load("workflow-actions"), [event.frame for event in exchange.events])
    assert [event.outcome for event in stream.outcomes] == [
        event.event.type for event in exchange.terminals if event.event
    ]
    assert sum(event.is_token for event in stream.events) == sum(
        event.has_content for event in exchange.events
    )
    assert [event.id for event in stream.events] == [event.frame.id for event in exchange.events]
    assert stream.run_id == exchange.run_id
