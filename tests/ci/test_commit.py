"""Which commit is under test."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from harness.ci.commit import VARIABLES, current_commit

PATH = {"PATH": os.environ["PATH"]}


@pytest.mark.parametrize("name", VARIABLES)
def test_a_ci_system_names_it(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert current_commit({**PATH, name: "abc123"}) == "abc123"
    assert current_commit({**PATH, name: "not a commit"}) == ""


def test_a_checkout_has_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert current_commit(PATH) == ""
    author = ["-c", "user.name=a", "-c", "user.email=a@example.com"]
    subprocess.run(["git", "init", "-q"], check=True)
    assert current_commit(PATH) == ""
    subprocess.run(["git", *author, "commit", "-q", "--allow-empty", "-m", "first"], check=True)
    head = subprocess.run(["git", "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout
    assert current_commit(PATH) == head.strip()


def test_without_git_it_is_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert current_commit({"PATH": str(tmp_path)}) == ""
