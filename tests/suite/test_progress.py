from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.contract.finding import Verdict
from harness.errors import FileWriteError
from harness.suite import progress as module
from harness.suite.progress import Progress


def test_the_file_says_how_far_it_is(tmp_path: Path) -> None:
    file = tmp_path / "progress.json"
    progress = Progress(file, 4)
    assert json.loads(file.read_text()) == {"done": 0, "total": 4, "verdicts": {}, "failed": []}
    for name, verdict in (
        ("a", Verdict.WARN),
        ("b", Verdict.FAIL),
        ("b", Verdict.ERROR),
        ("c", Verdict.PASS),
    ):
        progress.count(name, verdict)
    assert json.loads(file.read_text()) == {
        "done": 4,
        "total": 4,
        "verdicts": {"pass": 1, "fail": 1, "warn": 1, "error": 1},
        "failed": ["b"],
    }
    assert [one.name for one in tmp_path.iterdir()] == ["progress.json"]


def test_a_folder_that_is_gone_is_no_silent_matter(tmp_path: Path) -> None:
    with pytest.raises(FileWriteError):
        Progress(tmp_path / "nowhere" / "progress.json", 1)


def test_the_file_is_replaced_for_failures_and_now_and_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Replacing it took longer than most tests."""
    written: list[int] = []
    monkeypatch.setattr(module, "atomic_write_text", lambda _, text: written.append(json.loads(text)["done"]))
    now_s = 100.0
    monkeypatch.setattr(module.time, "monotonic", lambda: now_s)
    progress = Progress(tmp_path / "progress.json", 8)
    for verdict in (Verdict.PASS, Verdict.PASS, Verdict.FAIL, Verdict.PASS):
        progress.count("a", verdict)
    assert written == [0, 3]
    now_s += 0.25
    for _ in range(4):
        progress.count("b", Verdict.PASS)
    assert written == [0, 3, 5, 8]
