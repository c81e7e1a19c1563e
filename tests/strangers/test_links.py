"""No verb writes through a link, and what lies next to a results file keeps no verb waiting."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from harness.commands import output_dir
from harness.config.sources import settings_alone
from harness.errors import SettingsError
from harness.reference.settings import demo_config
from harness.results.reader import Results
from harness.results.schema import ResultsError
from harness.results.writer import ResultsWriter
from tests.strangers.results_files import sound
from tests.strangers.runner import assert_one_sentence, verb

GATE = ("gate", "out", "--objective", "violations <= 9", "--objective", "error_rate <= 100%")
WRITES = (
    ("report", "out"),
    ("report", "out", "--out", "link"),
    ("compare", "out", "out", "--out", "link"),
    ("judge", "out", "--json", "link"),
    ("export", "out", "--format", "csv", "--out", "link"),
    ("export", "out", "--format", "prometheus", "--out", "link"),
    (*GATE, "--junit", "link"),
    (*GATE, "--badge", "link.svg"),
    (*GATE, "--summary-md", "link"),
    (*GATE, "--ctrf", "link"),
    (*GATE, "--comment-md", "link"),
    ("init", "--target", "http://127.0.0.1:9", "--out", "link", "--force"),
    ("serve", "--port", "0", "--config-out", "link"),
)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with results, and links to a file of the user's in place of everything that is written."""
    monkeypatch.chdir(tmp_path)
    Path("users.txt").write_text("old")
    Path("out").mkdir()
    sound(Path("out/results.sqlite"))
    for name in ("out/report.html", "link", "link.svg"):
        Path(name).symlink_to(tmp_path / "users.txt")
    return tmp_path


@pytest.mark.parametrize("command", WRITES, ids=" ".join)
def test_a_link_is_not_written_through(folder: Path, command: tuple[str, ...]) -> None:
    assert_one_sentence(verb(*command), "it is a link to", "remove the link")
    assert Path("users.txt").read_text() == "old"
    assert Path("link").is_symlink()
    assert not list(folder.rglob("*.tmp"))


def test_a_baseline_that_is_a_link_is_not_written_through(folder: Path) -> None:
    sound(Path("users.sqlite"))
    before = Path("users.sqlite").read_bytes()
    Path("baseline.sqlite").symlink_to("users.sqlite")
    ended = verb(*GATE, "--baseline", "baseline.sqlite", "--update-baseline")
    assert ended.code in (1, 2), ended
    assert Path("users.sqlite").read_bytes() == before
    assert Path("baseline.sqlite").is_symlink()


def test_a_test_does_not_begin_behind_a_link(folder: Path) -> None:
    settings = settings_alone(demo_config("http://127.0.0.1:1"), "demo")
    Path("new").mkdir()
    Path("new/results.sqlite").symlink_to(folder / "elsewhere.sqlite")
    with pytest.raises(SettingsError, match="is from an earlier test"):
        output_dir.begin(Path("new"), settings)
    with pytest.raises(ResultsError, match="it is a link, not a file"):
        ResultsWriter("new/results.sqlite")
    assert not Path("elsewhere.sqlite").exists()


@pytest.mark.parametrize("suffix", ["-wal", "-journal", "-shm"])
def test_what_is_left_next_to_a_new_file_is_not_taken_for_its_own(tmp_path: Path, suffix: str) -> None:
    (tmp_path / f"results.sqlite{suffix}").write_bytes(b"of an earlier file")
    with pytest.raises(ResultsError, match=f"results.sqlite{suffix} is left from an earlier results file"):
        ResultsWriter(tmp_path / "results.sqlite")
    assert not (tmp_path / "results.sqlite").exists()


@pytest.mark.parametrize("suffix", ["-wal", "-journal", "-shm"])
def test_a_pipe_next_to_a_results_file_keeps_no_one_waiting(tmp_path: Path, suffix: str) -> None:
    path = sound(tmp_path / "results.sqlite")
    os.mkfifo(tmp_path / f"results.sqlite{suffix}")
    with pytest.raises(ResultsError, match="it is a named pipe, not a file; remove it"):
        Results(path)
    with pytest.raises(ResultsError, match="it is a named pipe, not a file; remove it"):
        ResultsWriter(path)


def test_a_wal_file_of_something_else_changes_nothing(tmp_path: Path) -> None:
    path = sound(tmp_path / "results.sqlite")
    (tmp_path / "results.sqlite-wal").write_bytes(b"\x37\x7f\x06\x82" + os.urandom(5_000))
    with Results(path) as results:
        assert results.ledger().scheduled == 4


def test_a_file_that_its_writer_left_in_wal_mode_is_read_in_a_folder_that_stays_as_it_is(
    tmp_path: Path,
) -> None:
    path = sound(tmp_path / "results.sqlite")
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA journal_mode = WAL")
    data = path.read_bytes()
    path.unlink()
    path.write_bytes(data)  # without its -wal file
    assert data[18:20] == b"\x02\x02"
    with Results(path) as results:
        assert results.ledger().scheduled == 4
        assert list(tmp_path.iterdir()) == [path]


def test_a_locked_file_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.results.opening.LOCKED_TIMEOUT_S", 0.1)
    path = sound(tmp_path / "results.sqlite")
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(ResultsError, match="another process has locked the results file"):
            Results(path)


def test_a_trigger_of_a_file_does_not_run_when_it_is_written(tmp_path: Path) -> None:
    path = sound(tmp_path / "results.sqlite")
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("CREATE TRIGGER t AFTER INSERT ON manifest BEGIN DELETE FROM streams; END")
    with pytest.raises(ResultsError, match="its trigger t does not belong"):
        ResultsWriter(path)


def test_a_document_that_no_reader_accepts_is_cut_when_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.results.writer.CELL_BYTES", 1_000_000)
    with ResultsWriter(tmp_path / "results.sqlite") as writer:
        writer.add_exchange("one", "s", "l", {"label": "l", "wire": ["x" * 2_000_000]})
    with Results(tmp_path / "results.sqlite") as results:
        assert results.exchange("one").document == {
            "label": "l",
            "left_out": "1 MiB, more than a results file may hold",
        }
