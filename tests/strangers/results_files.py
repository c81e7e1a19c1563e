"""Results files as a stranger could make them, each from code: damaged, crafted, or not results files at all."""

from __future__ import annotations

import json
import os
import sqlite3
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from harness.contract.evidence.document import document
from harness.contract.evidence.serialization import pack
from harness.results.histogram import HEADER, Histogram
from harness.results.records import (
    CheckRecord,
    ProcessRecord,
    RuleResultRecord,
    ScrapeRecord,
    StreamRecord,
)
from harness.results.schema import SCHEMA_VERSION, TABLES
from harness.results.writer import ResultsWriter
from tests.contract.exchanges import whole_run
from tests.reports.samples import MANIFEST, START

Make = Callable[[Path], object]


def sound(path: Path) -> Path:
    """A small results file that every verb accepts; with one row or more in every table."""
    path.write_bytes(_sound())
    return path


@cache
def _sound() -> bytes:
    with TemporaryDirectory() as folder:
        path = Path(folder, "sound.sqlite")
        _write_sound(path)
        return path.read_bytes()


def _write_sound(path: Path) -> None:
    run = whole_run()
    stored = document(run, base_url="http://h")
    with ResultsWriter(path) as writer:
        settings = {
            **MANIFEST["settings"],
            "target": {"conflict": "any", "resume_start": "any"},
            "budgets": {"first_event": 10.0, "terminal_close": 5.0, "heartbeat": 15.0, "run": 120.0},
        }
        writer.set_manifest(
            **{**MANIFEST, "settings": settings}, load_state="finished", suite_state="finished"
        )
        for number in range(3):
            ms = {"ttft_ms": 5.0 + number, "duration_ms": 50.0, "stall_ms": 3.0}
            row = StreamRecord(
                journey="fresh",
                step="run",
                worker="w0",
                intended_ns=(START + number) * 10**9,
                outcome="done",
                trace_id=f"{number:032x}",
                **ms,
            )
            writer.add_streams([row])
            histogram = Histogram()
            histogram.record_many([5.0 + number] * 200)
            for metric in ("ttft_ms", "duration_ms", "hub_delay_ms"):
                writer.add_histogram(metric, "fresh", START + number, "w0", histogram)
            writer.add_ledger("w0", START + number, "fresh", "scheduled")
            writer.add_ledger("w0", START + number, "fresh", "done")
            writer.add_rate_counts("w0", START + number, "fresh", "judged")
            row = ProcessRecord(worker="w0", second=START + number, cpu=0.1, rss_bytes=10**8, open_streams=1)
            writer.add_processes([row])
        writer.add_scrapes([ScrapeRecord(second=START, series="runs_total", kind="counter", value=1.0)])
        writer.set_open("w0", {"fresh": 1})
        writer.add_ledger("w0", START, "fresh", "scheduled")
        writer.add_failures("w0", START, "fresh")
        writer.add_violation("terminal.exactly-one", "fresh", START * 10**9, "two", stored)
        writer.count_violation("terminal.exactly-one", "fresh", "w0")
        writer.add_exchange("exchange-1", "completed_run", "run", stored)
        pointers = [{"exchange": "exchange-1", "event": 0, "note": "here"}]
        check = CheckRecord(
            id="terminal.exactly-one", level="MUST", verdict="pass", duration_s=0.1, evidence=pointers
        )
        writer.add_checks([check])
        evidence = pack((run,), lambda _: "exchange-1")
        result = RuleResultRecord(
            test="test_one", requirement="terminal.exactly-one", verdict="pass", detail="", evidence=evidence
        )
        writer.add_rule_results([result])


@contextmanager
def _open(path: Path) -> Iterator[sqlite3.Connection]:
    """The database in autocommit mode, without waiting for the disk at each statement."""
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("PRAGMA synchronous = OFF")
        yield database


def sql(*statements: str, **values: Any) -> Make:
    """A sound file after these statements. Constraints do not stop them: the tables are without STRICT meanwhile."""

    def make(path: Path) -> None:
        sound(path)
        with _open(path) as database:
            schema = database.execute("SELECT name, sql FROM sqlite_master WHERE type = 'table'").fetchall()
            _write_schema(database, [(name, _loose(text)) for name, text in schema])
        with _open(path) as database:
            for statement in statements:
                database.execute(statement, values if ":" in statement else {})
        with _open(path) as database:
            _write_schema(database, schema)

    return make


def _loose(statement: str) -> str:
    return statement.replace(" STRICT", "").replace(" NOT NULL", "")


def _write_schema(database: sqlite3.Connection, entries: list[tuple[str, str]]) -> None:
    database.execute("PRAGMA writable_schema = ON")
    for name, statement in entries:
        database.execute("UPDATE sqlite_master SET sql = ? WHERE name = ?", (statement, name))
    database.execute("PRAGMA writable_schema = RESET")


def schema(*statements: str) -> Make:
    """A sound file after statements that change its schema."""

    def make(path: Path) -> None:
        sound(path)
        with _open(path) as database:
            for statement in statements:
                database.execute(statement)

    return make


def view_of(table: str, query: str) -> Make:
    """A view in place of a table."""
    return schema(f"DROP TABLE {table}", f"CREATE VIEW {table} AS {query}")


def bytes_at(place: int, data: bytes, *, truncate: int | None = None) -> Make:
    """A sound file with other bytes at a place; negative: from its end."""

    def make(path: Path) -> None:
        sound(path)
        with path.open("r+b") as file:
            file.seek(place, os.SEEK_SET if place >= 0 else os.SEEK_END)
            file.write(data)
            if truncate is not None:
                file.truncate(truncate)

    return make


def content(data: bytes) -> Make:
    return lambda path: path.write_bytes(data)


def _endless(columns: str) -> str:
    return f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT {columns} FROM n"


@cache
def _columns(table: str) -> list[str]:
    with closing(sqlite3.connect(":memory:")) as database:
        database.executescript(TABLES)
        return [name for _, name, *_ in database.execute(f"PRAGMA table_info({table})")]


TABLE_NAMES = (
    *(
        "manifest",
        "streams",
        "histograms",
        "histogram_totals",
        "histogram_seconds",
        "ledger",
        "open_streams",
        "failures",
        "rate_counts",
        "processes",
        "scrapes",
    ),
    *("violations", "violation_counts", "checks", "rule_results", "exchanges"),
)


def not_databases() -> Iterator[tuple[str, Make, str]]:
    """What is not a results file at all."""
    yield "nothing there", lambda path: None, "no such results file"
    yield "0 bytes", content(b""), "not a results file (empty)"
    yield "text", content(b"something of the user's" * 100), "not an SQLite database"
    yield "one byte", content(b"S"), "not a results file"
    yield "a header only", content(b"SQLite format 3\0"), "not an SQLite database"
    yield "zeros", content(bytes(8192)), "not an SQLite database"
    yield "a JSON document", content(b'{"streams": 3}'), "not an SQLite database"
    yield "a gzip file", content(b"\x1f\x8b\x08" + bytes(100)), "not an SQLite database"
    yield (
        "a sparse terabyte",
        lambda path: (path.touch(), os.truncate(path, 1 << 40)),
        "not an SQLite database",
    )
    yield "a folder", Path.mkdir, "stranger.sqlite"
    yield "a pipe", os.mkfifo, "it is a named pipe, not a file"
    yield "an endless device", lambda path: path.symlink_to("/dev/zero"), "it is a device, not a file"
    yield "a link to itself", lambda path: path.symlink_to(path), "symbolic links"
    yield "a link to nothing", lambda path: path.symlink_to("nowhere"), "no such results file"
    yield "another program's database", _foreign_database, "another program's database"
    yield "version 1", schema("PRAGMA user_version = 1"), "has schema version 1"
    yield "version 2147483647", schema("PRAGMA user_version = 2147483647"), "has schema version 2147483647"
    yield "no version", schema("PRAGMA user_version = 0"), "has schema version 0"
    yield "no tables", _no_tables, "its tables are not complete"


def _foreign_database(path: Path) -> None:
    with closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE moz_places (url TEXT)")


def _no_tables(path: Path) -> None:
    with closing(sqlite3.connect(path)) as database:
        database.execute(f"PRAGMA application_id = {0x41525248}")
        database.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


def foreign_schemas() -> Iterator[tuple[str, Make, str]]:
    """Files whose tables are something else."""
    for table in TABLE_NAMES:
        columns = ", ".join(f"'x' AS {name}" for name in _columns(table))
        yield f"an endless view for {table}", view_of(table, _endless(columns)), "does not belong"
    yield (
        "a view of gigabytes",
        view_of("manifest", "SELECT 'a' AS key, zeroblob(1000000000) AS value"),
        "its view manifest does not belong",
    )
    yield "a view that reads itself", view_of("manifest", "SELECT * FROM manifest"), "does not belong"
    yield (
        "a view with the name of a pragma",
        schema(f"CREATE VIEW pragma_user_version AS {_endless(f'{SCHEMA_VERSION} AS user_version')}"),
        "its view pragma_user_version does not belong",
    )
    yield (
        "a trigger",
        schema("CREATE TRIGGER t AFTER INSERT ON manifest BEGIN DELETE FROM streams; END"),
        "its trigger t does not belong",
    )
    yield (
        "a virtual table for one",
        schema("DROP TABLE checks", "CREATE VIRTUAL TABLE checks USING fts5(id, level, verdict, detail)"),
        "does not belong",
    )
    yield "one table more", schema("CREATE TABLE more (a TEXT)"), "its table more does not belong"
    yield "an index on an expression", schema("CREATE INDEX i ON streams (abs(events))"), "its index i"
    yield "a column less", schema("ALTER TABLE ledger DROP COLUMN count"), "its table ledger does not belong"
    yield (
        "a column more",
        schema("ALTER TABLE ledger ADD COLUMN x INTEGER"),
        "its table ledger does not belong",
    )
    yield (
        "a generated column",
        schema("ALTER TABLE ledger ADD COLUMN x BLOB AS (zeroblob(1000000000))"),
        "its table ledger does not belong",
    )
    for table in TABLE_NAMES:
        yield f"no {table}", schema(f"DROP TABLE {table}"), "its tables are not complete"
    yield (
        "schema text that is not SQL",
        _rewritten("sql = 'CREATE TABLE manifest (' || x'00'"),
        "results file",
    )
    yield (
        "a schema with bytes that are not text",
        _rewritten("sql = CAST(x'435245415445205441424c4520ff2028' AS TEXT)"),
        "results file",
    )
    yield "a schema without text", _rewritten("sql = NULL"), "results file"
    yield "a schema with a number", _rewritten("sql = 7"), "results file"
    yield "two tables on one page", _rewritten("rootpage = 3"), "results file"
    yield "a table on page 0", _rewritten("rootpage = 0"), "results file"
    yield "a table on a page far away", _rewritten("rootpage = 2000000000"), "results file"
    yield (
        "a thousand tables",
        schema(*(f"CREATE TABLE t{number} (a)" for number in range(300))),
        "does not belong",
    )
    yield "a name of control characters", schema('CREATE TABLE "\x1b[31m\u202e" (a)'), "does not belong"


def _rewritten(assignment: str) -> Make:
    return schema(
        "PRAGMA writable_schema = ON",
        f"UPDATE sqlite_master SET {assignment} WHERE name = 'manifest'",
        "PRAGMA writable_schema = OFF",
    )


def damaged_pages() -> Iterator[tuple[str, Make, str]]:
    """Files with pages that were lost, cut or overwritten."""
    for part in (100, 512, 4095, 4096, 5000, 8192, 12_288, 20_000):
        yield f"cut after {part} bytes", bytes_at(0, b"SQLite", truncate=part), "results file"
    for page in range(1, 24, 2):
        yield f"page {page + 1} overwritten", bytes_at(4096 * page, b"\xff" * 4096), "damaged"
        yield f"page {page + 1} of zeros", bytes_at(4096 * page, bytes(4096)), "damaged"
    yield "a page size of 1", bytes_at(16, b"\x00\x03"), "results file"
    yield "a page size of 65536", bytes_at(16, b"\x00\x01"), "results file"
    yield "a freelist that goes round", bytes_at(32, struct.pack(">II", 2, 2_000_000_000)), "damaged"
    yield "another encoding", bytes_at(56, struct.pack(">I", 2)), "results file"
    yield "a file format of the future", bytes_at(18, b"\x09\x09"), "results file"
    yield "an unknown schema format", bytes_at(44, struct.pack(">I", 99)), "results file"
    yield "a B-tree that contains itself", _recursive_tree, "damaged"
    yield "a cell that goes round", _recursive_overflow, "damaged"


def _recursive_tree(path: Path) -> None:
    """The root page of `streams` becomes an interior page whose children are all that page."""
    sound(path)
    with closing(sqlite3.connect(path)) as database:
        (root,) = database.execute("SELECT rootpage FROM sqlite_master WHERE name = 'streams'").fetchone()
    cells = 300
    places = [4096 - 5 * (number + 1) for number in range(cells)]
    header = struct.pack(">BHHHBI", 5, 0, cells, places[-1], 0, root)
    pointers = b"".join(struct.pack(">H", place) for place in places)
    body = b"".join(struct.pack(">IB", root, 1) for _ in range(cells))
    page = (header + pointers).ljust(4096 - len(body), b"\0") + body
    with path.open("r+b") as file:
        file.seek(4096 * (root - 1))
        file.write(page)


def _recursive_overflow(path: Path) -> None:
    """The overflow pages of a long cell form a ring."""
    sound(path)
    marker = b"overflow-ring"
    with closing(sqlite3.connect(path)) as database:
        database.execute("UPDATE exchanges SET document = ?", ((marker * 5000).decode(),))
        database.commit()
    data = bytearray(path.read_bytes())
    pages = [
        number for number in range(len(data) // 4096) if data[4096 * number + 4 :].startswith(marker[:0])
    ]
    ring = [number for number in pages if marker in data[4096 * number + 4 : 4096 * number + 100]]
    data[4096 * ring[3] : 4096 * ring[3] + 4] = struct.pack(">I", ring[1] + 1)
    path.write_bytes(data)


_WRONG_TYPES = {"a blob": "x'00ff'", "a text": "'zz'", "an integer": "7", "NULL": "NULL"}


def wrong_values() -> Iterator[tuple[str, Make, str]]:
    """Files with values of other types than their columns, or outside of what is possible."""
    for table in TABLE_NAMES:
        column = _columns(table)[-1]
        for kind, value in _WRONG_TYPES.items():
            accepted = (table, kind) in {
                ("manifest", "an integer"),
                *((name, "an integer") for name in ("ledger", "open_streams", "failures", "rate_counts")),
                *((name, "an integer") for name in ("processes", "violation_counts")),
                *((name, "an integer") for name in ("exchanges", "checks", "rule_results", "violations")),
                ("streams", "an integer"),
                ("scrapes", "an integer"),
            }
            is_json = column in ("value", "evidence", "document")
            if not accepted and not (is_json and kind in ("a text", "an integer")) and column != "histogram":
                yield f"{kind} in {table}.{column}", sql(f"UPDATE {table} SET {column} = {value}"), "damaged"
    for column, values in {
        "ledger.count": ("-1", "9223372036854775807"),
        "ledger.second": ("-1", "9223372036854775807", "-9223372036854775808"),
        "ledger.outcome": ("'vanished'", "''"),
        "ledger.journey": ("NULL", "hex(zeroblob(1000))"),
        "histograms.metric": ("NULL", "hex(zeroblob(1000))"),
        "histograms.second": ("NULL", "9223372036854775807", "20000000000"),
        "rate_counts.counter": ("'unknown'", "NULL"),
        "rate_counts.count": ("-5", "9223372036854775807"),
        "failures.count": ("-5", "9223372036854775807"),
        "open_streams.count": ("-5", "9223372036854775807"),
        "violation_counts.count": ("-5", "9223372036854775807"),
        "processes.cpu": ("9e999", "-9e999", "1e300"),
        "processes.rss_bytes": ("-1", "9223372036854775807"),
        "streams.outcome": ("'vanished'", "'scheduled' || x'00'"),
        "streams.intended_ns": ("-1", "9223372036854775807"),
        "streams.sent_ns": ("-1", "9223372036854775807"),
        "streams.ttft_ms": ("9e999", "-9e999", "1e300"),
        "streams.events": ("-1", "9223372036854775807"),
        "streams.status": ("9223372036854775807",),
        "streams.trace_id": ("'x'", "'ABCDEF' || hex(zeroblob(13))"),
        "scrapes.second": ("-1",),
        "scrapes.series": ("NULL",),
        "scrapes.kind": ("'histogram'",),
        "scrapes.value": ("9e999",),
        "violations.at_ns": ("-1", "9223372036854775807"),
        "checks.level": ("'HUGE'",),
        "checks.verdict": ("'perfect'", "''"),
        "checks.duration_s": ("9e999", "-1e300"),
        "rule_results.verdict": ("'perfect'",),
        "rule_results.test": ("NULL",),
        "exchanges.id": ("NULL",),
    }.items():
        table, name = column.split(".")
        for value in values:
            yield (
                f"{value} in {column}",
                sql(f"UPDATE {table} SET {name} = {value} WHERE rowid = 1"),
                "damaged",
            )


def _deflated(*values: Any, rest: bytes = b"") -> bytes:
    return zlib.compress(HEADER.pack(*values) + rest)


def _deflated_zeros(size: int) -> bytes:
    """The first `size` bytes of deflated zeros, which inflate to a thousand times as many."""
    deflater, found = zlib.compressobj(9), b""
    while len(found) < size:
        found += deflater.compress(bytes(1_000_000))
    return found[:size]


def histograms() -> Iterator[tuple[str, Make, str]]:
    """Files whose histograms are something else, and one whose histogram is a gigabyte of zeros, deflated."""
    one = struct.pack("<Hq", 5, 1)
    infinite, nan = float("inf"), float("nan")
    for name, blob in {
        "nothing": b"",
        "one byte": b"\x00",
        "text": b"a histogram",
        "data cut off": _deflated(2, 1, 1.0, 1.0, 1.0, 1, rest=one)[:-3],
        "data after the end": _deflated(2, 1, 1.0, 1.0, 1.0, 1, rest=one) + b"more",
        "a format of the future": _deflated(4, 1, 1.0, 1.0, 1.0, 1, rest=one),
        "fewer buckets than it says": _deflated(2, 1, 1.0, 1.0, 1.0, 60_000, rest=one),
        "a bucket that does not exist": _deflated(2, 1, 1.0, 1.0, 1.0, 1, rest=struct.pack("<Hq", 65_000, 1)),
        "a negative count": _deflated(2, 1, 1.0, 1.0, 1.0, 1, rest=struct.pack("<Hq", 5, -1)),
        "a count that overflows": _deflated(2, 2**62, 1.0, 1.0, 1.0, 1, rest=struct.pack("<Hq", 5, 2**62)),
        "two counts of one bucket": _deflated(2, 2, 2.0, 1.0, 1.0, 2, rest=struct.pack("<HHqq", 5, 5, 1, 1)),
        "another count": _deflated(2, 7, 1.0, 1.0, 1.0, 1, rest=one),
        "a sum that is not a number": _deflated(2, 1, nan, 1.0, 1.0, 1, rest=one),
        "an infinite sum": _deflated(2, 1, infinite, 1.0, 1.0, 1, rest=one),
        "an infinite maximum": _deflated(2, 1, 1.0, 1.0, infinite, 1, rest=one),
        "a minimum above the maximum": _deflated(2, 1, 1.0, 9.0, 1.0, 1, rest=one),
        "a huge maximum": _deflated(2, 1, 1e300, 1e300, 1e300, 1, rest=one),
        "values cut off": b"\x02" + bytes(7),
        "too many values": b"\x02" + bytes(8 * 3000),
        "a value that is not a number": b"\x02" + struct.pack("<d", nan),
        "a value that is infinite": b"\x02" + struct.pack("<d", infinite),
        "a value that is huge": b"\x02" + struct.pack("<d", 1e300),
    }.items():
        yield f"histograms of {name}", _of_histogram(blob), "damaged"
    yield "histograms of a zlib bomb", _bomb, "damaged"
    yield "histograms of a zlib bomb, whole", _whole_bomb, "damaged"


def _of_histogram(blob: bytes) -> Make:
    return sql("UPDATE histograms SET histogram = :blob", blob=blob)


def _bomb(path: Path) -> None:
    _of_histogram(_deflated_zeros(31_000))(path)


def _whole_bomb(path: Path) -> None:
    _of_histogram(zlib.compress(bytes(30_000_000), 9))(path)


def too_many() -> Iterator[tuple[str, Make, str]]:
    """Files with more names than any test has."""
    yield "ten thousand metrics", _many("metric"), "more than 100 different metric names"
    yield "ten thousand journeys", _many("journey"), "more than 200 different journey names"
    yield "ten thousand workers", _many("worker"), "more than 2,000 different worker names"


def _many(column: str) -> Make:
    names = {"metric": "'m'", "journey": "'j'", "worker": "'w'"} | {column: "'n' || i"}
    rows = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 10000)"
    blob = "(SELECT histogram FROM histograms LIMIT 1)"
    return sql(
        f"INSERT INTO histograms {rows} SELECT {names['metric']}, {names['journey']}, {START}, {names['worker']}, "
        f"{blob} FROM n"
    )


_JSON_CELLS = ("manifest.value", "violations.evidence", "checks.evidence", "exchanges.document")
_BAD_JSON = {
    "no JSON": "{",
    "NaN": '{"a": NaN}',
    "Infinity": '[{"event": Infinity}]',
    "a number too large": '{"a": 1e999}',
    "a number of 5,000 digits": f'{{"a": {"9" * 5000}}}',
    "100,000 levels": "[" * 100_000 + "]" * 100_000,
    "300 levels": '{"a":' * 300 + "1" + "}" * 300,
    "a million lists": "[" + ",".join(["[]"] * 1_100_000) + "]",
    "nothing": "",
}


def json_cells() -> Iterator[tuple[str, Make, str]]:
    """Files with other JSON in their cells, or text that is none."""
    yield "text that is not UTF-8", sql("UPDATE streams SET reason = CAST(x'ff' AS TEXT)"), "UTF-8"
    yield "a lone surrogate", sql("UPDATE checks SET detail = CAST(x'eda080' AS TEXT)"), "UTF-8"
    for column in _JSON_CELLS:
        table, name = column.split(".")
        for kind, text in _BAD_JSON.items():
            yield f"{kind} in {column}", sql(f"UPDATE {table} SET {name} = :text", text=text), "damaged"
    yield "an exchange that is a list", sql("UPDATE exchanges SET document = '[]'"), "is not a JSON object"
    yield "evidence that is text", sql("UPDATE checks SET evidence = '\"x\"'"), "checks cannot be read"
    yield "evidence of other types", sql("UPDATE checks SET evidence = '[{\"exchange\": [1]}]'"), "checks"
    yield "a cell of 40 MB", sql("UPDATE exchanges SET document = hex(zeroblob(20000000))"), "32 MiB"
    for key, value in {
        "settings": [1],
        "settings ": {"objectives": [1]},
        "settings  ": {"objectives": {"ttft_p95_ms": {}}},
        "settings   ": {"load": {"duration": "long"}},
        "settings    ": {"load": {"rate": 1e300}},
        "settings     ": {"load": {"journeys": [1]}},
        "settings      ": {"gate": [1]},
        "load_state": 7,
        "suite_state": [],
        "harness_faults": {"x": -1},
        "harness_faults ": {"x": "y"},
        "workers_lost": [7],
        "workers_lost ": 7,
        "counted_until": {"w0": 7},
        "load_notes": [{}],
        "suite_notes": "x",
        "streams_seen": -1,
        "streams_seen ": 10**200,
        "streams_seen  ": "x",
        "measured_from": 10**30,
        "measured_from ": "x",
        "warmup_s": "x",
        "tokens": [],
        "coalesced_tokens": -1,
        "receive_stamp": {},
        "capacity": [1],
    }.items():
        statement = "INSERT OR REPLACE INTO manifest VALUES (:key, :text)"
        yield (
            f"manifest: {key} = {json.dumps(value)[:30]}",
            sql(statement, key=key.strip(), text=json.dumps(value)),
            "manifest cannot be read",
        )


AT_ONCE = [*not_databases(), *foreign_schemas(), *damaged_pages(), *wrong_values(), *too_many()]
"""Files that no verb reads: name, how to make it, and words of the sentence."""

IN_PART = [*histograms(), *json_cells()]
"""Files whose report cannot be written: as AT_ONCE. A verb that does not need the damaged part may read them."""

SOUND_CHARTS = {name for name, *_ in json_cells()}
"""Those of IN_PART whose histograms, all that the charts of a comparison show, are those of the sound file."""
