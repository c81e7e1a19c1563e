"""What a master costs: its CPU time for each worker and for each stream that the workers report."""

from __future__ import annotations

import statistics
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tomlkit

from harness.config.load_settings import JourneyWeights, LoadSettings
from harness.config.settings import CONFIG_VARIABLE
from harness.load.locust.command import load_command
from harness.results.reader import Results
from harness.results.saturation import MASTER
from tests.benchmarks.clients import ClientError, environment
from tests.benchmarks.target import ROOT, Rhythm, Target

RHYTHM = Rhythm(tokens=20, first_token_us=50_000, gap_us=20_000)

#: Workers and arrivals per second. Three unknowns need three runs: one more of each.
RUNS = ((2, 20), (8, 20), (2, 200))
DURATION_S = 20
_SETTLED_S = 4
"""Seconds at both ends that are left out: workers connect, and the last batches are written."""

PLANNED_RATE = 100
"""Arrivals per second and worker of the plan for which the number of workers is given."""
PLANNED_SHARE = 0.7
"""Of a core, that a master may use."""


@dataclass(frozen=True, slots=True)
class MasterCost:
    """CPU seconds per second: `fixed`, and more for each worker and for each stream per second."""

    fixed: float
    per_worker: float
    per_stream: float

    @property
    def workers(self) -> int:
        """How many workers of PLANNED_RATE one master bears."""
        each = self.per_worker + PLANNED_RATE * self.per_stream
        return max(0, int((PLANNED_SHARE - self.fixed) / each)) if each > 0 else 0


def cost(runs: list[dict[str, Any]]) -> MasterCost:
    """Solve for the cost. runs: with "workers", "rate" (streams per second, measured) and "cpu". At least three."""
    known = np.array([[1.0, run["workers"], run["rate"]] for run in runs])
    fixed, per_worker, per_stream = np.linalg.lstsq(known, np.array([run["cpu"] for run in runs]))[0]
    return MasterCost(float(fixed), float(per_worker), float(per_stream))


def measure_master(target: Target, workers: int, rate: float) -> dict[str, Any]:
    """One run. Raises ClientError if it wrote no results."""
    plan = LoadSettings(
        rate=rate,
        duration=DURATION_S,
        processes=workers,
        journeys=JourneyWeights(**{name: int(name == "fresh") for name in JourneyWeights.model_fields}),
    )
    with tempfile.TemporaryDirectory(prefix="bench-") as temporary:
        folder = Path(temporary)
        settings = {
            "target": {
                "base_url": target.base_url,
                "token": "demo-token",
                "organization_id": "org-1",
                "actions": {"success": {"toolId": "a"}},
            },
            "load": plan.model_dump(exclude_none=True),
        }
        (folder / "harness.toml").write_text(tomlkit.dumps(settings))
        done = subprocess.run(
            load_command(plan, out=folder / "results"),
            env=environment({CONFIG_VARIABLE: str(folder / "harness.toml")}),
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=DURATION_S + 90,
            check=False,
        )
        if not (folder / "results" / "results.sqlite").is_file():
            raise ClientError(f"the load wrote no results:\n{done.stderr[-1500:]}")
        with Results(folder / "results" / "results.sqlite") as results:
            scheduled = results.ledger().scheduled
            shares = [record.cpu for record in results.processes() if record.worker == MASTER]
        settled = shares[_SETTLED_S:-_SETTLED_S]
        return {
            "workers": workers,
            "rate": scheduled / DURATION_S,
            "cpu": statistics.mean(settled),
            "seconds": len(settled),
        }
