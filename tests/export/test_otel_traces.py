"""Traces as a collector receives them."""

from __future__ import annotations

import logging
import sys
from typing import get_args

import pytest
from opentelemetry.semconv import schemas
from opentelemetry.semconv._incubating.attributes import gen_ai_attributes

from harness.config.export_settings import ExportSettings
from harness.export.genai import GENAI_VERSIONS
from harness.export.otel_traces import TracePusher, ensure_traces_installed
from harness.export.trace_records import SpanRecord, TraceRecord
from harness.results.schema import ResultsError
from tests.export.receiver import Received, attributes

TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
ROOT = SpanRecord(
    name="journey fresh",
    span_id="00000000000000a1",
    parent_id=None,
    start_ns=1_000,
    end_ns=9_000,
    error="late",
)
STREAM = SpanRecord(
    name="stream run",
    span_id="b7ad6b7169203331",
    parent_id=ROOT.span_id,
    start_ns=1_500,
    end_ns=8_000,
    is_client=True,
    error="late \ud800",
    attributes={
        "http.response.status_code": 200,
        "agent.run.ttft": 0.5,
        "agent.run.operation": "chat",
        "agent.run.provider": "openai",
        "agent.run.id": "r\ud800",
        "agent.run.output_tokens": 7,
    },
    moments={"sent": 2_000, "first event": 502_000},
    link=("1" * 32, "2" * 16),
)
TOKEN = SpanRecord(
    name="first token", span_id="00000000000000a3", parent_id=STREAM.span_id, start_ns=2_000, end_ns=7_000
)
TRACE = TraceRecord(TRACE_ID, (ROOT, STREAM, TOKEN))


def pushed(received: Received, endpoint: str = "", genai: str | None = None) -> bool:
    pusher = TracePusher(endpoint or received.url, genai)
    try:
        return pusher.push([TRACE])
    finally:
        pusher.close()
        pusher.close()


def test_spans_arrive_with_their_ids_times_and_attributes(received: Received) -> None:
    assert pushed(received)
    assert received.paths == ["/v1/traces"]
    root, stream, token = received.spans()
    assert {span.trace_id.hex() for span in (root, stream, token)} == {TRACE_ID}
    ids = [span.span_id.hex() for span in (root, stream, token)]
    assert ids == [ROOT.span_id, STREAM.span_id, TOKEN.span_id]
    assert [span.parent_span_id.hex() for span in (root, stream, token)] == ["", *ids[:2]]
    assert [span.name for span in (root, stream, token)] == ["journey fresh", "stream run", "first token"]
    times = [(span.start_time_unix_nano, span.end_time_unix_nano) for span in (root, stream, token)]
    assert times == [(1_000, 9_000), (1_500, 8_000), (2_000, 7_000)]
    assert [span.kind for span in (root, stream, token)] == [1, 3, 1]  # internal, client
    assert [(span.status.code, span.status.message) for span in (root, stream, token)] == [
        (2, "late"),
        (2, "late \\ud800"),
        (0, ""),
    ]
    assert attributes(stream)["http.response.status_code"] == 200
    assert attributes(stream)["agent.run.ttft"] == 0.5
    assert attributes(stream)["agent.run.id"] == "r\\ud800"
    assert not any(name.startswith("gen_ai.") for name in attributes(stream))
    assert [(event.name, event.time_unix_nano) for event in stream.events] == [
        ("sent", 2_000),
        ("first event", 502_000),
    ]
    assert [(link.trace_id.hex(), link.span_id.hex()) for link in stream.links] == [("1" * 32, "2" * 16)]
    (resource,) = received.traces[0].resource_spans
    assert attributes(resource.resource)["service.name"] == "agent-run-harness"


def test_the_span_of_a_run_has_the_names_of_the_conventions_that_were_chosen(received: Received) -> None:
    assert pushed(received, genai="1.41")
    root, stream, _ = received.spans()
    assert (root.name, stream.name) == ("journey fresh", "chat")
    found = {name: value for name, value in attributes(stream).items() if name.startswith("gen_ai.")}
    assert found == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.stream": True,
        "gen_ai.response.id": "r\\ud800",
        "gen_ai.response.time_to_first_chunk": 0.0005,
        "gen_ai.usage.output_tokens": 7,
    }
    assert attributes(stream)["agent.run.ttft"] == 0.5
    known = {value for value in vars(gen_ai_attributes).values() if isinstance(value, str)}
    assert set(found) <= known
    (resource,) = received.traces[0].resource_spans
    assert [scope.schema_url for scope in resource.scope_spans] == [GENAI_VERSIONS["1.41"]]


def test_each_version_that_can_be_set_has_a_published_schema() -> None:
    settable = get_args(get_args(ExportSettings.model_fields["genai_conventions"].annotation)[0])
    assert set(settable) == set(GENAI_VERSIONS)
    assert set(GENAI_VERSIONS.values()) <= {one.value for one in schemas.Schemas}


@pytest.mark.parametrize(
    ("end", "path"),
    [("/", "/v1/traces"), ("/v1/traces", "/v1/traces"), ("/tenant/otlp/", "/tenant/otlp/v1/traces")],
)
def test_the_endpoint_is_a_base_url_or_the_traces_own(received: Received, end: str, path: str) -> None:
    assert pushed(received, received.url + end)
    assert received.paths == [path]


def test_a_refusal_is_returned_with_its_reason_and_not_logged(
    received: Received, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    received.status = 404
    pusher = TracePusher(received.url)
    assert not pusher.push([TRACE])
    assert "404" in pusher.reason
    assert not [record for record in caplog.records if record.name.startswith("opentelemetry")]
    received.status = 200
    assert pusher.push([TRACE])
    assert pusher.reason == ""
    pusher.close()


def test_missing_packages_are_named_in_the_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(ResultsError, match=r"pip install 'agent-run-harness\[otel\]'"):
        ensure_traces_installed()
