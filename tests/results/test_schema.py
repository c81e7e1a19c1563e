import sqlite3

import pytest

from harness.results.ledger import Ledger
from harness.results.rate_counts import RateCounts
from harness.results.reader import Results
from harness.results.records import CheckRecord
from harness.results.schema import ResultsError
from harness.results.writer import ResultsWriter
from tests.results.files import RUN, of_version_1


@pytest.mark.parametrize(("content", "what"), [(b"<html>" * 200, "no SQLite database"), (b"", "it is empty")])
def test_a_file_of_another_kind_is_refused(tmp_path, content, what):
    path = tmp_path / "results.sqlite"
    path.write_bytes(content)
    with pytest.raises(ResultsError, match=what):
        Results(path)
    assert path.read_bytes() == content


def test_another_programs_database_is_neither_read_nor_written(tmp_path):
    path = tmp_path / "results.sqlite"
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE runs (id)")
        other.execute("PRAGMA user_version = 1")
    other.close()
    before = path.read_bytes()
    for opening in (Results, ResultsWriter):
        with pytest.raises(ResultsError, match="another program's database"):
            opening(path)
    assert path.read_bytes() == before


def test_a_newer_schema_is_refused_by_name_of_both_versions(path):
    ResultsWriter(path).close()
    with sqlite3.connect(path) as newer:
        newer.execute("PRAGMA user_version = 7")
    newer.close()
    for opening in (Results, ResultsWriter):
        with pytest.raises(ResultsError, match="schema version 7, and this harness knows up to version 2"):
            opening(path)


def check_version_1(path):
    with Results(path) as results:
        assert results.ledger() == Ledger({"scheduled": 2, "done": 2})
        assert results.rate_counts() == RateCounts(2, 1, None, None)
        assert (results.processes(), results.measured_from, results.sample()) == ([], None, (1, 1))
        assert results.histogram("ttft_ms").sum == 5.0
        assert [row.outcome for row in results.streams()] == ["done"]
        assert results.tested


def test_a_file_of_the_first_version_is_read_as_it_is(path):
    of_version_1(path)
    before = path.read_bytes()
    check_version_1(path)
    with Results(path) as results:
        assert results.rate_counts_by_second() == {}
    assert path.read_bytes() == before


def test_a_writer_brings_a_file_of_the_first_version_up_to_date(path):
    of_version_1(path)
    with ResultsWriter(path) as writer:
        writer.add_checks([CheckRecord(id="auth.bad", level="MUST", verdict="pass")])
    check_version_1(path)
    with ResultsWriter(path, keep_runs=1) as writer:
        writer.add_streams([RUN] * 3)
        writer.set_open("w", {"fresh": 1})
    with Results(path) as results:
        assert results.sample() == (1, 4)
        assert results.ledger()["in flight"] == 1
