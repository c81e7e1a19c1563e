"""What a results writer has collected for its next transaction, and how it is written."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from harness.results.histogram import Histogram
from harness.results.records import EXAMPLES_PER_REQUIREMENT, STREAM_COLUMNS

_PLACEHOLDERS = ", ".join("?" * (len(STREAM_COLUMNS) + 1))
_INSERT_STREAM = (
    f"INSERT INTO streams ({', '.join(STREAM_COLUMNS)}, sample_priority) VALUES ({_PLACEHOLDERS})"  # noqa: S608 - our own column names
)


@dataclass(slots=True)
class PendingRows:
    """Rows and counts that a writer has collected since its last commit."""

    manifest: dict[str, str] = field(default_factory=dict)
    streams: list[tuple[Any, ...]] = field(default_factory=list)
    histograms: dict[tuple[str, str, int, str], Histogram] = field(default_factory=dict)
    ledger: Counter[tuple[str, int, str, str]] = field(default_factory=Counter)
    failures: Counter[tuple[str, int, str]] = field(default_factory=Counter)
    rate_counts: Counter[tuple[str, int, str, str]] = field(default_factory=Counter)
    open_streams: dict[str, Mapping[str, int]] = field(default_factory=dict)
    processes: list[tuple[Any, ...]] = field(default_factory=list)
    scrapes: list[tuple[int, str, str, float]] = field(default_factory=list)
    violations: dict[str, list[tuple[Any, ...]]] = field(default_factory=dict)
    violation_counts: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    checks: list[tuple[Any, ...]] = field(default_factory=list)
    rule_results: list[tuple[str, str, str, str, str]] = field(default_factory=list)
    exchanges: list[tuple[str, str, str, str]] = field(default_factory=list)

    def write(self, db: sqlite3.Connection) -> None:
        """Write everything; the caller holds the write lock."""
        db.executemany(
            "INSERT INTO manifest VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value",
            self.manifest.items(),
        )
        db.executemany(_INSERT_STREAM, self.streams)
        if self.histograms or "measured_from" in self.manifest:  # the totals are no longer those of the file
            _remove_totals(db)
        for key, histogram in self.histograms.items():
            _merge_histogram(db, key, histogram)
        add = "ON CONFLICT DO UPDATE SET count = count + excluded.count"
        for table, counter in (
            ("ledger", self.ledger),
            ("failures", self.failures),
            ("rate_counts", self.rate_counts),
            ("violation_counts", self.violation_counts),
        ):
            rows = [(*key, count) for key, count in counter.items()]
            if rows:
                placeholders = ", ".join("?" * len(rows[0]))
                db.executemany(f"INSERT INTO {table} VALUES ({placeholders}) {add}", rows)  # noqa: S608 - our own names
        for worker, counts in self.open_streams.items():
            db.execute("DELETE FROM open_streams WHERE worker = ?", (worker,))
            db.executemany(
                "INSERT INTO open_streams VALUES (?, ?, ?)", [(worker, *item) for item in counts.items()]
            )
        db.executemany("INSERT OR REPLACE INTO processes VALUES (?, ?, ?, ?, ?)", self.processes)
        db.executemany("INSERT OR REPLACE INTO scrapes VALUES (?, ?, ?, ?)", self.scrapes)
        for requirement, examples in self.violations.items():
            _insert_examples(db, requirement, examples)
        db.executemany(
            "INSERT INTO checks VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET level = excluded.level, "
            "verdict = excluded.verdict, detail = excluded.detail, duration_s = excluded.duration_s, "
            "evidence = excluded.evidence",
            self.checks,
        )
        db.executemany("INSERT OR REPLACE INTO rule_results VALUES (?, ?, ?, ?, ?)", self.rule_results)
        db.executemany(
            "INSERT INTO exchanges VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET "
            "scenario = excluded.scenario, label = excluded.label, document = excluded.document",
            self.exchanges,
        )


def write_totals(
    db: sqlite3.Connection,
    seconds: Iterable[tuple[str, int, bytes]],
    totals: Iterable[tuple[str, str, str, bool, bytes]],
) -> None:
    """Replace the totals; arguments as in ResultsWriter.set_totals. The caller holds the write lock."""
    _remove_totals(db)
    db.executemany("INSERT INTO histogram_seconds VALUES (?, ?, ?)", seconds)
    db.executemany("INSERT INTO histogram_totals VALUES (?, ?, ?, ?, ?)", totals)


def _remove_totals(db: sqlite3.Connection) -> None:
    db.execute("DELETE FROM histogram_totals")
    db.execute("DELETE FROM histogram_seconds")


def _merge_histogram(db: sqlite3.Connection, key: tuple[str, str, int, str], histogram: Histogram) -> None:
    where = "metric = ? AND journey = ? AND second = ? AND worker = ?"
    stored = db.execute(f"SELECT histogram FROM histograms WHERE {where}", key).fetchone()  # noqa: S608 - our own text
    total = Histogram()
    if stored is not None:
        total.merge(Histogram.from_bytes(stored[0]))
    total.merge(histogram)
    db.execute(
        "INSERT INTO histograms VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET histogram = excluded.histogram",
        (*key, total.to_bytes()),
    )


def _insert_examples(db: sqlite3.Connection, requirement: str, examples: list[tuple[Any, ...]]) -> None:
    (stored,) = db.execute("SELECT count(*) FROM violations WHERE requirement = ?", (requirement,)).fetchone()
    db.executemany(
        "INSERT INTO violations (requirement, journey, at_ns, detail, evidence) VALUES (?, ?, ?, ?, ?)",
        examples[: max(0, EXAMPLES_PER_REQUIREMENT - stored)],
    )
