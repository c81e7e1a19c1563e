from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness.load.journeys.builtin import JOURNEYS
from harness.load.journeys.stream_runner import StreamRunner
from harness.load.journeys.trace import JourneyTrace
from harness.protocol.request import HttpRequest
from harness.protocol.traceparent import trace_id_of
from harness.transport.gevent_client import GeventExchange
from tests.load.journeys.rig import JourneyRig, journey_rig
from tests.load.journeys.test_own_requests import own_requests

REQUEST = HttpRequest("POST", "/run", (("Accept", "*/*"),), b"{}", {"prompt": "a"}, "http://replica")
OWN = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"


def test_requests_of_a_journey_differ_in_their_parent_ids_alone() -> None:
    trace = JourneyTrace()
    first = trace.of(REQUEST)
    again = trace.of(first.with_header("Last-Event-ID", "7").with_body(b"[]"))
    sent = [request.header("traceparent") for request in (first, again)]
    assert len({*sent}) == 2
    assert len({*map(trace_id_of, sent)}) == 1
    assert None not in map(trace_id_of, sent)
    assert [name for name, _ in again.headers] == ["Accept", "Last-Event-ID", "traceparent"]
    assert (again.body, again.values["prompt"]) == (b"[]", "a")
    assert (first.method, first.target, first.body, first.origin) == ("POST", "/run", b"{}", "http://replica")


def test_each_journey_has_its_own_trace_also_for_a_request_of_another() -> None:
    first = JourneyTrace().of(REQUEST)
    second = JourneyTrace().of(first)
    ids = {trace_id_of(request.header("traceparent")) for request in (first, second)}
    assert len(ids) == 2
    assert REQUEST.header("traceparent") is None


@pytest.mark.parametrize("own", [OWN, "anything"])
def test_a_field_of_the_users_own_stays(own: str) -> None:
    request = REQUEST.with_header("Traceparent", own)
    assert JourneyTrace().of(request) is request
    sent_before = JourneyTrace().of(REQUEST)
    assert JourneyTrace().of(sent_before.with_header("traceparent", own)).header("traceparent") == own


@pytest.mark.parametrize("journey", ["fresh", "replay", "resume", "join", "race", "conflict"])
def test_every_request_of_a_journey_has_its_trace(tmp_path: Path, journey: str) -> None:
    with journey_rig(tmp_path) as rig:
        JOURNEYS[journey](rig.runner, None)
        rows = rig.collector.take().rows
        assert rig.server is not None
        received = [headers["traceparent"] for headers in rig.server.received]
    assert len(received) == len(rows) == len({*received})
    (trace_id,) = {*map(trace_id_of, received)}
    assert trace_id is not None
    assert {row.trace_id for row in rows} == {trace_id}


def test_so_has_each_request_before_a_run_and_one_that_resumes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[HttpRequest] = []
    with own_requests(tmp_path) as rig:
        client = rig.runner._client
        send = client.open

        def recorded(request: HttpRequest, *rest: Any, **options: Any) -> GeventExchange:
            sent.append(request)
            return send(request, *rest, **options)

        monkeypatch.setattr(client, "open", recorded)
        rig.go("replay")
    targets = [request.target for request in sent]  # two before the run, the run, its resumption
    assert len(set(targets)) == len(targets) == 4
    assert len({request.header("traceparent") for request in sent}) == 4
    assert len({trace_id_of(request.header("traceparent")) for request in sent} - {None}) == 1


def test_the_targets_own_field_is_sent_and_its_trace_stored(tmp_path: Path) -> None:
    with journey_rig(tmp_path, target={"headers": {"Traceparent": OWN}}) as rig:
        JOURNEYS["replay"](rig.runner, None)
        assert {row.trace_id for row in rig.collector.take().rows} == {trace_id_of(OWN)}
        assert rig.server is not None
        assert [headers["traceparent"] for headers in rig.server.received] == [OWN, OWN]


def test_without_traces_nothing_is_sent(tmp_path: Path) -> None:
    with journey_rig(tmp_path) as rig:
        JOURNEYS["replay"](untraced(rig), None)
        assert [row.trace_id for row in rig.collector.take().rows] == [None, None]
        assert rig.server is not None
        assert all("traceparent" not in headers for headers in rig.server.received)


def untraced(rig: JourneyRig) -> StreamRunner:
    return StreamRunner(
        rig.runner._client, rig.target, rig.collector, stopping=lambda: False, is_traced=False
    )
