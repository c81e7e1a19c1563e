"""What is written, where, and what becomes of it where that is impossible."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from harness.ci.artifacts import Artifacts, publish
from harness.errors import SettingsError
from tests.ci.samples import account, cases_of, check


def github(folder: Path, **more: str) -> dict[str, str]:
    return {
        "GITHUB_ACTIONS": "true",
        "GITHUB_STEP_SUMMARY": str(folder / "summary"),
        "GITHUB_OUTPUT": str(folder / "outputs"),
        **more,
    }


def test_the_files_that_were_asked_for(tmp_path: Path) -> None:
    found = account(tmp_path, checks=[check("ids.unique", "pass")])
    wanted = Artifacts(
        tmp_path / "a" / "junit.xml", (tmp_path / "b.svg", tmp_path / "b.json"), tmp_path / "s.md"
    )
    out = io.StringIO()
    assert publish(found, wanted, {}, out) == 0
    assert ("conformance", "ids.unique") in cases_of((tmp_path / "a" / "junit.xml").read_text())
    assert (tmp_path / "b.svg").read_text().startswith("<svg ")
    assert json.loads((tmp_path / "b.json").read_text())["message"] == "passing"
    assert (tmp_path / "s.md").read_text().startswith("### ✅ Agent runs: passed")
    assert out.getvalue() == ""


def test_github_gets_its_own_besides(tmp_path: Path) -> None:
    found = account(tmp_path, checks=[check("ids.unique", "fail")])
    (tmp_path / "summary").write_text("before\n")
    out = io.StringIO()
    assert publish(found, Artifacts(), github(tmp_path), out) == 1
    assert out.getvalue().startswith("::error title=ids.unique%3A fail::")
    assert (tmp_path / "summary").read_text().startswith("before\n### ❌ Agent runs: failed\n")
    assert (tmp_path / "outputs").read_text().startswith("verdict<<harness-")


def test_the_summary_leaves_room_for_what_is_there(tmp_path: Path) -> None:
    found = account(tmp_path, checks=[check("ids.unique", "fail")])
    for already, cut in ((0, False), (1024 * 1024 - 300, True), (1024 * 1024 - 10, True)):
        (tmp_path / "summary").write_bytes(b"x" * already)
        publish(found, Artifacts(), github(tmp_path), io.StringIO())
        assert (tmp_path / "summary").stat().st_size <= 1024 * 1024
        assert ("Conformance by area" in (tmp_path / "summary").read_text()) is not cut


def test_a_file_that_cannot_be_written_is_no_success(tmp_path: Path) -> None:
    found = account(tmp_path, checks=[check("ids.unique", "pass")])
    out = io.StringIO()
    (tmp_path / "taken").mkdir()
    assert publish(found, Artifacts(junit=tmp_path / "taken"), {}, out) == 2
    assert "cannot write" in out.getvalue()
    red = account(tmp_path, checks=[check("ids.unique", "fail")])
    assert publish(red, Artifacts(junit=tmp_path / "taken"), {}, out) == 1


def test_a_summary_that_github_does_not_take_is_a_warning(tmp_path: Path) -> None:
    found = account(tmp_path, checks=[check("ids.unique", "pass")])
    out = io.StringIO()
    there = github(tmp_path, GITHUB_STEP_SUMMARY=str(tmp_path / "no" / "summary"))
    assert publish(found, Artifacts(), there, out) == 0
    assert "::warning::GITHUB_STEP_SUMMARY names" in out.getvalue()
    assert (tmp_path / "outputs").exists()
    assert publish(found, Artifacts(), {"GITHUB_ACTIONS": "true"}, io.StringIO()) == 0


@pytest.mark.parametrize("name", ["badge.png", "badge", "badge.svg.txt"])
def test_a_badge_is_svg_or_json(tmp_path: Path, name: str) -> None:
    with pytest.raises(SettingsError, match=r"\.svg nor \.json"):
        Artifacts(badges=(tmp_path / name,)).ensure_writable()


def test_what_cannot_be_written_is_said_before_the_test(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsError, match="cannot write"):
        Artifacts(junit=tmp_path / "file" / "junit.xml").ensure_writable()
    with pytest.raises(SettingsError, match="it is a folder"):
        Artifacts(summary_md=tmp_path).ensure_writable()
    Artifacts(tmp_path / "new" / "junit.xml", (tmp_path / "b.svg",)).ensure_writable()
    assert (tmp_path / "new").is_dir()
