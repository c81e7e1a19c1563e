"""The artifacts that are written, and errors when writing fails."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from harness.ci.artifacts import Artifacts, publish
from harness.errors import FileWriteError, SettingsError
from tests.ci.samples import cases_of, check, sample_outcome


def github(folder: Path, **more: str) -> dict[str, str]:
    return {
        "GITHUB_ACTIONS": "true",
        "GITHUB_STEP_SUMMARY": str(folder / "summary"),
        "GITHUB_OUTPUT": str(folder / "outputs"),
        **more,
    }


def test_the_requested_files_are_written(tmp_path: Path) -> None:
    outcome = sample_outcome(tmp_path, checks=[check("ids.unique", "pass")])
    wanted = Artifacts(
        tmp_path / "a" / "junit.xml",
        (tmp_path / "b.svg", tmp_path / "b.json"),
        tmp_path / "s.md",
        ctrf=tmp_path / "ctrf.json",
        comment_md=tmp_path / "c.md",
    )
    out = io.StringIO()
    assert publish(outcome, wanted, {}, out) == 0
    assert ("conformance", "ids.unique") in cases_of((tmp_path / "a" / "junit.xml").read_text())
    assert (tmp_path / "b.svg").read_text().startswith("<svg ")
    assert json.loads((tmp_path / "b.json").read_text())["message"] == "passing"
    assert (tmp_path / "s.md").read_text().startswith("### ✅ Agent runs: passed")
    assert json.loads((tmp_path / "ctrf.json").read_text())["reportFormat"] == "CTRF"
    assert (
        (tmp_path / "c.md").read_text().startswith("<!-- agent-run-harness -->\n\n### ✅ Agent runs: passed")
    )
    assert out.getvalue() == ""


def test_github_gets_annotations_summary_and_outputs(tmp_path: Path) -> None:
    outcome = sample_outcome(tmp_path, checks=[check("ids.unique", "fail")])
    (tmp_path / "summary").write_text("before\n")
    out = io.StringIO()
    assert publish(outcome, Artifacts(), github(tmp_path), out) == 1
    assert out.getvalue().startswith("::error title=ids.unique%3A fail::")
    assert (tmp_path / "summary").read_text().startswith("before\n### ❌ Agent runs: failed\n")
    assert (tmp_path / "outputs").read_text().startswith("verdict<<harness-")


def test_the_summary_leaves_room_for_what_is_there(tmp_path: Path) -> None:
    outcome = sample_outcome(tmp_path, checks=[check("ids.unique", "fail")])
    for already, cut in ((0, False), (1024 * 1024 - 300, True), (1024 * 1024 - 10, True)):
        (tmp_path / "summary").write_bytes(b"x" * already)
        publish(outcome, Artifacts(), github(tmp_path), io.StringIO())
        assert (tmp_path / "summary").stat().st_size <= 1024 * 1024
        assert ("Conformance by area" in (tmp_path / "summary").read_text()) is not cut


def test_a_file_that_cannot_be_written_fails_the_command(tmp_path: Path) -> None:
    outcome = sample_outcome(tmp_path, checks=[check("ids.unique", "pass")])
    out = io.StringIO()
    (tmp_path / "taken").mkdir()
    assert publish(outcome, Artifacts(junit=tmp_path / "taken"), {}, out) == 2
    assert "cannot write" in out.getvalue()
    red = sample_outcome(tmp_path, checks=[check("ids.unique", "fail")])
    assert publish(red, Artifacts(junit=tmp_path / "taken"), {}, out) == 1


def test_a_github_summary_that_cannot_be_written_is_a_warning(tmp_path: Path) -> None:
    outcome = sample_outcome(tmp_path, checks=[check("ids.unique", "pass")])
    out = io.StringIO()
    there = github(tmp_path, GITHUB_STEP_SUMMARY=str(tmp_path / "no" / "summary"))
    assert publish(outcome, Artifacts(), there, out) == 0
    assert "::warning::GITHUB_STEP_SUMMARY: cannot write" in out.getvalue()
    assert (tmp_path / "outputs").exists()
    assert publish(outcome, Artifacts(), {"GITHUB_ACTIONS": "true"}, io.StringIO()) == 0


@pytest.mark.parametrize("name", ["badge.png", "badge", "badge.svg.txt"])
def test_a_badge_is_svg_or_json(tmp_path: Path, name: str) -> None:
    with pytest.raises(SettingsError, match=r"\.svg nor \.json"):
        Artifacts(badges=(tmp_path / name,)).ensure_writable()


def test_unwritable_files_are_reported_before_the_test(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FileWriteError, match="cannot write"):
        Artifacts(junit=tmp_path / "file" / "junit.xml").ensure_writable()
    with pytest.raises(FileWriteError, match="it is a folder"):
        Artifacts(summary_md=tmp_path).ensure_writable()
    Artifacts(tmp_path / "new" / "junit.xml", (tmp_path / "b.svg",)).ensure_writable()
    assert (tmp_path / "new").is_dir()
