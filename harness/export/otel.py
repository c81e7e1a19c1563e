"""The same numbers for OpenTelemetry: pushed over OTLP/HTTP while a test goes on, or as OTLP in JSON afterwards.

The SDK's instruments take single values, and a test's are counted in histograms already; so the points are made here,
and only their way to a collector is the SDK's, with its variables for headers, certificates and compression
(OTEL_EXPORTER_OTLP_HEADERS and so on).
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
from harness.export.metric_families import Distribution, Family, MetricSample, result_families
from harness.results.reader import Results
from harness.results.schema import ResultsError

if TYPE_CHECKING:
    from opentelemetry.sdk.metrics.export import Metric, MetricsData

METRICS_PATH = "/v1/metrics"
"""Where a collector takes metrics over HTTP, below its base URL (OTLP 1.0, "OTLP/HTTP Request")."""


_INTERVAL_VARIABLE = "OTEL_METRIC_EXPORT_INTERVAL"
_USUAL_INTERVAL_S = 10.0


def interval_s() -> float:
    """The time from push to push: ten seconds, or the milliseconds in OTEL_METRIC_EXPORT_INTERVAL.

    Raises ResultsError when that holds no number of them.
    """
    text = os.environ.get(_INTERVAL_VARIABLE, "").strip()
    if not text:
        return _USUAL_INTERVAL_S
    if not re.fullmatch(r"[0-9]{1,9}", text) or int(text) == 0:
        raise ResultsError(
            f"{_INTERVAL_VARIABLE} is {text!r}; write a number of milliseconds, for example 10000"
        )
    return int(text) / 1000


def ensure_installed() -> None:
    """Raises ResultsError where the OpenTelemetry SDK and its OTLP exporter are not installed."""
    try:
        import opentelemetry.exporter.otlp.proto.http.metric_exporter
        import opentelemetry.sdk.metrics.export  # noqa: F401 - only to see whether it is there
    except ImportError as problem:
        raise ResultsError(
            f"OpenTelemetry needs packages that are not installed ({problem.name}); install them with: "
            f"pip install 'agent-run-harness[otel]'"
        ) from None


class Pusher:
    """Sends families to a collector. It keeps no thread; `push` waits for the answer.

    endpoint: the collector's base URL, or the URL of its metrics. started_ns: when what they count began, epoch ns.
    Raises ResultsError where the packages are not installed.
    """

    def __init__(self, endpoint: str, started_ns: int) -> None:
        ensure_installed()
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter

        base = endpoint.rstrip("/")
        self.url = base if base.endswith(METRICS_PATH) else base + METRICS_PATH
        self._exporter = OTLPMetricExporter(endpoint=self.url)
        self._started_ns = started_ns
        self._instance = str(uuid.uuid4())

    def push(self, families: Iterable[Family]) -> bool:
        """Send what was counted until now; whether the collector took it.

        It tries again while the collector is busy, for the SDK's ten seconds (OTEL_EXPORTER_OTLP_TIMEOUT).
        """
        from opentelemetry.sdk.metrics.export import MetricExportResult

        document = metrics_data(families, self._started_ns, time.time_ns(), self._instance)
        return self._exporter.export(document) is MetricExportResult.SUCCESS

    def close(self) -> None:
        """Let go of the connection; a push that is under way gives up."""
        self._exporter.shutdown()


def metrics_data(
    families: Iterable[Family], started_ns: int, at_ns: int, instance: str | None = None
) -> MetricsData:
    """Families as OpenTelemetry's data model has them: cumulative from started_ns to at_ns, epoch ns.

    instance: what tells this test's series from others' (service.instance.id).
    """
    from opentelemetry.sdk.metrics.export import MetricsData, ResourceMetrics, ScopeMetrics
    from opentelemetry.sdk.resources import OTELResourceDetector, Resource
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope

    ours = {"service.name": "agent-run-harness", "service.version": __version__}
    if instance is not None:
        ours["service.instance.id"] = instance
    resource = Resource(ours).merge(OTELResourceDetector().detect())  # what the user's variables say wins
    found = [_metric(family, started_ns, at_ns) for family in families]
    scope = ScopeMetrics(InstrumentationScope("harness", __version__), found, "")
    return MetricsData([ResourceMetrics(resource, [scope], "")])


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
        raise TypeError("a distribution is no number")
    return NumberDataPoint(dict(sample.labels), started_ns, at_ns, kind(value))


def _distribution(sample: MetricSample, started_ns: int, at_ns: int) -> Any:
    from opentelemetry.sdk.metrics.export import HistogramDataPoint

    value = sample.value
    if not isinstance(value, Distribution):
        raise TypeError("a number is no distribution")
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
    """What a results file says, as a line of OTLP in JSON, which a collector's otlpjsonfile receiver reads.

    Raises ResultsError, also where the packages are not installed.
    """
    ensure_installed()
    from google.protobuf import json_format
    from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics

    started_ns, ended_ns = (_epoch_ns(results.manifest.get(key)) for key in ("started_at", "ended_at"))
    at_ns = ended_ns or time.time_ns()
    message = encode_metrics(metrics_data(result_families(results), started_ns or at_ns, at_ns))
    # OTLP writes enumerations as numbers in JSON, unlike protobuf's own mapping.
    document = json_format.MessageToDict(message, use_integers_for_enums=True)
    return json.dumps(document, separators=(",", ":")).encode() + b"\n"


def _epoch_ns(text: Any) -> int | None:
    try:
        return round(datetime.fromisoformat(text).timestamp() * 1e9)
    except (TypeError, ValueError):
        return None
