from __future__ import annotations

import json
from pathlib import Path

import gevent
import pytest

from harness.load.books import Books, free_file
from harness.load.collector import Collector
from harness.load.delta import Delta
from harness.load.measure import RUN
from harness.results.ledger import Ledger
from harness.results.store import Results, ResultsError, ResultsWriter
from harness.settings import SettingsError
from tests.load.test_collector import WHOLE


def one_run() -> Delta:
    collector = Collector("w")
    stream = collector.schedule("fresh", RUN)
    collector.end(stream, WHOLE)
    collector.settle(stream, [])
    return collector.take()


def test_everything_is_in_the_file_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "new" / "results.sqlite"
    own = [one_run()]
    books = Books(path, {"command": "c", "state": "?"}, lambda: books.add(own.pop(), "late") if own else None)
    books.add(one_run(), "w")
    books.add(one_run(), "v")
    assert not books.closing
    books.close("finished", ["worker-9"])
    assert books.closing
    assert books.problem is None
    with Results(path) as results:
        assert results.ledger() == books.ledger == Ledger({"scheduled": 3, "done": 3})
        assert {row.worker for row in results.runs()} == {"w"}
        manifest = results.manifest
    assert manifest["state"] == "finished"
    assert manifest["receive_stamp"] == "kernel"
    assert (manifest["tokens"], manifest["coalesced_tokens"], manifest["workers_lost"]) == (
        6,
        0,
        ["worker-9"],
    )
    assert manifest["ended_at"]
    summary = json.loads((path.parent / "summary.json").read_text())
    assert summary["ledger"]["done"] == 3
    assert summary["metrics"]["ttft_ms"]["count"] == 3


def test_it_is_written_while_the_test_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "results.sqlite"
    books = Books(path, {}, lambda: None)
    books.add(one_run(), "w")
    for _ in range(40):
        gevent.sleep(0.1)
        with Results(path) as results:
            if results.ledger().scheduled:
                break
    with Results(path) as results:
        assert results.ledger() == Ledger({"scheduled": 1, "done": 1})
        assert results.manifest["state"] == "running"
    books.close("interrupted", [])
    with Results(path) as results:
        assert results.manifest["state"] == "interrupted"


def test_what_another_process_said_of_the_test_stays(tmp_path: Path) -> None:
    path = tmp_path / "results.sqlite"
    with ResultsWriter(path) as writer:
        writer.set_manifest(command="harness check", state="running")
    books = Books(path, {"command": "locust", "machine": {}}, lambda: None)
    books.close("finished", [])
    with Results(path) as results:
        assert results.manifest["command"] == "harness check"
        assert results.manifest["machine"] == {}


def test_without_a_file_it_still_counts() -> None:
    books = Books(None, {}, lambda: None)
    books.add(one_run(), "w")
    books.close("finished", [])
    assert books.ledger == Ledger({"scheduled": 1, "done": 1})
    assert books.sentence() == "streams: 1 scheduled = 1 done; 0 failed; violations: none"


def test_the_sentence_says_when_it_does_not_add_up() -> None:
    books = Books(None, {}, lambda: None)
    collector = Collector("w")
    collector.schedule("fresh", RUN)
    books.add(collector.take(), "w")
    books.violations["ids.unique"] = 2
    books.close("finished", [])
    assert books.sentence() == (
        "streams: 1 scheduled = 0; THIS DOES NOT ADD UP: 1 missing; 0 failed; violations: ids.unique (2)"
    )


def test_a_file_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    books = Books(tmp_path / "file" / "results.sqlite", {}, lambda: None)
    books.add(one_run(), "w")
    books.close("finished", [])
    assert books.problem is not None
    assert "cannot create the results file" in books.problem


def test_two_tests_never_share_a_file(tmp_path: Path) -> None:
    assert free_file(tmp_path, first=True) == tmp_path / "results.sqlite"
    with ResultsWriter(tmp_path / "results.sqlite") as writer:
        writer.set_manifest(state="running")  # the conformance suite came first
    assert free_file(tmp_path, first=True) == tmp_path / "results.sqlite"
    for name in ("results.sqlite", "results-2.sqlite"):
        with ResultsWriter(tmp_path / name) as writer:
            writer.add_ledger("w", 1, "fresh", "scheduled")
    with pytest.raises(SettingsError, match="holds an earlier load test; choose another directory"):
        free_file(tmp_path, first=True)
    assert free_file(tmp_path, first=False) == tmp_path / "results-3.sqlite"


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "results.sqlite").write_text("diary")
    with pytest.raises(ResultsError):
        free_file(tmp_path, first=True)
