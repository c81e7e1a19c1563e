"""OpenTelemetry export: metrics pushed over OTLP/HTTP during a test, or as OTLP JSON afterwards.

The SDK's instruments take single values, but the harness already has histograms. So data points are built here, and
only the exporter of the SDK is used, with its variables for headers, certificates and compression
(OTEL_EXPORTER_OTLP_HEADERS and others).
"""

from __future__ import annotations

import json
import os
import re
import time
import uuid
from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Any

from harness import __version__
from harness.export.metric_families import Distribution, Family, MetricSample
from harness.export.result_families import result_families
from harness.results.reader import Results
from harness.results.schema import ResultsError
from harness.results.stored_values import LATEST_NS

if TYPE_CHECKING:
    from opentelemetry.sdk.metrics.export import Metric, MetricsData
    from opentelemetry.sdk.resources import Resource

METRICS_PATH = "/v1/metrics"
"""Path of the metrics endpoint below the base URL of a collector (OTLP 1.0, "OTLP/HTTP Request")."""

_INTERVAL_VARIABLE = "OTEL_METRIC_EXPORT_INTERVAL"
_DEFAULT_INTERVAL_S = 10.0


def interval_s() -> float:
    """The time between pushes: OTEL_METRIC_EXPORT_INTERVAL in milliseconds, ten seconds by default.

    Raises ResultsError if the variable is not a number of milliseconds.
    """
    text = os.environ.get(_INTERVAL_VARIABLE, "").strip()
    if not text:
        return _DEFAULT_INTERVAL_S
    if not re.fullmatch(r"[0-9]{1,9}", text) or int(text) == 0:
        raise ResultsError(
            f"{_INTERVAL_VARIABLE} is {text!r}; write a number of milliseconds, for example 10000"
        )
    return int(text) / 1000


def ensure_installed() -> None:
    """Raises ResultsError if the OpenTelemetry SDK or its OTLP exporter is not installed."""
    try:
        import opentelemetry.exporter.otlp.proto.http.metric_exporter
        import opentelemetry.sdk.metrics.export  # noqa: F401 - only to check that it is installed
    except ImportError as problem:
        raise missing_packages(problem) from None


def missing_packages(problem: ImportError) -> ResultsError:
    """The error that says what to install."""
    return ResultsError(
        f"OpenTelemetry needs packages that are not installed ({problem.name}); install them with: "
        f"pip install 'agent-run-harness[otel]'"
    )


def signal_url(endpoint: str, path: str) -> str:
    """Where a collector accepts a signal: `path` below its base URL, unless the endpoint ends in it already."""
    base = endpoint.rstrip("/")
    return base if base.endswith(path) else base + path


def resource_of(instance: str | None = None) -> Resource:
    """What sends: the harness, in its version. instance: service.instance.id. Environment variables take precedence."""
    from opentelemetry.sdk.resources import OTELResourceDetector, Resource

    ours = {"service.name": "agent-run-harness", "service.version": __version__}
    if instance is not None:
        ours["service.instance.id"] = instance
    return Resource(ours).merge(OTELResourceDetector().detect())


class Pusher:
    """Sends families to a collector. It has no thread: `push` blocks until the collector answers.

    endpoint: base URL of the collector, or URL of its metrics endpoint. started_ns: start of the counters, epoch ns.
    Raises ResultsError if the packages are not installed.
    """

    def __init__(self, endpoint: str, started_ns: int) -> None:
        ensure_installed()
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter

        self.url = signal_url(endpoint, METRICS_PATH)
        self._exporter = OTLPMetricExporter(endpoint=self.url)
        self._started_ns = started_ns
        self._instance = str(uuid.uuid4())

    def push(self, families: Iterable[Family]) -> bool:
        """Send the current values; returns whether the collector accepted them.

        Retries while the collector is busy, for at most the SDK's timeout (OTEL_EXPORTER_OTLP_TIMEOUT, 10 s).
        """
        from opentelemetry.sdk.metrics.export import MetricExportResult

        document = metrics_data(families, self._started_ns, time.time_ns(), self._instance)
        return self._exporter.export(document) is MetricExportResult.SUCCESS

    def close(self) -> None:
        """Close the connection and abort a push in progress."""
        self._exporter.shutdown()


def metrics_data(
    families: Iterable[Family], started_ns: int, at_ns: int, instance: str | None = None
) -> MetricsData:
    """Families in the OpenTelemetry data model: cumulative from started_ns to at_ns, epoch ns.

    instance: service.instance.id, which distinguishes the series of this test.
    """
    from opentelemetry.sdk.metrics.export import MetricsData, ResourceMetrics, ScopeMetrics
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope

    metrics = [_metric(family, started_ns, at_ns) for family in families]
    scope = ScopeMetrics(InstrumentationScope("harness", __version__), metrics, "")
    return MetricsData([ResourceMetrics(resource_of(instance), [scope], "")])


def _metric(family: Family, started_ns: int, at_ns: int) -> Metric:
    from opentelemetry.sdk.metrics.export import AggregationTemporality, Gauge, Histogram, Metric, Sum

    so_far = AggregationTemporality.CUMULATIVE
    data: Any
    if family.kind == "histogram":
        data = Histogram([_distribution(one, started_ns, at_ns) for one in family.samples], so_far)
    elif family.kind == "counter":
        points = [_number(one, int, started_ns, at_ns) for one in family.samples]
        data = Sum(points, so_far, is_monotonic=True)
    else:
        data = Gauge([_number(one, float, started_ns, at_ns) for one in family.samples])
    return Metric(family.name, family.help, family.unit, data)


def _number(sample: MetricSample, kind: type[int | float], started_ns: int, at_ns: int) -> Any:
    from opentelemetry.sdk.metrics.export import NumberDataPoint

    value = sample.value
    if isinstance(value, Distribution):
        raise TypeError("a distribution is not a number")
    return NumberDataPoint(dict(sample.labels), started_ns, at_ns, kind(value))


def _distribution(sample: MetricSample, started_ns: int, at_ns: int) -> Any:
    from opentelemetry.sdk.metrics.export import HistogramDataPoint

    value = sample.value
    if not isinstance(value, Distribution):
        raise TypeError("a number is not a distribution")
    return HistogramDataPoint(
        dict(sample.labels),
        started_ns,
        at_ns,
        value.count,
        value.sum,
        value.counts,
        value.bounds,
        value.min,
        value.max,
    )


def otlp_json(results: Results) -> bytes:
    """Every family of a results file as one line of OTLP JSON, for a collector's otlpjsonfile receiver.

    Raises ResultsError, also if the packages are not installed.
    """
    ensure_installed()
    from google.protobuf import json_format
    from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics

    started_ns, ended_ns = (_epoch_ns(results.manifest.get(key)) for key in ("started_at", "ended_at"))
    at_ns = ended_ns or time.time_ns()
    message = encode_metrics(metrics_data(result_families(results), started_ns or at_ns, at_ns))
    # In OTLP JSON, enumerations are numbers, unlike in protobuf's own JSON mapping.
    document = json_format.MessageToDict(message, use_integers_for_enums=True)
    return json.dumps(document, separators=(",", ":")).encode() + b"\n"


def _epoch_ns(text: Any) -> int | None:
    try:
        at_ns = round(datetime.fromisoformat(text).timestamp() * 1e9)
    except (TypeError, ValueError, OverflowError):
        return None
    return at_ns if 0 < at_ns <= LATEST_NS else None
