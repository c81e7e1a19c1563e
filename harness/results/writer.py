"""Writes the results file: one SQLite database a test run, shared by its processes, readable after their deaths.

Writers gather rows in memory and write them in one short transaction about every second, because SQLite
has one write lock: held from a row to the next commit it would stall the other process, and here a
stalled process is a stalled measurement. The file is in WAL mode while it is written, and the last writer
to close it turns it back into a single plain file that can be mailed or read from a read-only disk.
"""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from operator import attrgetter
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from harness.results.histogram import Histogram
from harness.results.ledger import checked_outcome
from harness.results.rate_counts import checked_word
from harness.results.records import (
    EXAMPLES_PER_REQUIREMENT,
    RUN_COLUMNS,
    VERDICTS,
    CheckRecord,
    ProcessRecord,
    RuleResultRecord,
    StreamRecord,
)
from harness.results.sampling import StreamSample
from harness.results.schema import (
    APPLICATION_ID,
    BUSY_TIMEOUT_S,
    SCHEMA_VERSION,
    STEPS,
    ResultsError,
    identify,
)

COMMIT_EVERY_S = 1.0
COMMIT_AT_ROWS = 5_000
_RUN_VALUES = attrgetter(*RUN_COLUMNS)
_INSERT_RUN = (
    f"INSERT INTO runs ({', '.join(RUN_COLUMNS)}, priority) VALUES ({', '.join('?' * len(RUN_COLUMNS))}, ?)"  # noqa: S608 - our own column names
)


@dataclass(slots=True)
class _Pending:
    """What a writer gathered since its last transaction."""

    manifest: dict[str, str] = field(default_factory=dict)
    runs: list[tuple[Any, ...]] = field(default_factory=list)
    histograms: dict[tuple[str, str, int, str], Histogram] = field(default_factory=dict)
    ledger: Counter[tuple[str, int, str, str]] = field(default_factory=Counter)
    failures: Counter[tuple[str, int, str]] = field(default_factory=Counter)
    tallies: Counter[tuple[str, int, str, str]] = field(default_factory=Counter)
    open_streams: dict[str, Mapping[str, int]] = field(default_factory=dict)
    processes: list[tuple[Any, ...]] = field(default_factory=list)
    violations: dict[str, list[tuple[Any, ...]]] = field(default_factory=dict)
    violation_counts: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    checks: list[tuple[Any, ...]] = field(default_factory=list)
    judgements: list[tuple[str, str, str, str, str]] = field(default_factory=list)
    exchanges: list[tuple[str, str, str, str]] = field(default_factory=list)

    def write(self, db: sqlite3.Connection) -> None:
        """Write everything; the caller holds the write lock."""
        db.executemany(
            "INSERT INTO manifest VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value",
            self.manifest.items(),
        )
        db.executemany(_INSERT_RUN, self.runs)
        for key, histogram in self.histograms.items():
            _merge_histogram(db, key, histogram)
        add = "ON CONFLICT DO UPDATE SET count = count + excluded.count"
        for table, counter in (
            ("ledger", self.ledger),
            ("failures", self.failures),
            ("tallies", self.tallies),
            ("violation_counts", self.violation_counts),
        ):
            rows = [(*key, count) for key, count in counter.items()]
            if rows:
                marks = ", ".join("?" * len(rows[0]))
                db.executemany(f"INSERT INTO {table} VALUES ({marks}) {add}", rows)  # noqa: S608 - our names
        for worker, counts in self.open_streams.items():
            db.execute("DELETE FROM open_streams WHERE worker = ?", (worker,))
            db.executemany(
                "INSERT INTO open_streams VALUES (?, ?, ?)", [(worker, *item) for item in counts.items()]
            )
        db.executemany("INSERT OR REPLACE INTO processes VALUES (?, ?, ?, ?, ?)", self.processes)
        for requirement, examples in self.violations.items():
            _insert_examples(db, requirement, examples)
        db.executemany(
            "INSERT INTO checks VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET level = excluded.level, "
            "verdict = excluded.verdict, detail = excluded.detail, duration_s = excluded.duration_s, "
            "evidence = excluded.evidence",
            self.checks,
        )
        db.executemany("INSERT OR REPLACE INTO judgements VALUES (?, ?, ?, ?, ?)", self.judgements)
        db.executemany(
            "INSERT INTO exchanges VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET "
            "scenario = excluded.scenario, label = excluded.label, document = excluded.document",
            self.exchanges,
        )


def _merge_histogram(db: sqlite3.Connection, key: tuple[str, str, int, str], histogram: Histogram) -> None:
    where = "metric = ? AND journey = ? AND second = ? AND worker = ?"
    stored = db.execute(f"SELECT counts FROM histograms WHERE {where}", key).fetchone()  # noqa: S608 - our text
    total = Histogram()
    if stored is not None:
        total.merge(Histogram.from_bytes(stored[0]))
    total.merge(histogram)
    db.execute(
        "INSERT INTO histograms VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET counts = excluded.counts",
        (*key, total.to_bytes()),
    )


def _trimmed(db: sqlite3.Connection, sample: StreamSample) -> StreamSample:
    """Delete the rows whose priorities are not among the smallest; returns the sample that is left."""
    surplus, left = sample.surplus(), replace(sample)
    if surplus.failed + surplus.ordinary:
        db.execute("CREATE INDEX IF NOT EXISTS runs_by_priority ON runs (priority)")
    if surplus.failed:
        left.failed_below = _delete_largest(db, "priority < 0", surplus.failed)
        left.failed -= surplus.failed
    if surplus.ordinary:
        left.ordinary_below = _delete_largest(db, "priority >= 0", surplus.ordinary)
        left.ordinary -= surplus.ordinary
    return left


def _delete_largest(db: sqlite3.Connection, kind: str, count: int) -> float:
    """Delete that many rows of a kind from the largest priority down; returns the smallest deleted."""
    chosen = f"SELECT id, priority FROM runs WHERE {kind} ORDER BY priority DESC, id DESC LIMIT ?"  # noqa: S608 - our text
    (below,) = db.execute(f"SELECT min(priority) FROM ({chosen})", (count,)).fetchone()  # noqa: S608 - likewise
    db.execute(f"DELETE FROM runs WHERE id IN (SELECT id FROM ({chosen}))", (count,))  # noqa: S608 - likewise
    return float(below)


def _insert_examples(db: sqlite3.Connection, requirement: str, examples: list[tuple[Any, ...]]) -> None:
    (stored,) = db.execute("SELECT count(*) FROM violations WHERE requirement = ?", (requirement,)).fetchone()
    db.executemany(
        "INSERT INTO violations (requirement, journey, at_ns, detail, evidence) VALUES (?, ?, ?, ?, ?)",
        examples[: max(0, EXAMPLES_PER_REQUIREMENT - stored)],
    )


class ResultsWriter:
    """Adds to a results file, and creates it (and the directories above it) when there is none.

    What is added is kept in memory and committed by the first addition a second or more after the last
    commit, by `commit` and by `close`; so a killed process loses at most what came after its last commit.
    Several processes may write to one file at once. A writer belongs to the process and thread that opened
    it: after a fork, open another. A context manager; leaving it by an exception commits too.

    keep_runs: how many rows of single streams the file may hold; of more, it holds a sample, as
    harness.results.sampling describes. None for all. One writer of a file may be told so.

    Raises ResultsError when the path is no results file, is of a newer schema or cannot be written. A file
    of an older schema becomes one of this.
    """

    def __init__(self, path: str | os.PathLike[str], *, keep_runs: int | None = None) -> None:
        self.path = Path(path)
        self._pid = os.getpid()
        self._pending = _Pending()
        self._rows = 0
        self._holding = 0
        self._closed = False
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(self.path, timeout=BUSY_TIMEOUT_S, isolation_level=None)
        except (OSError, sqlite3.Error) as problem:
            raise ResultsError(f"{self.path}: cannot create the results file: {problem}") from None
        try:
            self._prepare()
            self._sample = None if keep_runs is None else self._sample_so_far(keep_runs)
            self._runs_seen = self._runs_seen_so_far()
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
        """What is added inside is committed as one: no death of the process parts it."""
        self._holding += 1
        try:
            yield
        finally:
            self._holding -= 1
        self._commit_when_due()

    def set_manifest(self, **values: Any) -> None:
        """Set keys of the manifest to JSON values; a key that is there already is replaced.

        Keys in use: started_at, ended_at (ISO 8601, UTC), state ("running", "finished", "interrupted"),
        load_state, suite_state (the same, of load and suite alone), command, versions, machine, target,
        settings (without secrets), receive_stamp ("kernel", "user", "mixed"), measured_from (the first epoch
        second that counts, what came before is warm-up), warmup_s, workers_lost and their counted_until,
        runs_seen, runs_kept.
        """
        self._pending.manifest.update((key, _json(value)) for key, value in values.items())
        self._added()

    def add_streams(self, rows: Iterable[StreamRecord]) -> None:
        """Add one row per stream, or pass it over where only some are kept.

        Raises ValueError for an outcome that is not of the ledger.
        """
        for row in rows:
            checked_outcome(row.outcome)
            self._runs_seen += 1
            priority = self._priority(failed=row.reason is not None or row.violations > 0)
            if priority is not None:
                self._pending.runs.append((*map(_storable, _RUN_VALUES(row)), priority))
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
        """Merge a histogram into what is there. second: epoch second of the intended start, or, for metrics
        of single reads, of the arrival. The histogram is copied: the caller may go on with it.
        """
        if histogram.count:
            self._pending.histograms.setdefault((metric, journey, second, worker), Histogram()).merge(
                histogram
            )
            self._added()

    def add_ledger(self, worker: str, second: int, journey: str, outcome: str, count: int = 1) -> None:
        """Add streams to the ledger: an increment, not a total. Raises ValueError for an unknown outcome."""
        self._pending.ledger[worker, second, journey, checked_outcome(outcome, count)] += count
        self._added()

    def set_open(self, worker: str, counts: Mapping[str, int]) -> None:
        """How many streams of each journey a process has open, at the moment of the ledger counts that it
        goes with (see `together`). It replaces what was said before; nothing open, once they have all ended
        or stand in the ledger as in flight. So the ledger of a test that was killed adds up, too.
        """
        self._pending.open_streams[worker] = dict(counts)
        self._added()

    def add_rate_counts(self, worker: str, second: int, journey: str, word: str, count: int = 1) -> None:
        """Count streams for rates, at the epoch second in which they were due: an increment.

        word: one of harness.results.rate_counts.WORDS; raises ValueError for another.
        """
        self._pending.tallies[worker, second, journey, checked_word(word, count)] += count
        self._added()

    def add_processes(self, rows: Iterable[ProcessRecord]) -> None:
        """Add how processes of the harness fared; a later row of the same second replaces the earlier."""
        for row in rows:
            self._pending.processes.append((row.worker, row.second, row.cpu, row.rss_bytes, row.open_streams))
            self._added()

    def add_failures(self, worker: str, second: int, journey: str, count: int = 1) -> None:
        """Count streams that ended otherwise than their step wanted: an increment, for metrics.error_rate."""
        self._pending.failures[worker, second, journey] += count
        self._added()

    def add_violation(
        self, requirement: str, journey: str, at_ns: int, detail: str, evidence: Any = None
    ) -> None:
        """Keep an example of a violated requirement, up to 20 a requirement over all processes.

        It counts nothing: counts are exact and go through `count_violation`.
        """
        examples = self._pending.violations.setdefault(requirement, [])
        if len(examples) < EXAMPLES_PER_REQUIREMENT:
            examples.append((requirement, journey, at_ns, _storable(detail), _json(evidence)))
            self._added()

    def count_violation(self, requirement: str, journey: str, worker: str, count: int = 1) -> None:
        """Count violations of a requirement met under load (an increment)."""
        self._pending.violation_counts[requirement, journey, worker] += count
        self._added()

    def add_checks(self, rows: Iterable[CheckRecord]) -> None:
        """Add conformance verdicts; a later one for the same id replaces the earlier.

        Raises ValueError for a verdict that is not of VERDICTS.
        """
        for row in rows:
            if row.verdict not in VERDICTS:
                raise ValueError(
                    f"{row.id}: {row.verdict!r} is no verdict; it is one of {', '.join(VERDICTS)}"
                )
            self._pending.checks.append(
                (row.id, row.level, row.verdict, _storable(row.detail), row.duration_s, _json(row.evidence))
            )
            self._added()

    def add_rule_results(self, rows: Iterable[RuleResultRecord]) -> None:
        """Add what single tests said; a later one of the same test replaces the earlier."""
        for row in rows:
            self._pending.judgements.append(
                (row.test, row.requirement, row.verdict, _storable(row.detail), _json(row.evidence))
            )
            self._added()

    def add_exchange(self, id: str, scenario: str, label: str, document: Mapping[str, Any]) -> None:  # noqa: A002 - the column's name
        """Add a recorded exchange; a later one with the same id replaces the earlier."""
        self._pending.exchanges.append((id, scenario, label, _json(document)))
        self._added()

    def commit(self) -> None:
        """Write what was added, in one transaction. Raises ResultsError when that is impossible; nothing
        is lost then, and a later commit tries again.
        """
        if os.getpid() != self._pid:
            raise RuntimeError("a ResultsWriter does not survive a fork; open another in the new process")
        if self._rows:
            try:
                with self._transaction():
                    sample = self._write_pending()
            except sqlite3.Error as problem:
                raise ResultsError(f"{self.path}: cannot write the results: {problem}") from problem
            self._sample = sample
            self._pending = _Pending()
            self._rows = 0
        self._committed_at = time.monotonic()

    def _write_pending(self) -> StreamSample | None:
        self._pending.write(self._db)
        if self._sample is None:
            return None
        sample = _trimmed(self._db, self._sample)
        counts = {"runs_seen": self._runs_seen, "runs_kept": sample.kept}
        self._db.executemany("INSERT OR REPLACE INTO manifest VALUES (?, ?)", counts.items())
        return sample

    def close(self) -> None:
        """Commit and close; the last writer to close leaves a single plain file. Again does nothing."""
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
        if self._holding:
            return
        if self._rows >= COMMIT_AT_ROWS or time.monotonic() - self._committed_at >= COMMIT_EVERY_S:
            self.commit()

    def _sample_so_far(self, keep: int) -> StreamSample:
        query = "SELECT count(*) FILTER (WHERE priority < 0), count(*) FILTER (WHERE priority >= 0) FROM runs"
        return StreamSample(keep, *self._db.execute(query).fetchone())

    def _runs_seen_so_far(self) -> int:
        query = (
            "SELECT coalesce((SELECT CAST(value AS INTEGER) FROM manifest WHERE key = 'runs_seen'), "
            "(SELECT count(*) FROM runs))"
        )
        return int(self._db.execute(query).fetchone()[0])

    def _prepare(self) -> None:
        """Make sure that the file is ours and has its tables, whoever else is doing the same."""
        try:
            identify(self._db, self.path, may_be_empty=True)
            self._enter_wal()
            # A crash of the machine may cost the last commits, the death of a process none.
            self._db.execute("PRAGMA synchronous = NORMAL")
            with self._transaction():
                version = identify(self._db, self.path, may_be_empty=True)
                for statement in ";".join(STEPS[version:]).split(";"):
                    self._db.execute(statement)
                if version < SCHEMA_VERSION:
                    self._db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                    self._db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        except sqlite3.Error as problem:
            raise ResultsError(f"{self.path}: cannot write results to it: {problem}") from None

    def _enter_wal(self) -> None:
        # SQLite does not wait for its lock when the journal mode changes, so another writer that opens or
        # closes at this moment has to be waited for here.
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
        # Locked: another process still has the file open, and its last writer will do this.
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


def _json(value: Any) -> str:
    # ASCII only: text from a server may hold lone surrogates, which JSON can escape and UTF-8 cannot hold.
    return json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))


def _storable(value: Any) -> Any:
    """The value itself, or, of text that UTF-8 cannot hold, a form with backslashes."""
    if isinstance(value, str) and not value.isascii():
        return value.encode("utf-8", "backslashreplace").decode()
    return value
