"""A simulated GitHub runner: sets variables and reads workflow commands, outputs and summary."""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.forked import run_module
from tests.forked_process import command_file
from tests.integration.commands import environment, only

BIN = Path(sys.executable).parent
TIMEOUT_S = 300


class Runner:
    """One step of a job, in its own folder."""

    def __init__(self, folder: Path) -> None:
        self.workspace = folder / "workspace"
        self.temp = folder / "temp"
        for path in (self.workspace, self.temp):
            path.mkdir()
        self.summary_file = folder / "summary.md"
        self.output_file = folder / "output"
        self.summary_file.touch()
        self.output_file.touch()

    @property
    def variables(self) -> dict[str, str]:
        return {
            "CI": "true",
            "GITHUB_ACTIONS": "true",
            "GITHUB_WORKSPACE": str(self.workspace),
            "GITHUB_STEP_SUMMARY": str(self.summary_file),
            "GITHUB_OUTPUT": str(self.output_file),
            "GITHUB_SERVER_URL": "https://github.com",
            "GITHUB_REPOSITORY": "acme/agent",
            "GITHUB_RUN_ID": "42",
            "RUNNER_TEMP": str(self.temp),
        }

    def bash(
        self,
        script: str,
        variables: Mapping[str, str] | None = None,
        folder: Path | None = None,
        *,
        area: str | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run a script as a step with ``shell: bash``. area: of the suite, the only one that `harness check` runs.

        With an area, the command `harness` is forked.
        """
        given = environment(**{**self.variables, **(variables or {})})
        given["PATH"] = f"{BIN}:{given['PATH']}"
        if area is not None:
            command_file(self.temp / "harness", patches=only(area))
            given["PATH"] = f"{self.temp}:{given['PATH']}"
        return subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script],
            cwd=folder or self.workspace,
            env=given,
            capture_output=True,
            text=True,
            check=False,
            timeout=TIMEOUT_S,
        )

    def harness(self, line: str, *, area: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run `harness LINE` as a step. area: of the suite, the only one that `check` runs; None for all."""
        return run_module(
            ("harness", *shlex.split(line)),
            folder=self.workspace,
            environment=environment(**self.variables),
            timeout_s=TIMEOUT_S,
            patches=None if area is None else only(area),
        )

    @property
    def summary(self) -> str:
        return self.summary_file.read_text(encoding="utf-8")

    @property
    def outputs(self) -> dict[str, str]:
        """Parse outputs as the runner does (FileCommandManager): name=value, or name<<MARK up to the line MARK."""
        found = {}
        lines = iter(self.output_file.read_text(encoding="utf-8").splitlines())
        for line in lines:
            name, equals, value = line.partition("=")
            key, marks, mark = line.partition("<<")
            if marks and len(key) < len(name):
                found[key] = "\n".join(iter(lambda end=mark: next(lines), mark))
            else:
                assert equals, line
                found[name] = value
        return found


def commands(output: str) -> list[str]:
    """The lines that a runner executes: none between ``::stop-commands::MARK`` and ``::MARK::``."""
    found, stopped = [], None
    for line in output.splitlines():
        text = line.strip()
        if stopped is not None:
            stopped = None if text == f"::{stopped}::" else stopped
        elif text.startswith("::stop-commands::"):
            stopped = text.removeprefix("::stop-commands::")
        elif text.startswith("::"):
            found.append(text)
    assert stopped is None, "commands were never taken up again"
    return found
