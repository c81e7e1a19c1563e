from __future__ import annotations

import csv
import io
import json
import tracemalloc
from dataclasses import fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from harness.export import stream_table
from harness.export.stream_table import COLUMNS, WRITERS, StreamTable
from harness.results.reader import Results
from harness.results.records import StreamRecord
from harness.results.schema import SCHEMA_VERSION, ResultsError
from harness.results.writer import ResultsWriter
from tests.results.large_file import write_large_file

START_NS = 1_790_000_000_123_456_789
PLAIN = StreamRecord(journey="fresh", step="run", worker="w", intended_ns=START_NS, outcome="done")
FULL = StreamRecord(
    journey="resume",
    step="resumed",
    worker="w2",
    intended_ns=START_NS + 10**9,
    sent_ns=START_NS + 10**9 + 1,
    outcome="truncated",
    status=200,
    reason='=HYPERLINK("http://evil.example","a,b")\r\n2nd \N{SNOWMAN}',
    connect_ms=0.1,
    head_ms=1.5,
    first_event_ms=2.5,
    ttft_ms=1 / 3,
    service_ttft_ms=3.0,
    duration_ms=9.5,
    resume_ms=2.25,
    stall_ms=0.0,
    events=7,
    tokens=6,
    idempotency_key="+1",
    run_id="'quoted",
    trace_id="0af7651916cd43dd8448eb211c80319c",
    violations=1,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "results.sqlite"
    with ResultsWriter(path) as writer:
        writer.set_manifest(
            measured_from=1_790_000_001, state="finished", target={"base_url": "http://a.example"}
        )
        writer.add_streams([FULL, PLAIN])
    return path


def written(path: Path, form: str) -> bytes:
    file = io.BytesIO()
    with Results(path) as results:
        WRITERS[form](StreamTable(results), file)
    return file.getvalue()


def read(path: Path, form: str) -> list[dict[str, Any]]:
    """The content, parsed independently."""
    data = written(path, form)
    if form == "csv":
        return list(csv.DictReader(io.StringIO(data.decode(), newline="")))
    if form == "jsonl":
        return [json.loads(line) for line in data.decode().split("\n")[:-1]]
    import pyarrow.parquet as pq

    table = pq.read_table(io.BytesIO(data))
    for name in ("intended_at", "sent_at"):
        place = table.column_names.index(name)
        table = table.set_column(place, name, table[name].cast("int64"))
    return list(table.to_pylist())


def test_every_field_of_a_row_has_its_column_with_a_unit_in_its_name() -> None:
    stored = [one.name for one in fields(StreamRecord)]
    assert sorted(
        stream_table._STORED.get(one.name, one.name)
        for one in COLUMNS
        if one.name not in stream_table._COMPUTED
    ) == (sorted(stored))
    for column in COLUMNS:
        assert (column.unit == "ms") == column.name.endswith("_ms")
        assert (column.kind == "time") == column.name.endswith("_at")
        if column.kind == "number":
            assert column.unit


def test_parquet_has_every_value_as_it_was(path: Path) -> None:
    plain, full = read(path, "parquet")
    assert (plain["id"], plain["intended_at"], plain["sent_at"]) == (2, START_NS, None)
    assert (plain["measured"], plain["weight"], plain["status"], plain["ttft_ms"]) == (False, 1.0, None, None)
    assert {name: full[name] for name in ("measured", "intended_at", "sent_at")} == {
        "measured": True,
        "intended_at": FULL.intended_ns,
        "sent_at": FULL.sent_ns,
    }
    for column in COLUMNS:
        if column.name not in ("id", "measured", "weight", "intended_at", "sent_at"):
            assert full[column.name] == getattr(FULL, column.name), column.name


def test_parquet_has_units_and_metadata(path: Path) -> None:
    import pyarrow.parquet as pq

    schema = pq.read_schema(io.BytesIO(written(path, "parquet")))
    assert schema.field("ttft_ms").metadata[b"unit"] == b"ms"
    assert str(schema.field("intended_at").type) == "timestamp[ns, tz=UTC]"
    assert [schema.field(one.name).nullable for one in COLUMNS] == [one.nullable for one in COLUMNS]
    metadata = json.loads(schema.metadata[b"agent_run_harness"])
    assert (metadata["schema_version"], metadata["rows"]) == (SCHEMA_VERSION, {"kept": 2, "seen": 2})
    assert (metadata["target"], metadata["measured_from"]) == ("http://a.example", 1_790_000_001)
    assert [column["name"] for column in metadata["columns"]] == [one.name for one in COLUMNS]


def test_json_lines_keep_types_and_nulls(path: Path) -> None:
    plain, full = read(path, "jsonl")
    assert list(plain) == [one.name for one in COLUMNS]
    assert plain["intended_at"] == "2026-09-21T14:13:20.123456789Z"
    assert (plain["sent_at"], plain["measured"], plain["events"]) == (None, False, 0)
    assert (full["ttft_ms"], full["stall_ms"], full["violations"]) == (1 / 3, 0.0, 1)
    assert full["reason"] == FULL.reason


def test_times_are_read_back_to_the_nanosecond(path: Path) -> None:
    (row, _) = read(path, "jsonl")
    whole, rest = row["intended_at"].removesuffix("Z").split(".")
    second = datetime.fromisoformat(whole).replace(tzinfo=UTC).timestamp()
    assert int(second) * 10**9 + int(rest) == START_NS


@pytest.mark.parametrize(
    ("at_ns", "expected"),
    [
        (0, "1970-01-01T00:00:00.000000000Z"),
        (-1, "1969-12-31T23:59:59.999999999Z"),
        (2**63 - 1, "2262-04-11T23:47:16.854775807Z"),
    ],
)
def test_every_storable_time_is_written(at_ns: int, expected: str) -> None:
    assert stream_table._iso(at_ns) == expected


def test_csv_is_by_the_rfc_and_no_cell_is_a_formula(path: Path) -> None:
    text = written(path, "csv").decode()
    assert text.splitlines(keepends=True)[0] == ",".join(one.name for one in COLUMNS) + "\r\n"
    plain, full = read(path, "csv")
    assert (plain["sent_at"], plain["status"], plain["reason"], plain["measured"]) == ("", "", "", "false")
    assert (plain["intended_at"], full["measured"]) == ("2026-09-21T14:13:20.123456789Z", "true")
    assert full["reason"] == f"'{FULL.reason}"
    assert (full["idempotency_key"], full["run_id"]) == ("'+1", "''quoted")
    assert float(full["ttft_ms"]) == FULL.ttft_ms


@pytest.mark.parametrize(
    "text", ["=1", "+1", "-1", "@x", "\tx", "\rx", "\nx", "'x", "''", "x", "", "x=1", "0", "\N{SNOWMAN}"]
)
def test_a_text_is_had_again_by_taking_an_apostrophe_away(tmp_path: Path, text: str) -> None:
    path = tmp_path / "results.sqlite"
    with ResultsWriter(path) as writer:
        writer.add_streams([replace(PLAIN, run_id=text)])
    (row,) = read(path, "csv")
    assert row["run_id"][:1] not in {"=", "+", "-", "@", "\t", "\r", "\n"}
    assert row["run_id"].removeprefix("'") == text


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_a_file_without_streams_is_an_empty_table(tmp_path: Path, form: str) -> None:
    path = tmp_path / "results.sqlite"
    ResultsWriter(path).close()
    assert read(path, form) == []
    if form == "csv":
        assert written(path, form).startswith(b"id,journey,")


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_more_than_a_batch_comes_whole_and_in_order(
    tmp_path: Path, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_table, "BATCH", 7)
    path = tmp_path / "results.sqlite"
    with ResultsWriter(path) as writer:
        writer.add_streams(replace(PLAIN, intended_ns=START_NS - number) for number in range(23))
    assert [int(row["id"]) for row in read(path, form)] == list(range(23, 0, -1))


def test_rows_of_a_sample_have_weights(tmp_path: Path) -> None:
    path = tmp_path / "results.sqlite"
    with ResultsWriter(path, keep_streams=100) as writer:
        for number in range(1_000):
            failed = number % 10 == 0
            writer.add_streams([replace(PLAIN, reason="gone" if failed else None)])
            if failed:
                writer.add_failures("w", 1, "fresh")
    with Results(path) as results:
        table = StreamTable(results)
        found = [dict(zip([one.name for one in COLUMNS], row, strict=True)) for row in table.rows()]
        assert (table.kept, table.seen, table.is_sample) == (100, 1_000, True)
        assert table.describe().startswith("100 of 1,000 streams, a sample")
        assert table.metadata()["rows"] == {"kept": 100, "seen": 1_000}
    failed_rows = [row for row in found if row["reason"]]
    assert len(failed_rows) == 50
    assert {row["weight"] for row in failed_rows} == {2.0}  # each for one of 100
    assert {row["weight"] for row in found if not row["reason"]} == {18.0}  # each for one of 900
    assert sum(row["weight"] for row in found) == 1_000


def test_unjudged_rows_are_sampled_and_weighted_like_failed_ones(
    tmp_path: Path,
) -> None:
    path = tmp_path / "results.sqlite"
    with ResultsWriter(path, keep_streams=100) as writer:
        for number in range(1_000):
            reason = {0: "gone", 5: "harness fault on X"}.get(number % 10)
            writer.add_streams([replace(PLAIN, reason=reason)])
            if reason == "gone":
                writer.add_failures("w", 1, "fresh")
        writer.set_manifest(harness_faults={"harness fault on X": 100})
    with Results(path) as results:
        place = [one.name for one in COLUMNS].index("weight")
        weights = [row[place] for row in StreamTable(results).rows()]
        (failed,), different = results.failure_reasons(9)
    assert set(weights) == {4.0, 16.0}  # each of 50 for one of 200, and of 50 for one of 800
    assert sum(weights) == 1_000
    assert (failed.reason, different) == ("gone", 1)


def test_a_large_load_sampled_adds_up_to_its_streams(tmp_path: Path) -> None:
    path = tmp_path / "results.sqlite"
    write_large_file(path, runs=5_003, seconds=5, keep_streams=60)
    place = [one.name for one in COLUMNS].index("weight")
    with Results(path) as results:
        table = StreamTable(results)
        assert sum(row[place] for row in table.rows()) == pytest.approx(5_003)


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_rows_of_a_running_test_are_those_that_were_counted(path: Path, form: str) -> None:
    with ResultsWriter(path) as writer, Results(path) as results:
        writer.commit()
        with results.snapshot():
            table, file = StreamTable(results), io.BytesIO()
            before = list(table.rows())
            writer.add_streams([PLAIN])
            writer.commit()
            WRITERS[form](table, file)
            assert list(table.rows()) == before
            assert table.kept == len(before)
        assert StreamTable(results).kept == table.kept + 1


def test_the_callers_file_stays_open_whatever_happens(path: Path) -> None:
    file = io.BytesIO()
    with Results(path) as results:
        stream_table.write_csv(StreamTable(results), file)
    assert not file.closed


def test_missing_pyarrow_is_named_in_the_error(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_table, "find_spec", lambda _: None)
    with pytest.raises(ResultsError, match=r"pip install 'agent-run-harness\[parquet\]'"):
        written(path, "parquet")


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_memory_does_not_grow_with_the_rows(
    tmp_path: Path, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_table, "BATCH", 100)

    class Nowhere(io.RawIOBase):
        def writable(self) -> bool:
            return True

        def write(self, data: Any) -> int:
            return len(data)

    peaks = []
    for count in (1_000, 10_000):
        path = tmp_path / f"{count}.sqlite"
        with ResultsWriter(path) as writer:
            writer.add_streams(replace(PLAIN, intended_ns=START_NS + number) for number in range(count))
        with Results(path) as results:
            table = StreamTable(results)
            tracemalloc.start()
            WRITERS[form](table, Nowhere())  # type: ignore[arg-type]
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
    assert peaks[1] < 1.5 * peaks[0] + 100_000
