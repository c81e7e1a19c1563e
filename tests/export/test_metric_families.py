from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.export.load_families import load_families
from harness.export.metric_families import BOUND_ERROR, BOUNDS, Distribution, Family
from harness.export.result_families import result_families
from harness.results.histogram import Histogram
from harness.results.metrics import METRICS, PERCENTILES
from harness.results.reader import Results
from harness.results.records import CheckRecord, ProcessRecord
from harness.results.schema import SCHEMA_VERSION, ResultsError
from harness.results.writer import ResultsWriter
from tests.cases import all_cases
from tests.reports import samples
from tests.results.test_histogram import wide


def of(*values: float) -> Histogram:
    histogram = Histogram()
    histogram.record_many(values)
    return histogram


def named(families: list[Family], name: str) -> dict[tuple[tuple[str, str], ...], object]:
    (family,) = [one for one in families if one.name == f"agent.run.{name}"]
    return {tuple(sorted(sample.labels.items())): sample.value for sample in family.samples}


def test_values_are_in_their_buckets() -> None:
    value = Distribution.of(of(0.05, 1.0, 4.0, 4.0, 1e6), 0.001)
    filled = {
        bound: count for bound, count in zip((*value.bounds, math.inf), value.counts, strict=True) if count
    }
    assert filled == {0.0001: 1, 0.001: 1, 0.005: 2, math.inf: 1}
    assert (value.count, value.min, value.max) == (5, 0.00005, 1000.0)
    assert value.sum == pytest.approx(1000.00905, rel=1e-12)


def test_bounds_are_round_in_seconds_too() -> None:
    bounds = Distribution.of(of(1.0), 0.001).bounds
    assert bounds == tuple(sorted(bounds))
    assert [repr(bound) for bound in bounds[:6]] == ["0.0001", "0.0002", "0.0003", "0.0005", "0.001", "0.002"]
    assert [repr(bound) for bound in bounds[-3:]] == ["30.0", "50.0", "100.0"]


@all_cases("bound", BOUNDS)
def test_a_bucket_ends_nowhere_above_its_bound_and_hardly_below(bound: float) -> None:
    place = BOUNDS.index(bound)
    assert sum(Distribution.of(of(bound * 1.0001), 1.0).counts[: place + 1]) == 0
    assert sum(Distribution.of(of(bound * (1 - BOUND_ERROR)), 1.0).counts[: place + 1]) == 1
    if math.log10(bound).is_integer():  # there the counts are exact
        assert sum(Distribution.of(of(bound), 1.0).counts[: place + 1]) == 1


@given(st.lists(st.floats(-10, 1e9) | st.sampled_from(BOUNDS), min_size=1))
def test_counts_are_right_within_the_error_that_is_promised(values: list[float]) -> None:
    found = Distribution.of(of(*values), 1.0)
    assert found.count == len(values)
    assert min(found.counts) >= 0
    for bound, below in zip(found.bounds, np.cumsum(found.counts), strict=False):
        # 1e-9: a value on an edge may be rounded to either side of it.
        assert below <= sum(value <= bound * (1 + 1e-9) for value in values)
        assert below >= sum(value <= bound * (1 - BOUND_ERROR) for value in values)


@given(st.lists(st.floats(-10, 1e9) | st.sampled_from(BOUNDS), min_size=1))
def test_no_value_of_an_older_file_is_counted_below_a_bound_that_it_is_above(values: list[float]) -> None:
    found = Distribution.of(wide(values), 1.0)
    for bound, below in zip(found.bounds, np.cumsum(found.counts), strict=False):
        assert below <= sum(value <= bound * (1 + 1e-9) for value in values)
        assert below >= sum(value <= bound * 0.99 for value in values)


def test_an_empty_histogram_has_no_distribution() -> None:
    with pytest.raises(ValueError, match="empty histogram"):
        Distribution.of(Histogram(), 1.0)


@pytest.fixture
def load(tmp_path: Path) -> Path:
    """A load of two journeys with one second of warm-up, and a process with resource usage."""
    path = tmp_path / "results.sqlite"
    with ResultsWriter(path) as writer:
        writer.set_manifest(
            measured_from=11,
            state="finished",
            load_state="finished",
            started_at="2026-09-21T14:13:20+00:00",
            target={"base_url": "https://a.example"},
            settings={"objectives": {"ttft_p95_ms": 5, "violations": 0}},
            versions={"agent-run-harness": "0.1.0", "locust": "2.47.0", "python": "3.11.9"},
        )
        for second, journey, outcome in (
            (10, "fresh", "done"),
            (11, "fresh", "done"),
            (12, "fresh", "truncated"),
            (12, "replay", "done"),
        ):
            writer.add_ledger("w", second, journey, "scheduled")
            writer.add_ledger("w", second, journey, outcome)
            for word in ("judged", "runs", "failed" if outcome == "truncated" else "good"):
                writer.add_rate_counts("w", second, journey, word)
        writer.add_ledger("w", 12, "fresh", "scheduled")
        writer.set_open("w", {"fresh": 1})
        writer.add_histogram("ttft_ms", "fresh", 10, "w", of(900.0))
        writer.add_histogram("ttft_ms", "fresh", 11, "w", of(10.0))
        writer.add_histogram("ttft_ms", "replay", 12, "w", of(20.0))
        writer.add_histogram("tokens_per_s", "fresh", 11, "w", of(40.0))
        writer.add_histogram("hub_delay_ms", "", 11, "w", of(0.5))
        writer.count_violation("ids.increasing", "fresh", "w", 3)
        writer.add_processes(
            [ProcessRecord(worker="w", second=11, cpu=0.5, rss_bytes=2**20, open_streams=1)],
        )
        writer.add_checks([CheckRecord(id="auth.required", level="MUST", verdict="fail")])
    return path


def test_a_load_has_every_number(load: Path) -> None:
    with Results(load) as results:
        families = load_families(results, "t")
    target = ("target", "t")
    ttft = named(families, "ttft")
    assert {labels: value.sum for labels, value in ttft.items() if isinstance(value, Distribution)} == {
        (("journey", "fresh"), target): pytest.approx(0.01),  # without the warm-up
        (("journey", "replay"), target): pytest.approx(0.02),
    }
    percentiles = named(families, "ttft.percentile")
    assert len(percentiles) == 3 * len(PERCENTILES)
    assert percentiles[("percentile", "max"), target] == pytest.approx(0.02)
    assert percentiles[("journey", "fresh"), ("percentile", "p50"), target] == pytest.approx(0.01)
    (rate,) = named(families, "tokens").values()
    assert isinstance(rate, Distribution)
    assert rate.sum == 40.0  # tokens/s are no duration
    assert list(named(families, "hub_delay")) == [(target,)]
    assert named(families, "streams.scheduled") == {
        (("journey", "fresh"), target): 4,
        (("journey", "replay"), target): 1,
    }
    streams = named(families, "streams")
    assert streams[("journey", "fresh"), ("outcome", "done"), target] == 2
    assert streams[("journey", "fresh"), ("outcome", "truncated"), target] == 1
    assert streams[("journey", "replay"), ("outcome", "lost"), target] == 0
    assert not any(("outcome", "in flight") in labels for labels in streams)
    assert named(families, "streams.in_flight")[("journey", "fresh"), target] == 1
    assert named(families, "streams.missing") == {(target,): 0}
    assert named(families, "streams.judged")[("journey", "fresh"), target] == 2
    assert named(families, "streams.failed")[("journey", "fresh"), target] == 1
    assert named(families, "streams.good") == {
        (("journey", "fresh"), target): 1,
        (("journey", "replay"), target): 1,
    }
    assert named(families, "violations") == {
        (("journey", "fresh"), ("requirement", "ids.increasing"), target): 3
    }


def test_the_help_text_says_how_accurate_the_percentiles_are(tmp_path: Path) -> None:
    path = tmp_path / "results.sqlite"
    with ResultsWriter(path) as writer:
        writer.add_histogram("ttft_ms", "fresh", 1, "w", of(7.0))
        writer.add_histogram("duration_ms", "fresh", 1, "w", of(7.0))
        writer.add_histogram("duration_ms", "retry", 1, "w", wide([7.0]))  # as an earlier version stored it
    with Results(path) as results:
        found = {family.name: family.help for family in load_families(results, "")}
    assert "within 0.2%" in found["agent.run.ttft.percentile"]
    assert "within 0.5%" in found["agent.run.duration.percentile"]


def test_the_streams_of_a_journey_add_up(load: Path) -> None:
    with Results(load) as results:
        families = load_families(results, "")
        ledger = results.ledger()
    parts = named(families, "streams") | named(families, "streams.in_flight")
    assert sum(int(str(value)) for value in parts.values()) == ledger.scheduled == 5


def test_results_have_verdicts_objectives_and_measurement_error(load: Path) -> None:
    with Results(load) as results:
        families = result_families(results)
    target = ("target", "https://a.example")
    assert named(families, "error_rate")[(target,)] == pytest.approx(1 / 3)
    assert named(families, "goodput")[("journey", "replay"), target] == 1.0
    assert named(families, "checks")[target, ("verdict", "fail")] == 1
    assert named(families, "checks")[target, ("verdict", "pass")] == 0
    assert list(named(families, "check.verdict")) == [
        (("level", "MUST"), ("requirement", "auth.required"), target, ("verdict", "fail"))
    ]
    assert named(families, "objective.value")[("objective", "ttft_p95_ms"), target] == pytest.approx(20.0)
    assert named(families, "objective.limit")[("objective", "violations"), target] == 0
    verdicts = named(families, "objective.verdict")
    assert verdicts[("objective", "ttft_p95_ms"), target, ("verdict", "failed")] == 1
    assert verdicts[("objective", "ttft_p95_ms"), target, ("verdict", "passed")] == 0
    outcomes = named(families, "gate.outcome")
    assert [labels[0] for labels, value in outcomes.items() if value] == [("outcome", "failed")]
    assert named(families, "harness.saturated") == {(target,): 0}
    assert named(families, "harness.memory.max") == {(target, ("worker", "w")): 2**20}
    assert named(families, "test.started.timestamp") == {(target,): 1790000000.0}
    assert [labels for labels, value in named(families, "test.state").items() if value] == [
        (("state", "finished"), target)
    ]
    (info,) = named(families, "harness.info")
    assert {("version", "0.1.0"), ("schema", str(SCHEMA_VERSION))} <= set(info)


def test_names_and_label_sets_are_unique_in_whatever_file(tmp_path: Path) -> None:
    for make in (samples.full, samples.failing, samples.load_only, samples.conformance_only, samples.empty):
        path = make(tmp_path / f"{make.__name__}.sqlite")
        with Results(path) as results:
            families = result_families(results)
        assert len({family.name for family in families}) == len(families)
        for family in families:
            assert family.samples
            assert family.help.rstrip().endswith(".")
            labels = [tuple(sorted(sample.labels.items())) for sample in family.samples]
            assert len(set(labels)) == len(labels), family.name


def test_metrics_that_were_not_measured_are_missing(tmp_path: Path) -> None:
    with Results(samples.conformance_only(tmp_path / "results.sqlite")) as results:
        names = {family.name for family in result_families(results)}
    assert "agent.run.checks" in names
    assert not {name for name in names if "ttft" in name or "streams" in name or "error_rate" in name}


def test_every_metric_has_its_family(tmp_path: Path) -> None:
    path = tmp_path / "results.sqlite"
    with ResultsWriter(path) as writer:
        for name in METRICS:
            writer.add_histogram(name, "fresh", 1, "w", of(7.0))
    with Results(path) as results:
        found = {family.name: family.unit for family in load_families(results, "")}
    for name, metric in METRICS.items():
        stem = name.removesuffix("_ms").removesuffix("_per_s")
        assert found[f"agent.run.{stem}"] == {"ms": "s", "tokens/s": "{token}/s"}[metric.unit]


def test_a_target_that_no_format_can_hold_is_written_with_backslashes(tmp_path: Path) -> None:
    path = samples.load_only(tmp_path / "results.sqlite")
    with ResultsWriter(path) as writer:
        writer.set_manifest(target={"base_url": "http://\ud800"})
    with Results(path) as results:
        targets = {
            sample.labels["target"] for family in result_families(results) for sample in family.samples
        }
    assert targets == {"http://\\ud800"}


@pytest.mark.parametrize("target", [None, "gone", {}, {"base_url": None}])
def test_a_manifest_without_a_target_gives_no_label(tmp_path: Path, target: object) -> None:
    path = samples.load_only(tmp_path / "results.sqlite")
    with ResultsWriter(path) as writer:
        writer.set_manifest(target=target)
    with Results(path) as results:
        assert not any(
            "target" in sample.labels for family in result_families(results) for sample in family.samples
        )


def test_unknown_objectives_are_an_error(tmp_path: Path) -> None:
    path = samples.load_only(tmp_path / "results.sqlite")
    with ResultsWriter(path) as writer:
        writer.set_manifest(settings={"objectives": {"p95_of_everything": 1}})
    with Results(path) as results, pytest.raises(ResultsError, match="p95_of_everything"):
        result_families(results)
