import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from harness.results import writer as writing
from harness.results.histogram import Histogram
from harness.results.ledger import Ledger
from harness.results.reader import Results
from harness.results.records import CheckRecord, ExchangeRecord, ViolationRecord
from harness.results.schema import ResultsError
from harness.results.writer import ResultsWriter
from tests.results.files import FULL, RUN, of


def python(code, *arguments, **options):
    return subprocess.Popen([sys.executable, "-c", code, *map(str, arguments)], **options)


def test_everything_written_is_read_back(path):
    with ResultsWriter(path) as writer:
        writer.set_manifest(state="running", versions={"harness": "0.1.0"})
        writer.set_manifest(state="finished")
        writer.add_streams([RUN, FULL])
        writer.add_violation("ids.unique", "fresh", 5, "twice", {"event": 3})
        writer.count_violation("ids.unique", "fresh", "w1", 2)
        writer.count_violation("ids.unique", "replay", "w1")
        writer.add_checks(
            [
                CheckRecord(
                    id="auth.bad",
                    level="MUST",
                    verdict="fail",
                    detail="200",
                    duration_s=0.5,
                    evidence=[{"exchange": "x1", "event": None, "note": "see"}],
                )
            ]
        )
        writer.add_exchange("x1", "bad token", "first", {"curl": "curl", "events": []})
    with Results(path) as results:
        assert results.manifest == {"state": "finished", "versions": {"harness": "0.1.0"}}
        assert list(results.streams()) == [replace(FULL, id=2), replace(RUN, id=1)]
        example = ViolationRecord(
            requirement="ids.unique", journey="fresh", at_ns=5, detail="twice", evidence={"event": 3}, id=1
        )
        assert results.violations() == [example]
        assert results.violation_counts() == {"ids.unique": 3}
        assert results.violation_counts("replay") == {"ids.unique": 1}
        (check,) = results.checks()
        assert (check.verdict, check.duration_s) == ("fail", 0.5)
        assert check.evidence == [{"exchange": "x1", "event": None, "note": "see"}]
        exchange = ExchangeRecord(
            id="x1", scenario="bad token", label="first", document={"curl": "curl", "events": []}
        )
        assert results.exchange("x1") == exchange
        assert list(results.exchanges()) == [exchange]


def test_histograms_merge_with_stored_ones_and_are_read_by_second_and_journey(path):
    mine = of(1.0)
    with ResultsWriter(path) as writer:
        writer.add_histogram("ttft_ms", "fresh", 10, "w1", mine)
        mine.record(99.0)
        writer.commit()
        writer.add_histogram("ttft_ms", "fresh", 10, "w1", of(2.0))
        writer.add_histogram("ttft_ms", "fresh", 10, "w2", of(3.0))
        writer.add_histogram("ttft_ms", "replay", 12, "w1", of(4.0))
        writer.add_histogram("stall_ms", "fresh", 10, "w1", of(5.0))
        writer.add_histogram("resume_ms", "fresh", 10, "w1", Histogram())
    with Results(path) as results:
        assert results.metrics() == ["stall_ms", "ttft_ms"]
        assert results.journeys() == ["fresh", "replay"]
        assert (results.histogram("ttft_ms").count, results.histogram("ttft_ms").sum) == (4, 10.0)
        assert results.histogram("ttft_ms", "replay").sum == 4.0
        assert results.histogram("resume_ms").count == 0
        assert {second: h.sum for second, h in results.histograms_by_second("ttft_ms").items()} == {
            10: 6.0,
            12: 4.0,
        }
        assert list(results.histograms_by_second("ttft_ms", "replay")) == [12]


def test_ledger_and_failures_are_sums_of_deltas(path):
    with ResultsWriter(path) as writer:
        for worker in ("w1", "w2"):
            writer.add_ledger(worker, 10, "fresh", "scheduled", 2)
            writer.add_ledger(worker, 11, "fresh", "done")
            writer.commit()
            writer.add_ledger(worker, 11, "fresh", "done")
            writer.add_failures(worker, 11, "fresh")
            writer.add_failures(worker, 11, "fresh", 2)
        writer.add_ledger("w1", 11, "replay", "scheduled")
        writer.add_failures("w1", 12, "replay")
    with Results(path) as results:
        assert results.ledger() == Ledger({"scheduled": 5, "done": 4})
        assert results.ledger("replay") == Ledger({"scheduled": 1})
        assert results.ledger_by_second() == {
            10: Ledger({"scheduled": 4}),
            11: Ledger({"scheduled": 1, "done": 4}),
        }
        assert (results.failures(), results.failures("replay"), results.failures("conflict")) == (7, 1, 0)
        assert results.failures_by_second() == {11: 6, 12: 1}


def test_unknown_words_are_refused(path):
    with ResultsWriter(path) as writer:
        with pytest.raises(ValueError, match="unknown ledger outcome 'completed'"):
            writer.add_ledger("w", 1, "fresh", "completed")
        with pytest.raises(ValueError, match="unknown ledger outcome 'ok'"):
            writer.add_streams([replace(RUN, outcome="ok")])
        with pytest.raises(ValueError, match=r"auth.bad: unknown verdict 'passed'; use one of pass, fail"):
            writer.add_checks([CheckRecord(id="auth.bad", level="MUST", verdict="passed")])


def test_twenty_examples_a_requirement_are_kept_over_all_writers(path):
    with ResultsWriter(path) as one, ResultsWriter(path) as other:
        for number in range(15):
            one.add_violation("ids.unique", "fresh", number, "one")
            other.add_violation("ids.unique", "fresh", number, "other")
        other.add_violation("ids.present", "fresh", 0, "another requirement")
        one.commit()
        other.commit()
        for number in range(50):
            one.add_violation("ids.unique", "fresh", number, "late")
    with Results(path) as results:
        details = [row.detail for row in results.violations()]
        assert details == ["one"] * 15 + ["other"] * 5 + ["another requirement"]
        assert results.violation_counts() == {}


def test_a_later_verdict_or_exchange_of_the_same_id_replaces_the_earlier(path):
    with ResultsWriter(path) as writer:
        for verdict in ("inconclusive", "pass"):
            writer.add_checks([CheckRecord(id="a", level="MUST", verdict=verdict)])
            writer.add_exchange("x", "s", verdict, {})
    with Results(path) as results:
        assert [check.verdict for check in results.checks()] == ["pass"]
        assert [exchange.label for exchange in results.exchanges()] == ["pass"]
        with pytest.raises(ResultsError, match="no exchange with the id 'y'"):
            results.exchange("y")


def test_hostile_text_survives(path):
    lone, nul = "a\ud800b", "a\0b"
    with ResultsWriter(path) as writer:
        writer.add_streams(
            [replace(RUN, reason=lone, run_id=nul, idempotency_key="'); DROP TABLE streams; --ü")]
        )
        writer.add_violation("r", "fresh", 1, lone, {"data": lone})
        writer.add_checks([CheckRecord(id="c", level="MUST", verdict="fail", detail=lone)])
        writer.add_exchange("x", "s", "l", {"head": lone + nul + "\u2028</script>"})
    with Results(path) as results:
        (run,) = results.streams()
        assert (run.reason, run.run_id, run.idempotency_key) == (
            "a\\ud800b",
            nul,
            "'); DROP TABLE streams; --ü",
        )
        assert results.violations()[0].detail == results.checks()[0].detail == "a\\ud800b"
        assert results.violations()[0].evidence == {"data": lone}
        assert results.exchange("x").document == {"head": lone + nul + "\u2028</script>"}


def test_a_value_of_a_wrong_type_is_refused_not_stored_as_rubbish(path):
    writer = ResultsWriter(path)
    writer.add_streams([replace(RUN, events=np.int64(3))])
    with pytest.raises(ResultsError, match="cannot store BLOB value in INTEGER column"):
        writer.close()
    with Results(path) as results:
        assert list(results.streams()) == []


def test_rows_are_committed_by_themselves_after_a_second(path, monkeypatch):
    now = 100.0
    monkeypatch.setattr(writing.time, "monotonic", lambda: now)
    with ResultsWriter(path) as writer, Results(path) as results:
        writer.add_streams([RUN])
        now += 0.99
        writer.add_streams([RUN])
        assert len(list(results.streams())) == 0
        now += 0.01
        writer.add_streams([RUN])
        assert len(list(results.streams())) == 3
        writer.add_streams([RUN] * (writing.COMMIT_AT_ROWS - 1))
        assert len(list(results.streams())) == 3
        writer.add_streams([RUN])
        assert len(list(results.streams())) == 3 + writing.COMMIT_AT_ROWS


def test_pending_rows_take_no_lock(path):
    with ResultsWriter(path) as one, ResultsWriter(path) as other:
        one.add_streams([RUN])
        started = time.monotonic()
        other.add_streams([RUN])
        other.commit()
        assert time.monotonic() - started < 5


def test_a_failed_commit_loses_nothing(path):
    with ResultsWriter(path) as writer:
        blocker = sqlite3.connect(path, isolation_level=None)
        blocker.execute("BEGIN IMMEDIATE")
        writer._db.execute("PRAGMA busy_timeout = 10")
        writer.add_streams([RUN])
        with pytest.raises(ResultsError, match="database is locked"):
            writer.commit()
        blocker.execute("ROLLBACK")
        blocker.close()
        writer.commit()
    with Results(path) as results:
        assert len(list(results.streams())) == 1


def test_leaving_by_an_exception_commits(path):
    def interrupted():
        with ResultsWriter(path) as writer:
            writer.add_streams([RUN])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    with Results(path) as results:
        assert len(list(results.streams())) == 1


def test_the_last_writer_leaves_a_single_plain_file_and_reading_adds_none(path):
    one, other = ResultsWriter(path), ResultsWriter(path)
    one.add_streams([RUN])
    other.add_streams([RUN])
    one.close()
    assert (path.parent / "results.sqlite-wal").exists()
    other.close()
    with Results(path) as results:
        assert len(list(results.streams())) == 2
        assert [entry.name for entry in path.parent.iterdir()] == ["results.sqlite"]
    with ResultsWriter(path) as writer:
        writer.add_streams([RUN])
    with Results(path) as results:
        assert len(list(results.streams())) == 3


KILLED = """
import sys, time
from harness.results.histogram import Histogram
from harness.results.records import CheckRecord, StreamRecord
from harness.results.writer import ResultsWriter
writer = ResultsWriter(sys.argv[1])
histogram = Histogram()
number = 0
while True:
    for _ in range(10):
        number += 1
        histogram = Histogram()
        histogram.record(number)
        writer.add_histogram("ttft_ms", "fresh", number // 100, "w", histogram)
        writer.add_ledger("w", 1, "fresh", "scheduled")
        writer.add_streams([StreamRecord(journey="fresh", step="run", worker="w", intended_ns=number, outcome="done")])
    writer.commit()
    print(number, flush=True)
"""


def test_a_killed_writer_leaves_a_readable_file_with_all_that_was_committed(path):
    with python(KILLED, path, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        for _ in range(40):
            committed = int(child.stdout.readline())
        os.kill(child.pid, signal.SIGKILL)
        committed = int((child.stdout.read().split() or [committed])[-1])
        assert child.wait(10) == -signal.SIGKILL
    assert (path.parent / "results.sqlite-wal").stat().st_size > 0
    with Results(path) as results:
        numbers = [run.intended_ns for run in results.streams()]
        # The commit after the last report may or may not have happened, but only as a whole.
        assert numbers in (list(range(1, committed + 1)), list(range(1, committed + 11)))
        assert results.ledger().scheduled == results.histogram("ttft_ms").count == len(numbers)
    with ResultsWriter(path) as writer:
        writer.add_streams([RUN])
    with Results(path) as results:
        assert len(list(results.streams())) == len(numbers) + 1


WRITING = """
import sys
from harness.results.histogram import Histogram
from harness.results.records import StreamRecord
from harness.results.writer import ResultsWriter
path, worker = sys.argv[1:]
sys.stdin.readline()
for _ in range(5):
    with ResultsWriter(path) as writer:
        for number in range(40):
            row = StreamRecord(journey="fresh", step="run", worker=worker, intended_ns=number, outcome="done")
            writer.add_streams([row])
            writer.add_ledger("shared", 1, "fresh", "scheduled")
            writer.count_violation("ids.unique", "fresh", "shared")
            histogram = Histogram()
            histogram.record(2.0)
            writer.commit()
            writer.add_histogram("ttft_ms", "fresh", 1, "shared", histogram)
            writer.commit()
"""


def test_two_processes_write_at_once_also_while_the_file_is_made(path):
    # Each opens and closes it five times, so that creating, entering and leaving WAL mode overlap as well. A
    # histogram alone makes a transaction that reads before it writes.
    children = [
        python(WRITING, path, worker, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for worker in "ab"
    ]
    for child in children:
        assert child.stdin is not None
        child.stdin.write("go\n")
        child.stdin.flush()
    for child in children:
        assert child.communicate(timeout=60)[1] == ""
        assert child.returncode == 0
    with Results(path) as results:
        workers = [run.worker for run in results.streams()]
        assert (workers.count("a"), workers.count("b"), len(workers)) == (200, 200, 400)
        assert results.ledger().scheduled == 400
        assert results.violation_counts() == {"ids.unique": 400}
        assert (results.histogram("ttft_ms").count, results.histogram("ttft_ms").sum) == (400, 800.0)
    assert [entry.name for entry in path.parent.iterdir()] == ["results.sqlite"]


def test_a_writer_does_not_cross_a_fork(path, monkeypatch):
    with ResultsWriter(path) as writer:
        writer.add_streams([RUN])
        with monkeypatch.context() as patch:
            patch.setattr(writing.os, "getpid", lambda: -1)
            with pytest.raises(RuntimeError, match="cannot be used after a fork"):
                writer.commit()


def test_a_place_that_cannot_be_written_is_one_sentence(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ResultsError, match="cannot create the results file"):
        ResultsWriter(tmp_path / "file" / "results.sqlite")
    with pytest.raises(ResultsError, match="cannot create the results file"):
        ResultsWriter(tmp_path)
    (tmp_path / "text").write_text("something of the user's" * 100)
    with pytest.raises(ResultsError, match="cannot write the results file"):
        ResultsWriter(tmp_path / "text")


def streams_of(path):
    with Results(path) as results:
        return list(results.streams())


def test_a_large_test_keeps_a_sample_of_its_rows_and_says_of_how_many(path):
    failed = replace(RUN, outcome="truncated", reason="gone")
    with ResultsWriter(path, keep_streams=10) as writer:
        for number in range(300):
            writer.add_streams([replace(RUN, intended_ns=number)])
            if number % 20 == 0:
                writer.add_streams([failed])
                writer.commit()
                with Results(path) as results:
                    assert results.sample() == (min(10, number + number // 20 + 2), number + number // 20 + 2)
    rows = streams_of(path)
    assert Counter(row.outcome for row in rows) == {"done": 5, "truncated": 5}
    with Results(path) as results:
        assert results.sample() == (10, 315)
        assert (results.manifest["streams_seen"], results.manifest["streams_kept"]) == (315, 10)


def test_every_row_of_a_file_is_as_likely_to_stay(path):
    times = Counter()
    for number in range(100):
        file = path.with_name(f"{number}.sqlite")
        with ResultsWriter(file, keep_streams=4) as writer:
            for row in range(16):
                writer.add_streams([replace(RUN, intended_ns=row)])
                if row % 5 == 0:
                    writer.commit()
        times.update(row.intended_ns for row in streams_of(file))
    assert sum(times.values()) == 400
    # Expected 25 each; the standard deviation is sqrt(100 * 1/4 * 3/4) = 4.3.
    assert all(abs(times[row] - 25) < 5.5 * 4.3 for row in range(16))


def test_a_sample_goes_on_where_an_earlier_writer_ended_and_zero_keeps_none(path):
    for _ in range(3):
        with ResultsWriter(path, keep_streams=5) as writer:
            writer.add_streams([RUN] * 4)
    with Results(path) as results:
        assert results.sample() == (5, 12)
    none = path.with_name("none.sqlite")
    with ResultsWriter(none, keep_streams=0) as writer:
        writer.add_streams([RUN] * 4)
    assert streams_of(none) == []
    with Results(none) as results:
        assert results.sample() == (0, 4)


def test_a_commit_that_fails_trims_no_count(path):
    with ResultsWriter(path, keep_streams=3) as writer:
        writer.add_streams([RUN] * 3)
        writer.commit()
        writer.add_streams([replace(RUN, events=np.int64(3))] + [RUN] * 3)
        with pytest.raises(ResultsError, match="cannot store BLOB"):
            writer.commit()
        assert len(streams_of(path)) == 3
        writer._pending.streams.clear()
        writer._sample.ordinary = 3
        writer.add_streams([RUN] * 9)
    assert len(streams_of(path)) == 3


def test_a_transaction_is_committed_as_a_whole(path, monkeypatch):
    now = 100.0
    monkeypatch.setattr(writing.time, "monotonic", lambda: now)
    with ResultsWriter(path) as writer, Results(path) as results:
        now += 60
        with writer.transaction():
            writer.add_ledger("w", 1, "fresh", "scheduled")
            with writer.transaction():
                writer.add_streams([RUN] * (writing.COMMIT_AT_ROWS + 1))
            assert results.ledger().scheduled == 0
        assert (results.ledger().scheduled, len(list(results.streams()))) == (1, writing.COMMIT_AT_ROWS + 1)


def test_merged_histograms_are_stored_in_buckets(path):
    small = Histogram()
    small.record(3.0)
    with ResultsWriter(path) as writer:
        writer.add_histogram("ttft_ms", "fresh", 1, "w", small)
    with sqlite3.connect(path) as db:
        (blob,) = db.execute("SELECT histogram FROM histograms").fetchone()
    db.close()
    assert blob[:1] != b"\x02"


def test_examples_of_a_violation_wait_in_bounded_memory(path):
    with ResultsWriter(path) as writer:
        for number in range(1000):
            writer.add_violation("ids.unique", "fresh", number, "twice")
        assert len(writer._pending.violations["ids.unique"]) == 20


def test_what_is_not_json_is_not_written(path):
    with ResultsWriter(path) as writer, pytest.raises(ValueError, match="not JSON compliant"):
        writer.add_violation("ids.unique", "fresh", 1, "twice", {"value": float("nan")})


def test_functions_in_the_schema_of_a_file_are_not_trusted(path):
    with ResultsWriter(path) as writer:
        assert writer._db.execute("PRAGMA trusted_schema").fetchone() == (0,)


@pytest.mark.parametrize("replaced", [False, True])
def test_a_file_that_is_removed_or_replaced_meanwhile_is_an_error(path, replaced):
    writer = ResultsWriter(path)
    path.unlink()
    if replaced:
        path.touch()
    writer.add_ledger("w", 1, "fresh", "scheduled", 1)
    with pytest.raises(ResultsError, match="removed or replaced during the test"):
        writer.close()
