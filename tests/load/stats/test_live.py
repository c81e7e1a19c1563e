from __future__ import annotations

import json
import logging
import math
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from harness.gate.objective import parse_objectives
from harness.load.stats.live import MOST_BINS, LiveStats, SnapshotDocument, SnapshotPublisher, TimeBins
from harness.load.stats.recorder import ResultsRecorder
from harness.load.stats.stats_batch import StatsBatch
from harness.results import metrics
from harness.results.reader import Results
from harness.results.records import ProcessRecord

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


def deltas(seed: int, workers: Sequence[str], seconds: int) -> Iterator[tuple[StatsBatch, str]]:
    """What workers may tell, one after the other, of a test of that length."""
    rng = random.Random(seed)
    opened: dict[str, Counter[str]] = {worker: Counter() for worker in workers}
    for second in range(START, START + seconds):
        for worker in workers:
            delta = StatsBatch()
            for journey in ("fresh", "resume", "conflict"):
                begun, ended = rng.randrange(6), rng.randrange(6)
                ended = min(ended, opened[worker][journey] + begun)
                opened[worker][journey] += begun - ended
                delta.ledger[second, journey, "scheduled"] += begun
                for _ in range(ended):
                    word = rng.choice(("done", "error", "rejected", "abandoned", "timed out"))
                    delta.ledger[second, journey, word] += 1
                    failed = word == "timed out"
                    good = rng.random() < 0.7
                    delta.count_rates(
                        second - rng.randrange(3), journey, judged=True, failed=failed, run=True, good=good
                    )
                    if failed:
                        delta.failures[second, journey] += 1
                    for metric in ("ttft_ms", "duration_ms", "resume_ms"):
                        delta.record(metric, journey, second - rng.randrange(3), rng.lognormvariate(3, 1))
                    delta.record_many(
                        "inter_token_ms", journey, second, [rng.expovariate(0.1) for _ in range(20)]
                    )
                    delta.record("receive_lag_ms", journey, second, rng.expovariate(0.2))
            if rng.random() < 0.3:
                delta.violations["ids.unique", "fresh"] += 1
                delta.violated_at[second] += 1
            delta.warnings["ids.clock"] += 1
            delta.totals["reads_stamped"] += 3
            if rng.random() < 0.1:
                delta.faults["the harness broke while judging it: X"] += 1
            delta.open = {journey: count for journey, count in opened[worker].items() if count}
            delta.record("hub_delay_ms", "", second, rng.expovariate(0.5))
            delta.processes.append(row(worker, second, cpu=rng.random(), open_streams=3))
            yield delta, worker
    for worker, counts in opened.items():
        end = StatsBatch(open={})
        end.ledger.update(
            {(START + seconds, journey, "in flight"): count for journey, count in counts.items()}
        )
        yield end, worker


@pytest.mark.parametrize("warmup_s", [0.0, 7.0])
def test_at_the_end_it_says_what_the_results_say(tmp_path: Path, warmup_s: float) -> None:
    path = tmp_path / "results.sqlite"
    one, shown = live(has_warmup=warmup_s > 0)
    books = ResultsRecorder(path, {}, lambda: None, listeners=[one])
    books.add(StatsBatch(processes=[row("master", START - 1)]), "master")
    books.flush()  # as while a master still waits for its workers
    books.started(START_NS, warmup_s)
    for number, (delta, worker) in enumerate(deltas(5, ("worker-0", "worker-1"), 40)):
        books.add(delta, worker)
        if number % 7 == 0:
            books.flush()
    books.close("finished", [])
    document = shown[-1]
    with Results(path) as results:
        summary = metrics.summary(results)
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


def test_while_it_goes_on_the_ledger_adds_up_with_what_is_open() -> None:
    one, _ = live()
    one.started(START_NS, None)
    for delta, worker in deltas(6, ("worker-0", "worker-1"), 10):
        one.add(delta, worker)
        document = one.snapshot()
        assert document["ledger"]["adds_up"]
        assert document["in_flight"] == document["ledger"]["counts"]["in flight"]
        assert document["state"] == "running"


def test_what_it_keeps_does_not_grow_with_the_test() -> None:
    bins = TimeBins()
    bins.begin(START)
    for second in range(START, START + 36_000):  # ten hours
        bins.at(second).failed += 1
        bins.at(second).ledger.add("scheduled")
        if second % 3 == 0:
            bins.at(second).ledger.add("done")
    document = bins.document(math.inf)
    assert bins.bin_s == 128  # the smallest power of 2 that 480 of make up ten hours
    assert len(document["t_s"]) <= MOST_BINS
    assert document["t_s"][:3] == [0, 128, 256]
    assert document["arrivals"][:2] == [128, 128]
    assert (sum(document["arrivals"]), sum(document["failed"]), sum(document["completions"])) == (
        36_000,
        36_000,
        12_000,
    )
    assert document["in_flight"][-1] == 24_000


def test_bins_that_are_merged_have_the_percentiles_of_all_their_values() -> None:
    one, _ = live()
    one.started(START_NS, None)
    delta = StatsBatch()
    for second, value_ms in ((START, 10.0), (START + 1, 1000.0), (START + MOST_BINS, 5.0)):
        delta.record("ttft_ms", "fresh", second, value_ms)
    before = StatsBatch(
        histograms={key: value for key, value in delta.histograms.items() if key[2] < START + 2}
    )
    one.add(before, "w")
    one.close("finished", [])
    assert one.snapshot()["series"]["ttft_ms"]["p95"] == [10.0, 1000.0]
    one.add(delta, "w")
    series = one.snapshot()["series"]
    assert series["bin_s"] == 2
    assert series["ttft_ms"]["p99"][0] == 1000.0
    assert series["ttft_ms"]["p50"][0] == 10.0
    assert series["ttft_ms"]["p50"][-1] == 5.0
    assert set(series["ttft_ms"]["p50"][1:-1]) == {None}


def test_a_clock_that_is_far_off_costs_resolution_and_nothing_else() -> None:
    bins = TimeBins()
    bins.begin(START)
    bins.at(START + 10**9).failed += 1
    bins.at(START - 10**9).failed += 1
    document = bins.document(math.inf)
    assert len(document["t_s"]) <= MOST_BINS
    assert (document["failed"][0], document["failed"][-1]) == (1, 1)


def test_a_second_is_shown_when_every_process_has_told_of_it() -> None:
    one, _ = live()
    one.started(START_NS, None)
    for worker, told in (("worker-0", 5), ("worker-1", 3), ("master", 20)):
        delta = StatsBatch(processes=[row(worker, START + second) for second in range(told)])
        if worker != "master":
            delta.ledger[START + told - 1, "fresh", "scheduled"] += 1
        one.add(delta, worker)
    assert one.snapshot()["series"]["t_s"] == [0, 1, 2]
    one.add(
        StatsBatch(
            processes=[row("worker-0", START + 14)], ledger=Counter({(START + 14, "f", "scheduled"): 1})
        ),
        "worker-0",
    )
    assert one.snapshot()["series"]["t_s"] == list(range(15))  # the other has been silent for 12 s
    assert one.snapshot()["workers"] == ["worker-0", "worker-1"]


def test_before_anybody_told_nothing_is_drawn_and_at_the_end_everything() -> None:
    one, _ = live()
    one.started(START_NS, None)
    one.add(StatsBatch(ledger=Counter({(START + 2, "fresh", "scheduled"): 1})), "local")
    assert one.snapshot()["series"]["t_s"] == []
    one.close("interrupted", ["worker-1"])
    document = one.snapshot()
    assert document["series"]["t_s"] == [0, 1, 2]
    assert (document["state"], document["workers_lost"]) == ("interrupted", ["worker-1"])


def test_the_time_that_is_over_and_left() -> None:
    clock = Clock()
    one, _ = live(clock, lasts_s=60.0, has_warmup=True, plan="20 runs/s")
    document = one.snapshot()
    assert (document["elapsed_s"], document["left_s"], document["started_s"]) == (0.0, None, None)
    one.started(START_NS, START + 10)
    clock.now_s += 4
    document = one.snapshot()
    assert (document["elapsed_s"], document["left_s"], document["warming_up"]) == (4.0, 56.0, True)
    clock.now_s += 100
    document = one.snapshot()
    assert (document["elapsed_s"], document["left_s"], document["warming_up"]) == (104.0, 0.0, False)
    one.stopping = True
    assert one.snapshot()["state"] == "stopping"
    assert one.snapshot()["left_s"] is None
    one.close("finished", [])
    clock.now_s += 1000
    assert one.snapshot()["elapsed_s"] == 104.0


def test_until_a_warm_up_is_known_nothing_counts() -> None:
    one, _ = live(has_warmup=True)
    delta = StatsBatch(processes=[row("worker-0", START)])
    delta.record("ttft_ms", "fresh", START, 5.0)
    delta.count_rates(START, "fresh", judged=True)
    one.add(delta, "worker-0")
    one.started(START_NS, START + 1)
    later = StatsBatch()
    later.record("ttft_ms", "fresh", START + 1, 7.0)
    one.add(later, "worker-0")
    document = one.snapshot()
    assert document["metrics"]["ttft_ms"]["all"]["count"] == 1
    assert document["metrics"]["ttft_ms"]["all"]["max"] == 7.0
    assert document["rates"]["all"]["judged"] == 0
    assert document["harness"]["processes"] == {}


def test_objectives_are_told_with_what_they_limit() -> None:
    objectives = parse_objectives({"ttft_p95_ms": 800, "fresh.goodput": 0.99, "violations": 0})
    one, _ = live(objectives=objectives, users=5)
    document = one.snapshot()
    assert [
        (each["name"], each["metric"], each["word"], each["journey"]) for each in document["objectives"]
    ] == [
        ("ttft_p95_ms", "ttft_ms", "p95", None),
        ("fresh.goodput", None, None, "fresh"),
        ("violations", None, None, None),
    ]
    assert [each["at_least"] for each in document["objectives"]] == [False, True, False]
    assert document["plan"] == "5 users"
    one.users = 9
    assert (one.snapshot()["plan"], one.snapshot()["users"]) == ("9 users", 9)


def test_before_the_first_test_there_is_nothing_but_a_state(tmp_path: Path) -> None:
    board = SnapshotPublisher(tmp_path / "live.json")
    document = board.document
    assert (document["state"], document["run"], document["problem"]) == ("ready", None, None)
    assert (document["metrics"], document["series"]["t_s"]) == ({}, [])
    assert json.loads((tmp_path / "live.json").read_text()) == document == json.loads(board.text)


def test_the_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    file = tmp_path / "live.json"
    board = SnapshotPublisher(file)
    before = file.open()
    board.publish({"n": 1})
    assert json.loads(before.read())["state"] == "ready"  # who was reading sees one document
    before.close()
    assert file.read_text() == '{"n":1}'
    assert [one.name for one in tmp_path.iterdir()] == ["live.json"]


def test_a_file_that_cannot_be_written_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    board = SnapshotPublisher(tmp_path / "missing" / "live.json")
    board.publish({"n": 2})
    assert board.document == {"n": 2}
    assert len([one for one in caplog.records if "cannot write the live numbers" in one.message]) == 1


def test_what_could_not_start_is_said_and_nothing_stays_of_an_earlier_test() -> None:
    board = SnapshotPublisher()
    board.publish({"run": "earlier", "state": "finished"})
    board.publish_error("no target is given")
    assert (board.document["problem"], board.document["run"]) == ("no target is given", None)
    assert board.document["state"] == "ready"


class Failing:
    def started(self, start_wall_ns: int, measured_from: int | None) -> None:
        """Well so far."""

    def add(self, delta: StatsBatch, worker: str) -> None:
        raise ZeroDivisionError

    def flush(self) -> None:
        raise AssertionError("nobody is to be told after it failed")

    def close(self, state: str, lost: Sequence[str]) -> None:
        raise AssertionError("nobody is to be told after it failed")


def test_a_listener_that_fails_costs_no_results(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "results.sqlite"
    one, shown = live()
    with caplog.at_level(logging.ERROR):
        books = ResultsRecorder(path, {}, lambda: None, listeners=[Failing(), one])
        books.started(START_NS, 0)
        for delta, worker in deltas(1, ("w",), 3):
            books.add(delta, worker)
        books.close("finished", [])
    assert "has failed, and shows them no more" in caplog.text
    with Results(path) as results:
        assert results.ledger().as_dict() == shown[-1]["ledger"]["counts"]
        assert results.ledger().adds_up
    assert books.problem is None


def test_without_a_file_it_is_still_shown() -> None:
    one, shown = live()
    books = ResultsRecorder(None, {}, lambda: None, listeners=[one])
    books.started(START_NS, 0)
    for delta, worker in deltas(2, ("w",), 3):
        books.add(delta, worker)
    books.close("finished", [])
    assert shown[-1]["ledger"]["counts"] == books.ledger.as_dict()
