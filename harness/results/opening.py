"""Opens a results file, which may be damaged, or made by an attacker.

Before any other query, the file must have exactly the tables of this schema: a view, a trigger or a virtual table in
place of a table would run what its author wrote. Then SQLite checks its pages and the types of its values, and
`stored_values` checks the values. All work is bounded: a statement may take work in proportion to the file's size, and
a cell may have CELL_BYTES.
"""

from __future__ import annotations

import os
import sqlite3
import stat
from collections import OrderedDict
from contextlib import closing, suppress
from functools import lru_cache
from pathlib import Path

from harness.file_kinds import kind_problem
from harness.results.schema import (
    CELL_BYTES,
    OWN_INDEXES,
    TABLES_OF,
    ResultsError,
    readable_version,
)
from harness.results.stored_values import value_problem

LOCKED_TIMEOUT_S = 10.0
"""How long to wait for a process that has locked the file. Writers of this program lock it for milliseconds."""

SQLITE_PROBLEMS = (sqlite3.Error, UnicodeDecodeError)
"""What SQLite raises for a file that it cannot read: its message may contain bytes of the file, which are not text."""

SIDECARS = ("-wal", "-journal", "-shm")
"""Suffixes of the files that SQLite keeps next to a database."""

_STEPS_PER_CALL = 10_000
_STEPS = 50_000_000
_STEPS_PER_BYTE = 100
"""A statement may take this many steps of SQLite's virtual machine; a full scan takes less than one per byte."""

_SCHEMA_ROWS = 100
_WAL = 2  # the file format version of a database in WAL mode
_LIMITS = {
    sqlite3.SQLITE_LIMIT_LENGTH: CELL_BYTES,
    sqlite3.SQLITE_LIMIT_SQL_LENGTH: 100_000,
    sqlite3.SQLITE_LIMIT_ATTACHED: 0,
    sqlite3.SQLITE_LIMIT_TRIGGER_DEPTH: 1,
    sqlite3.SQLITE_LIMIT_WORKER_THREADS: 0,
}
_CHECKED_AT_MOST = 64
_checked: OrderedDict[tuple[object, ...], None] = (
    OrderedDict()
)  # files that passed, so that each is checked once


def open_results(path: Path) -> sqlite3.Connection:
    """Open a results file to read it.

    Raises ResultsError for a file that is missing, is not a results file, or contains what no results file contains,
    and sqlite3.Error for one that SQLite cannot read.
    """
    size = _size_of(path)
    # A database that its last writer left in WAL mode can only be read in a folder where its reader can write.
    fixed = "&immutable=1" if _is_left_in_wal(path) else ""
    database = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=ro{fixed}",
        uri=True,
        timeout=LOCKED_TIMEOUT_S,
        isolation_level=None,
    )
    try:
        restrict(database, size)
        database.execute("PRAGMA query_only = ON")
        require_schema(database, path)
        _check_content(database, path)
    except BaseException:
        database.close()
        raise
    return database


def restrict(database: sqlite3.Connection, size: int) -> None:
    """Take from a connection what a results file needs none of, and bound its work. size: of the file, in bytes."""
    for category, limit in _LIMITS.items():
        database.setlimit(category, limit)
    for setting in ("trusted_schema = OFF", "cell_size_check = ON", "mmap_size = 0"):
        database.execute(f"PRAGMA {setting}").close()
    limit_work(database, size)


def limit_work(database: sqlite3.Connection, size: int) -> None:
    """Allow the statements that follow work in proportion to the size of the file, in bytes."""
    left = (_STEPS + _STEPS_PER_BYTE * size) // _STEPS_PER_CALL

    def is_too_much() -> bool:
        nonlocal left
        left -= 1
        return left < 0

    database.set_progress_handler(is_too_much, _STEPS_PER_CALL)


def require_schema(database: sqlite3.Connection, path: Path) -> None:
    """Raise ResultsError unless the file has this schema's tables and nothing else; sqlite3.Error if unreadable."""
    # One transaction, because another process may be creating the tables.
    database.execute("BEGIN")
    try:
        # Not through table-valued functions: a view of the file could have the name of one.
        found = database.execute(
            "SELECT type, name, tbl_name, sql, rootpage FROM sqlite_master LIMIT ?", (_SCHEMA_ROWS,)
        ).fetchall()
        version = readable_version(database, path, tables=len(found))
    finally:
        database.execute("ROLLBACK")
    expected = _expected_schema(version)
    entries = {}
    for kind, name, table, sql, _ in found:
        wanted = expected.get(name)
        if wanted != (kind, table, _words(sql)):
            raise ResultsError(_foreign(path, kind, name))
        entries[name] = wanted
    missing = [name for name in expected if name not in entries and name not in OWN_INDEXES]
    if missing or len(entries) != len(found) or len({row[4] for row in found}) != len(found):
        raise ResultsError(f"{path}: the results file is damaged: its tables are not complete")


def _foreign(path: Path, kind: object, name: object) -> str:
    what = kind if kind in ("table", "view", "trigger", "index") else "entry"
    return (
        f"{path}: not a results file that this harness wrote: its {what} {str(name)[:80]} does not belong to one; "
        "remove it, or copy the file from where the test ran"
    )


@lru_cache(maxsize=len(TABLES_OF))
def _expected_schema(version: int) -> dict[str, tuple[str, str, str]]:
    """Every entry of a results file's schema: kind, table and words of its SQL, by name."""
    with closing(sqlite3.connect(":memory:")) as database:
        database.executescript(TABLES_OF[version])
        for statement in OWN_INDEXES.values():
            database.execute(statement)
        rows = database.execute("SELECT type, name, tbl_name, sql FROM sqlite_master")
        return {name: (kind, table, _words(sql)) for kind, name, table, sql in rows}


def _words(sql: object) -> str:
    return " ".join(sql.split()) if isinstance(sql, str) else repr(sql)


def _check_content(database: sqlite3.Connection, path: Path) -> None:
    identity = _identity(path)
    if identity in _checked:
        return
    ((verdict, *_), *_) = database.execute("PRAGMA quick_check(1)").fetchall()
    if verdict != "ok":
        clause = str(verdict).rpartition("\n")[2]
        raise ResultsError(f"{path}: the results file is damaged: {clause}")
    if problem := value_problem(database):
        raise ResultsError(f"{path}: the results file is damaged: {problem}")
    _checked[identity] = None  # what was written meanwhile has another
    while len(_checked) > _CHECKED_AT_MOST:
        _checked.popitem(last=False)


def _identity(path: Path) -> tuple[object, ...]:
    """What differs once the file, or what is still in its -wal file, has changed."""
    parts: list[object] = []
    for name in (path, path.with_name(f"{path.name}-wal")):
        try:
            info = name.stat()
        except OSError:
            parts.append(None)
        else:
            parts += [info.st_dev, info.st_ino, info.st_size, info.st_mtime_ns, info.st_ctime_ns]
    return tuple(parts)


def _size_of(path: Path) -> int:
    """The size of the file with its -wal file. Raises ResultsError for what is not a regular file, or next to it."""
    try:
        info = path.stat()
    except FileNotFoundError:
        raise ResultsError(f"{path}: no such results file; give the results.sqlite of a test") from None
    except (OSError, ValueError) as problem:
        reason = getattr(problem, "strerror", problem)
        raise ResultsError(f"cannot read the results file {str(path)!r}: {reason}") from None
    if clause := kind_problem(info.st_mode):
        raise ResultsError(f"{path}: not a results file: {clause}")
    size = info.st_size
    for suffix in SIDECARS:
        size += sidecar_size(path, suffix)
    return size


def sidecar_size(path: Path, suffix: str) -> int:
    """The size of a file that SQLite keeps next to a database, 0 without one. Raises ResultsError for anything else."""
    sidecar = path.with_name(f"{path.name}{suffix}")
    try:
        info = os.lstat(sidecar)
    except OSError:
        return 0
    if not stat.S_ISREG(info.st_mode):
        raise ResultsError(
            f"{sidecar}: {kind_problem(info.st_mode)}; remove it, or copy the results file elsewhere"
        )
    return info.st_size


def _is_left_in_wal(path: Path) -> bool:
    """Whether the database is in WAL mode and no one has it open: a writer that does has a -wal file."""
    if os.path.lexists(path.with_name(f"{path.name}-wal")):
        return False
    try:
        with path.open("rb") as file:
            header = file.read(20)
    except OSError:
        return False  # SQLite will say why
    return header[18:20] == bytes((_WAL, _WAL))


def claim(path: Path) -> None:
    """Create the file of a new test, empty. Of two tests that begin at once, one gets it.

    Raises FileExistsError, other kinds of OSError, and ResultsError for what an earlier file has left.
    """
    left = [path.with_name(f"{path.name}{suffix}") for suffix in SIDECARS]
    left = [sidecar for sidecar in left if os.path.lexists(sidecar)]
    if left and not os.path.lexists(path):  # otherwise another process has just created all of them
        raise ResultsError(f"{left[0]} is left from an earlier results file; remove it")
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))  # EXCL follows no link


def create(path: Path) -> None:
    """Create the file if it is missing, not through a link. Raises ResultsError for what is not a regular file."""
    if not os.path.lexists(path):
        with suppress(FileExistsError):
            claim(path)
    if clause := kind_problem(os.lstat(path).st_mode):
        raise ResultsError(f"{path}: cannot create the results file: {clause}")
    for suffix in SIDECARS:
        sidecar_size(path, suffix)
