"""Exports the streams of a test as a table: CSV, JSON Lines or Parquet.

Rows are read and written in batches, so memory does not grow with the table. If the table is a sample, the column
`weight` says how many streams each row represents.
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

from harness.formatting import counted
from harness.results import metrics
from harness.results.reader import Results
from harness.results.schema import ResultsError

if TYPE_CHECKING:
    import pyarrow as pa

ColumnKind = Literal["text", "integer", "number", "time", "flag"]

BATCH = 20_000
"""Rows in memory at once, and per row group of a Parquet file."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND_NS = 1_000_000_000
_FORMULA_STARTS = (
    "=",
    "+",
    "-",
    "@",
    "\t",
    "\r",
    "\n",
    "'",
    "\uff1d",
    "\uff0b",
    "\uff0d",
    "\uff20",
)  # and full-width

StreamRow = Sequence[Any]
"""Values in the order of COLUMNS; times are epoch nanoseconds."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column: type, unit (empty for text), description, and whether it can be null."""

    name: str
    kind: ColumnKind
    unit: str
    description: str
    nullable: bool = False


def _ms(name: str) -> Column:
    metric = metrics.METRICS[name]
    return Column(name, "number", "ms", f"{metric.label}: {metric.formula}", nullable=True)


COLUMNS: tuple[Column, ...] = (
    Column("id", "integer", "", "Row number in the results file"),
    Column("journey", "text", "", "Journey of the stream"),
    Column("step", "text", "", "Step of the journey"),
    Column("worker", "text", "", "Harness process that read the stream"),
    Column("intended_at", "time", "UTC", "When the stream was due"),
    Column("sent_at", "time", "UTC", "When the request was sent; null if it was not", nullable=True),
    Column("measured", "flag", "", "False if the stream was due during warm-up"),
    Column("weight", "number", "streams", "Number of streams that the row represents: 1 unless sampled"),
    Column("outcome", "text", "", "Outcome in the ledger"),
    Column("status", "integer", "", "HTTP status; null without a response", nullable=True),
    Column(
        "reason", "text", "", "Why the stream failed; null if it ended as its step expects", nullable=True
    ),
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
    Column("events", "integer", "events", "Events received"),
    Column("tokens", "integer", "tokens", "Token events with content received"),
    Column("violations", "integer", "violations", "Number of requirements that the stream violated"),
    Column("idempotency_key", "text", "", "Idempotency-Key of the request", nullable=True),
    Column("run_id", "text", "", "Run id from the server", nullable=True),
    Column("trace_id", "text", "", "Trace id in the traceparent field of the request", nullable=True),
)
"""All columns, in order."""

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
    """The streams of a results file as table rows. Raises ResultsError.

    results: while the test is running, in a snapshot, or the rows would not match `kept`, `seen` and the weights.
    kept: number of rows. seen: number of streams in the test.
    """

    def __init__(self, results: Results) -> None:
        self._results = results
        self.kept, self.seen = results.sample()
        kept_failed = results.kept_failed()
        failed = results.failures() + sum(results.harness_faults.values())
        self._counts_from_ns = (results.measured_from or 0) * _SECOND_NS
        # Failed or unjudged streams and all others are two uniform samples, so each has a single weight.
        self._failed_weight = _weight(failed, kept_failed) if self.is_sample else 1.0
        self._weight = _weight(self.seen - failed, self.kept - kept_failed) if self.is_sample else 1.0

    @property
    def is_sample(self) -> bool:
        """Whether there are fewer rows than streams."""
        return self.kept < self.seen

    def rows(self) -> Iterator[StreamRow]:
        """The rows by intended start. Raises ResultsError."""
        for row in self._results.streams():
            failed = row.reason is not None or row.violations > 0
            yield (
                *_BEFORE(row),
                row.intended_ns >= self._counts_from_ns,
                self._failed_weight if failed else self._weight,
                *_AFTER(row),
            )

    def batches(self) -> Iterator[list[StreamRow]]:
        """The rows, BATCH at a time."""
        rows = self.rows()
        while batch := list(islice(rows, BATCH)):
            yield batch

    def describe(self) -> str:
        """One sentence: the number of rows, and whether they are a sample."""
        if self.is_sample:
            return (
                f"{self.kept:,} of {counted(self.seen, 'stream')}, a sample that prefers failed streams: the column "
                "weight is the number of streams that a row represents"
            )
        return counted(self.kept, "stream")

    def metadata(self) -> dict[str, Any]:
        """Column descriptions and sample size, as plain values."""
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
                    "description": column.description,
                }
                for column in COLUMNS
            ],
        }


def _weight(seen: int, kept: int) -> float:
    return max(1.0, seen / kept) if kept else 1.0


def write_csv(table: StreamTable, file: BinaryIO) -> None:
    """CSV as in RFC 4180, UTF-8: header, CRLF, null as an empty cell, times in ISO 8601 with nanoseconds.

    A text that a spreadsheet would run as a formula (it starts with = + - @, also full-width, a tab or a line break)
    gets an apostrophe in front, and so does one that starts with an apostrophe: remove one leading apostrophe to get
    the original text. Servers choose run ids and error texts, and a formula can leak the sheet.
    """
    text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=True)
    try:
        writer = csv.writer(text)
        writer.writerow(column.name for column in COLUMNS)
        for batch in table.batches():
            writer.writerows(map(_cells, batch))
    finally:
        text.detach()  # otherwise it closes the caller's file, which can be standard output


def _cells(row: StreamRow) -> list[Any]:
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
    """JSON Lines: one object per row with all columns, times in ISO 8601.

    Times are text, because epoch nanoseconds exceed the precision of a JavaScript number.
    """
    names = [column.name for column in COLUMNS]
    encoder = msgspec.json.Encoder()
    file.writelines(encoder.encode_lines([_named(names, row) for row in batch]) for batch in table.batches())


def _named(names: list[str], row: StreamRow) -> dict[str, Any]:
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
    """Parquet: times as timestamps in ns, UTC; units and descriptions in the column metadata, and `metadata` as JSON in
    the file metadata ("agent_run_harness").

    Raises ResultsError if pyarrow is not installed.
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
                metadata={"unit": column.unit, "description": column.description},
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
"""Writer of each format."""
