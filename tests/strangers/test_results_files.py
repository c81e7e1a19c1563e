"""Every verb that reads a results file ends with one sentence and exit code 2 on a file that no harness wrote."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.reports import comparison_page
from harness.reports.chart_style import Chart
from harness.results.reader import Results
from tests.strangers.results_files import AT_ONCE, IN_PART, SOUND_CHARTS, Make, sound, sql
from tests.strangers.runner import assert_one_sentence, verb

VERBS = (
    ("report", "FILE", "--out", "report.html"),
    ("gate", "FILE"),
    ("judge", "FILE"),
    ("export", "FILE", "--format", "prometheus"),
    ("export", "FILE", "--format", "csv", "--out", "streams.csv"),
    ("compare", "FILE", "sound.sqlite", "--out", "compare.html"),
    ("gate", "sound.sqlite", "--baseline", "FILE"),
)


def arguments(command: tuple[str, ...]) -> list[str]:
    return [word.replace("FILE", "stranger.sqlite") for word in command]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("command", VERBS, ids=" ".join)
def test_a_sound_file_is_read(folder: Path, command: tuple[str, ...]) -> None:
    sound(Path("sound.sqlite"))
    sound(Path("stranger.sqlite"))
    ended = verb(*arguments(command))
    assert ended.code in (0, 1), ended


def rows(corpus: list[tuple[str, Make, str]]) -> pytest.MarkDecorator:
    names, values = [row[0] for row in corpus], [row[1:] for row in corpus]
    return pytest.mark.parametrize(("make", "words"), values, ids=names)


def test_seconds_of_two_centuries_take_no_memory(folder: Path) -> None:
    """A clock that was wrong at the start of the test: the file is read, and its charts are coarse."""
    seconds = {"ledger": 1, "histograms": 2, "rate_counts": 3, "failures": 9_000_000_000}
    make = sql(*(f"UPDATE {table} SET second = {at} WHERE rowid = 1" for table, at in seconds.items()))
    sound(Path("sound.sqlite"))
    make(Path("stranger.sqlite"))
    for command in VERBS:
        ended = verb(*arguments(command))
        assert ended.code in (0, 1), ended


def test_values_that_are_null_are_as_good_as_none(folder: Path) -> None:
    sound(Path("sound.sqlite"))
    settings = {"objectives": None, "gate": None, "load": None, "target": None, "budgets": None}
    names = ("load_notes", "suite_notes", "load_warnings", "harness_faults", "workers_lost", "counted_until")
    values = [("settings", json.dumps(settings)), *((name, "null") for name in names)]
    make = sql(*(f"INSERT OR REPLACE INTO manifest VALUES ('{name}', '{text}')" for name, text in values))
    make(Path("stranger.sqlite"))
    for command in VERBS:
        ended = verb(*arguments(command))
        if command[0] == "judge":
            assert_one_sentence(ended, "does not contain the settings")
        else:
            assert ended.code in (0, 1), ended


@rows(AT_ONCE)
def test_a_strangers_file_is_one_sentence(folder: Path, make: Make, words: str) -> None:
    sound(Path("sound.sqlite"))
    make(Path("stranger.sqlite"))
    for command in VERBS:
        ended = verb(*arguments(command))
        missing = "--baseline" in command and not Path("stranger.sqlite").exists()
        assert_one_sentence(ended, "no such baseline" if missing else words)
        assert {path.name for path in folder.iterdir()} <= {"sound.sqlite", "stranger.sqlite"}, command


@pytest.fixture(scope="module")
def sound_charts(tmp_path_factory: pytest.TempPathFactory) -> list[Chart]:
    path = tmp_path_factory.mktemp("charts") / "sound.sqlite"
    sound(path)
    with Results(path) as results:
        return list(comparison_page._charts([results, results], ["sound", "stranger"]))


@rows(IN_PART)
def test_what_a_verb_cannot_read_is_one_sentence(
    folder: Path,
    make: Make,
    words: str,
    sound_charts: list[Chart],
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if request.node.callspec.id in SOUND_CHARTS:  # to draw them again would take a third of the time
        monkeypatch.setattr(comparison_page, "_charts", lambda *_: sound_charts)
    sound(Path("sound.sqlite"))
    make(Path("stranger.sqlite"))
    for command in VERBS:
        ended = verb(*arguments(command))
        if ended.code == 2 or command[0] == "report":
            assert_one_sentence(ended, words if command[0] == "report" else "stranger.sqlite")
        assert "Traceback" not in ended.stderr
    assert not Path("report.html").exists()


def test_the_corpus_is_large() -> None:
    names = [name for name, *_ in (*AT_ONCE, *IN_PART)]
    assert len(names) >= 200
    assert len(set(names)) == len(names)
    assert 0 < len(SOUND_CHARTS) < len(IN_PART)
