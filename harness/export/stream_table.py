"""The streams of a test as a table: CSV for spreadsheets, JSON Lines and Parquet for programs.

Rows are read, written and forgotten in batches, so a table of any length takes the memory of one batch. A table that
is a sample says so in every row: how many streams it stands for.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from importlib.util import find_spec
from itertools import islice
from operator import attrgetter
from typing import TYPE_CHECKING, Any, BinaryIO, Literal

import msgspec

from harness.results import metrics
from harness.results.reader import Results
from harness.results.schema import ResultsError

if TYPE_CHECKING:
    import pyarrow as pa

ColumnKind = Literal["text", "integer", "number", "time", "flag"]

BATCH = 20_000
"""Rows in memory at once, and in a row group of a Parquet file."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND_NS = 1_000_000_000
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "'")

TableRow = Sequence[Any]
"""A row's values in the order of COLUMNS; times are epoch nanoseconds."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column of the table: what it holds, in which unit (empty for words), and whether it may be null."""

    name: str
    kind: ColumnKind
    unit: str
    about: str
    nullable: bool = False


def _ms(name: str) -> Column:
    metric = metrics.METRICS[name]
    return Column(name, "number", "ms", f"{metric.label}: {metric.formula}", nullable=True)


COLUMNS: tuple[Column, ...] = (
    Column("id", "integer", "", "The row's number in the results file"),
    Column("journey", "text", "", "The journey that the stream was a step of"),
    Column("step", "text", "", "Its part in the journey"),
    Column("worker", "text", "", "The harness's process that read it"),
    Column("intended_at", "time", "UTC", "When it was due"),
    Column("sent_at", "time", "UTC", "When its request was sent; null when none was", nullable=True),
    Column("measured", "flag", "", "Whether it counts; false for what was due during warm-up"),
    Column(
        "weight", "number", "streams", "How many streams of the test the row stands for: 1 unless sampled"
    ),
    Column("outcome", "text", "", "How it ended: a word of the ledger"),
    Column("status", "integer", "", "HTTP status of the answer; null when none came", nullable=True),
    Column("reason", "text", "", "Why it failed; null when it went as its step wanted", nullable=True),
    *map(
        _ms,
        (
            "connect_ms",
            "head_ms",
            "first_event_ms",
            "ttft_ms",
            "service_ttft_ms",
            "duration_ms",
            "resume_ms",
            "stall_ms",
        ),
    ),
    Column("events", "integer", "events", "Events that came"),
    Column("tokens", "integer", "tokens", "Token events with content that came"),
    Column("violations", "integer", "violations", "Requirements that judges found broken in it"),
    Column("idempotency_key", "text", "", "The Idempotency-Key that was sent", nullable=True),
    Column("run_id", "text", "", "The run's id, as the server gave it", nullable=True),
)
"""Every column, in order."""

_STORED = {"intended_at": "intended_ns", "sent_at": "sent_ns"}
_COMPUTED = ("measured", "weight")
_TIMES = tuple(place for place, column in enumerate(COLUMNS) if column.kind == "time")
_FLAGS = tuple(place for place, column in enumerate(COLUMNS) if column.kind == "flag")
_TEXTS = tuple(place for place, column in enumerate(COLUMNS) if column.kind == "text")
_BEFORE, _AFTER = (
    attrgetter(*(_STORED.get(column.name, column.name) for column in part))
    for part in (COLUMNS[: _FLAGS[0]], COLUMNS[_FLAGS[0] + len(_COMPUTED) :])
)


class StreamTable:
    """The streams of one results file as rows, and what has to be said of them. Raises ResultsError.

    kept, seen: how many rows there are, and of how many streams.
    """

    def __init__(self, results: Results) -> None:
        self._results = results
        self.kept, self.seen = results.sample()
        kept_failed = results.kept_failed()
        failed = results.failures() + sum(results.harness_faults.values())
        self._counts_from_ns = (results.measured_from or 0) * _SECOND_NS
        # Failed (or unjudged) and other streams are two samples; in each a row stands for as many as any other.
        self._failed_weight = _weight(failed, kept_failed) if self.is_sample else 1.0
        self._weight = _weight(self.seen - failed, self.kept - kept_failed) if self.is_sample else 1.0

    @property
    def is_sample(self) -> bool:
        """Whether the file keeps fewer rows than there were streams."""
        return self.kept < self.seen

    def rows(self) -> Iterator[TableRow]:
        """The rows by intended start. Raises ResultsError, also when the file changed since it was opened."""
        written = 0
        for row in self._results.streams():
            written += 1
            failed = row.reason is not None or row.violations > 0
            yield (
                *_BEFORE(row),
                row.intended_ns >= self._counts_from_ns,
                self._failed_weight if failed else self._weight,
                *_AFTER(row),
            )
        if written != self.kept:
            raise ResultsError(
                f"{self._results.path}: the test is still writing to it, so its rows changed on the way; "
                f"export again when it has ended"
            )

    def batches(self) -> Iterator[list[TableRow]]:
        """The rows, BATCH at a time."""
        rows = self.rows()
        while batch := list(islice(rows, BATCH)):
            yield batch

    def describe(self) -> str:
        """In a sentence, how many rows there are and what of."""
        if self.is_sample:
            return (
                f"{self.kept} of {self.seen} streams, a sample in which failed ones come first: "
                f"column weight says how many each row stands for"
            )
        return f"{self.kept} streams"

    def metadata(self) -> dict[str, Any]:
        """What the columns mean, and what the rows are a sample of: plain values."""
        manifest = self._results.manifest
        target = manifest.get("target")
        return {
            "schema_version": self._results.schema_version,
            "target": target.get("base_url") if isinstance(target, dict) else None,
            "started_at": manifest.get("started_at"),
            "state": manifest.get("state"),
            "measured_from": self._results.measured_from,
            "rows": {"kept": self.kept, "seen": self.seen},
            "columns": [
                {
                    "name": column.name,
                    "type": column.kind,
                    "unit": column.unit or None,
                    "nullable": column.nullable,
                    "description": column.about,
                }
                for column in COLUMNS
            ],
        }


def _weight(seen: int, kept: int) -> float:
    return max(1.0, seen / kept) if kept else 1.0


def write_csv(table: StreamTable, file: BinaryIO) -> None:
    """CSV by RFC 4180, UTF-8: a header, CRLF, null as an empty cell, times in ISO 8601 with nanoseconds.

    A text that a spreadsheet would take for a formula (it begins with = + - @, a tab or a line break) gets
    an apostrophe before it, as does one that begins with an apostrophe: so who takes one away where there is one has
    the text again. Servers choose run ids and error texts, and a formula can send the sheet away.
    """
    text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=True)
    try:
        writer = csv.writer(text)
        writer.writerow(column.name for column in COLUMNS)
        for batch in table.batches():
            writer.writerows(map(_cells, batch))
    finally:
        text.detach()  # or it would close the file, which is the caller's, and may be standard output


def _cells(row: TableRow) -> list[Any]:
    cells = list(row)
    for place in _TEXTS:
        cell = cells[place]
        if cell and cell.startswith(_FORMULA_STARTS):
            cells[place] = f"'{cell}"
    for place in _TIMES:
        cells[place] = _iso(cells[place])
    for place in _FLAGS:
        cells[place] = "true" if cells[place] else "false"
    return cells


def write_jsonl(table: StreamTable, file: BinaryIO) -> None:
    """JSON Lines: an object a row with every column, null where there is no value, times in ISO 8601.

    Times are texts, because nanoseconds since 1970 are more than a JavaScript number holds.
    """
    names = [column.name for column in COLUMNS]
    encoder = msgspec.json.Encoder()
    file.writelines(encoder.encode_lines([_named(names, row) for row in batch]) for batch in table.batches())


def _named(names: list[str], row: TableRow) -> dict[str, Any]:
    values = dict(zip(names, row, strict=True))
    for place in _TIMES:
        values[names[place]] = _iso(row[place])
    return values


def _iso(at_ns: int | None) -> str | None:
    if at_ns is None:
        return None
    second, rest_ns = divmod(at_ns, _SECOND_NS)
    return f"{_iso_second(second)}.{rest_ns:09d}Z"


@lru_cache(maxsize=1024)
def _iso_second(second: int) -> str:
    return (_EPOCH + timedelta(seconds=second)).strftime("%Y-%m-%dT%H:%M:%S")


def write_parquet(table: StreamTable, file: BinaryIO) -> None:
    """Parquet: times as timestamps in ns, UTC; units and descriptions in the columns' metadata, and what
    the table is a sample of, as JSON, in the file's ("agent_run_harness").

    Raises ResultsError where pyarrow is not installed.
    """
    if find_spec("pyarrow") is None:
        raise ResultsError("Parquet needs pyarrow; install it with: pip install 'agent-run-harness[parquet]'")
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = _schema(table)
    with pq.ParquetWriter(file, schema, compression="zstd") as writer:
        for batch in table.batches():
            columns = [
                pa.array(values, field.type)
                for values, field in zip(zip(*batch, strict=True), schema, strict=True)
            ]
            writer.write_batch(pa.record_batch(columns, schema=schema), row_group_size=BATCH)


def _schema(table: StreamTable) -> pa.Schema:
    import pyarrow as pa

    types = {
        "text": pa.string(),
        "integer": pa.int64(),
        "number": pa.float64(),
        "time": pa.timestamp("ns", tz="UTC"),
        "flag": pa.bool_(),
    }
    return pa.schema(
        [
            pa.field(
                column.name,
                types[column.kind],
                nullable=column.nullable,
                metadata={"unit": column.unit, "description": column.about},
            )
            for column in COLUMNS
        ],
        metadata={"agent_run_harness": json.dumps(table.metadata())},
    )


WRITERS: dict[str, Callable[[StreamTable, BinaryIO], None]] = {
    "csv": write_csv,
    "jsonl": write_jsonl,
    "parquet": write_parquet,
}
"""How a table is written, by the format's name."""
