import sqlite3
from dataclasses import replace

import pytest

from harness.results.reader import Results
from harness.results.schema import SCHEMA_VERSION, ResultsError
from harness.results.writer import ResultsWriter
from tests.results.files import FULL, RUN


@pytest.mark.parametrize(("content", "kind"), [(b"<html>" * 200, "not an SQLite database"), (b"", "empty")])
def test_a_file_of_another_kind_is_refused(tmp_path, content, kind):
    path = tmp_path / "results.sqlite"
    path.write_bytes(content)
    with pytest.raises(ResultsError, match=rf"not a results file \({kind}\)"):
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


@pytest.mark.parametrize("version", [1, 2, SCHEMA_VERSION + 1])
def test_a_different_schema_version_is_refused(path, version):
    ResultsWriter(path).close()
    with sqlite3.connect(path) as db:
        db.execute(f"PRAGMA user_version = {version}")
    db.close()
    before = path.read_bytes()
    known = {
        Results: "reads only versions 3, 4 and 5",
        ResultsWriter: f"writes only version {SCHEMA_VERSION}",
    }
    for opening, what in known.items():
        message = (
            f"schema version {version} and this harness {what}; run the test again, or read the file with the harness "
            "version that wrote it"
        )
        with pytest.raises(ResultsError, match=message):
            opening(path)
    assert path.read_bytes() == before


def test_a_file_with_tables_gets_no_second_set(path):
    ResultsWriter(path).close()
    with ResultsWriter(path) as writer:
        writer.add_ledger("w", 1, "fresh", "done")
    with Results(path) as results:
        assert results.ledger()["done"] == 1


def test_files_of_the_version_before_have_no_trace_ids(path):
    """Without traces, and with the words that this version had when it was written."""
    with ResultsWriter(path) as writer:
        writer.add_streams([RUN, FULL])
    with sqlite3.connect(path) as db:
        db.execute("ALTER TABLE streams DROP COLUMN trace_id")
        db.execute("PRAGMA user_version = 4")
    db.close()
    before = path.read_bytes()
    with Results(path) as results:
        assert results.schema_version == 4
        assert list(results.streams()) == [replace(FULL, id=2, trace_id=None), replace(RUN, id=1)]
        assert [row.run_id for row in results.longest_streams(1)] == ["r"]
    with pytest.raises(ResultsError, match="writes only version 5"):
        ResultsWriter(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("trace_id", ["", "0" * 31, "0" * 31 + "F", "0" * 31 + '"', "javascript:alert(1)"])
def test_a_trace_id_is_32_hexadecimal_digits(path, trace_id):
    with ResultsWriter(path) as writer:
        writer.add_streams([replace(RUN, trace_id=trace_id)])
    with pytest.raises(ResultsError, match=r"a value of streams\.trace_id is impossible"):
        Results(path)
