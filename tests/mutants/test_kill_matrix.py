"""Each MUST is proven by a mutant: the suite runs on every fault of the embedded server."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.mutants.kill_matrix import uncovered

pytestmark = pytest.mark.mutants


@pytest.mark.slow
def test_every_mutant_is_killed_by_the_requirement_that_it_violates(tmp_path: Path) -> None:
    matrix = tmp_path / "matrix.json"
    command = [sys.executable, "-m", "tests.mutants.kill_matrix", "--json", str(matrix)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=1500)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    rows = json.loads(matrix.read_text())
    assert len(rows) >= 70
    assert {row["verdict"] for row in rows} == {"killed"}


def test_no_must_is_without_a_mutant() -> None:
    assert uncovered() == []
