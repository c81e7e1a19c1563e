"""Rows and histograms to write into results files."""

import sqlite3

from harness.results import schema
from harness.results.histogram import Histogram
from harness.results.records import StreamRecord

RUN = StreamRecord(journey="fresh", step="run", worker="w1", intended_ns=2_000, outcome="done")


FULL = StreamRecord(
    journey="resume",
    step="resumed",
    worker="w2",
    intended_ns=1_000,
    sent_ns=1_500,
    outcome="truncated",
    status=200,
    reason="the stream ended early",
    connect_ms=0.5,
    head_ms=1.5,
    first_event_ms=2.5,
    ttft_ms=3.5,
    service_ttft_ms=3.0,
    duration_ms=9.5,
    resume_ms=2.25,
    stall_ms=4.0,
    events=7,
    tokens=6,
    idempotency_key="k",
    run_id="r",
    violations=1,
)


def of(*values_ms):
    histogram = Histogram()
    histogram.record_many(values_ms)
    return histogram


def of_version_1(path):
    """A file as the first schema had it, with a load in it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    db = sqlite3.connect(path, isolation_level=None)
    for statement in schema.FIRST.split(";"):
        db.execute(statement)
    db.execute(f"PRAGMA application_id = {schema.APPLICATION_ID}")
    db.execute("PRAGMA user_version = 1")
    db.execute("INSERT INTO ledger VALUES ('w', 1, 'fresh', 'scheduled', 2), ('w', 1, 'fresh', 'done', 2)")
    db.execute("INSERT INTO failures VALUES ('w', 1, 'fresh', 1)")
    columns = "journey, step, worker, intended_ns, outcome, events, tokens, violations"
    db.execute(f"INSERT INTO runs ({columns}) VALUES ('fresh', 'run', 'w', 1, 'done', 1, 1, 0)")
    db.execute("INSERT INTO histograms VALUES ('ttft_ms', 'fresh', 1, 'w', ?)", (of(5.0).to_bytes(),))
    db.close()
