"""Writes the results file: one SQLite database per test, shared by its processes, readable after a crash.

Writers collect rows in memory and write them in one short transaction about every second. SQLite has a single
write lock: holding it between commits would block other processes, and a blocked process measures wrongly. The
file is in WAL mode while it is written; the last writer to close it turns it back into a single file, which can
be copied or read from a read-only disk.
"""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from operator import attrgetter
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from harness.results.histogram import Histogram
from harness.results.json_text import json_text
from harness.results.ledger import checked_outcome
from harness.results.opening import SQLITE_PROBLEMS, create, require_schema
from harness.results.pending_rows import PendingRows, write_totals
from harness.results.rate_counts import checked_counter
from harness.results.records import (
    EXAMPLES_PER_REQUIREMENT,
    STREAM_COLUMNS,
    VERDICTS,
    CheckRecord,
    ProcessRecord,
    RuleResultRecord,
    ScrapeRecord,
    StreamRecord,
)
from harness.results.sampling import StreamSample
from harness.results.schema import (
    APPLICATION_ID,
    BUSY_TIMEOUT_S,
    CELL_BYTES,
    OWN_INDEXES,
    SCHEMA_VERSION,
    TABLES,
    ResultsError,
    has_tables,
)

COMMIT_EVERY_S = 1.0
COMMIT_AT_ROWS = 5_000
_REST_OF_ROW = 64 * 1024
_SHORT_VALUE = 100_000
_STREAM_VALUES = attrgetter(*STREAM_COLUMNS)


class ResultsWriter:
    """Adds to a results file, and creates it and its parent directories if missing. A context manager.

    Rows are kept in memory and committed by the first addition a second or more after the last commit, by
    `commit` and by `close`; leaving the context by an exception commits, too. A killed process loses at most
    what it added after its last commit. Several processes may write to one file at once. A writer belongs to
    the process and thread that opened it: after a fork, open a new one.

    keep_streams: maximum number of rows in `streams`; if there are more streams, the file has a sample of them
    (harness.results.sampling). None keeps all. Only one writer of a file may have a limit.

    Raises ResultsError if the path is not a results file, has a different schema version or cannot be written.
    """

    def __init__(self, path: str | os.PathLike[str], *, keep_streams: int | None = None) -> None:
        self.path = Path(path)
        self._pid = os.getpid()
        self._pending = PendingRows()
        self._rows = 0
        self._transactions = 0
        self._closed = False
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            create(self.path)
            self._db = sqlite3.connect(self.path, timeout=BUSY_TIMEOUT_S, isolation_level=None)
            self._file = _file_number(self.path)
        except (OSError, sqlite3.Error) as problem:
            raise ResultsError(f"{self.path}: cannot create the results file: {problem}") from None
        try:
            self._prepare()
            self._sample = None if keep_streams is None else self._sample_so_far(keep_streams)
            self._streams_seen = self._streams_seen_so_far()
        except BaseException:
            self._db.close()
            raise
        self._committed_at = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Everything added in this context is committed together, or not at all if the process dies."""
        self._transactions += 1
        try:
            yield
        finally:
            self._transactions -= 1
        self._commit_when_due()

    def set_manifest(self, **values: Any) -> None:
        """Set or replace keys of the manifest; values must be JSON.

        Keys in use: started_at, ended_at (ISO 8601, UTC), state ("running", "finished", "interrupted", "aborted"),
        load_state (the same, or "none" without a load), suite_state (the same), command, versions, machine, target,
        settings (without secrets), receive_stamp ("kernel", "user", "mixed"), measured_from (first epoch
        second after the warm-up), warmup_s, workers_lost and their counted_until, streams_seen, streams_kept.
        """
        self._pending.manifest.update((key, json_text(value)) for key, value in values.items())
        self._added()

    def add_streams(self, rows: Iterable[StreamRecord]) -> None:
        """Add streams; if only a sample is kept, some get no row.

        Raises ValueError for an outcome that is not in the ledger.
        """
        for row in rows:
            checked_outcome(row.outcome)
            self._streams_seen += 1
            priority = self._priority(failed=row.reason is not None or row.violations > 0)
            if priority is not None:
                self._pending.streams.append((*map(_storable, _STREAM_VALUES(row)), priority))
            self._added()

    def _priority(self, *, failed: bool) -> float | None:
        if self._sample is None:
            return 0.0
        priority = self._sample.draw(failed=failed)
        if priority is not None:
            self._sample.failed += failed
            self._sample.ordinary += not failed
        return priority

    def add_histogram(
        self, metric: str, journey: str, second: int, worker: str, histogram: Histogram
    ) -> None:
        """Merge a histogram into the stored one. The caller may go on using its histogram.

        second: epoch second of the intended start, or of the arrival for metrics of single reads.
        """
        if histogram.count:
            self._pending.histograms.setdefault((metric, journey, second, worker), Histogram()).merge(
                histogram
            )
            self._added()

    def set_totals(
        self,
        seconds: Iterable[tuple[str, int, bytes]],
        totals: Iterable[tuple[str, str, str, bool, bytes]],
    ) -> None:
        """Write what the histograms add up to, at once and in place of earlier totals. A later histogram removes them.

        seconds: metric and epoch second; read first. totals: metric, journey, worker, and whether its seconds count or
        are warm-up. Each with a histogram as bytes. Raises ResultsError.
        """
        self.commit()
        try:
            with self._transaction():
                write_totals(self._db, seconds, totals)
        except sqlite3.Error as problem:
            raise ResultsError(f"{self.path}: cannot write the results file: {problem}") from problem

    def add_ledger(self, worker: str, second: int, journey: str, outcome: str, count: int = 1) -> None:
        """Add a number of streams to the ledger. Raises ValueError for an unknown outcome."""
        self._pending.ledger[worker, second, journey, checked_outcome(outcome, count)] += count
        self._added()

    def set_open(self, worker: str, counts: Mapping[str, int]) -> None:
        """Set how many streams of each journey a process has open, which replaces its previous numbers.

        Set it in the same `transaction` as the ledger counts, so that the ledger adds up even if the test is
        killed. Set it to {} once every stream has ended or is in the ledger as in flight.
        """
        self._pending.open_streams[worker] = dict(counts)
        self._added()

    def add_rate_counts(self, worker: str, second: int, journey: str, counter: str, count: int = 1) -> None:
        """Add a number of streams, due in that epoch second, to a counter of harness.results.rate_counts.

        Raises ValueError for a counter that is not in COUNTERS.
        """
        self._pending.rate_counts[worker, second, journey, checked_counter(counter, count)] += count
        self._added()

    def add_processes(self, rows: Iterable[ProcessRecord]) -> None:
        """Add resource usage of harness processes; a later row replaces an earlier one of the same second."""
        for row in rows:
            self._pending.processes.append((row.worker, row.second, row.cpu, row.rss_bytes, row.open_streams))
            self._added()

    def add_scrapes(self, rows: Iterable[ScrapeRecord]) -> None:
        """Add values of the server's own metrics; a later one replaces an earlier one of the same second."""
        for row in rows:
            self._pending.scrapes.append((row.second, _storable(row.series), row.kind, row.value))
            self._added()

    def add_failures(self, worker: str, second: int, journey: str, count: int = 1) -> None:
        """Add a number of failed streams that ended in that epoch second."""
        self._pending.failures[worker, second, journey] += count
        self._added()

    def add_violation(
        self, requirement: str, journey: str, at_ns: int, detail: str, evidence: Any = None
    ) -> None:
        """Store an example of a violated requirement: at most 20 per requirement over all processes.

        This counts nothing; see `count_violation`.
        """
        examples = self._pending.violations.setdefault(requirement, [])
        if len(examples) < EXAMPLES_PER_REQUIREMENT:
            examples.append((requirement, journey, at_ns, _storable(detail), json_text(evidence)))
            self._added()

    def count_violation(self, requirement: str, journey: str, worker: str, count: int = 1) -> None:
        """Add a number of violations of a requirement under load."""
        self._pending.violation_counts[requirement, journey, worker] += count
        self._added()

    def add_checks(self, rows: Iterable[CheckRecord]) -> None:
        """Add conformance verdicts; a later one replaces an earlier one with the same id.

        Raises ValueError for a verdict that is not in VERDICTS.
        """
        for row in rows:
            if row.verdict not in VERDICTS:
                raise ValueError(
                    f"{row.id}: unknown verdict {row.verdict!r}; use one of {', '.join(VERDICTS)}"
                )
            self._pending.checks.append(
                (
                    row.id,
                    row.level,
                    row.verdict,
                    _storable(row.detail),
                    row.duration_s,
                    json_text(row.evidence),
                )
            )
            self._added()

    def add_rule_results(self, rows: Iterable[RuleResultRecord]) -> None:
        """Add rule results; a later one replaces an earlier one of the same test."""
        for row in rows:
            self._pending.rule_results.append(
                (row.test, row.requirement, row.verdict, _storable(row.detail), json_text(row.evidence))
            )
            self._added()

    def add_exchange(self, id: str, scenario: str, label: str, document: Mapping[str, Any]) -> None:  # noqa: A002 - the column's name
        """Add a recorded exchange; a later one replaces an earlier one with the same id.

        Of a document that no reader accepts, because it is too large, only what describes it is stored.
        """
        self.add_exchange_text(id, scenario, label, json_text(document))

    def add_exchange_text(self, id: str, scenario: str, label: str, text: str) -> None:  # noqa: A002 - as above
        """The same with the document as its `json_text`."""
        if len(text) > CELL_BYTES - _REST_OF_ROW:
            document = json.loads(text)
            short = {name: value for name, value in document.items() if len(json_text(value)) <= _SHORT_VALUE}
            text = json_text(
                {**short, "left_out": f"{len(text) // 2**20} MiB, more than a results file may hold"}
            )
        self._pending.exchanges.append((id, scenario, label, text))
        self._added()

    def commit(self) -> None:
        """Write everything pending in one transaction.

        Raises ResultsError if that fails; everything stays pending, and the next commit tries again.
        """
        if os.getpid() != self._pid:
            raise RuntimeError(
                "a ResultsWriter cannot be used after a fork; open a new one in the child process"
            )
        if self._rows:
            if _file_number(self.path) != self._file:
                raise ResultsError(f"{self.path}: the results file was removed or replaced during the test")
            try:
                with self._transaction():
                    sample = self._write_pending()
            except sqlite3.Error as problem:
                raise ResultsError(f"{self.path}: cannot write the results file: {problem}") from problem
            self._sample = sample
            self._pending = PendingRows()
            self._rows = 0
        self._committed_at = time.monotonic()

    def _write_pending(self) -> StreamSample | None:
        self._pending.write(self._db)
        if self._sample is None:
            return None
        sample = _trimmed(self._db, self._sample)
        counts = {"streams_seen": self._streams_seen, "streams_kept": sample.kept}
        self._db.executemany("INSERT OR REPLACE INTO manifest VALUES (?, ?)", counts.items())
        return sample

    def close(self) -> None:
        """Commit and close; the last writer to close leaves a single file. A second call does nothing."""
        if self._closed:
            return
        self._closed = True
        try:
            self.commit()
            self._leave_wal()
        finally:
            self._db.close()

    def _added(self) -> None:
        self._rows += 1
        self._commit_when_due()

    def _commit_when_due(self) -> None:
        if self._transactions:
            return
        if self._rows >= COMMIT_AT_ROWS or time.monotonic() - self._committed_at >= COMMIT_EVERY_S:
            self.commit()

    def _sample_so_far(self, keep: int) -> StreamSample:
        query = (
            "SELECT count(*) FILTER (WHERE sample_priority < 0), count(*) FILTER (WHERE sample_priority >= 0) "
            "FROM streams"
        )
        return StreamSample(keep, *self._db.execute(query).fetchone())

    def _streams_seen_so_far(self) -> int:
        query = (
            "SELECT coalesce((SELECT CAST(value AS INTEGER) FROM manifest WHERE key = 'streams_seen'), "
            "(SELECT count(*) FROM streams))"
        )
        return int(self._db.execute(query).fetchone()[0])

    def _prepare(self) -> None:
        """Create the tables if the file is empty; another process may be doing the same."""
        try:
            self._db.execute("PRAGMA trusted_schema = OFF")
            with self._transaction():
                has_own_tables = has_tables(self._db, self.path)
            if has_own_tables:  # a trigger of a file that is not ours would run what its author wrote
                require_schema(self._db, self.path)
            self._enter_wal()
            # An OS crash may lose the last commits; a process crash loses none.
            self._db.execute("PRAGMA synchronous = NORMAL")
            with self._transaction():
                if not has_tables(self._db, self.path):
                    for statement in TABLES.split(";"):
                        self._db.execute(statement)
                    self._db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                    self._db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        except SQLITE_PROBLEMS as problem:
            raise ResultsError(f"{self.path}: cannot write the results file: {problem}") from None

    def _enter_wal(self) -> None:
        # SQLite's busy timeout does not apply to changes of the journal mode, so wait here for another writer
        # that is opening or closing the file.
        deadline = time.monotonic() + BUSY_TIMEOUT_S
        while True:
            try:
                self._db.execute("PRAGMA journal_mode = WAL")
            except sqlite3.OperationalError as problem:
                if problem.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                    raise
                time.sleep(0.02)
            else:
                return

    def _leave_wal(self) -> None:
        self._db.execute("PRAGMA busy_timeout = 0")
        # Locked: another process still has the file open; its last writer will do this.
        with suppress(sqlite3.OperationalError):
            self._db.execute("PRAGMA journal_mode = DELETE")

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")


def _file_number(path: Path) -> tuple[int, int] | None:
    """What identifies a file, whatever its name; None if there is none."""
    try:
        info = path.stat()
    except OSError:
        return None
    return info.st_dev, info.st_ino


def _storable(value: Any) -> Any:
    """The value itself; in text, what UTF-8 cannot encode becomes backslash escapes."""
    if isinstance(value, str) and not value.isascii():
        return value.encode("utf-8", "backslashreplace").decode()
    return value


def _trimmed(db: sqlite3.Connection, sample: StreamSample) -> StreamSample:
    """Delete the rows with the largest priorities that are over the limit; returns the remaining sample."""
    surplus, kept = sample.surplus(), replace(sample)
    if surplus.failed + surplus.ordinary:
        known = db.execute("SELECT 1 FROM sqlite_master WHERE name = 'streams_by_priority'").fetchone()
        if known is None:
            db.execute(OWN_INDEXES["streams_by_priority"])
    if surplus.failed:
        kept.failed_below = _delete_largest(db, "sample_priority < 0", surplus.failed)
        kept.failed -= surplus.failed
    if surplus.ordinary:
        kept.ordinary_below = _delete_largest(db, "sample_priority >= 0", surplus.ordinary)
        kept.ordinary -= surplus.ordinary
    return kept


def _delete_largest(db: sqlite3.Connection, kind: str, count: int) -> float:
    """Delete the `count` rows of a kind with the largest priorities; returns the smallest priority deleted."""
    chosen = (
        f"SELECT id, sample_priority FROM streams WHERE {kind} ORDER BY sample_priority DESC, id DESC LIMIT ?"  # noqa: S608 - our own text
    )
    (smallest,) = db.execute(f"SELECT min(sample_priority) FROM ({chosen})", (count,)).fetchone()  # noqa: S608 - our own text
    db.execute(f"DELETE FROM streams WHERE id IN (SELECT id FROM ({chosen}))", (count,))  # noqa: S608 - our own text
    return float(smallest)
