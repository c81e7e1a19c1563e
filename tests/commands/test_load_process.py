from __future__ import annotations

from pathlib import Path

import pytest

from harness.commands.load_process import describe_load, load_exit_code
from harness.commands.processes import ChildProcesses
from harness.config.settings import Settings
from harness.results.writer import ResultsWriter


@pytest.mark.parametrize(
    ("scheduled", "code", "interrupted", "expected"),
    [
        (0, 0, False, 2),
        (0, 1, False, 2),
        (0, 2, False, 2),
        (0, -9, False, -9),
        (0, 130, True, 130),
        (1, 0, False, 0),
        (1, 1, False, 1),
        (1, 2, False, 2),
    ],
)
def test_a_load_that_scheduled_nothing_could_not_run(
    tmp_path: Path, scheduled: int, code: int, interrupted: bool, expected: int
) -> None:
    path = tmp_path / "results.sqlite"
    with ResultsWriter(path) as writer:
        if scheduled:
            writer.add_ledger("w", 1, "fresh", "scheduled", scheduled)
    children = ChildProcesses()
    children.interrupted = interrupted
    assert load_exit_code(code, path, children) == expected


@pytest.mark.parametrize(
    ("load", "text"),
    [
        ({"duration": 20}, "10 users for 20 s in 1 process"),
        ({"users": 1, "duration": 0.5}, "1 users for 0.5 s in 1 process"),
        ({"rate": 5, "duration": 120, "processes": 2}, "5 runs/s for 120 s in 2 processes"),
    ],
)
def test_a_load_in_one_phrase(load: dict[str, object], text: str) -> None:
    assert describe_load(Settings.model_validate({"load": load})) == text
