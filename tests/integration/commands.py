"""Runs the harness command as a process in its own folder."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

import tomlkit

from harness.commands import check
from harness.reference.settings import demo_config
from tests.forked import run_module

TIMEOUT_S = 240


def environment(**variables: str) -> dict[str, str]:
    """This environment without HARNESS_* variables, but with `variables`."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("HARNESS_")}
    return {**clean, **variables}


def harness(
    *arguments: str,
    folder: Path,
    variables: Mapping[str, str] | None = None,
    patches: Mapping[str, object] | None = None,
    forks: bool = True,
) -> subprocess.CompletedProcess[str]:
    """`harness ARGUMENTS` in `folder`. patches, forks: see run_module."""
    return run_module(
        ("harness", *arguments),
        folder=folder,
        environment=environment(**(variables or {})),
        timeout_s=TIMEOUT_S,
        patches=patches,
        forks=forks,
    )


def only(selected: str) -> Mapping[str, object]:
    """The patches with which `harness check` runs only these tests of the suite. selected: as for pytest's -k."""
    return {"harness.commands.check._PYTEST_ARGS": (*check._PYTEST_ARGS, "-k", selected)}


def demo_settings(folder: Path, base_url: str | None, **tables: Mapping[str, object]) -> Path:
    """Write the settings that test the embedded server at `base_url`, and other tables, to harness.toml."""
    file = folder / "harness.toml"
    document = {**demo_config(base_url), **tables}
    if base_url is None:
        del document["target"]["base_url"]
    file.write_text(tomlkit.dumps(document), encoding="utf-8")
    return file


def assert_one_sentence(done: subprocess.CompletedProcess[str], *words: str) -> None:
    """The command failed with exit code 2 and a one-line message that contains `words`, without a traceback."""
    output = done.stdout + done.stderr
    assert done.returncode == 2, output
    assert "Traceback" not in output
    line = next((line for line in output.splitlines() if line.startswith("harness: ")), "")
    assert line, output
    for word in words:
        assert word in line
