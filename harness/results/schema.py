"""The tables of a results file, and the check that a file has this schema."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from harness.errors import HarnessError

RESULTS_FILE = "results.sqlite"
"""The name of the results file in the folder of a test."""

SCHEMA_VERSION = 5
"""`PRAGMA user_version` of every results file that is written. Change it with every change of TABLES."""
WITHOUT_TRACES = 4
"""The version before, which is still read: its streams have no trace id."""
WITHOUT_TOTALS = 3
"""The version before that, which is still read: it has no TOTALS and no SCRAPES either."""
APPLICATION_ID = 0x41525248
"""`PRAGMA application_id` of every results file: "ARRH"."""
BUSY_TIMEOUT_S = 30.0
CELL_BYTES = 32 * 1024 * 1024
"""The largest row: readers refuse a larger one, so writers cut what would be larger."""

TOTALS = """
CREATE TABLE histogram_totals (
    metric TEXT, journey TEXT, worker TEXT, measured INTEGER, histogram BLOB NOT NULL,
    PRIMARY KEY (metric, journey, worker, measured)) STRICT;
CREATE TABLE histogram_seconds (
    metric TEXT, second INTEGER, histogram BLOB NOT NULL, PRIMARY KEY (metric, second)) STRICT;
"""
"""The histograms of a finished test, added up over seconds, and by second over journeys and workers; empty before."""

SCRAPES = """
CREATE TABLE scrapes (
    second INTEGER, series TEXT, kind TEXT NOT NULL, value REAL NOT NULL, PRIMARY KEY (second, series)) STRICT;
"""
"""The server's own metrics."""

_OTHERS = """
CREATE TABLE manifest (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
CREATE TABLE streams (
    id INTEGER PRIMARY KEY, journey TEXT NOT NULL, step TEXT NOT NULL, worker TEXT NOT NULL,
    intended_ns INTEGER NOT NULL, sent_ns INTEGER, outcome TEXT NOT NULL, status INTEGER, reason TEXT,
    connect_ms REAL, head_ms REAL, first_event_ms REAL, ttft_ms REAL, service_ttft_ms REAL,
    duration_ms REAL, resume_ms REAL, stall_ms REAL, events INTEGER NOT NULL, tokens INTEGER NOT NULL,
    idempotency_key TEXT, run_id TEXT,{trace_id} violations INTEGER NOT NULL,
    sample_priority REAL NOT NULL DEFAULT 0) STRICT;
CREATE TABLE histograms (
    metric TEXT, journey TEXT, second INTEGER, worker TEXT, histogram BLOB NOT NULL,
    PRIMARY KEY (metric, journey, second, worker)) STRICT;
CREATE TABLE ledger (
    worker TEXT, second INTEGER, journey TEXT, outcome TEXT, count INTEGER NOT NULL,
    PRIMARY KEY (worker, second, journey, outcome)) STRICT;
CREATE TABLE open_streams (
    worker TEXT, journey TEXT, count INTEGER NOT NULL, PRIMARY KEY (worker, journey)) STRICT;
CREATE TABLE failures (
    worker TEXT, second INTEGER, journey TEXT, count INTEGER NOT NULL,
    PRIMARY KEY (worker, second, journey)) STRICT;
CREATE TABLE rate_counts (
    worker TEXT, second INTEGER, journey TEXT, counter TEXT, count INTEGER NOT NULL,
    PRIMARY KEY (worker, second, journey, counter)) STRICT;
CREATE TABLE processes (
    worker TEXT, second INTEGER, cpu REAL NOT NULL, rss_bytes INTEGER NOT NULL, open_streams INTEGER NOT NULL,
    PRIMARY KEY (worker, second)) STRICT;
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
CREATE TABLE rule_results (
    test TEXT PRIMARY KEY, requirement TEXT NOT NULL, verdict TEXT NOT NULL, detail TEXT NOT NULL,
    evidence TEXT NOT NULL) STRICT;
CREATE TABLE exchanges (
    id TEXT PRIMARY KEY, scenario TEXT NOT NULL, label TEXT NOT NULL, document TEXT NOT NULL) STRICT;
"""

TABLES = _OTHERS.format(trace_id=" trace_id TEXT,") + TOTALS + SCRAPES
_OLDER = _OTHERS.format(trace_id="")
TABLES_OF = {WITHOUT_TOTALS: _OLDER, WITHOUT_TRACES: _OLDER + TOTALS + SCRAPES, SCHEMA_VERSION: TABLES}
"""The tables of each version that is read."""

OWN_INDEXES = {"streams_by_priority": "CREATE INDEX streams_by_priority ON streams (sample_priority)"}
"""Indexes that a writer adds only if it needs them."""


class ResultsError(HarnessError, ValueError):
    """A results file cannot be read or written; the message is one sentence for the user."""


def has_tables(db: sqlite3.Connection, path: Path) -> bool:
    """Whether the file has this schema's tables, to write to it; False for an empty database, which may get them.

    Raises ResultsError for another program's database and for any other schema version. In a transaction it reads a
    consistent state while another writer creates the tables.
    """
    ((tables,),) = db.execute("SELECT count(*) FROM sqlite_master").fetchall()
    return _version(db, path, tables, (SCHEMA_VERSION,)) is not None


def readable_version(db: sqlite3.Connection, path: Path, *, tables: int) -> int:
    """The schema version of a file that can be read. tables: number of entries in its schema.

    Raises ResultsError for any other file.
    """
    version = _version(db, path, tables, tuple(TABLES_OF))
    if version is None:
        raise ResultsError(f"not a results file (empty): {path}")
    return version


def _version(db: sqlite3.Connection, path: Path, tables: int, accepted: tuple[int, ...]) -> int | None:
    """The file's schema version; None for an empty database."""
    ((application_id,),) = db.execute("PRAGMA application_id").fetchall()
    ((version,),) = db.execute("PRAGMA user_version").fetchall()
    if application_id == 0 and version == 0 and tables == 0:
        return None
    if application_id != APPLICATION_ID:
        raise ResultsError(f"not a results file (another program's database): {path}")
    if version not in accepted:
        raise ResultsError(
            f"{path}: this results file has schema version {version} and this harness {_knows(accepted)}; run the "
            "test again, or read the file with the harness version that wrote it"
        )
    return int(version)


def _knows(accepted: tuple[int, ...]) -> str:
    if len(accepted) == 1:
        return f"writes only version {accepted[0]}"
    *older, newest = accepted
    return f"reads only versions {', '.join(map(str, older))} and {newest}"
