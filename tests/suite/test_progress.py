from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.contract.finding import Verdict
from harness.errors import FileWriteError
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
