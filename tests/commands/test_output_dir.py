from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest

from harness.commands import output_dir
from harness.config.settings import Settings
from harness.errors import SettingsError
from harness.results.reader import Results
from harness.results.schema import ResultsError
from harness.results.writer import ResultsWriter

ACTION = {"toolId": "t", "toolName": "T", "aiDescription": "…", "runtimeScope": "test"}
SETTINGS = Settings.model_validate(
    {
        "target": {
            "base_url": "http://h",
            "organization_id": "org-1",
            "token": "s3cret-token",
            "actions": {"success": ACTION},
        }
    }
)


def manifest(path: Path) -> dict[str, object]:
    with Results(path) as results:
        return results.manifest


def test_a_new_folder_is_named_by_the_time() -> None:
    assert re.fullmatch(r"harness-results/\d{8}-\d{6}-\d{3}", output_dir.default_folder().as_posix())


def begin_default(name: str) -> Path:
    return output_dir.begin(output_dir.DEFAULT_FOLDER / name, SETTINGS).parent


FIRST, SECOND = "20261124-150000-001", "20261124-150000-002"


def test_latest_is_the_newest_default_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    latest = tmp_path / "harness-results" / "latest"
    first = begin_default(FIRST)
    assert latest.readlink() == Path(FIRST)  # relative, so that the folders can be moved together
    assert latest.samefile(first)
    second = begin_default(SECOND)
    assert latest.readlink() == Path(SECOND)
    output_dir.begin(second / "repeat-1", SETTINGS)
    output_dir.begin(tmp_path / "harness-results" / "mine", SETTINGS)
    output_dir.begin(tmp_path / "out", SETTINGS)
    assert latest.readlink() == Path(SECOND)
    names = {one.name for one in latest.parent.iterdir()}
    assert names == {FIRST, SECOND, "mine", "latest"}
    assert output_dir.results_file(Path("harness-results/latest")).is_file()


def test_latest_that_points_to_nothing_is_renewed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    latest = tmp_path / "harness-results" / "latest"
    latest.parent.mkdir()
    latest.symlink_to("gone")
    begin_default(FIRST)
    assert latest.readlink() == Path(FIRST)


def test_a_user_folder_named_latest_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    mine = Path("harness-results/latest")
    mine.mkdir(parents=True)
    begin_default(FIRST)
    assert not mine.is_symlink()
    assert mine.is_dir()
    mine.rmdir()
    mine.write_text("of the user")
    begin_default(SECOND)
    assert mine.read_text() == "of the user"


def test_without_symlinks_there_is_no_latest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError("links need a privilege")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Path, "symlink_to", refuse)
    assert (begin_default(FIRST) / "results.sqlite").is_file()
    assert [one.name for one in Path("harness-results").iterdir()] == [FIRST]


def test_the_manifest_says_whether_the_test_has_a_suite(tmp_path: Path) -> None:
    assert "suite_state" not in manifest(output_dir.begin(tmp_path / "load", SETTINGS))
    path = output_dir.begin(tmp_path / "check", SETTINGS, has_suite=True)
    assert manifest(path)["suite_state"] == "running"
    output_dir.finish(path, interrupted=False)
    assert manifest(path)["suite_state"] == "running"  # its verdicts were never stored


def test_a_test_begins_with_its_manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/usr/bin/harness", "check", "--header=X: s3cret-token"])
    path = output_dir.begin(tmp_path / "new" / "folder", SETTINGS)
    assert path == tmp_path / "new" / "folder" / "results.sqlite"
    found = manifest(path)
    assert found["state"] == "running"
    assert found["command"] == ["harness", "check", "--header=X: ************"]
    assert found["target"] == {
        "base_url": "http://h",
        "path": "/agent/workflow-actions",
        "organization_id": "org-1",
    }
    assert found["settings"] == SETTINGS.document()
    assert b"s3cret-token" not in path.read_bytes()


def test_results_are_never_overwritten(tmp_path: Path) -> None:
    path = output_dir.begin(tmp_path, SETTINGS)
    before = path.read_bytes()
    with pytest.raises(
        SettingsError, match=r"results\.sqlite is from an earlier test; choose a different --out"
    ):
        output_dir.begin(tmp_path, SETTINGS)
    assert path.read_bytes() == before


def test_of_two_tests_that_begin_at_once_one_gets_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output_dir.begin(tmp_path, SETTINGS)
    monkeypatch.setattr("os.path.lexists", lambda _: False)  # it did not exist when the second looked
    with pytest.raises(SettingsError, match="is from an earlier test"):
        output_dir.begin(tmp_path, SETTINGS)
    assert manifest(tmp_path / "results.sqlite")["state"] == "running"


def test_a_test_that_cannot_begin_leaves_its_folder_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise ResultsError("database or disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(ResultsWriter, "set_manifest", full)
        with pytest.raises(ResultsError):
            output_dir.begin(tmp_path / "out", SETTINGS)
    assert list(tmp_path.iterdir()) == []
    output_dir.begin(tmp_path / "out", SETTINGS)


def test_a_folder_that_cannot_be_written_to(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsError, match=r"cannot write to the folder .*file: File exists"):
        output_dir.begin(tmp_path / "file", SETTINGS)
    with pytest.raises(SettingsError, match=r"cannot write to the folder .*below: Not a directory"):
        output_dir.begin(tmp_path / "file" / "below", SETTINGS)


def test_the_end_of_an_aborted_load_is_the_end_of_the_test(tmp_path: Path) -> None:
    path = output_dir.begin(tmp_path / "out", Settings())
    with ResultsWriter(path) as writer:
        writer.set_manifest(load_state="aborted", load_aborted="the load was aborted by the condition 'x'")
    output_dir.finish(path, interrupted=False)
    with Results(path) as results:
        assert results.manifest["state"] == "aborted"


@pytest.mark.parametrize(("interrupted", "state"), [(False, "finished"), (True, "interrupted")])
def test_a_test_ends_with_summary_and_report(tmp_path: Path, interrupted: bool, state: str) -> None:
    path = output_dir.begin(tmp_path, SETTINGS)
    report = output_dir.finish(path, interrupted=interrupted)
    assert report == tmp_path / "report.html"
    assert report.read_text(encoding="utf-8").startswith("<!doctype html>")
    summary = json.loads((tmp_path / "summary.json").read_text(encoding="utf-8"))
    assert summary.keys() >= {"ledger", "metrics", "violations", "harness"}
    found = manifest(path)
    assert (found["state"], found["settings"]) == (state, SETTINGS.document())
    assert isinstance(found["ended_at"], str)
    assert found["started_at"] <= found["ended_at"]
    assert {one.name for one in tmp_path.iterdir()} == {"results.sqlite", "summary.json", "report.html"}
    for one in tmp_path.iterdir():
        assert b"s3cret-token" not in one.read_bytes()


def test_a_results_argument_is_a_file_or_a_folder(tmp_path: Path) -> None:
    assert output_dir.results_file(tmp_path) == tmp_path / "results.sqlite"
    assert output_dir.results_file(tmp_path / "other.sqlite") == tmp_path / "other.sqlite"


def test_the_manifest_says_whether_the_test_has_a_load(tmp_path: Path) -> None:
    assert "load_state" not in manifest(output_dir.begin(tmp_path / "load", SETTINGS))
    path = output_dir.begin(tmp_path / "suite", SETTINGS, has_suite=True, has_load=False)
    assert manifest(path)["load_state"] == "none"


def test_a_folder_below_that_of_a_test_is_no_link(tmp_path: Path) -> None:
    assert output_dir.subfolder(tmp_path, "blocks", "1") == tmp_path / "blocks" / "1"
    (tmp_path / "blocks").symlink_to(tmp_path)
    with pytest.raises(SettingsError, match="it is a link; remove it"):
        output_dir.subfolder(tmp_path, "blocks", "1")


def test_a_results_file_that_was_removed_during_the_test_is_a_sentence_and_not_made_again(
    tmp_path: Path,
) -> None:
    path = output_dir.begin(tmp_path / "out", SETTINGS)
    path.unlink()
    with pytest.raises(ResultsError, match="was removed during the test; nothing can be reported"):
        output_dir.finish(path, interrupted=False)
    assert not path.exists()
