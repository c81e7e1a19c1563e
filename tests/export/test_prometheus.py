from __future__ import annotations

from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from harness.export.metric_families import Distribution, Family, MetricSample
from harness.export.prometheus import exposition, prometheus_name, prometheus_text
from harness.results.histogram import Histogram
from harness.results.reader import Results
from tests.reports import samples

NASTY = 'a"b\\c\nd{e="f"} 7 \N{SNOWMAN}'


def parsed(text: bytes) -> dict[str, dict[tuple[tuple[str, str], ...], float]]:
    """Every sample by name and labels, parsed independently."""
    found: dict[str, dict[tuple[tuple[str, str], ...], float]] = {}
    for metric in text_string_to_metric_families(text.decode()):
        for sample in metric.samples:
            labels = tuple(sorted(sample.labels.items()))
            assert labels not in found.setdefault(sample.name, {})
            found[sample.name][labels] = sample.value
    return found


def of(*values: float) -> Distribution:
    histogram = Histogram()
    histogram.record_many(values)
    return Distribution.of(histogram, 0.001)


def test_the_text_of_each_kind_is_exactly_this() -> None:
    text = exposition(
        [
            Family(
                "agent.run.streams", "counter", "{stream}", "Streams.", (MetricSample({"journey": "f"}, 3),)
            ),
            Family("agent.run.error_rate", "gauge", "1", "a\\b\nc", (MetricSample({}, 0.25),)),
        ]
    )
    assert text.decode().splitlines() == [
        "# HELP agent_run_streams_total Streams.",
        "# TYPE agent_run_streams_total counter",
        'agent_run_streams_total{journey="f"} 3.0',
        "# HELP agent_run_error_rate_ratio a\\\\b\\nc",
        "# TYPE agent_run_error_rate_ratio gauge",
        "agent_run_error_rate_ratio 0.25",
    ]


def test_a_histogram_is_cumulative_up_to_infinity() -> None:
    family = Family(
        "agent.run.ttft", "histogram", "s", "h", (MetricSample({"journey": "f"}, of(4.0, 40.0, 1e6)),)
    )
    found = parsed(exposition([family]))
    buckets = {dict(labels)["le"]: value for labels, value in found["agent_run_ttft_seconds_bucket"].items()}
    assert (buckets["0.003"], buckets["0.005"], buckets["0.05"], buckets["100.0"]) == (0, 1, 2, 2)
    assert buckets["+Inf"] == 3
    assert found["agent_run_ttft_seconds_count"] == {(("journey", "f"),): 3}
    assert found["agent_run_ttft_seconds_sum"][("journey", "f"),] == pytest.approx(1000.044)


def test_hostile_labels_come_back_as_they_were() -> None:
    text = exposition([Family("agent.run.x", "gauge", "", "h", (MetricSample({"journey": NASTY}, 1),))])
    assert parsed(text) == {"agent_run_x": {(("journey", NASTY),): 1.0}}
    assert len(text.splitlines()) == 3


@pytest.mark.parametrize(
    ("name", "unit", "expected"),
    [
        ("agent.run.ttft.percentile", "s", "agent_run_ttft_percentile_seconds"),
        ("agent.run.tokens", "{token}/s", "agent_run_tokens_per_second"),
        ("agent.run.harness.memory.max", "By", "agent_run_harness_memory_max_bytes"),
        ("agent.run.goodput", "1", "agent_run_goodput_ratio"),
        ("agent.run.checks", "{check}", "agent_run_checks"),
    ],
)
def test_names_are_translated_as_collectors_do(name: str, unit: str, expected: str) -> None:
    assert prometheus_name(Family(name, "gauge", unit, "h", ())) == expected


@pytest.mark.parametrize("make", [samples.full, samples.failing, samples.conformance_only, samples.empty])
def test_whole_files_are_read_by_another_parser(tmp_path: Path, make: object) -> None:
    assert callable(make)
    with Results(make(tmp_path / "results.sqlite")) as results:
        text = prometheus_text(results)
        ledger = results.ledger()
        count = results.histogram("ttft_ms").count
    found = parsed(text)
    assert text.endswith(b"\n")
    assert all(name.startswith("agent_run_") for name in found)
    assert sum(found.get("agent_run_streams_scheduled_total", {}).values()) == ledger.scheduled
    assert sum(found.get("agent_run_ttft_seconds_count", {}).values()) == count
    for name, values in found.items():
        if name.endswith("_bucket"):
            assert _monotone(values)


def _monotone(buckets: dict[tuple[tuple[str, str], ...], float]) -> bool:
    series: dict[tuple[tuple[str, str], ...], list[tuple[float, float]]] = {}
    for labels, value in buckets.items():
        rest = tuple(pair for pair in labels if pair[0] != "le")
        series.setdefault(rest, []).append((float(dict(labels)["le"]), value))
    return all(
        [value for _, value in sorted(one)] == sorted(value for _, value in one) and len(one) == 26
        for one in series.values()
    )


def test_a_second_exposition_of_a_file_says_the_same(tmp_path: Path) -> None:
    path = samples.failing(tmp_path / "results.sqlite")
    with Results(path) as results:
        first = prometheus_text(results)
    with Results(path) as results:
        assert prometheus_text(results) == first
