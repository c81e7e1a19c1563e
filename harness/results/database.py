"""Read-only access to a results file: queries, cached answers, and errors as sentences for the user."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import Any

from harness.results.opening import LOCKED_TIMEOUT_S, SQLITE_PROBLEMS, limit_work, open_results
from harness.results.schema import CELL_BYTES, ResultsError

SqlValue = str | int | None
Row = tuple[Any, ...]


class ResultsDatabase:
    """The SQLite database of a results file, opened read-only.

    Raises ResultsError if the file is missing, is not a results file, has a different schema version, or is
    damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._cache: dict[tuple[str, tuple[SqlValue, ...]], list[Row]] = {}
        self._cached_at = -1
        self._last_size = 0
        try:
            self._db = open_results(path)
        except SQLITE_PROBLEMS as problem:
            raise self._unreadable(problem) from None

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """A block in which every query sees the state that the first one saw. Raises ResultsError."""
        try:
            self._db.execute("BEGIN")
        except SQLITE_PROBLEMS as problem:
            raise self._unreadable(problem) from None
        try:
            yield
        finally:
            if self._db.in_transaction:  # SQLite ends it itself after some errors
                self._db.execute("ROLLBACK")

    def rows(self, query: str, *parameters: SqlValue) -> Iterator[Row]:
        """The rows of a query, whose parameters are ?1, ?2 and so on. Raises ResultsError.

        sqlite3 calls them named, and from Python 3.14 on takes named parameters from a mapping only.
        """
        limit_work(self._db, self._size())
        named = {str(number): value for number, value in enumerate(parameters, 1)}
        try:
            cursor = self._db.execute(query, named)
            while (row := cursor.fetchone()) is not None:
                yield row
        except SQLITE_PROBLEMS as problem:
            raise self._unreadable(problem) from problem

    def columns(self, batch: int, query: str, *parameters: SqlValue) -> Iterator[tuple[Sequence[Any], ...]]:
        """The columns of a query, `batch` rows at a time. Raises ResultsError."""
        rows = self.rows(query, *parameters)
        while some := list(islice(rows, batch)):
            yield tuple(zip(*some, strict=True))

    def cached_rows(self, query: str, *parameters: SqlValue) -> list[Row]:
        """The rows of a short answer, cached until another process changes the file. Raises ResultsError."""
        version = self.data_version()
        if version != self._cached_at:
            self._cache, self._cached_at = {}, version
        key = query, parameters
        if key not in self._cache:
            self._cache[key] = list(self.rows(query, *parameters))
        return self._cache[key]

    def schema_version(self) -> int:
        """The schema version of the file."""
        ((version,),) = self.rows("PRAGMA user_version")
        return int(version)

    def data_version(self) -> int:
        """A number that differs once another process has changed the file. Raises ResultsError."""
        try:  # without rows(): it is asked before each answer from the cache, and its work needs no bound
            ((version,),) = self._db.execute("PRAGMA data_version")
        except SQLITE_PROBLEMS as problem:
            raise self._unreadable(problem) from problem
        return int(version)

    def _size(self) -> int:
        """The size of the file in bytes; a file that is being written grows."""
        with suppress(OSError):  # removed; it stays readable
            self._last_size = self.path.stat().st_size
        return self._last_size

    def _unreadable(self, problem: Exception) -> ResultsError:
        code = getattr(problem, "sqlite_errorcode", None)
        if code == sqlite3.SQLITE_NOTADB:
            return ResultsError(f"not a results file (not an SQLite database): {self.path}")
        if code == sqlite3.SQLITE_INTERRUPT:
            return ResultsError(f"{self.path}: the results file is damaged: reading it would not end")
        if code == sqlite3.SQLITE_TOOBIG:
            return ResultsError(
                f"{self.path}: the results file is damaged: one of its values has more than {CELL_BYTES // 2**20} MiB"
            )
        if code == sqlite3.SQLITE_BUSY:
            return ResultsError(
                f"{self.path}: another process has locked the results file for {LOCKED_TIMEOUT_S:g} s; wait for its end"
            )
        hint = ""
        if self.path.with_name(f"{self.path.name}-wal").exists():
            hint = (
                "; its writer did not close it: copy it together with its -wal file to a writable directory"
            )
        return ResultsError(f"{self.path}: cannot read the results file: {problem}{hint}")
