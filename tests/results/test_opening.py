"""What a connection to a results file is not allowed to do."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import pytest

from harness.contract.rules.rule import Level
from harness.results import opening
from harness.results.opening import claim, create, limit_work, open_results, restrict
from harness.results.reader import Results
from harness.results.records import LEVELS
from harness.results.schema import CELL_BYTES, ResultsError
from harness.results.writer import ResultsWriter

ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"


@pytest.fixture
def path(path):
    path.parent.mkdir()
    return path


@pytest.fixture
def database(path):
    ResultsWriter(path).close()
    opened = open_results(path)
    yield opened
    opened.close()


def test_its_settings(database):
    settings = {"trusted_schema": 0, "query_only": 1, "cell_size_check": 1, "mmap_size": 0}
    assert {name: next(iter(database.execute(f"PRAGMA {name}")), (0,))[0] for name in settings} == settings
    limits = {
        sqlite3.SQLITE_LIMIT_LENGTH: CELL_BYTES,
        sqlite3.SQLITE_LIMIT_SQL_LENGTH: 100_000,
        sqlite3.SQLITE_LIMIT_ATTACHED: 0,
        sqlite3.SQLITE_LIMIT_TRIGGER_DEPTH: 1,
        sqlite3.SQLITE_LIMIT_WORKER_THREADS: 0,
    }
    assert {category: database.getlimit(category) for category in limits} == limits
    for query_only in ("ON", "OFF"):  # the file is opened to be read only, too
        database.execute(f"PRAGMA query_only = {query_only}")
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            database.execute("DELETE FROM manifest")


def test_a_file_is_not_mapped_and_no_thread_is_started_whatever_sqlite_was_built_with(path):
    ResultsWriter(path).close()
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("PRAGMA mmap_size = 1000000").fetchone() == (1_000_000,)
        database.setlimit(sqlite3.SQLITE_LIMIT_WORKER_THREADS, 4)
        restrict(database, 0)
        assert database.execute("PRAGMA mmap_size").fetchone() == (0,)
        assert database.getlimit(sqlite3.SQLITE_LIMIT_WORKER_THREADS) == 0


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


def test_opening_itself_is_bounded(path, monkeypatch):
    ResultsWriter(path).close()
    for name, value in (("_STEPS", 0), ("_STEPS_PER_BYTE", 0), ("_STEPS_PER_CALL", 1)):
        monkeypatch.setattr(opening, name, value)
    with pytest.raises(sqlite3.OperationalError, match="interrupted"):
        open_results(path)
    with pytest.raises(ResultsError, match="reading it would not end"):
        Results(path)


def test_a_large_file_may_take_more_work(database, monkeypatch):
    monkeypatch.setattr(opening, "_STEPS", 0)
    some = ENDLESS.replace("FROM n)", "FROM n LIMIT 20000)")
    limit_work(database, 100_000)
    assert database.execute(some).fetchall() == [(20_000,)]
    limit_work(database, 100)
    with pytest.raises(sqlite3.OperationalError, match="interrupted"):
        database.execute(some).fetchall()


_RENAMED = "UPDATE sqlite_master SET {} WHERE name = 'failures'"
FOREIGN = {
    "a view": ("CREATE VIEW extra AS SELECT 1", "its view extra does not"),
    "a trigger": (
        "CREATE TRIGGER extra AFTER INSERT ON ledger BEGIN SELECT 1; END",
        "its trigger extra does not",
    ),
    "an index": ("CREATE INDEX extra ON ledger (count)", "its index extra does not"),
    "a table": ("CREATE TABLE extra (a)", "its table extra does not"),
    "a long name": (f"CREATE TABLE {'x' * 500} (a)", f"its table {'x' * 80} does not"),
    "a name for a terminal": ('CREATE TABLE "\x1b[31m" (a)', r"its table \\x1b\[31m does not"),
    "a view in place of a table": (
        "DROP TABLE failures; CREATE VIEW failures AS SELECT * FROM ledger",
        "its view failures does not",
    ),
    "a table of other columns": (
        "DROP TABLE failures; CREATE TABLE failures (worker TEXT)",
        "its table failures does not",
    ),
    "another kind": (_RENAMED.format("type = 'remedy; call us'"), "its entry failures does not"),
    "an entry of another table": (_RENAMED.format("tbl_name = 'ledger'"), "its table failures does not"),
    "a name that is not text": (_RENAMED.format("name = x'41ff'"), "does not belong to one"),
    "a table that is missing": ("DROP TABLE failures", "its tables are not complete"),
    "a table twice": (
        "INSERT INTO sqlite_master SELECT type, name, tbl_name, rootpage + 1000, sql FROM sqlite_master "
        "WHERE name = 'failures'",
        "its tables are not complete",
    ),
}


@pytest.mark.parametrize(("statements", "clause"), FOREIGN.values(), ids=FOREIGN)
def test_a_schema_with_anything_else_is_refused(path, statements, clause):
    ResultsWriter(path).close()
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA writable_schema = ON")
        database.executescript(statements)
    with closing(sqlite3.connect(path)) as opened:
        opened.execute("PRAGMA writable_schema = ON")  # SQLite itself refuses some of them
        with pytest.raises(ResultsError, match=clause) as caught:
            opening.require_schema(opened, path)
    assert len(str(caught.value)) < len(str(path)) + 300
    with pytest.raises(ResultsError):
        Results(path)


def test_a_file_that_cannot_be_opened_leaves_no_descriptor(path):
    ResultsWriter(path).close()
    with closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE extra (a)")
    before = len(list(Path("/proc/self/fd").iterdir()))
    kept = []
    for _ in range(3):
        with pytest.raises(ResultsError) as caught:
            open_results(path)
        kept.append(caught.value)  # its traceback refers to the connection
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_database_left_in_wal_mode_is_read_without_a_file_beside_it(path, monkeypatch):
    ResultsWriter(path).close()
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA journal_mode = WAL")
    assert list(path.parent.iterdir()) == [path]
    with Results(path) as results:
        assert results.manifest == {}
        assert list(path.parent.iterdir()) == [path]

    def no_permission(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(Path, "open", no_permission)
    Results(path).close()  # what SQLite says counts


def test_a_locked_file_is_not_waited_for_without_end(path, monkeypatch):
    ResultsWriter(path).close()
    monkeypatch.setattr(opening, "LOCKED_TIMEOUT_S", 0.1)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(ResultsError, match="another process has locked the results file"):
            Results(path)


def test_a_value_that_is_too_large_is_a_sentence(path, monkeypatch):
    with ResultsWriter(path) as writer:
        writer.set_manifest(text="x" * 3000)
    monkeypatch.setitem(opening._LIMITS, sqlite3.SQLITE_LIMIT_LENGTH, 2000)
    with pytest.raises(ResultsError, match="one of its values has more than 32 MiB"):
        Results(path)


def test_a_file_that_is_removed_stays_readable(path):
    with ResultsWriter(path) as writer:
        writer.set_manifest(text="x")
    with Results(path) as results:
        path.unlink()
        assert results.manifest == {"text": "x"}


@pytest.mark.parametrize(("name", "reason"), [("a\0b", "null"), ("x" * 300, "File name too long")])
def test_a_name_that_no_file_can_have_is_a_sentence(tmp_path, name, reason):
    with pytest.raises(ResultsError, match=f"cannot read the results file .*{reason}"):
        open_results(tmp_path / name)


def test_each_file_is_checked_once_until_it_changes(path, monkeypatch):
    checked = []
    monkeypatch.setattr(opening, "value_problem", lambda database: checked.append(1) or "")
    monkeypatch.setattr(opening, "_CHECKED_AT_MOST", 2)
    opening._checked.clear()
    paths = [path.with_name(f"{number}.sqlite") for number in range(4)]
    for one in paths:
        ResultsWriter(one).close()
        open_results(one).close()
        open_results(one).close()
    assert len(checked) == 4
    assert len(opening._checked) == 2
    with ResultsWriter(paths[-1]) as writer:
        writer.set_manifest(text="new")
    open_results(paths[-1]).close()
    assert len(checked) == 5


FIELDS = ("st_dev", "st_ino", "st_size", "st_mtime_ns", "st_ctime_ns")


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("suffix", ["", "-wal"])
def test_a_file_that_differs_in_anything_is_checked_again(path, monkeypatch, field, suffix):
    def identity(**changed: int) -> tuple[object, ...]:
        def stat(one: Path) -> SimpleNamespace:
            return SimpleNamespace(
                **{**dict.fromkeys(FIELDS, 1), **(changed if one.name == path.name + suffix else {})}
            )

        monkeypatch.setattr(Path, "stat", stat)
        return opening._identity(path)

    assert identity() == identity()
    assert identity() != identity(**{field: 2})


@pytest.mark.parametrize("suffix", ["-wal", "-journal", "-shm"])
def test_what_is_beside_a_results_file_is_a_file_too(path, suffix):
    """SQLite would write through a link, and wait for a pipe without end."""
    sidecar = path.with_name(f"{path.name}{suffix}")
    victim = path.with_name("victim")
    victim.write_bytes(b"kept")
    for make, what in (
        (lambda: sidecar.symlink_to(victim), "a link"),
        (lambda: os.mkfifo(sidecar), "a named pipe"),
    ):
        ResultsWriter(path).close()
        make()
        for act in (open_results, create):
            with pytest.raises(ResultsError, match=f"{suffix}: it is {what}, not a file; remove it"):
                act(path)
        path.unlink()
        with pytest.raises(ResultsError, match=f"{suffix} is left from an earlier results file"):
            claim(path)
        sidecar.unlink()
    assert victim.read_bytes() == b"kept"


def test_the_size_of_a_file_includes_what_is_beside_it(path):
    path.write_bytes(b"x" * 10)
    path.with_name(f"{path.name}-wal").write_bytes(b"x" * 100)
    assert opening._size_of(path) == 110


def test_of_two_tests_that_begin_at_once_one_gets_the_file(path, monkeypatch):
    claim(path)
    path.with_name(f"{path.name}-wal").touch()  # the other one writes already
    with pytest.raises(FileExistsError):
        claim(path)
    create(path)  # a second process of the same test
    path.with_name(f"{path.name}-wal").unlink()
    path.unlink()

    def late(one: Path) -> None:
        one.touch()
        raise FileExistsError

    monkeypatch.setattr(opening, "claim", late)
    create(path)


def test_a_results_file_is_not_created_through_a_link_or_in_a_pipe(path):
    path.symlink_to("elsewhere")
    with pytest.raises(ResultsError, match="it is a link, not a file"):
        create(path)
    with pytest.raises(FileExistsError):
        claim(path)
    assert not path.with_name("elsewhere").exists()
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(ResultsError, match="it is a named pipe, not a file"):
        create(path)
