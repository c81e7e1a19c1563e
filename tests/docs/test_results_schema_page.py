"""docs/results-schema.md names the tables and columns that there are, and its examples run."""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path

import pytest

from harness.export.stream_table import _COMPUTED, _STORED, COLUMNS
from harness.results import schema
from harness.results.rate_counts import COUNTERS
from harness.results.records import HARNESS_FAULT, VERDICTS
from harness.results.writer import ResultsWriter
from tests.reports import samples

PAGE = Path(__file__).resolve().parents[2] / "docs" / "results-schema.md"
TEXT = PAGE.read_text(encoding="utf-8")
SQL = re.findall(r"```sql\n(.*?)```", TEXT, re.DOTALL)
PYTHON = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)

Columns = list[tuple[str, str, bool]]


def documented() -> dict[str, Columns]:
    """By table: its columns, each with its type and whether it may be null."""
    tables: dict[str, Columns] = {}
    part = TEXT.split("\n## Tables\n")[1].split("\n## ")[0]
    for section in part.split("\n### ")[1:]:
        name = section.splitlines()[0].strip()
        rows = [line.split("|")[1:3] for line in section.splitlines() if line.startswith("| ")][2:]
        tables[name] = [
            (column.strip(), kind.strip().removesuffix(", null"), kind.strip().endswith(", null"))
            for column, kind in rows
        ]
    return tables


def real(path: Path) -> dict[str, Columns]:
    """The same of a file that was just made."""
    db = sqlite3.connect(path)
    names = [name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    tables = {}
    for name in names:
        rows = db.execute('SELECT name, type, "notnull", pk FROM pragma_table_info(?)', (name,))
        tables[name] = [(column, kind, not notnull and not pk) for column, kind, notnull, pk in rows]
    db.close()
    return tables


def test_tables_columns_types_and_nulls_are_the_real_ones(tmp_path: Path) -> None:
    path = tmp_path / "results.sqlite"
    ResultsWriter(path).close()
    found, said = real(path), documented()
    assert sorted(said) == sorted(found)
    for name, columns in found.items():
        assert said[name] == columns, name


def test_version_application_id_and_verdicts_are_the_real_ones() -> None:
    assert f"schema version**, now {schema.SCHEMA_VERSION}." in TEXT
    assert f"`PRAGMA application_id` is {schema.APPLICATION_ID} " in TEXT
    assert all(f"`{verdict}`" in _section("checks") for verdict in VERDICTS)
    assert all(f"`{counter}`" in _section("rate_counts") for counter in COUNTERS)
    assert f"`{HARNESS_FAULT}`" in _section("streams")


def _section(table: str) -> str:
    return TEXT.split(f"\n### {table}\n")[1].split("\n### ")[0]


@pytest.mark.parametrize("query", SQL)
def test_every_query_runs_and_finds_something(tmp_path: Path, query: str) -> None:
    db = sqlite3.connect(samples.failing(tmp_path / "results.sqlite"))
    rows = db.execute(query).fetchall()
    db.close()
    if "rate_counts" not in query:  # which the sample does not have
        assert rows


def test_the_error_rate_of_the_page_is_that_of_the_harness(tmp_path: Path) -> None:
    path = tmp_path / "results.sqlite"
    with ResultsWriter(path) as writer:
        writer.set_manifest(measured_from=5)
        for second, counter, count in (
            (4, "failed", 9),
            (4, "judged", 9),
            (5, "failed", 1),
            (6, "judged", 4),
        ):
            writer.add_rate_counts("w", second, "fresh", counter, count)
    (query,) = [query for query in SQL if "rate_counts" in query]
    db = sqlite3.connect(path)
    assert db.execute(query).fetchall() == [("fresh", 0.25)]
    db.close()


@pytest.mark.parametrize("code", PYTHON)
def test_every_program_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], code: str
) -> None:
    samples.load_only(tmp_path / "results.sqlite")
    monkeypatch.chdir(tmp_path)
    exec(compile(code, PAGE.name, "exec"), {})
    assert " ms" in capsys.readouterr().out


def test_exported_columns_are_those_of_streams_and_what_the_page_adds() -> None:
    stored = {name for name, _, _ in documented()["streams"]} - {"sample_priority"}
    assert {_STORED.get(one.name, one.name) for one in COLUMNS} == stored | set(_COMPUTED)
    part = TEXT.split("\n## Export\n")[1]
    for name in (*_STORED, *_COMPUTED):
        assert name in part


def test_the_histogram_blob_is_read_by_the_page_alone() -> None:
    """The layout that the page gives, followed to the letter by another reader."""
    import struct
    import zlib

    from harness.results.histogram import Histogram

    few, many = Histogram(), Histogram()
    few.record_many([1.0, 250.0])
    many.record_many([1.0] * 5000 + [250.0])
    blob = few.to_bytes()
    assert blob[0] == 2
    assert struct.unpack("<2d", blob[1:]) == (1.0, 250.0)
    plain = zlib.decompress(many.to_bytes())
    form, count, total, smallest, largest, filled = struct.unpack_from("<BQdddH", plain)
    assert (form, count, total, smallest, largest, filled) == (3, 5001, 5250.0, 1.0, 250.0, 2)
    numbers = struct.unpack_from("<2H", plain, 35)
    assert struct.unpack_from("<2q", plain, 39) == (5000, 1)
    for number, value in zip(numbers, (1.0, 250.0), strict=True):
        assert 0.001 * 10 ** ((number - 1) / 720) < value <= 0.001 * 10 ** (number / 720) * (1 + 1e-9)
