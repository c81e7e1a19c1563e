"""The results file: one SQLite database a test run, shared by its processes, readable after their deaths.

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
from dataclasses import dataclass, field, fields, replace
from itertools import groupby
from operator import attrgetter, itemgetter
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from harness.results.histogram import Histogram
from harness.results.ledger import ENDINGS, Ledger, checked_outcome
from harness.results.sampling import Sample
from harness.results.tally import Tally, checked_word

SCHEMA_VERSION = 2
APPLICATION_ID = 0x41525248
"""Marks a SQLite file as ours ("ARRH"), whatever its name."""

BUSY_TIMEOUT_S = 30.0
COMMIT_EVERY_S = 1.0
COMMIT_AT_ROWS = 5_000
EXAMPLES_PER_REQUIREMENT = 20

VERDICTS = ("pass", "fail", "warn", "info", "not applicable", "inconclusive", "error", "known", "stale")
"""Every verdict of a conformance check."""

_TESTED_VERDICTS = frozenset({"pass", "fail", "warn", "known", "stale"})
# A stream that was refused, rejected or given up by us says nothing about how the server streams.
_TESTED_OUTCOMES = frozenset(ENDINGS) - {"refused", "rejected", "abandoned"}

Part = Literal["measured", "warm-up", "whole"]
"""Which of a load's seconds: those that count, those before (manifest: measured_from), or all."""

_ALWAYS_S = 2**62  # above every epoch second, and still a SQLite integer

_SCHEMA = """
CREATE TABLE manifest (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
CREATE TABLE runs (
    id INTEGER PRIMARY KEY, journey TEXT NOT NULL, step TEXT NOT NULL, worker TEXT NOT NULL,
    intended_ns INTEGER NOT NULL, sent_ns INTEGER, outcome TEXT NOT NULL, status INTEGER, reason TEXT,
    connect_ms REAL, head_ms REAL, first_event_ms REAL, ttft_ms REAL, service_ttft_ms REAL,
    duration_ms REAL, resume_ms REAL, stall_ms REAL, events INTEGER NOT NULL, tokens INTEGER NOT NULL,
    idempotency_key TEXT, run_id TEXT, violations INTEGER NOT NULL) STRICT;
CREATE TABLE histograms (
    metric TEXT, journey TEXT, second INTEGER, worker TEXT, counts BLOB NOT NULL,
    PRIMARY KEY (metric, journey, second, worker)) STRICT;
CREATE TABLE ledger (
    worker TEXT, second INTEGER, journey TEXT, outcome TEXT, count INTEGER NOT NULL,
    PRIMARY KEY (worker, second, journey, outcome)) STRICT;
CREATE TABLE failures (
    worker TEXT, second INTEGER, journey TEXT, count INTEGER NOT NULL,
    PRIMARY KEY (worker, second, journey)) STRICT;
CREATE TABLE violations (
    id INTEGER PRIMARY KEY, requirement TEXT NOT NULL, journey TEXT NOT NULL, at_ns INTEGER NOT NULL,
    detail TEXT NOT NULL, evidence TEXT NOT NULL) STRICT;
CREATE INDEX violations_by_requirement ON violations (requirement);
CREATE TABLE violation_counts (
    requirement TEXT, journey TEXT, worker TEXT, count INTEGER NOT NULL,
    PRIMARY KEY (requirement, journey, worker)) STRICT;
CREATE TABLE checks (
    id TEXT PRIMARY KEY, level TEXT NOT NULL, verdict TEXT NOT NULL, detail TEXT NOT NULL,
    duration_s REAL, evidence TEXT NOT NULL) STRICT;
CREATE TABLE judgements (
    test TEXT PRIMARY KEY, requirement TEXT NOT NULL, verdict TEXT NOT NULL, detail TEXT NOT NULL,
    evidence TEXT NOT NULL) STRICT;
CREATE TABLE exchanges (
    id TEXT PRIMARY KEY, scenario TEXT NOT NULL, label TEXT NOT NULL, document TEXT NOT NULL) STRICT;
"""
_SINCE_2 = """
ALTER TABLE runs ADD COLUMN priority REAL NOT NULL DEFAULT 0;
CREATE TABLE tallies (
    worker TEXT, second INTEGER, journey TEXT, word TEXT, count INTEGER NOT NULL,
    PRIMARY KEY (worker, second, journey, word)) STRICT;
CREATE TABLE open_streams (
    worker TEXT, journey TEXT, count INTEGER NOT NULL, PRIMARY KEY (worker, journey)) STRICT;
CREATE TABLE processes (
    worker TEXT, second INTEGER, cpu REAL NOT NULL, rss_bytes INTEGER NOT NULL, open_streams INTEGER NOT NULL,
    PRIMARY KEY (worker, second)) STRICT;
"""
_STEPS = (_SCHEMA, _SINCE_2)
"""What each schema version added; a file of an older one lacks the tables that came later."""


class ResultsError(ValueError):
    """A results file that cannot be read or written; the message is one sentence for the user."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRow:
    """One stream, that is one POST of a journey.

    journey: "fresh", "replay", "resume" or "conflict". step: "run", "original", "retry", "cut", "resumed"
    or "conflicting". intended_ns, sent_ns: wall clock, epoch nanoseconds; sent_ns is None when nothing was
    sent. outcome: an ending of the ledger, or "in flight". reason: why it failed; None when it went as its
    step wanted. The *_ms are what harness.results.metrics defines, None where not measured. violations: how
    many the judges found in it. id: the file's own number, given on writing.
    """

    journey: str
    step: str
    worker: str
    intended_ns: int
    outcome: str
    sent_ns: int | None = None
    status: int | None = None
    reason: str | None = None
    connect_ms: float | None = None
    head_ms: float | None = None
    first_event_ms: float | None = None
    ttft_ms: float | None = None
    service_ttft_ms: float | None = None
    duration_ms: float | None = None
    resume_ms: float | None = None
    stall_ms: float | None = None
    events: int = 0
    tokens: int = 0
    idempotency_key: str | None = None
    run_id: str | None = None
    violations: int = 0
    id: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ViolationRow:
    """One example of a violated requirement, met under load. evidence: JSON; at_ns: epoch nanoseconds."""

    requirement: str
    journey: str
    at_ns: int
    detail: str
    evidence: Any = None
    id: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckRow:
    """One requirement's conformance verdict.

    level: "MUST", "SHOULD" or "INFO". verdict: one of VERDICTS. evidence: a list of {"exchange": id of a
    stored exchange or None, "event": index of an event in it or None, "note": text}.
    """

    id: str
    level: str
    verdict: str
    detail: str = ""
    duration_s: float | None = None
    evidence: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgementRow:
    """What one test said of its requirement, and the packed evidence that its judge was given."""

    test: str
    requirement: str
    verdict: str
    detail: str
    evidence: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessRow:
    """How one process of the harness fared in one epoch second.

    cpu: processor time / wall time, of all its threads: 1.0 is one core. open_streams: at the second's end.
    """

    worker: str
    second: int
    cpu: float
    rss_bytes: int
    open_streams: int


@dataclass(frozen=True, slots=True)
class Reason:
    """Why streams of one journey's step failed, and how many of the rows say so."""

    journey: str
    step: str
    reason: str
    rows: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ExchangeRow:
    """One recorded request and its answer; document holds "curl", "ending", "wire", "events" and so on."""

    id: str
    scenario: str
    label: str
    document: dict[str, Any]


def _columns(row_type: type) -> tuple[str, ...]:
    return tuple(column.name for column in fields(row_type))


_RUN_COLUMNS = _columns(RunRow)
_RUN_VALUES = attrgetter(*_RUN_COLUMNS)
_INSERT_RUN = (
    f"INSERT INTO runs ({', '.join(_RUN_COLUMNS)}, priority) VALUES ({', '.join('?' * len(_RUN_COLUMNS))}, ?)"  # noqa: S608 - our own column names
)
_SELECT_RUNS = f"SELECT {', '.join(_RUN_COLUMNS)} FROM runs ORDER BY intended_ns, id"  # noqa: S608 - likewise


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


def _trimmed(db: sqlite3.Connection, sample: Sample) -> Sample:
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
    def together(self) -> Iterator[None]:
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

    def add_runs(self, rows: Iterable[RunRow]) -> None:
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

    def add_tally(self, worker: str, second: int, journey: str, word: str, count: int = 1) -> None:
        """Count streams for rates, at the epoch second in which they were due: an increment.

        word: one of harness.results.tally.WORDS; raises ValueError for another.
        """
        self._pending.tallies[worker, second, journey, checked_word(word, count)] += count
        self._added()

    def add_processes(self, rows: Iterable[ProcessRow]) -> None:
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

    def add_checks(self, rows: Iterable[CheckRow]) -> None:
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

    def add_judgements(self, rows: Iterable[JudgementRow]) -> None:
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

    def _write_pending(self) -> Sample | None:
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

    def _sample_so_far(self, keep: int) -> Sample:
        query = "SELECT count(*) FILTER (WHERE priority < 0), count(*) FILTER (WHERE priority >= 0) FROM runs"
        return Sample(keep, *self._db.execute(query).fetchone())

    def _runs_seen_so_far(self) -> int:
        query = (
            "SELECT coalesce((SELECT CAST(value AS INTEGER) FROM manifest WHERE key = 'runs_seen'), "
            "(SELECT count(*) FROM runs))"
        )
        return int(self._db.execute(query).fetchone()[0])

    def _prepare(self) -> None:
        """Make sure that the file is ours and has its tables, whoever else is doing the same."""
        try:
            _identify(self._db, self.path, may_be_empty=True)
            self._enter_wal()
            # A crash of the machine may cost the last commits, the death of a process none.
            self._db.execute("PRAGMA synchronous = NORMAL")
            with self._transaction():
                version = _identify(self._db, self.path, may_be_empty=True)
                for statement in ";".join(_STEPS[version:]).split(";"):
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


class Results:
    """A results file, read only; also one whose writer is still at work or was killed. A context manager.

    Methods say what stands in the file now; histograms that were merged are kept until it changes. A part
    is, where one can be chosen, a Part of the load's seconds; without a word, those that count.

    Raises ResultsError when the file is missing, is no results file, is of a newer schema, or turns out to
    be damaged. Of a file of an older schema, what it does not have is empty.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise ResultsError(
                f"{self.path}: there is no such results file; give the results.sqlite of a run"
            )
        try:
            self._db = sqlite3.connect(
                f"{self.path.absolute().as_uri()}?mode=ro",
                uri=True,
                timeout=BUSY_TIMEOUT_S,
                isolation_level=None,
            )
        except sqlite3.Error as problem:
            raise self._unreadable(problem) from None
        self._merged: dict[str, dict[tuple[str, str, bool], Histogram]] = {}
        self._merged_at = -1
        self._last_read: tuple[tuple[Any, ...], dict[int, Histogram]] = ((), {})
        try:
            self._version = _identify(self._db, self.path)
        except sqlite3.Error as problem:
            self._db.close()
            raise self._unreadable(problem) from None
        except BaseException:
            self._db.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()

    @property
    def manifest(self) -> dict[str, Any]:
        """The manifest's keys and values; see ResultsWriter.set_manifest."""
        return {key: json.loads(value) for key, value in self._rows("SELECT key, value FROM manifest")}

    @property
    def tested(self) -> bool:
        """Whether anything was tested: a check came to a verdict on the server, or a stream was answered.

        Streams that were refused, rejected or abandoned alone test nothing, nor do checks that were not
        applicable, inconclusive, informative or the harness's own error.
        """
        return any(check.verdict in _TESTED_VERDICTS for check in self.checks()) or any(
            self.ledger()[outcome] for outcome in _TESTED_OUTCOMES
        )

    def runs(self) -> Iterator[RunRow]:
        """The streams, by intended start."""
        for row in self._rows(_SELECT_RUNS):
            yield RunRow(**dict(zip(_RUN_COLUMNS, row, strict=True)))

    def longest_runs(self, limit: int) -> list[RunRow]:
        """The streams that took longest from due to terminal event, the longest first, without warm-up."""
        query = (
            f"SELECT {', '.join(_RUN_COLUMNS)} FROM runs WHERE duration_ms IS NOT NULL AND intended_ns >= ?1 "  # noqa: S608 - our own column names
            "ORDER BY duration_ms DESC, id LIMIT ?2"
        )
        first_ns = (self.measured_from or 0) * 1_000_000_000
        return [
            RunRow(**dict(zip(_RUN_COLUMNS, row, strict=True))) for row in self._rows(query, first_ns, limit)
        ]

    def sample(self) -> tuple[int, int]:
        """How many rows `runs` has, and of how many streams they are a sample; equal when it has them all."""
        (kept,) = next(self._rows("SELECT count(*) FROM runs"))
        return kept, max(kept, int(self.manifest.get("runs_seen", kept)))

    @property
    def schema_version(self) -> int:
        """The file's own schema version, SCHEMA_VERSION or older."""
        return self._version

    def kept_failed(self) -> int:
        """How many of the rows `runs` has are of failed streams; of what is sampled they are a sample apart."""
        query = "SELECT count(*) FROM runs WHERE reason IS NOT NULL OR violations > 0"
        return next(int(count) for (count,) in self._rows(query))

    def failure_reasons(self, limit: int) -> tuple[list[Reason], int]:
        """The most frequent reasons of failure among the rows, and how many different ones there are."""
        grouped = (
            "SELECT journey, step, reason, count(*) AS n FROM runs WHERE reason IS NOT NULL GROUP BY 1, 2, 3"
        )
        (different,) = next(self._rows(f"SELECT count(*) FROM ({grouped})"))  # noqa: S608 - our own text
        rows = self._rows(f"{grouped} ORDER BY n DESC, journey, step, reason LIMIT ?", limit)
        return [Reason(*row) for row in rows], different

    def journeys(self) -> list[str]:
        """The journeys that the ledger or a histogram names, sorted."""
        union = "SELECT journey FROM ledger UNION SELECT journey FROM histograms ORDER BY journey"
        return [journey for (journey,) in self._rows(union) if journey]

    @property
    def measured_from(self) -> int | None:
        """The first epoch second that counts; None when there was no warm-up and all do."""
        value = self.manifest.get("measured_from")
        return int(value) if value else None

    def ledger(self, journey: str | None = None) -> Ledger:
        """What became of the streams, of one journey or of all, warm-up too.

        Of a test that is still going on, or whose writer was killed, the streams that were open when it was
        last written are in flight.
        """
        queries = ["SELECT outcome, sum(count) FROM ledger WHERE ?1 IS NULL OR journey = ?1 GROUP BY outcome"]
        if self._version >= 2:
            queries.append(
                "SELECT 'in flight', coalesce(sum(count), 0) FROM open_streams WHERE ?1 IS NULL OR journey = ?1"
            )
        ledger = Ledger()
        for outcome, count in self._rows(" UNION ALL ".join(queries), journey):
            ledger.add(outcome, count)
        return ledger

    def ledger_by_second(self) -> dict[int, Ledger]:
        """The ledger by epoch second, ascending; each outcome stands at the second that its writer gave."""
        ledgers: dict[int, Ledger] = {}
        query = "SELECT second, outcome, sum(count) FROM ledger GROUP BY second, outcome ORDER BY second"
        for second, outcome, count in self._rows(query):
            ledgers.setdefault(second, Ledger()).add(outcome, count)
        return ledgers

    def failures(self, journey: str | None = None) -> int:
        """Streams that ended otherwise than their step wanted, of one journey or of all, warm-up too."""
        query = "SELECT coalesce(sum(count), 0) FROM failures WHERE ?1 IS NULL OR journey = ?1"
        return next(int(count) for (count,) in self._rows(query, journey))

    def failures_by_second(self) -> dict[int, int]:
        """Failed streams by epoch second, ascending; seconds without a failure are left out."""
        return dict(self._rows("SELECT second, sum(count) FROM failures GROUP BY second ORDER BY second"))

    def tally(self, journey: str | None = None, part: Part = "measured") -> Tally:
        """What goes into rates, of one journey or of all.

        A writer that did not tally had no warm-up, so its streams are taken from ledger and failures.
        """
        if self._version >= 2 and next(self._rows("SELECT EXISTS (SELECT 1 FROM tallies)"))[0]:
            query = (
                "SELECT word, sum(count) FROM tallies WHERE (?1 IS NULL OR journey = ?1) "
                "AND second >= ?2 AND second < ?3 GROUP BY word"
            )
            return Tally.of(dict(self._rows(query, journey, *self._seconds(part))))
        if part == "warm-up":
            return Tally()
        return Tally(self.ledger(journey).judged, self.failures(journey), None, None)

    def tallies_by_second(self, journey: str | None = None) -> dict[int, Tally]:
        """What goes into rates by the epoch second in which the streams were due, ascending, warm-up too."""
        if self._version < 2:
            return {}
        counts: dict[int, dict[str, int]] = {}
        query = (
            "SELECT second, word, sum(count) FROM tallies WHERE ?1 IS NULL OR journey = ?1 "
            "GROUP BY second, word ORDER BY second"
        )
        for second, word, count in self._rows(query, journey):
            counts.setdefault(second, {})[word] = count
        return {second: Tally.of(words) for second, words in counts.items()}

    def processes(self, part: Part = "measured") -> list[ProcessRow]:
        """How the harness's processes fared, by process and second."""
        if self._version < 2:
            return []
        query = (
            "SELECT worker, second, cpu, rss_bytes, open_streams FROM processes "
            "WHERE second >= ?1 AND second < ?2 ORDER BY worker, second"
        )
        return [
            ProcessRow(worker=worker, second=second, cpu=cpu, rss_bytes=rss_bytes, open_streams=open_streams)
            for worker, second, cpu, rss_bytes, open_streams in self._rows(query, *self._seconds(part))
        ]

    def metrics(self) -> list[str]:
        """The names of the metrics that have data, sorted."""
        return [name for (name,) in self._rows("SELECT DISTINCT metric FROM histograms ORDER BY metric")]

    def histogram(self, metric: str, journey: str | None = None, part: Part = "measured") -> Histogram:
        """One metric over the whole run, of one journey or of all; empty when nothing was measured."""
        total = Histogram()
        for (name, _, counts), histogram in self._totals(metric).items():
            if journey in (None, name) and part in ("whole", "measured" if counts else "warm-up"):
                total.merge(histogram)
        return total

    def histograms_by_worker(self, metric: str, part: Part = "measured") -> dict[str, Histogram]:
        """One metric by the process that measured it."""
        workers: dict[str, Histogram] = {}
        for (_, worker, counts), histogram in self._totals(metric).items():
            if part in ("whole", "measured" if counts else "warm-up"):
                workers.setdefault(worker, Histogram()).merge(histogram)
        return dict(sorted(workers.items()))

    def histograms_by_second(
        self,
        metric: str,
        journey: str | None = None,
        part: Part = "measured",
        *,
        width_s: int = 1,
        first: int = 0,
    ) -> dict[int, Histogram]:
        """One metric by epoch second, ascending; seconds without a value are left out.

        width_s: seconds to a bin, which stands at its first one; bins are counted from `first`.
        """
        wanted = metric, journey, part, width_s, first, self._changes()
        if wanted != self._last_read[0]:  # for each percentile of a metric its seconds are asked for again
            self._last_read = wanted, dict(self._by_second(metric, journey, part, width_s, first))
        return dict(self._last_read[1])

    def _by_second(
        self, metric: str, journey: str | None, part: Part, width_s: int, first: int
    ) -> Iterator[tuple[int, Histogram]]:
        query = (
            "SELECT (second - ?5) / ?6, counts FROM histograms WHERE metric = ?1 AND (?2 IS NULL OR journey = ?2) "
            "AND second >= ?3 AND second < ?4 ORDER BY 1"
        )
        rows = self._rows(query, metric, journey, *self._seconds(part), first, width_s)
        for place, found in groupby(rows, itemgetter(0)):
            yield first + place * width_s, self._total(counts for _, counts in found)

    def seconds_of(self, metric: str) -> tuple[int, int] | None:
        """The first and the last epoch second in which a metric has values, warm-up too; None without any."""
        first, last = next(
            self._rows("SELECT min(second), max(second) FROM histograms WHERE metric = ?1", metric)
        )
        return None if first is None else (first, last)

    def _seconds(self, part: Part) -> tuple[int, int]:
        """The first epoch second of that part, and the first after it."""
        counts_from = self.measured_from or -_ALWAYS_S
        return {
            "measured": (counts_from, _ALWAYS_S),
            "warm-up": (-_ALWAYS_S, counts_from),
            "whole": (-_ALWAYS_S, _ALWAYS_S),
        }[part]

    def _changes(self) -> int:
        """A number that differs when another process has changed the file."""
        return next(int(version) for (version,) in self._rows("PRAGMA data_version"))

    def _totals(self, metric: str) -> Mapping[tuple[str, str, bool], Histogram]:
        """One metric's histograms by journey, worker and whether they count (or are warm-up)."""
        changes = self._changes()
        if changes != self._merged_at:
            self._merged, self._merged_at = {}, changes
        if metric not in self._merged:
            counts_from, _ = self._seconds("measured")
            totals: dict[tuple[str, str, bool], Histogram] = {}
            waiting: dict[tuple[str, str, bool], list[bytes]] = {}
            query = "SELECT journey, worker, second, counts FROM histograms WHERE metric = ?1"
            for journey, worker, second, counts in self._rows(query, metric):
                key = journey, worker, second >= counts_from
                stored = waiting.setdefault(key, [])
                stored.append(counts)
                if len(stored) >= COMMIT_AT_ROWS:  # so that a day's do not all wait at once
                    totals.setdefault(key, Histogram()).merge(self._total(waiting.pop(key)))
            for key, stored in waiting.items():
                totals.setdefault(key, Histogram()).merge(self._total(stored))
            self._merged[metric] = totals
        return self._merged[metric]

    def violations(self) -> list[ViolationRow]:
        """The stored examples, at most 20 a requirement, in the order of writing."""
        query = "SELECT requirement, journey, at_ns, detail, evidence, id FROM violations ORDER BY id"
        return [
            ViolationRow(
                requirement=requirement,
                journey=journey,
                at_ns=at_ns,
                detail=detail,
                evidence=json.loads(evidence),
                id=number,
            )
            for requirement, journey, at_ns, detail, evidence, number in self._rows(query)
        ]

    def violation_counts(self, journey: str | None = None) -> dict[str, int]:
        """Exact counts of violations met under load by requirement, of one journey or of all."""
        query = (
            "SELECT requirement, sum(count) FROM violation_counts WHERE ?1 IS NULL OR journey = ?1 "
            "GROUP BY requirement ORDER BY requirement"
        )
        return dict(self._rows(query, journey))

    def checks(self) -> list[CheckRow]:
        """The conformance verdicts, in the order of writing."""
        query = "SELECT id, level, verdict, detail, duration_s, evidence FROM checks ORDER BY rowid"
        return [
            CheckRow(
                id=name,
                level=level,
                verdict=verdict,
                detail=detail,
                duration_s=duration_s,
                evidence=json.loads(evidence),
            )
            for name, level, verdict, detail, duration_s, evidence in self._rows(query)
        ]

    def judgements(self) -> Iterator[JudgementRow]:
        """What single tests said, in the order of writing."""
        query = "SELECT test, requirement, verdict, detail, evidence FROM judgements ORDER BY rowid"
        for test, requirement, verdict, detail, evidence in self._rows(query):
            yield JudgementRow(
                test=test,
                requirement=requirement,
                verdict=verdict,
                detail=detail,
                evidence=json.loads(evidence),
            )

    def exchange(self, id: str) -> ExchangeRow:  # noqa: A002 - the column's name
        """One recorded exchange. Raises ResultsError when there is none of that id."""
        for row in self._exchanges("WHERE id = ?", id):
            return row
        raise ResultsError(f"{self.path}: there is no exchange {id!r} in it")

    def exchanges(self) -> Iterator[ExchangeRow]:
        """The recorded exchanges, in the order of writing."""
        yield from self._exchanges("ORDER BY rowid")

    def _exchanges(self, clause: str, *parameters: str) -> Iterator[ExchangeRow]:
        query = f"SELECT id, scenario, label, document FROM exchanges {clause}"  # noqa: S608 - our own clauses
        for name, scenario, label, document in self._rows(query, *parameters):
            yield ExchangeRow(id=name, scenario=scenario, label=label, document=json.loads(document))

    def _rows(self, query: str, *parameters: str | int | None) -> Iterator[tuple[Any, ...]]:
        try:
            yield from self._db.execute(query, parameters)
        except sqlite3.Error as problem:
            raise self._unreadable(problem) from problem

    def _total(self, stored: Iterable[bytes]) -> Histogram:
        try:
            return Histogram.total(stored)
        except ResultsError:
            raise
        except ValueError as problem:
            raise ResultsError(f"{self.path}: the results file is damaged: {problem}") from problem

    def _unreadable(self, problem: sqlite3.Error) -> ResultsError:
        if getattr(problem, "sqlite_errorcode", None) == sqlite3.SQLITE_NOTADB:
            return ResultsError(f"{self.path}: this is no results file: it is no SQLite database")
        hint = ""
        if self.path.with_name(f"{self.path.name}-wal").exists():
            hint = "; its writer did not close it, so copy it with its -wal file to a writable directory"
        return ResultsError(f"{self.path}: cannot read the results file: {problem}{hint}")


def _identify(db: sqlite3.Connection, path: Path, *, may_be_empty: bool = False) -> int:
    """The file's schema version, 0 for one without tables. Raises ResultsError when it is not for us."""
    # One statement sees one moment of the file, whoever is creating the tables now.
    application, version, tables = db.execute(
        "SELECT application_id, user_version, (SELECT count(*) FROM sqlite_master) "
        "FROM pragma_application_id, pragma_user_version"
    ).fetchone()
    empty = application == 0 and version == 0 and tables == 0
    if application != APPLICATION_ID and not (empty and may_be_empty):
        what = "it is empty" if empty else "it is another program's database"
        raise ResultsError(f"{path}: this is no results file: {what}")
    if version > SCHEMA_VERSION:
        raise ResultsError(
            f"{path}: this results file has schema version {version}, and this harness knows up to version "
            f"{SCHEMA_VERSION}; use a newer harness"
        )
    return int(version)


def _json(value: Any) -> str:
    # ASCII only: text from a server may hold lone surrogates, which JSON can escape and UTF-8 cannot hold.
    return json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))


def _storable(value: Any) -> Any:
    """The value itself, or, of text that UTF-8 cannot hold, a form with backslashes."""
    if isinstance(value, str) and not value.isascii():
        return value.encode("utf-8", "backslashreplace").decode()
    return value
