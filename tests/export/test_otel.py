from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from google.protobuf import json_format
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from harness.export import otel
from harness.export.load_families import load_families
from harness.export.metric_families import Distribution, Family, MetricSample
from harness.export.otel import Pusher, _epoch_ns, ensure_installed, interval_s, otlp_json
from harness.results.histogram import Histogram
from harness.results.reader import Results
from harness.results.schema import ResultsError
from tests.export.receiver import Received, collector, labels
from tests.reports import samples

NASTY = 'a"b\\c\nd \N{SNOWMAN}'


def pushed(received: Received, *families: Family, endpoint: str = "") -> bool:
    pusher = Pusher(endpoint or received.url, 5_000)
    try:
        return pusher.push(families)
    finally:
        pusher.close()


def of(*values: float) -> Distribution:
    histogram = Histogram()
    histogram.record_many(values)
    return Distribution.of(histogram, 0.001)


def test_each_kind_arrives(received: Received) -> None:
    assert pushed(
        received,
        Family(
            "agent.run.streams", "counter", "{stream}", "Streams.", (MetricSample({"journey": NASTY}, 3),)
        ),
        Family("agent.run.goodput", "gauge", "1", "Goodput.", (MetricSample({}, 1.0),)),
        Family(
            "agent.run.ttft", "histogram", "s", "TTFT.", (MetricSample({"journey": "f"}, of(4.0, 40.0, 1e6)),)
        ),
    )
    assert received.paths == ["/v1/metrics"]
    found = received.metrics()
    (streams,) = found["agent.run.streams"].sum.data_points
    assert (found["agent.run.streams"].unit, found["agent.run.streams"].description) == (
        "{stream}",
        "Streams.",
    )
    assert found["agent.run.streams"].sum.is_monotonic
    assert found["agent.run.streams"].sum.aggregation_temporality == 2  # cumulative
    assert (streams.as_int, labels(streams), streams.start_time_unix_nano) == (3, {"journey": NASTY}, 5_000)
    (goodput,) = found["agent.run.goodput"].gauge.data_points
    assert (goodput.WhichOneof("value"), goodput.as_double) == ("as_double", 1.0)  # never now a whole number
    (ttft,) = found["agent.run.ttft"].histogram.data_points
    assert found["agent.run.ttft"].histogram.aggregation_temporality == 2
    assert (ttft.count, ttft.sum, ttft.min, ttft.max) == (3, pytest.approx(1000.044), 0.004, 1000.0)
    assert len(ttft.bucket_counts) == len(ttft.explicit_bounds) + 1
    bounds = [*ttft.explicit_bounds, None]
    assert [bounds[place] for place, count in enumerate(ttft.bucket_counts) if count] == [0.005, 0.05, None]


def test_a_whole_file_arrives_with_its_numbers(received: Received, tmp_path: Path) -> None:
    with Results(samples.full(tmp_path / "results.sqlite")) as results:
        assert pushed(received, *load_families(results, "http://a.example"))
        histogram = results.histogram("inter_token_ms")
        ledger = results.ledger()
    points = received.metrics()["agent.run.inter_token"].histogram.data_points
    assert sum(point.count for point in points) == histogram.count
    assert sum(point.sum for point in points) == pytest.approx(histogram.sum / 1000)
    assert {labels(point)["target"] for point in points} == {"http://a.example"}
    scheduled = received.metrics()["agent.run.streams.scheduled"].sum.data_points
    assert sum(point.as_int for point in scheduled) == ledger.scheduled


def test_each_test_is_an_instance_of_its_own_and_the_users_variables_win(
    received: Received, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "team=chat,service.name=nightly")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-key=s3cret")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")
    for _ in range(2):
        assert pushed(received, Family("agent.run.x", "gauge", "", "x.", (MetricSample({}, 1),)))
    first, second = received.resource(0), received.resource(1)
    assert (first["team"], first["service.name"]) == ("chat", "nightly")
    assert first["service.instance.id"] != second["service.instance.id"]
    assert {name.lower(): value for name, value in received.headers[0].items()}["x-key"] == "s3cret"


@pytest.mark.parametrize(
    ("end", "path"),
    [
        ("", "/v1/metrics"),
        ("/", "/v1/metrics"),
        ("/v1/metrics", "/v1/metrics"),
        ("/tenant/otlp/", "/tenant/otlp/v1/metrics"),
    ],
)
def test_the_endpoint_is_a_base_url_or_the_metrics_own(received: Received, end: str, path: str) -> None:
    assert pushed(received, endpoint=received.url + end)
    assert received.paths == [path]


def test_a_refused_push_returns_false(received: Received) -> None:
    received.status = 400
    assert not pushed(received)
    assert len(received.paths) == 1


def test_a_push_without_a_collector_returns_false(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    with collector() as gone:
        pass
    assert not pushed(gone)


def test_json_equals_the_protobuf(tmp_path: Path) -> None:
    path = samples.failing(tmp_path / "results.sqlite")
    with Results(path) as results:
        text = otlp_json(results)
        scheduled = results.ledger().scheduled
    assert text.count(b"\n") == 1
    document = json.loads(text)
    message = json_format.ParseDict(document, ExportMetricsServiceRequest())
    metrics = {one.name: one for one in message.resource_metrics[0].scope_metrics[0].metrics}
    points = metrics["agent.run.streams.scheduled"].sum.data_points
    assert sum(point.as_int for point in points) == scheduled
    assert {point.time_unix_nano for point in points} == {(samples.START + 60) * 10**9}
    written = document["resourceMetrics"][0]["scopeMetrics"][0]["metrics"]
    sums = [one["sum"] for one in written if "sum" in one]
    assert {one["aggregationTemporality"] for one in sums} == {2}  # a number, as OTLP wants it


def test_missing_packages_are_named_in_the_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.metrics.export", None)
    with pytest.raises(ResultsError, match=r"pip install 'agent-run-harness\[otel\]'"):
        ensure_installed()
    with pytest.raises(ResultsError, match="not installed"):
        Pusher("http://127.0.0.1:1", 0)


@pytest.mark.parametrize(("text", "interval"), [(None, 10.0), ("", 10.0), ("2500", 2.5)])
def test_the_interval_is_the_sdks_variable(
    monkeypatch: pytest.MonkeyPatch, text: str | None, interval: float
) -> None:
    if text is not None:
        monkeypatch.setenv(otel._INTERVAL_VARIABLE, text)
    assert interval_s() == interval


@pytest.mark.parametrize("text", ["0", "-1", "10s", "1e3", "9999999999"])
def test_an_interval_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv(otel._INTERVAL_VARIABLE, text)
    with pytest.raises(ResultsError, match=f"OTEL_METRIC_EXPORT_INTERVAL is {text!r}"):
        interval_s()


@pytest.mark.parametrize(
    ("started_at", "expected"),
    [
        ("2026-01-01T00:00:00+00:00", 1_767_225_600 * 10**9),
        ("0001-01-01T00:00:00+14:00", None),
        ("1969-12-31T00:00:00+00:00", None),
        ("9999-12-31T23:59:59-14:00", None),
        ("soon", None),
        (None, None),
        ([1], None),
    ],
)
def test_a_time_that_no_message_can_have_is_as_good_as_none(started_at: object, expected: int | None) -> None:
    assert _epoch_ns(started_at) == expected
