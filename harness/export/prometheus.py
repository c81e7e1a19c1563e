"""The Prometheus text format 0.0.4, for node_exporter's textfile collector, a Pushgateway or a scrape of a file.

Histograms are classic ones. Names are translated from OpenTelemetry: dots become underscores, the unit is spelled out
at the end, and counters end in _total.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.registry import Collector

from harness.export.metric_families import Distribution, Family
from harness.export.result_families import result_families
from harness.results.reader import Results

_SUFFIXES = {"s": "_seconds", "By": "_bytes", "{token}/s": "_per_second", "1": "_ratio"}


def prometheus_text(results: Results) -> bytes:
    """Every family of a results file in the exposition format. Raises ResultsError."""
    return exposition(result_families(results))


def exposition(families: Iterable[Family]) -> bytes:
    """Families in the exposition format."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_FixedCollector([_metric(family) for family in families]))
    return generate_latest(registry)


def prometheus_name(family: Family) -> str:
    """The name of the family; samples of a counter have _total appended."""
    return family.name.replace(".", "_") + _SUFFIXES.get(family.unit, "")


class _FixedCollector(Collector):
    def __init__(self, metrics: list[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterator[Metric]:
        yield from self._metrics


def _metric(family: Family) -> Metric:
    name = prometheus_name(family)
    metric = Metric(name, family.help, family.kind)
    for sample in family.samples:
        labels = dict(sample.labels)
        if isinstance(sample.value, Distribution):
            _add_histogram(metric, labels, sample.value)
        else:
            metric.add_sample(name + ("_total" if family.kind == "counter" else ""), labels, sample.value)
    return metric


def _add_histogram(metric: Metric, labels: dict[str, str], value: Distribution) -> None:
    count = 0
    for bound, part in zip((*map(repr, value.bounds), "+Inf"), value.counts, strict=True):
        count += part
        metric.add_sample(f"{metric.name}_bucket", {**labels, "le": bound}, count)
    metric.add_sample(f"{metric.name}_count", labels, value.count)
    metric.add_sample(f"{metric.name}_sum", labels, value.sum)
