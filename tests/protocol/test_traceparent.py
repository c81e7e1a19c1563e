from __future__ import annotations

import os
import re

import pytest

from harness.protocol.request import HttpRequest
from harness.protocol.traceparent import FIELD, new_trace_id, sent_trace_id, trace_id_of, traced, traceparent

TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
OTHER = "1" * 32
PARENT = "b7ad6b7169203331"


def test_a_forked_process_has_other_ids() -> None:
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(writer, new_trace_id().encode())
        os._exit(0)
    os.waitpid(pid, 0)
    os.close(writer)
    with os.fdopen(reader) as told:
        forked = told.read()
    assert re.fullmatch("[0-9a-f]{32}", forked)
    assert forked != new_trace_id()


def test_a_value_has_the_trace_id_a_new_parent_id_and_asks_for_recording() -> None:
    values = {traceparent(TRACE_ID) for _ in range(20)}
    assert len(values) == 20
    for value in values:
        assert re.fullmatch(rf"00-{TRACE_ID}-[0-9a-f]{{16}}-01", value)
        assert trace_id_of(value) == TRACE_ID


def test_trace_ids_are_new_each_time() -> None:
    ids = {new_trace_id() for _ in range(20)}
    assert len(ids) == 20
    assert all(re.fullmatch("[0-9a-f]{32}", one) for one in ids)


@pytest.mark.parametrize(
    "value",
    [f"00-{TRACE_ID}-{PARENT}-00", f"00-{TRACE_ID}-{PARENT}-01", f"cc-{TRACE_ID}-{PARENT}-01-what=ever"],
)
def test_the_trace_id_of_any_version_is_read(value: str) -> None:
    assert trace_id_of(value) == TRACE_ID


@pytest.mark.parametrize(
    "value",
    [
        None,
        "",
        "mine",
        f"ff-{TRACE_ID}-{PARENT}-01",
        f"00-{'0' * 32}-{PARENT}-01",
        f"00-{TRACE_ID}-{'0' * 16}-01",
        f"00-{TRACE_ID.upper()}-{PARENT}-01",
        f"00-{TRACE_ID}-{PARENT}-01\n",
        f"00-{TRACE_ID}-{PARENT}",
    ],
)
def test_a_value_of_another_form_has_none(value: str | None) -> None:
    assert trace_id_of(value) is None


def test_the_trace_id_of_a_request_is_that_of_its_field() -> None:
    request = HttpRequest("POST", "/runs", (("Accept", "*/*"),))
    sent = traced(request, TRACE_ID)
    assert sent_trace_id(request) is None
    assert sent_trace_id(sent) == TRACE_ID
    assert sent_trace_id(traced(sent, OTHER)) == OTHER
    assert sent_trace_id(sent.with_header(FIELD, f"00-{OTHER}-{PARENT}-01")) == OTHER, "not the one from here"
    assert sent_trace_id(sent.with_header(FIELD, None)) is None
    assert sent_trace_id(sent.with_header(FIELD, "mine")) is None
