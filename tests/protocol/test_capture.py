"""Recorded answers, in each of the forms that curl and browsers write."""

from __future__ import annotations

import base64
import gzip
import json
from typing import Any

import pytest

from harness.protocol.capture import CapturedAnswer, CaptureError, read_capture
from tests.cases import all_cases

BODY = b"id: 1\ndata: {}\n\ndata: [DONE]\n\n"
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"


def chunks(body: bytes, size: int = 7) -> bytes:
    parts = [body[place : place + size] for place in range(0, len(body), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


def entry(content: dict[str, Any], status: int = 200) -> dict[str, Any]:
    return {"request": {"url": "http://a/b"}, "response": {"status": status, "content": content}}


def har(*entries: Any) -> bytes:
    return json.dumps({"log": {"version": "1.2", "entries": entries}}).encode()


def single(data: bytes) -> CapturedAnswer:
    (answer,) = read_capture(data)
    return answer


@pytest.mark.parametrize(
    "data",
    [
        HEAD + CHUNKED + chunks(BODY),
        HEAD + CHUNKED + BODY,  # curl without --raw
        HEAD + b"\r\n" + BODY,  # delimited by the connection
        HEAD + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY,
        b"HTTP/1.1 100 Continue\r\n\r\n" + HEAD + CHUNKED + chunks(BODY),
        HEAD.replace(b"HTTP/1.1", b"HTTP/2") + b"\r\n" + BODY,
        HEAD + b"Content-Encoding: gzip\r\n" + CHUNKED + chunks(gzip.compress(BODY)),
        har(entry({"mimeType": "text/event-stream", "text": BODY.decode()})),
        har(
            entry({"mimeType": "text/html", "text": "<p>"}),
            entry(
                {
                    "mimeType": "text/event-stream",
                    "text": base64.b64encode(BODY).decode(),
                    "encoding": "base64",
                }
            ),
        ),
    ],
)
def test_each_form_has_the_same_events(data: bytes) -> None:
    answer = single(data)
    assert [frame.data for frame in answer.frames] == ["{}", "[DONE]"]
    assert (answer.status, answer.media_type, answer.is_complete, answer.is_stream) == (
        200,
        "text/event-stream",
        True,
        True,
    )


def test_a_body_alone() -> None:
    answer = single(b"\n: hello\n\n" + BODY)
    assert (answer.status, answer.is_stream, len(answer.frames)) == (None, True, 3)


@pytest.mark.parametrize(
    "data", [HEAD + CHUNKED + chunks(BODY)[:-5], HEAD + b"Content-Length: 900\r\n\r\n" + BODY]
)
def test_an_answer_without_its_end(data: bytes) -> None:
    answer = single(data)
    assert not answer.is_complete
    assert answer.frames


def test_a_rejection_is_no_stream() -> None:
    answer = single(b"HTTP/1.1 409 Conflict\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}")
    assert (answer.status, answer.media_type, answer.is_stream) == (409, "application/json", False)
    assert not single(HEAD.replace(b"200 OK", b"409 Conflict") + CHUNKED + chunks(BODY)).is_stream


def test_entries_of_an_archive_are_told_apart() -> None:
    stream = {"mimeType": "text/event-stream", "text": BODY.decode()}
    assert [answer.label for answer in read_capture(har(entry(stream), entry(stream, 500)))] == [
        "entry 1, http://a/b",
        "entry 2, http://a/b",
    ]


@all_cases(
    ("data", "says"),
    [
        (b"", "is not a recorded answer"),
        (b"<html>", "is not a recorded answer"),
        (b"GET / HTTP/1.1\r\n\r\n", "is not a recorded answer"),
        (b"HTTP/1.1 200 OK\r\nContent-Type", "has no complete response head"),
        (b"HTTP/2 200\r\nContent-Type", "has no complete response head"),
        (
            b"HTTP/1.1 200 OK\ncontent-type: text/event-stream\n\ndata: 1\n\n",
            "lines end without CR: write what",
        ),
        (b"{}", "no log.entries"),
        (b"{", "no log.entries"),
        (b'{"log": []}', "no log.entries"),
        (har(), "has no entry with an answer of the type text/event-stream"),
        (har({}, 3, entry({"mimeType": "text/event-stream", "text": 3})), "has no entry"),
    ],
)
def test_what_is_no_recorded_answer(data: bytes, says: str) -> None:
    with pytest.raises(CaptureError, match=says):
        read_capture(data)
