"""JSON cells of a results file that a stranger wrote."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from harness.results import stored_values
from harness.results.schema import SCHEMA_VERSION, TABLES_OF
from harness.results.stored_values import (
    HISTOGRAM_BYTES,
    JSON_DIGITS,
    bounded_json,
    checked_manifest,
    checked_pointers,
    value_problem,
    without_escaped_surrogates,
)


def test_a_number_has_as_many_digits_as_any_clock_or_counter_has() -> None:
    """Python refuses 4,300 by itself; fewer are still too large for a float."""
    assert bounded_json("9" * JSON_DIGITS) == int("9" * JSON_DIGITS)
    with pytest.raises(ValueError, match=rf"a number of more than {JSON_DIGITS} digits"):
        bounded_json("9" * (JSON_DIGITS + 1))


@pytest.mark.parametrize(
    ("cell", "value"),
    [
        (r'"\ud800"', r"\ud800"),
        (r'"a\udfff\ud83d\ude00"', r"a\udfff" + "\U0001f600"),
        (r'"\\ud800"', r"\ud800"),
        (r'"\u0041"', "A"),
    ],
)
def test_half_a_character_stands_for_itself(cell: str, value: str) -> None:
    assert json.loads(without_escaped_surrogates(cell)) == value


@pytest.fixture
def database() -> Iterator[sqlite3.Connection]:
    """The tables of a results file, empty."""
    with closing(sqlite3.connect(":memory:")) as empty:
        empty.executescript(TABLES_OF[SCHEMA_VERSION])
        yield empty


def insert_histogram(database: sqlite3.Connection, journey: str, size_bytes: int) -> None:
    names = [name for _, name, *_ in database.execute("PRAGMA table_info(histograms)")]
    values = {"metric": "ttft_ms", "journey": journey, "worker": "w", "second": 1}
    row = [values.get(name, bytes(size_bytes)) for name in names]
    database.execute(f"INSERT INTO histograms VALUES ({', '.join('?' * len(row))})", row)


def test_a_histogram_has_no_more_bytes_than_one_with_every_bucket(database: sqlite3.Connection) -> None:
    insert_histogram(database, "fresh", HISTOGRAM_BYTES)
    assert value_problem(database) == ""
    insert_histogram(database, "resume", HISTOGRAM_BYTES + 1)
    assert value_problem(database) == "a value of histograms.histogram is impossible"


def test_reading_takes_time_for_each_combination_and_each_name(
    database: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    for journey in "abcd":
        insert_histogram(database, journey, 10)
    assert value_problem(database) == ""
    monkeypatch.setattr(stored_values, "HISTOGRAM_SUMS", 3)
    assert value_problem(database) == "it has more than 3 combinations of metric, journey and worker"
    monkeypatch.setitem(stored_values.NAMES_AT_MOST, "journey", 3)
    assert value_problem(database) == "it has more than 3 different journey names"


@pytest.mark.parametrize(
    ("cell", "problem"),
    [
        ("NaN", "NaN is not JSON"),
        ("[-Infinity]", "-Infinity is not JSON"),
        ("1e999", "a number that is not finite"),
        ("[" * 300 + "]" * 300, "nested more than 200 levels deep"),
        ("[" * 100_000, "nested more than 200 levels deep"),
    ],
)
def test_what_no_cell_contains(cell: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        bounded_json(cell)


def test_a_large_cell_has_few_values(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored_values, "JSON_VALUES", 100)
    monkeypatch.setattr(stored_values, "_SMALL_JSON", 10)
    assert bounded_json('["' + "[,{" * 200 + '"]') == ["[,{" * 200]  # in a text they are none
    with pytest.raises(ValueError, match="more than 100 values"):
        bounded_json("[" + "1," * 200 + "1]")


@pytest.mark.parametrize(
    "manifest",
    [
        {"tokens": True},
        {"tokens": -1},
        {"load_notes": [7]},
        {"settings": {"load": {"users": "many"}}},
        {"settings": {"load": {"duration": True}}},
        {"measured_from": 10**12},
        {"restart": {"how": "command"}},
    ],
)
def test_what_readers_rely_on_has_its_type(manifest: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"Expected|required"):
        checked_manifest(manifest)
    assert checked_manifest({"anything": True, "tokens": 3}) == {"anything": True, "tokens": 3}


@pytest.mark.parametrize("evidence", [7, {}, [7], [{"exchange": 7}], [{"event": True}], [{"note": []}]])
def test_evidence_is_a_list_of_pointers(evidence: Any) -> None:
    with pytest.raises(ValueError, match="Expected"):
        checked_pointers(evidence)
    assert checked_pointers([{"exchange": "e", "event": None, "note": ""}])
