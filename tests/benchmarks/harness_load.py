"""An open loop of `harness load` on the benchmark's target, with the journey `fresh` alone."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import tomlkit

from harness.config.load_settings import JourneyWeights, LoadSettings
from harness.config.settings import CONFIG_VARIABLE
from harness.load.locust.command import load_command
from tests.benchmarks.clients import ClientError, environment
from tests.benchmarks.target import ROOT, Target


def target_settings(target: Target) -> dict[str, Any]:
    """The settings of the benchmark's target."""
    return {
        "base_url": target.base_url,
        "token": "demo-token",
        "organization_id": "org-1",
        "actions": {"success": {"toolId": "a"}},
    }


@contextmanager
def harness_load(
    target: Target, *, rate: float, duration_s: float, processes: int, more_s: float
) -> Iterator[tuple[Path, int]]:
    """The results file and the exit code of a load; the file is deleted at the end.

    rate: arrivals per second. more_s: how long the command may take beyond duration_s. Raises ClientError if it wrote
    no results, and subprocess.TimeoutExpired.
    """
    plan = LoadSettings(
        rate=rate,
        duration=duration_s,
        processes=processes,
        journeys=JourneyWeights(**{name: int(name == "fresh") for name in JourneyWeights.model_fields}),
    )
    settings = {
        "target": target_settings(target),
        "load": plan.model_dump(exclude_none=True),
    }
    with tempfile.TemporaryDirectory(prefix="bench-") as temporary:
        folder = Path(temporary)
        (folder / "harness.toml").write_text(tomlkit.dumps(settings))
        done = subprocess.run(
            load_command(plan, out=folder / "results"),
            env=environment({CONFIG_VARIABLE: str(folder / "harness.toml")}),
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=duration_s + more_s,
            check=False,
        )
        file = folder / "results" / "results.sqlite"
        if not file.is_file():
            raise ClientError(f"the load wrote no results:\n{done.stderr[-1500:]}")
        yield file, done.returncode
