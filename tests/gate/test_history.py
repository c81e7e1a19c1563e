"""The history of a baseline folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from harness.gate import history
from harness.gate.baseline_store import update_baseline
from harness.gate.history import HISTORY_FILE, add_to_history, entry_of, is_commit, read_history
from harness.results.reader import Results
from harness.results.schema import ResultsError
from tests.gate.test_baseline_store import recorded

START = "2026-10-{:02d}T00:00:00+00:00"


def joined(folder: Path, name: str, day: int, commit: str = "", keep: int = 10, **options: Any) -> None:
    file = recorded(folder.parent / name / "results.sqlite", began=START.format(day), **options)
    update_baseline([file], folder, keep)
    add_to_history(folder, [file], commit)


def test_an_entry_has_values_with_intervals(tmp_path: Path) -> None:
    machine = {"cpu": "AMD", "cores": 2}
    settings = {"load": {"rate": 5.0}, "objectives": {"fresh.ttft_p90_ms": 500, "violations": 0}}
    path = recorded(tmp_path / "r.sqlite", settings=settings, load=None, machine=machine)
    with Results(path) as results:
        entry = entry_of(results, "abc")
    assert (entry.commit, entry.machine) == ("abc", "AMD with 2 cores")
    assert {"ttft_p50_ms", "ttft_p95_ms", "fresh.ttft_p90_ms"} <= set(entry.values)
    assert "violations" not in entry.values
    value = entry.values["ttft_p50_ms"]
    assert value.value == pytest.approx(200, rel=0.01)
    assert value.low is not None
    assert value.high is not None
    assert value.low <= value.value <= value.high


def test_what_it_writes_it_can_read(tmp_path: Path) -> None:
    objectives = {"my journey.ttft_p90_ms": 500, "ttft_p90_ms": 500}
    settings = {"load": {"rate": 5.0}, "objectives": objectives}
    machine = {"cpu": "x" * 1000, "cores": 2}
    file = recorded(tmp_path / "r" / "results.sqlite", settings=settings, load=None, machine=machine)
    update_baseline([file], tmp_path / "main")
    add_to_history(tmp_path / "main", [file], "abc")
    (entry,) = read_history(tmp_path / "main")
    assert "ttft_p90_ms" in entry.values
    assert "my journey.ttft_p90_ms" not in entry.values


def test_an_entry_has_at_most_so_many_metrics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = json.dumps({f"j{number}.ttft_p50_ms": {"value": 1} for number in range(3)})
    (tmp_path / HISTORY_FILE).write_text(_with_values(values))
    monkeypatch.setattr(history, "MOST_METRICS", 1)
    (entry,) = read_history(tmp_path)
    assert list(entry.values) == ["j0.ttft_p50_ms"]
    with Results(recorded(tmp_path / "other" / "r.sqlite")) as results:
        assert list(entry_of(results).values) == ["ttft_p50_ms"]


def test_it_remembers_what_the_folder_no_longer_keeps(tmp_path: Path) -> None:
    folder = tmp_path / "main"
    for day in range(1, 6):
        joined(folder, f"r{day}", day, f"commit{day}", keep=2, ttft_ms=100.0 * day)
    assert len(list(folder.glob("*.sqlite"))) == 2
    entries = read_history(folder)
    assert [entry.commit for entry in entries] == [f"commit{day}" for day in range(1, 6)]
    assert [round(entry.values["ttft_p50_ms"].value, -1) for entry in entries] == [100, 200, 300, 400, 500]


def test_it_is_bounded_and_keeps_the_newest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "KEPT", 3)
    for day in (2, 1, 3, 4, 5):
        joined(tmp_path / "main", f"r{day}", day, f"commit{day}", keep=1)
    assert [entry.commit for entry in read_history(tmp_path / "main")] == ["commit3", "commit4", "commit5"]


def test_a_folder_without_a_history_has_that_of_its_files(tmp_path: Path) -> None:
    folder = tmp_path / "main"
    for day in (1, 2):
        file = recorded(tmp_path / f"r{day}" / "results.sqlite", began=START.format(day))
        update_baseline([file], folder)
    assert [entry.commit for entry in read_history(folder)] == ["", ""]
    joined(folder, "r3", 3, "commit3")
    assert [entry.commit for entry in read_history(folder)] == ["", "", "commit3"]
    assert len(json.loads((folder / HISTORY_FILE).read_text())["tests"]) == 3


def test_a_test_is_in_it_once(tmp_path: Path) -> None:
    folder = tmp_path / "main"
    file = recorded(tmp_path / "r" / "results.sqlite", began=START.format(1))
    update_baseline([file], folder)
    for commit in ("", "abc", "def"):
        add_to_history(folder, [file], commit)
    assert [entry.commit for entry in read_history(folder)] == ["abc"]


def test_another_load_has_another_name(tmp_path: Path) -> None:
    loads = []
    for number, load in enumerate(({"rate": 5.0}, {"rate": 5.0, "seed": 8}, {"rate": 6.0})):
        with Results(recorded(tmp_path / f"{number}.sqlite", load=load)) as results:
            loads.append(entry_of(results).load)
    assert loads[0] == loads[1] != loads[2]


def test_a_folder_without_any_test(tmp_path: Path) -> None:
    with pytest.raises(
        ResultsError, match=r"no history in this folder; harness gate RESULTS --baseline .* begins it"
    ):
        read_history(tmp_path)
    with pytest.raises(ResultsError, match="no such baseline folder"):
        read_history(tmp_path / "nowhere")


def _with_values(values: str) -> str:
    texts = '"started_at": "x", "commit": "", "machine": "", "load": ""'
    return f'{{"version": 1, "tests": [{{{texts}, "values": {values}}}]}}'


def test_of_a_long_history_the_newest_tests_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A trend takes time for each pair of them."""
    monkeypatch.setattr(history, "KEPT", 3)
    entry = {"commit": "", "machine": "", "load": "", "values": {}}
    tests = [{"started_at": START.format(day), **entry} for day in (5, 1, 4, 2, 3)]
    (tmp_path / HISTORY_FILE).write_text(json.dumps({"version": 1, "tests": tests}))
    assert [one.started_at for one in read_history(tmp_path)] == [START.format(day) for day in (3, 4, 5)]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "not json",
        "[]",
        "{}",
        '{"version": 2, "tests": []}',
        '{"version": true, "tests": []}',
        '{"version": 1, "tests": [1]}',
        '{"version": 1, "tests": [{"started_at": "x", "commit": "", "machine": "", "load": 5, "values": {}}]}',
        '{"version": 1, "tests": [{"started_at": "x", "commit": "a b", "machine": "", "load": "", "values": {}}]}',
        '{"version": 1, "tests": [{"started_at": "x", "commit": "", "machine": "", "load": "", "values": []}]}',
        '{"version": 1, "tests": [{"started_at": "x", "commit": "", "machine": "", "load": "", '
        '"values": {"nonsense": {"value": 1}}}]}',
        '{"version": 1, "tests": [{"started_at": "x", "commit": "", "machine": "", "load": "", '
        '"values": {"<b>.ttft_p50_ms": {"value": 1}}}]}',
        '{"version": 1, "tests": [{"started_at": "x", "commit": "", "machine": "", "load": "", '
        '"values": {"ttft_p50_ms": {"value": NaN}}}]}',
        '{"version": 1, "tests": [{"started_at": "x", "commit": "", "machine": "", "load": "", '
        '"values": {"ttft_p50_ms": {"low": 1}}}]}',
        "[" * 100_000,
        _with_values('{"ttft_p50_ms": [1]}'),
        _with_values('{"ttft_p50_ms": "x"}'),
        _with_values('{"ttft_p50_ms": null}'),
        _with_values('{"ttft_p50_ms": {"value": 1%s}}' % ("0" * 400)),
        _with_values('{"ttft_p50_ms": {"value": 1e300}}'),
        _with_values('{"ttft_p50_ms": {"value": 1, "low": -1e300}}'),
        _with_values("{}").replace('"machine": ""', '"machine": "\\ud800"'),
        '{"version": 1, "tests": {"a": 1}}',
        '{"version": 1, "tests": "x"}',
        '{"version": 1, "tests": null}',
    ],
)
def test_a_damaged_history_is_one_sentence(tmp_path: Path, text: str) -> None:
    (tmp_path / HISTORY_FILE).write_text(text)
    with pytest.raises(
        ResultsError, match=r"history\.json: not a history that this version can read .*; remove it"
    ):
        read_history(tmp_path)


@pytest.mark.parametrize(
    ("text", "good"),
    [
        ("a1b2c3", True),
        ("v1.2/x", True),
        ("", False),
        ("a b", False),
        ("é", False),
        ("a" * 101, False),
    ],
)
def test_what_can_name_a_commit(text: str, good: bool) -> None:
    assert is_commit(text) is good
