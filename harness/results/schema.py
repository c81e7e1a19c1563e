"""The tables of a results file, version by version, and whether a file is one that this version can work with."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from harness.errors import HarnessError

SCHEMA_VERSION = 2
APPLICATION_ID = 0x41525248
"""Marks a SQLite file as ours ("ARRH"), whatever its name."""
BUSY_TIMEOUT_S = 30.0
FIRST = """
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
SINCE_2 = """
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
STEPS = (FIRST, SINCE_2)
"""What each schema version added; a file of an older one lacks the tables that came later."""


class ResultsError(HarnessError, ValueError):
    """A results file that cannot be read or written; the message is one sentence for the user."""


def identify(db: sqlite3.Connection, path: Path, *, may_be_empty: bool = False) -> int:
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
