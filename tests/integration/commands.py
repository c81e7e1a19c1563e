"""Runs the harness command as its users do: as a process, in a folder of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

TIMEOUT_S = 240


def environment(**variables: str) -> dict[str, str]:
    """This environment without HARNESS_* variables, but with `variables`."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("HARNESS_")}
    return {**clean, **variables}


def harness(
    *arguments: str, folder: Path, variables: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """`harness ARGUMENTS` in `folder`."""
    return subprocess.run(
        [sys.executable, "-m", "harness", *arguments],
        cwd=folder,
        env=environment(**(variables or {})),
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT_S,
    )


def assert_one_sentence(done: subprocess.CompletedProcess[str], *words: str) -> None:
    """The command was refused: exit code 2, one line that holds `words`, no traceback."""
    said = done.stdout + done.stderr
    assert done.returncode == 2, said
    assert "Traceback" not in said
    line = next((line for line in said.splitlines() if line.startswith("harness: ")), "")
    assert line, said
    for word in words:
        assert word in line
