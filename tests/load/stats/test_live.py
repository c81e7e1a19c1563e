from __future__ import annotations

import json
import logging
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from harness.gate.objective import parse_objectives
from harness.load.stats.live import LiveStats, SnapshotDocument
from harness.load.stats.recorder import ResultsRecorder
from harness.load.stats.stats_batch import StatsBatch
from harness.load.stats.time_bins import MOST_BINS
from harness.results import metrics
from harness.results.reader import Results
from harness.results.records import ProcessRecord
from harness.results.summary import summarize

START = 1_790_000_000
START_NS = START * 1_000_000_000


class Clock:
    def __init__(self) -> None:
        self.now_s = float(START)

    def __call__(self) -> float:
        return self.now_s


def live(clock: Clock | None = None, **more: Any) -> tuple[LiveStats, list[SnapshotDocument]]:
    shown: list[SnapshotDocument] = []
    return LiveStats("r", shown.append, clock=clock or Clock(), **more), shown


def row(worker: str, second: int, *, cpu: float = 0.1, open_streams: int = 0) -> ProcessRecord:
    return ProcessRecord(worker=worker, second=second, cpu=cpu, rss_bytes=1000, open_streams=open_streams)


def batches(seed: int, workers: Sequence[str], seconds: int) -> Iterator[tuple[StatsBatch, str]]:
    """Batches that workers might send in a test of this length."""
    rng = random.Random(seed)
    opened: dict[str, Counter[str]] = {worker: Counter() for worker in workers}
    for second in range(START, START + seconds):
        for worker in workers:
            batch = StatsBatch()
            for journey in ("fresh", "resume", "conflict"):
                begun, ended = rng.randrange(6), rng.randrange(6)
                ended = min(ended, opened[worker][journey] + begun)
                opened[worker][journey] += begun - ended
                batch.ledger[second, journey, "scheduled"] += begun
                for _ in range(ended):
                    word = rng.choice(("done", "error", "rejected", "abandoned", "timed out"))
                    batch.ledger[second, journey, word] += 1
                    failed = word == "timed out"
                    good = rng.random() < 0.7
                    batch.count_rates(
                        second - rng.randrange(3), journey, judged=True, failed=failed, run=True, good=good
                    )
                    if failed:
                        batch.failures[second, journey] += 1
                    for metric in ("ttft_ms", "duration_ms", "resume_ms"):
                        batch.record(metric, journey, second - rng.randrange(3), rng.lognormvariate(3, 1))
                    batch.record_many(
                        "inter_token_ms", journey, second, [rng.expovariate(0.1) for _ in range(20)]
                    )
                    batch.record("receive_lag_ms", journey, second, rng.expovariate(0.2))
            if rng.random() < 0.3:
                batch.violations["ids.unique", "fresh"] += 1
                batch.violated_at[second] += 1
            batch.warnings["ids.clock"] += 1
            batch.totals["reads_stamped"] += 3
            if rng.random() < 0.1:
                batch.faults["harness fault while checking it: X"] += 1
            batch.open = {journey: count for journey, count in opened[worker].items() if count}
            batch.record("hub_delay_ms", "", second, rng.expovariate(0.5))
            batch.processes.append(row(worker, second, cpu=rng.random(), open_streams=3))
            yield batch, worker
    for worker, counts in opened.items():
        end = StatsBatch(open={})
        end.ledger.update(
            {(START + seconds, journey, "in flight"): count for journey, count in counts.items()}
        )
        yield end, worker


@pytest.mark.parametrize("warmup_s", [0.0, 7.0])
def test_at_the_end_it_agrees_with_the_results(tmp_path: Path, warmup_s: float) -> None:
    path = tmp_path / "results.sqlite"
    stats, shown = live(has_warmup=warmup_s > 0)
    recorder = ResultsRecorder(path, {}, lambda: None, listeners=[stats])
    recorder.add(StatsBatch(processes=[row("master", START - 1)]), "master")
    recorder.flush()  # for example while a master waits for its workers
    recorder.started(START_NS, warmup_s)
    for number, (batch, worker) in enumerate(batches(5, ("worker-0", "worker-1"), 40)):
        recorder.add(batch, worker)
        if number % 7 == 0:
            recorder.flush()
    recorder.close("finished", [])
    document = shown[-1]
    with Results(path) as results:
        summary = summarize(results)
        journeys = results.journeys()
        assert {name: one["all"] for name, one in document["metrics"].items()} == {
            name: numbers for name, numbers in summary["metrics"].items() if numbers["count"]
        }
        for name, found in document["metrics"].items():
            for journey, numbers in found["journeys"].items():
                assert numbers == metrics.distribution(results.histogram(name, journey)), (name, journey)
        assert document["ledger"]["counts"] == summary["ledger"]
        assert document["ledger"]["adds_up"]
        assert {name: one["count"] for name, one in document["violations"].items()} == summary["violations"]
        assert document["rates"]["all"] == {
            **summary["streams"],
            "runs": summary["goodput"]["runs"],
            "good": summary["goodput"]["good"],
            "goodput": summary["goodput"]["share"],
            "sessions": summary["sessions"]["judged"],
            "sessions_succeeded": summary["sessions"]["succeeded"],
            "session_success": summary["sessions"]["share"],
        }
        for journey in journeys:
            assert document["ledger"]["journeys"][journey] == results.ledger(journey).as_dict()
            assert document["rates"]["journeys"][journey]["goodput"] == metrics.goodput(results, journey)
        assert document["harness"] == summary["harness"]
        assert document["measured_from_s"] == results.measured_from
        series = document["series"]
        ledgers = results.ledger_by_second()
        for place, at_s in enumerate(series["t_s"]):
            second = START + at_s
            assert series["arrivals"][place] == ledgers[second].scheduled, at_s
            assert series["completions"][place] == ledgers[second].ended
            assert series["failed"][place] == results.failures_by_second().get(second, 0)
        for metric in ("ttft_ms", "inter_token_ms"):
            by_second = results.histograms_by_second(metric, part="whole")
            for place, at_s in enumerate(
                series["t_s"][1:-1], 1
            ):  # what is before the start stands in the first
                histogram = by_second.get(START + at_s)
                wanted = None if histogram is None else histogram.percentile(95)
                assert series[metric]["p95"][place] == (None if wanted is None else round(wanted, 3))
        assert sum(series["violations"]) == summary["violations"]["ids.unique"]
        assert series["in_flight"][-1] == summary["ledger"]["in flight"] > 0
    assert document["state"] == "finished"
    assert document["in_flight"] == summary["ledger"]["in flight"]
    assert json.loads(json.dumps(document, allow_nan=False)) == document


def test_during_the_test_the_ledger_adds_up_with_open_streams() -> None:
    stats, _ = live()
    stats.started(START_NS, None)
    for batch, worker in batches(6, ("worker-0", "worker-1"), 10):
        stats.add(batch, worker)
        document = stats.snapshot()
        assert document["ledger"]["adds_up"]
        assert document["in_flight"] == document["ledger"]["counts"]["in flight"]
        assert document["state"] == "running"


def test_bins_that_are_merged_have_the_percentiles_of_all_their_values() -> None:
    stats, _ = live()
    stats.started(START_NS, None)
    batch = StatsBatch()
    for second, value_ms in ((START, 10.0), (START + 1, 1000.0), (START + MOST_BINS, 5.0)):
        batch.record("ttft_ms", "fresh", second, value_ms)
    before = StatsBatch(
        histograms={key: value for key, value in batch.histograms.items() if key[2] < START + 2}
    )
    stats.add(before, "w")
    stats.close("finished", [])
    assert stats.snapshot()["series"]["ttft_ms"]["p95"] == [10.0, 1000.0]
    stats.add(batch, "w")
    series = stats.snapshot()["series"]
    assert series["bin_s"] == 2
    assert series["ttft_ms"]["p99"][0] == 1000.0
    assert series["ttft_ms"]["p50"][0] == 10.0
    assert series["ttft_ms"]["p50"][-1] == 5.0
    assert set(series["ttft_ms"]["p50"][1:-1]) == {None}


def test_a_second_is_shown_when_every_process_has_reported_it() -> None:
    stats, _ = live()
    stats.started(START_NS, None)
    for worker, seconds in (("worker-0", 5), ("worker-1", 3), ("master", 20)):
        batch = StatsBatch(processes=[row(worker, START + second) for second in range(seconds)])
        if worker != "master":
            batch.ledger[START + seconds - 1, "fresh", "scheduled"] += 1
        stats.add(batch, worker)
    assert stats.snapshot()["series"]["t_s"] == [0, 1, 2]
    stats.add(
        StatsBatch(
            processes=[row("worker-0", START + 14)], ledger=Counter({(START + 14, "f", "scheduled"): 1})
        ),
        "worker-0",
    )
    assert stats.snapshot()["series"]["t_s"] == list(range(15))  # the other has been silent for 12 s
    assert stats.snapshot()["workers"] == ["worker-0", "worker-1"]


def test_the_series_is_empty_before_the_first_report_and_complete_at_the_end() -> None:
    stats, _ = live()
    stats.started(START_NS, None)
    stats.add(StatsBatch(ledger=Counter({(START + 2, "fresh", "scheduled"): 1})), "local")
    assert stats.snapshot()["series"]["t_s"] == []
    stats.close("interrupted", ["worker-1"])
    document = stats.snapshot()
    assert document["series"]["t_s"] == [0, 1, 2]
    assert (document["state"], document["workers_lost"]) == ("interrupted", ["worker-1"])


def test_elapsed_and_remaining_time() -> None:
    clock = Clock()
    stats, _ = live(clock, lasts_s=60.0, has_warmup=True, plan="20 runs/s")
    document = stats.snapshot()
    assert (document["elapsed_s"], document["left_s"], document["started_s"]) == (0.0, None, None)
    stats.started(START_NS, START + 10)
    clock.now_s += 4
    document = stats.snapshot()
    assert (document["elapsed_s"], document["left_s"], document["warming_up"]) == (4.0, 56.0, True)
    clock.now_s += 100
    document = stats.snapshot()
    assert (document["elapsed_s"], document["left_s"], document["warming_up"]) == (104.0, 0.0, False)
    stats.stopping = True
    assert stats.snapshot()["state"] == "stopping"
    assert stats.snapshot()["left_s"] is None
    stats.close("finished", [])
    clock.now_s += 1000
    assert stats.snapshot()["elapsed_s"] == 104.0


def test_nothing_counts_before_the_warm_up_is_known() -> None:
    stats, _ = live(has_warmup=True)
    batch = StatsBatch(processes=[row("worker-0", START)])
    batch.record("ttft_ms", "fresh", START, 5.0)
    batch.count_rates(START, "fresh", judged=True)
    stats.add(batch, "worker-0")
    stats.started(START_NS, START + 1)
    later = StatsBatch()
    later.record("ttft_ms", "fresh", START + 1, 7.0)
    stats.add(later, "worker-0")
    document = stats.snapshot()
    assert document["metrics"]["ttft_ms"]["all"]["count"] == 1
    assert document["metrics"]["ttft_ms"]["all"]["max"] == 7.0
    assert document["rates"]["all"]["judged"] == 0
    assert document["harness"]["processes"] == {}


def test_objectives_name_what_they_limit() -> None:
    objectives = parse_objectives({"ttft_p95_ms": 800, "fresh.goodput": 0.99, "violations": 0})
    stats, _ = live(objectives=objectives, users=5)
    document = stats.snapshot()
    assert [
        (each["name"], each["metric"], each["word"], each["journey"]) for each in document["objectives"]
    ] == [
        ("ttft_p95_ms", "ttft_ms", "p95", None),
        ("fresh.goodput", None, None, "fresh"),
        ("violations", None, None, None),
    ]
    assert [each["at_least"] for each in document["objectives"]] == [False, True, False]
    assert document["plan"] == "5 users"
    stats.users = 9
    assert (stats.snapshot()["plan"], stats.snapshot()["users"]) == ("9 users", 9)


class Failing:
    def started(self, start_wall_ns: int, measured_from: int | None) -> None:
        """Succeeds."""

    def add(self, batch: StatsBatch, worker: str) -> None:
        raise ZeroDivisionError

    def flush(self) -> None:
        raise AssertionError("called after it failed")

    def close(self, state: str, lost: Sequence[str]) -> None:
        raise AssertionError("called after it failed")


def test_a_failing_listener_does_not_affect_the_results(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "results.sqlite"
    stats, shown = live()
    with caplog.at_level(logging.ERROR):
        recorder = ResultsRecorder(path, {}, lambda: None, listeners=[Failing(), stats])
        recorder.started(START_NS, 0)
        for batch, worker in batches(1, ("w",), 3):
            recorder.add(batch, worker)
        recorder.close("finished", [])
    assert "a live view failed and is switched off" in caplog.text
    with Results(path) as results:
        assert results.ledger().as_dict() == shown[-1]["ledger"]["counts"]
        assert results.ledger().adds_up
    assert recorder.problem is None


def test_without_a_file_it_is_still_shown() -> None:
    stats, shown = live()
    recorder = ResultsRecorder(None, {}, lambda: None, listeners=[stats])
    recorder.started(START_NS, 0)
    for batch, worker in batches(2, ("w",), 3):
        recorder.add(batch, worker)
    recorder.close("finished", [])
    assert shown[-1]["ledger"]["counts"] == recorder.ledger.as_dict()


def test_the_final_state_is_published_only_with_every_final_batch(tmp_path: Path) -> None:
    """A worker's last batch may arrive just before the end, and this process's own is collected during `close`."""
    sent = list(batches(3, ("worker-0", "worker-1", "local"), 5))
    expected, _ = live()
    expected.started(START_NS, None)
    for batch, worker in sent:
        expected.add(batch, worker)
    own_batches = [(batch, worker) for batch, worker in sent if worker == "local"]
    stats, shown = live()

    def collect() -> None:
        if recorder.closing:
            assert stats.snapshot()["state"] == "stopping"
            while own_batches:
                recorder.add(*own_batches.pop(0))

    recorder = ResultsRecorder(tmp_path / "results.sqlite", {}, collect, listeners=[stats])
    recorder.started(START_NS, 0)
    for batch, worker in sent:
        if worker == "worker-0":
            recorder.add(batch, worker)
    recorder.flush()
    stats.stopping = True
    recorder.flush()
    for batch, worker in sent:
        if worker == "worker-1":
            recorder.add(batch, worker)
    recorder.close("finished", [])
    assert {document["state"] for document in shown[:-1]} == {"running", "stopping"}
    final = expected.snapshot()
    assert shown[-1]["state"] == "finished"
    for key in ("rates", "ledger", "metrics", "violations", "warnings", "harness"):
        assert shown[-1][key] == final[key], key
    assert final["rates"]["all"]["runs"] > shown[-3]["rates"]["all"]["runs"] > 0
