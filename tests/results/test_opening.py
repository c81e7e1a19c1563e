"""What a connection to a results file is not allowed to do."""

import sqlite3
from contextlib import closing

import pytest

from harness.contract.rules.rule import Level
from harness.results.opening import limit_work, open_results, restrict
from harness.results.reader import Results
from harness.results.records import LEVELS
from harness.results.schema import CELL_BYTES, ResultsError
from harness.results.writer import ResultsWriter

ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"


@pytest.fixture
def database(path):
    ResultsWriter(path).close()
    opened = open_results(path)
    yield opened
    opened.close()


def test_its_settings(database):
    settings = {"trusted_schema": 0, "query_only": 1, "cell_size_check": 1, "mmap_size": 0}
    assert {name: next(iter(database.execute(f"PRAGMA {name}")), (0,))[0] for name in settings} == settings
    assert database.getlimit(sqlite3.SQLITE_LIMIT_LENGTH) == CELL_BYTES
    assert database.getlimit(sqlite3.SQLITE_LIMIT_ATTACHED) == 0
    for query_only in ("ON", "OFF"):  # the file is opened to be read only, too
        database.execute(f"PRAGMA query_only = {query_only}")
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            database.execute("DELETE FROM manifest")


def test_a_file_is_not_mapped_whatever_sqlite_was_built_with(path):
    ResultsWriter(path).close()
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("PRAGMA mmap_size = 1000000").fetchone() == (1_000_000,)
        restrict(database, 0)
        assert database.execute("PRAGMA mmap_size").fetchone() == (0,)


def test_no_more_of_a_schema_is_read_than_a_results_file_has(path, monkeypatch):
    ResultsWriter(path).close()
    monkeypatch.setattr("harness.results.opening._SCHEMA_ROWS", 3)
    with pytest.raises(ResultsError, match="its tables are not complete"):
        open_results(path)


def test_two_tables_on_one_page_are_refused_before_their_content_is_checked(path):
    """A writer does not check that."""
    ResultsWriter(path).close()
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA writable_schema = ON")
        database.execute(
            "UPDATE sqlite_master SET rootpage = (SELECT rootpage FROM sqlite_master WHERE name = 'streams') "
            "WHERE name = 'ledger'"
        )
        database.commit()
    with pytest.raises(ResultsError, match="its tables are not complete"):
        ResultsWriter(path)


def test_a_statement_without_an_end_is_interrupted(database):
    limit_work(database, -400_000)  # as for a file of a few bytes, but sooner
    with pytest.raises(sqlite3.OperationalError, match="interrupted"):
        database.execute(ENDLESS).fetchall()


def test_the_limit_is_one_of_each_statement(path, monkeypatch):
    ResultsWriter(path).close()
    monkeypatch.setattr("harness.results.opening._STEPS", 2_000_000)
    with Results(path) as results:
        with pytest.raises(ResultsError, match="reading it would not end"):
            list(results._database.rows(ENDLESS))
        some = ENDLESS.replace("FROM n)", "FROM n LIMIT 20000)")
        assert list(results._database.rows(some)) == [(20_000,)]
        assert results.manifest == {}


def test_the_levels_of_a_results_file_are_those_of_requirements() -> None:
    assert tuple(map(str, Level)) == LEVELS
