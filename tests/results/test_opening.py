"""What a connection to a results file is not allowed to do."""

import sqlite3

import pytest

from harness.contract.rules.rule import Level
from harness.results.opening import limit_work, open_results
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
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        database.execute("DELETE FROM manifest")


def test_a_statement_without_an_end_is_interrupted(database):
    limit_work(database, -400_000)  # as for a file of a few bytes, but sooner
    with pytest.raises(sqlite3.OperationalError, match="interrupted"):
        database.execute(ENDLESS).fetchall()


def test_the_limit_is_one_of_each_statement(path):
    ResultsWriter(path).close()
    with Results(path) as results:
        with pytest.raises(ResultsError, match="reading it would not end"):
            list(results._database.rows(ENDLESS))
        assert results.manifest == {}


def test_the_levels_of_a_results_file_are_those_of_requirements() -> None:
    assert tuple(map(str, Level)) == LEVELS
