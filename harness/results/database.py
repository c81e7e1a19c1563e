"""Read-only access to a results file: queries, cached answers, and errors as sentences for the user."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from harness.results.schema import BUSY_TIMEOUT_S, ResultsError, require_tables

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
        if not path.is_file():
            raise ResultsError(f"{path}: no such results file; give the results.sqlite of a test")
        try:
            self._db = sqlite3.connect(
                f"{path.absolute().as_uri()}?mode=ro",
                uri=True,
                timeout=BUSY_TIMEOUT_S,
                isolation_level=None,
            )
        except sqlite3.Error as problem:
            raise self._unreadable(problem) from None
        try:
            require_tables(self._db, path)
        except sqlite3.Error as problem:
            self._db.close()
            raise self._unreadable(problem) from None
        except BaseException:
            self._db.close()
            raise

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def rows(self, query: str, *parameters: SqlValue) -> Iterator[Row]:
        """The rows of a query. Raises ResultsError."""
        try:
            yield from self._db.execute(query, parameters)
        except sqlite3.Error as problem:
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

    def data_version(self) -> int:
        """A number that differs once another process has changed the file."""
        ((version,),) = self.rows("PRAGMA data_version")
        return int(version)

    def _unreadable(self, problem: sqlite3.Error) -> ResultsError:
        if getattr(problem, "sqlite_errorcode", None) == sqlite3.SQLITE_NOTADB:
            return ResultsError(f"not a results file (not an SQLite database): {self.path}")
        hint = ""
        if self.path.with_name(f"{self.path.name}-wal").exists():
            hint = (
                "; its writer did not close it: copy it together with its -wal file to a writable directory"
            )
        return ResultsError(f"{self.path}: cannot read the results file: {problem}{hint}")
