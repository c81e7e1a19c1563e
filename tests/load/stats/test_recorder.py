from __future__ import annotations

import json
import time
from collections import Counter
from datetime import datetime
from pathlib import Path

import gevent
import pytest

from harness.contract.decoding.token_layout import token_reader_in_use
from harness.errors import SettingsError
from harness.load.stats.collector import Collector
from harness.load.stats.recorder import ResultsRecorder, _notify, free_file
from harness.load.stats.stats_batch import StatsBatch
from harness.load.stats.stream_metrics import RUN
from harness.results.ledger import Ledger
from harness.results.rate_counts import RateCounts
from harness.results.reader import Results
from harness.results.schema import ResultsError
from harness.results.writer import ResultsWriter
from harness.transport.ready_sockets import reader_in_use
from tests.load.stats.test_collector import WHOLE


def one_run() -> StatsBatch:
    collector = Collector("w")
    stream = collector.schedule("fresh", RUN)
    collector.end(stream, WHOLE)
    collector.finalize(stream, [])
    return collector.take()


def test_everything_is_in_the_file_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "new" / "results.sqlite"
    own_batches = [one_run()]
    recorder = ResultsRecorder(
        path,
        {"command": "c", "state": "?"},
        lambda: recorder.add(own_batches.pop(), "late") if own_batches else None,
    )
    recorder.add(one_run(), "w")
    recorder.add(one_run(), "v")
    assert not recorder.closing
    recorder.close("finished", ["worker-9"])
    assert recorder.closing
    assert recorder.problem is None
    with Results(path) as results:
        assert results.ledger() == recorder.ledger == Ledger({"scheduled": 3, "done": 3})
        assert {row.worker for row in results.streams()} == {"w"}
        manifest = results.manifest
    assert manifest["state"] == "finished"
    assert manifest["receive_stamp"] == "kernel"
    assert manifest["receive_reader"] == reader_in_use()
    assert manifest["token_reader"] == token_reader_in_use()
    assert (manifest["tokens"], manifest["coalesced_tokens"], manifest["workers_lost"]) == (
        6,
        0,
        ["worker-9"],
    )
    assert manifest["ended_at"]
    summary = json.loads((path.parent / "summary.json").read_text())
    assert summary["ledger"]["done"] == 3
    assert summary["metrics"]["ttft_ms"]["count"] == 3


def test_it_is_written_during_the_test(tmp_path: Path) -> None:
    path = tmp_path / "results.sqlite"
    recorder = ResultsRecorder(path, {}, lambda: None)
    recorder.add(one_run(), "w")
    for _ in range(40):
        gevent.sleep(0.1)
        with Results(path) as results:
            if results.ledger().scheduled:
                break
    with Results(path) as results:
        assert results.ledger() == Ledger({"scheduled": 1, "done": 1})
        assert (results.manifest["state"], results.manifest["load_state"]) == ("running", "running")
    recorder.close("interrupted", [])
    with Results(path) as results:
        assert (results.manifest["state"], results.manifest["load_state"]) == ("interrupted", "interrupted")


def faulty_batch(reason: str) -> StatsBatch:
    """A run whose check failed with a harness fault."""
    collector = Collector("w")
    stream = collector.schedule("fresh", RUN)
    collector.end(stream, WHOLE)
    collector.finalize(stream, [], fault=reason)
    return collector.take()


def test_harness_faults_add_up_over_processes_and_are_written_during_the_test(tmp_path: Path) -> None:
    path = tmp_path / "results.sqlite"
    recorder = ResultsRecorder(path, {}, lambda: None)
    for worker, reason in (("w", "on X"), ("v", "on Y"), ("v", "on X")):
        recorder.add(faulty_batch(reason), worker)
    recorder.add(one_run(), "w")
    recorder.flush()
    expected = {"harness fault on X": 2, "harness fault on Y": 1}
    with Results(path) as results:
        assert results.harness_faults == expected
    recorder.close("finished", [])
    assert recorder.summary_line() == (
        "streams: 4 scheduled = 4 done; 0 failed; violations: none; 3 streams "
        "were not judged because of a harness fault: on X (2); on Y (1)"
    )
    with Results(path) as results:
        assert results.harness_faults == expected
        assert results.ledger() == recorder.ledger == Ledger({"scheduled": 4, "done": 4})
        assert results.rate_counts() == RateCounts(judged=1, failed=0, runs=1, good=1)
        assert results.failure_reasons(9) == ([], 0)
        assert (results.kept_failed(), results.failures()) == (3, 0)
        assert sum(row.unjudged for row in results.streams()) == 3
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["harness"]["faults"]["reasons"] == expected


def test_the_manifest_of_another_process_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "results.sqlite"
    with ResultsWriter(path) as writer:
        writer.set_manifest(command="harness check", state="running")
    recorder = ResultsRecorder(path, {"command": "locust", "machine": {}}, lambda: None)
    recorder.close("finished", [])
    with Results(path) as results:
        assert results.manifest["command"] == "harness check"
        assert results.manifest["machine"] == {}
        assert results.manifest["load_state"] == "finished"
        assert results.manifest["state"] == "running"  # the suite may be at work yet
        assert "ended_at" not in results.manifest


def test_an_interrupted_test_can_be_started_and_finished_again(tmp_path: Path) -> None:
    path = tmp_path / "results.sqlite"
    with ResultsWriter(path) as writer:
        writer.set_manifest(state="running", load_state="running")
    ResultsRecorder(path, {}, lambda: None).close("finished", [])
    with Results(path) as results:
        assert results.manifest["state"] == results.manifest["load_state"] == "finished"
        assert results.manifest["ended_at"]


def running(worker: str, ended: int, open_streams: dict[str, int]) -> StatsBatch:
    """A batch of a worker that has ended this many fresh runs and has others open."""
    batch = StatsBatch(open=open_streams)
    batch.ledger[5, "fresh", "scheduled"] = ended
    batch.ledger[6, "fresh", "done"] = ended
    for journey, count in open_streams.items():
        batch.ledger[5, journey, "scheduled"] += count
    return batch


def test_open_streams_of_a_lost_worker_count_as_lost(tmp_path: Path) -> None:
    path = tmp_path / "results.sqlite"
    recorder = ResultsRecorder(path, {}, lambda: None)
    recorder.add(running("worker-0", 3, {"fresh": 2, "resume": 1}), "worker-0")
    recorder.add(running("worker-1", 4, {"fresh": 1}), "worker-1")
    recorder.add(StatsBatch(ledger=Counter({(7, "fresh", "done"): 1}), open={}), "worker-1")
    before = time.time()
    recorder.close("finished", ["worker-0", "worker-9"])
    assert recorder.ledger == Ledger({"scheduled": 11, "done": 8, "lost": 3})
    assert recorder.summary_line() == "streams: 11 scheduled = 8 done + 3 lost; 0 failed; violations: none"
    with Results(path) as results:
        assert results.ledger() == recorder.ledger
        assert results.ledger("resume") == Ledger({"scheduled": 1, "lost": 1})
        (at,) = [second for second, ledger in results.ledger_by_second().items() if ledger["lost"]]
        assert abs(at - before) < 60
        manifest = results.manifest
    assert manifest["workers_lost"] == ["worker-0", "worker-9"]
    assert manifest["counted_until"]["worker-9"] is None
    assert datetime.fromisoformat(manifest["counted_until"]["worker-0"]).timestamp() == pytest.approx(
        at, abs=2
    )


def test_open_streams_of_a_live_worker_do_not_count_as_lost(tmp_path: Path) -> None:
    path = tmp_path / "results.sqlite"
    recorder = ResultsRecorder(path, {}, lambda: None)
    recorder.add(StatsBatch(ledger=Counter({(5, "fresh", "scheduled"): 2}), open={"fresh": 1}), "worker-0")
    recorder.close("finished", [])
    with Results(path) as results:
        assert results.ledger().missing == 1


def test_the_file_of_a_test_that_was_killed_adds_up(tmp_path: Path) -> None:
    path = tmp_path / "results.sqlite"
    recorder = ResultsRecorder(path, {}, lambda: None)
    recorder.add(running("local", 3, {"fresh": 2}), "local")
    recorder.add(StatsBatch(ledger=Counter({(7, "fresh", "done"): 1}), open={"fresh": 1}), "local")
    deadline = time.monotonic() + 30
    with Results(path) as results:
        while not results.ledger().scheduled and time.monotonic() < deadline:
            gevent.sleep(0.1)
        assert results.ledger() == Ledger({"scheduled": 5, "done": 4, "in flight": 1})
    recorder.close("interrupted", [])


def test_warm_up_ends_at_the_next_whole_second(tmp_path: Path) -> None:
    for start_wall_ns, warmup_s, measured_from in (
        (1_790_000_000_000_000_000, 2.0, 1_790_000_002),
        (1_790_000_000_000_000_001, 2.0, 1_790_000_003),
        (1_790_000_000_600_000_000, 1.5, 1_790_000_003),
        (1_790_000_000_600_000_000, 0.0, None),
    ):
        path = tmp_path / f"{start_wall_ns}-{warmup_s}.sqlite"
        recorder = ResultsRecorder(path, {}, lambda: None)
        recorder.started(start_wall_ns, warmup_s)
        with Results(path) as results:  # at once: a test that is killed must say it as well
            assert results.measured_from == measured_from
            assert results.manifest.get("warmup_s") == (warmup_s or None)
        recorder.close("finished", [])


def test_it_keeps_at_most_keep_streams_rows(tmp_path: Path) -> None:
    path = tmp_path / "results.sqlite"
    recorder = ResultsRecorder(path, {}, lambda: None, keep_streams=2)
    for _ in range(5):
        recorder.add(one_run(), "w")
    recorder.close("finished", [])
    with Results(path) as results:
        assert results.sample() == (2, 5)
        assert results.ledger() == Ledger({"scheduled": 5, "done": 5})
        assert results.histogram("ttft_ms").count == 5


def test_without_a_file_it_still_counts() -> None:
    recorder = ResultsRecorder(None, {}, lambda: None)
    recorder.add(one_run(), "w")
    recorder.close("finished", [])
    assert recorder.ledger == Ledger({"scheduled": 1, "done": 1})
    assert recorder.summary_line() == "streams: 1 scheduled = 1 done; 0 failed; violations: none"


def test_the_summary_line_says_when_it_does_not_add_up() -> None:
    recorder = ResultsRecorder(None, {}, lambda: None)
    collector = Collector("w")
    collector.schedule("fresh", RUN)
    recorder.add(collector.take(), "w")
    recorder.totals.violations["ids.unique", "fresh"] = 2
    recorder.close("finished", [])
    assert recorder.summary_line() == (
        "streams: 1 scheduled = 0; THIS DOES NOT ADD UP: 1 missing; 0 failed; violations: ids.unique (2)"
    )


def test_a_file_that_cannot_be_written_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    recorder = ResultsRecorder(tmp_path / "file" / "results.sqlite", {}, lambda: None)
    recorder.add(one_run(), "w")
    recorder.close("finished", [])
    assert recorder.problem is not None
    assert "cannot create the results file" in recorder.problem


def test_two_tests_never_share_a_file(tmp_path: Path) -> None:
    assert free_file(tmp_path, first=True) == tmp_path / "results.sqlite"
    with ResultsWriter(tmp_path / "results.sqlite") as writer:
        writer.set_manifest(state="running")  # the conformance suite came first
    assert free_file(tmp_path, first=True) == tmp_path / "results.sqlite"
    for name in ("results.sqlite", "results-2.sqlite"):
        with ResultsWriter(tmp_path / name) as writer:
            writer.add_ledger("w", 1, "fresh", "scheduled")
    with pytest.raises(SettingsError, match="already holds a load test; choose a different directory"):
        free_file(tmp_path, first=True)
    assert free_file(tmp_path, first=False) == tmp_path / "results-3.sqlite"


def test_a_file_that_is_not_a_results_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "results.sqlite").write_text("diary")
    with pytest.raises(ResultsError):
        free_file(tmp_path, first=True)


def test_a_live_view_that_raises_is_switched_off_alone(caplog: pytest.LogCaptureFixture) -> None:
    called = []

    def call(listener: str) -> None:
        called.append(listener)
        if listener == "broken":
            raise RuntimeError("a bug")

    assert _notify(["first", "broken", "last"], call) == ["first", "last"]  # type: ignore[list-item, arg-type]
    assert called == ["first", "broken", "last"]
    assert "is switched off" in caplog.text
