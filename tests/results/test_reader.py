import json
import sqlite3
from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from harness.results import reader, stored_histograms
from harness.results.histogram import Histogram
from harness.results.ledger import Ledger
from harness.results.rate_counts import RateCounts
from harness.results.reader import FailureReason, Results
from harness.results.records import CheckRecord, ProcessRecord
from harness.results.schema import ResultsError
from harness.results.writer import ResultsWriter
from tests.results.files import RUN, of


def facts(histogram):
    return histogram.count, histogram.min, histogram.max, histogram.buckets()[1].tolist()


def test_a_missing_file_is_one_sentence(tmp_path):
    with pytest.raises(ResultsError, match="no such results file"):
        Results(tmp_path / "none.sqlite")
    assert [entry.name for entry in tmp_path.iterdir()] == []
    with pytest.raises(ResultsError, match="not a results file: it is a folder"):
        Results(tmp_path)


def test_a_damaged_file_is_one_sentence(path):
    with ResultsWriter(path) as writer:
        writer.add_histogram("ttft_ms", "fresh", 1, "w", of(1.0))
        writer.add_streams([RUN] * 2000)
    with sqlite3.connect(path) as damage:
        damage.execute("UPDATE histograms SET histogram = x'00'")
    damage.close()
    with Results(path) as results, pytest.raises(ResultsError, match="damaged: not a stored histogram"):
        results.histogram("ttft_ms")
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 4 * 3)  # behind the descriptions of the tables
        file.write(b"\xff" * (path.stat().st_size // 4))
    with pytest.raises(ResultsError, match="the results file is damaged: "):
        Results(path)


def test_reading_writes_nothing(path):
    ResultsWriter(path).close()
    with Results(path) as results, pytest.raises(sqlite3.OperationalError, match="readonly"):
        results._database._db.execute("DELETE FROM streams")


@pytest.mark.parametrize(
    ("verdict", "tested"),
    [
        ("pass", True),
        ("fail", True),
        ("warn", True),
        ("known", True),
        ("stale", True),
        ("info", False),
        ("not applicable", False),
        ("inconclusive", False),
        ("error", False),
    ],
)
def test_a_check_tests_something_when_it_came_to_a_verdict_on_the_server(path, verdict, tested):
    with ResultsWriter(path) as writer:
        writer.add_checks([CheckRecord(id="a", level="MUST", verdict=verdict)])
    with Results(path) as results:
        assert results.tested is tested


@pytest.mark.parametrize(
    ("outcome", "tested"),
    [
        ("done", True),
        ("error", True),
        ("cancelled", True),
        ("truncated", True),
        ("timed out", True),
        ("scheduled", False),
        ("rejected", False),
        ("refused", False),
        ("abandoned", False),
        ("in flight", False),
    ],
)
def test_a_load_tests_something_when_a_stream_ended_by_the_servers_doing(path, outcome, tested):
    with ResultsWriter(path) as writer:
        writer.add_ledger("w", 1, "fresh", outcome)
    with Results(path) as results:
        assert results.tested is tested


def test_an_empty_results_file_tested_nothing(path):
    ResultsWriter(path).close()
    with Results(path) as results:
        assert not results.tested
        assert (results.manifest, list(results.streams()), results.checks(), results.metrics()) == (
            {},
            [],
            [],
            [],
        )


def test_reasons_of_failure_are_counted_by_journey_and_step_the_most_frequent_first(path):
    with ResultsWriter(path) as writer:
        for reason, times in (("reset", 2), ("gone", 3), ("late", 1)):
            writer.add_streams([replace(RUN, reason=reason)] * times)
        writer.add_streams([RUN, replace(RUN, reason="gone", journey="replay", step="retry")])
    with Results(path) as results:
        reasons, different = results.failure_reasons(2)
        assert reasons == [
            FailureReason("fresh", "run", "gone", 3),
            FailureReason("fresh", "run", "reset", 2),
        ]
        assert different == 4
        assert len(results.failure_reasons(9)[0]) == 4


def test_open_streams_are_in_flight_until_they_end(path):
    with ResultsWriter(path) as writer, Results(path) as results:
        with writer.transaction():
            writer.add_ledger("w1", 1, "fresh", "scheduled", 5)
            writer.set_open("w1", {"fresh": 3, "replay": 1})
            writer.add_ledger("w1", 1, "replay", "scheduled")
            writer.add_ledger("w1", 1, "fresh", "done", 2)
            writer.set_open("w2", {"fresh": 1})
            writer.add_ledger("w2", 1, "fresh", "scheduled")
        writer.commit()
        assert results.ledger() == Ledger({"scheduled": 7, "done": 2, "in flight": 5})
        assert results.ledger("replay") == Ledger({"scheduled": 1, "in flight": 1})
        writer.set_open("w1", {"fresh": 2})
        writer.add_ledger("w1", 2, "fresh", "done")
        writer.add_ledger("w1", 2, "replay", "done")
        writer.commit()
        assert results.ledger() == Ledger({"scheduled": 7, "done": 4, "in flight": 3})
        assert results.ledger().adds_up
        writer.set_open("w1", {})
        writer.set_open("w2", {})
        writer.commit()
        assert results.ledger().missing == 3


def test_warm_up_is_excluded_by_default(path):
    with ResultsWriter(path) as writer, Results(path) as results:
        for second, value in ((9, 1.0), (10, 2.0), (11, 4.0)):
            writer.add_histogram("ttft_ms", "fresh", second, "w1", of(value))
            writer.add_histogram("ttft_ms", "replay", second, "w2", of(value * 10))
            writer.add_ledger("w1", second, "fresh", "scheduled")
            writer.add_ledger("w1", second, "fresh", "done")
            writer.add_rate_counts("w1", second, "fresh", "judged", second)
            writer.add_rate_counts("w1", second, "replay", "failed")
            writer.add_processes(
                [ProcessRecord(worker="w1", second=second, cpu=0.5, rss_bytes=1, open_streams=2)]
            )
        writer.commit()
        assert (results.measured_from, results.histogram("ttft_ms").sum) == (None, 77.0)
        assert results.rate_counts("fresh") == RateCounts(judged=30)
        assert results.histogram("ttft_ms", part="warm-up").count == 0
        writer.set_manifest(measured_from=10)
        writer.commit()
        assert results.measured_from == 10
        for part, total, fresh, judged, seconds in (
            ("measured", 66.0, 6.0, 21, [10, 11]),
            ("warm-up", 11.0, 1.0, 9, [9]),
            ("whole", 77.0, 7.0, 30, [9, 10, 11]),
        ):
            assert results.histogram("ttft_ms", part=part).sum == total
            assert results.histogram("ttft_ms", "fresh", part).sum == fresh
            assert {worker: h.sum for worker, h in results.histograms_by_worker("ttft_ms", part).items()} == {
                "w1": fresh,
                "w2": fresh * 10,
            }
            assert list(results.histograms_by_second("ttft_ms", part=part)) == seconds
            assert results.rate_counts("fresh", part) == RateCounts(judged=judged)
            assert results.rate_counts("replay", part).failed == len(seconds)
            assert [row.second for row in results.processes(part)] == seconds
        assert results.ledger() == Ledger({"scheduled": 3, "done": 3})
        assert results.rate_counts_by_second()[9] == RateCounts(judged=9, failed=1)


def test_the_manifest_is_parsed_again_once_it_has_changed(path, monkeypatch):
    parsed = []
    monkeypatch.setattr(reader, "bounded_json", lambda text: parsed.append(text) or json.loads(text))
    with ResultsWriter(path) as writer:
        writer.set_manifest(state="running")
        writer.commit()
        with Results(path) as results:
            results.manifest["state"] = "mine"
            assert results.manifest["state"] == "running"
            count = len(parsed)
            assert results.manifest["state"] == "running"
            assert len(parsed) == count
            writer.set_manifest(state="finished")
            writer.commit()
            assert results.manifest["state"] == "finished"


def test_a_metric_of_no_journey_makes_none(path):
    with ResultsWriter(path) as writer:
        writer.add_histogram("hub_delay_ms", "", 1, "w1", of(1.0))
        writer.add_processes(
            [
                ProcessRecord(worker="w1", second=2, cpu=0.5, rss_bytes=10, open_streams=1),
                ProcessRecord(worker="w1", second=1, cpu=0.5, rss_bytes=10, open_streams=1),
                ProcessRecord(worker="w1", second=2, cpu=0.75, rss_bytes=11, open_streams=3),
            ]
        )
    with Results(path) as results:
        assert results.journeys() == []
        assert results.processes() == [
            ProcessRecord(worker="w1", second=1, cpu=0.5, rss_bytes=10, open_streams=1),
            ProcessRecord(worker="w1", second=2, cpu=0.75, rss_bytes=11, open_streams=3),
        ]


def test_seconds_are_read_in_bins_from_any_first_one_on(tmp_path):
    path = tmp_path / "r.sqlite"
    with ResultsWriter(path) as writer:
        for second in (9, 10, 13, 14, 19):
            writer.add_histogram("ttft_ms", f"j{second % 2}", second, "w0", of(float(second)))
    with Results(path) as results:
        assert results.seconds_of("ttft_ms") == (9, 19)
        assert results.seconds_of("stall_ms") is None
        bins = results.histograms_by_second("ttft_ms", width_s=5, first=9)
        assert {second: one.sum for second, one in bins.items()} == {9: 32.0, 14: 14.0, 19: 19.0}
        assert list(results.histograms_by_second("ttft_ms", "j0", width_s=5, first=9)) == [9, 14]
        seconds = results.histograms_by_second("ttft_ms")
        seconds.clear()
        assert list(results.histograms_by_second("ttft_ms")) == [9, 10, 13, 14, 19]
        with ResultsWriter(path) as writer:
            writer.add_histogram("ttft_ms", "j0", 20, "w0", of(1.0))
        assert list(results.histograms_by_second("ttft_ms"))[-1] == 20


def some_histograms(path):
    """Write histograms of two metrics, journeys and workers over ten seconds, three of them warm-up; by key."""
    rng = np.random.default_rng(3)
    single = {}
    with ResultsWriter(path) as writer:
        writer.set_manifest(measured_from=103)
        for key in product(("ttft_ms", "stall_ms"), ("fresh", "join"), range(100, 110), ("w0", "w1")):
            if key[2] % 3 or key[3] == "w0":
                single[key] = of(*rng.lognormal(3, 2, rng.integers(1, 300)))
                writer.add_histogram(*key, single[key])
    return single


@pytest.mark.parametrize("cached_buckets", [stored_histograms._CACHED_BUCKETS, 0])
@pytest.mark.parametrize("batch", [stored_histograms._BATCH, 7])
def test_histograms_read_in_batches_equal_those_read_one_by_one(path, monkeypatch, batch, cached_buckets):
    monkeypatch.setattr(stored_histograms, "_BATCH", batch)
    monkeypatch.setattr(stored_histograms, "_SECONDS_PER_BATCH", batch)
    monkeypatch.setattr(stored_histograms, "_CACHED_BUCKETS", cached_buckets)
    single = some_histograms(path)

    def merged(*wanted, seconds=range(103, 110)):
        total = Histogram()
        for (metric, journey, second, worker), one in single.items():
            if {metric, journey, worker} >= set(wanted) and second in seconds:
                total.merge(one)
        return facts(total)

    with Results(path) as results:
        for metric in ("ttft_ms", "stall_ms"):
            assert facts(results.histogram(metric)) == merged(metric)
            assert facts(results.histogram(metric, "join")) == merged(metric, "join")
            assert facts(results.histogram(metric, part="warm-up")) == merged(metric, seconds=range(103))
            by_worker = results.histograms_by_worker(metric)
            assert {w: facts(one) for w, one in by_worker.items()} == {
                w: merged(metric, w) for w in ("w0", "w1")
            }
            for journey in ([], ["fresh"]):
                seconds = results.histograms_by_second(metric, *journey)
                assert {s: facts(one) for s, one in seconds.items()} == {
                    s: merged(metric, *journey, seconds=[s]) for s in range(103, 110)
                }
            bins = results.histograms_by_second(metric, part="whole", width_s=4, first=100)
            assert {s: facts(one) for s, one in bins.items()} == {
                s: merged(metric, seconds=range(s, s + 4)) for s in (100, 104, 108)
            }
        assert results.histogram("duration_ms").count == 0
        assert results.histograms_by_second("duration_ms") == {}


def test_a_snapshot_shows_one_state_of_a_file_that_changes(path):
    with ResultsWriter(path) as writer, Results(path) as results:
        writer.add_ledger("w", 1, "fresh", "done", 5)
        writer.set_manifest(state="running")
        writer.commit()
        with results.snapshot():
            assert results.manifest["state"] == "running"  # what the first query sees, all others see
            writer.add_ledger("w", 2, "fresh", "done", 2)
            writer.add_histogram("ttft_ms", "fresh", 2, "w", of(1.0))
            writer.set_manifest(state="finished")
            writer.commit()
            assert (results.ledger()["done"], results.metrics(), results.manifest["state"]) == (
                5,
                [],
                "running",
            )
        assert (results.ledger()["done"], results.metrics(), results.manifest["state"]) == (
            7,
            ["ttft_ms"],
            "finished",
        )


def test_cached_answers_are_dropped_when_the_file_changes(path):
    with ResultsWriter(path) as writer, Results(path) as results:
        writer.add_ledger("w", 1, "fresh", "done", 5)
        writer.add_rate_counts("w", 1, "fresh", "judged", 5)
        writer.add_histogram("ttft_ms", "fresh", 1, "w", of(1.0))
        writer.commit()
        assert (results.ledger()["done"], results.rate_counts().judged, results.metrics()) == (
            5,
            5,
            ["ttft_ms"],
        )
        assert (results.histogram("ttft_ms").count, results.journeys(), results.sample()) == (
            1,
            ["fresh"],
            (0, 0),
        )
        writer.add_ledger("w", 1, "join", "done", 2)
        writer.add_rate_counts("w", 1, "join", "judged", 2)
        writer.add_histogram("stall_ms", "join", 1, "w", of(1.0))
        writer.add_streams([RUN])
        writer.set_manifest(measured_from=2)
        writer.commit()
        assert (results.ledger()["done"], results.rate_counts().judged) == (7, 0)
        assert (results.rate_counts(part="whole").judged, results.rate_counts("join", "warm-up").judged) == (
            7,
            2,
        )
        assert (results.metrics(), results.journeys()) == (["stall_ms", "ttft_ms"], ["fresh", "join"])
        assert (results.histogram("ttft_ms").count, results.sample()) == (0, (1, 1))
