"""The report on the page: it gives way to a running test, and to nothing else."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from harness.load.web import report_job


@pytest.mark.parametrize("is_test_active", [True, False])
def test_only_beside_a_test_it_has_a_low_priority(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, is_test_active: bool
) -> None:
    commands: list[Sequence[str]] = []

    def run(command: Sequence[str], **_: Any) -> subprocess.CompletedProcess[str]:
        commands.append(command)
        Path(command[-1]).write_bytes(b"<html>")
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(report_job.subprocess, "run", run)
    page = report_job.make_report(tmp_path / "results.sqlite", is_test_active=is_test_active)
    assert page == b"<html>"
    ((program, *_),) = commands
    assert (Path(program).name == "nice") is is_test_active
