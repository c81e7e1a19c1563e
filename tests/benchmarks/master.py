"""What a master costs: its CPU time for each worker and for each stream that the workers report."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import Any

import numpy as np

from harness.results.reader import Results
from harness.results.saturation import MASTER
from tests.benchmarks.harness_load import harness_load
from tests.benchmarks.target import Rhythm, Target

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
    load = harness_load(target, rate=rate, duration_s=DURATION_S, processes=workers, more_s=90)
    with load as (file, _), Results(file) as results:
        scheduled = results.ledger().scheduled
        shares = [record.cpu for record in results.processes() if record.worker == MASTER]
    settled = shares[_SETTLED_S:-_SETTLED_S]
    return {
        "workers": workers,
        "rate": scheduled / DURATION_S,
        "cpu": statistics.mean(settled),
        "seconds": len(settled),
    }
