"""Memory and descriptors of processes over time, and whether they are flat."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field

import numpy as np
import psutil

from harness.load.stats.time_bins import MOST_BINS

WARM_UP_S = 300.0
"""What a process needs until its caches and pools are full. Growth counts from then on."""

MASTER_WARM_UP_S = MOST_BINS + 120.0
"""The same for the process that keeps the live series, which has MOST_BINS bins of a second before it merges them."""

LEAST_S = 120.0
"""A process that was watched for less than this after its warm-up is not judged: its slope means nothing."""

MEMORY_MB_PER_HOUR = 12.0
"""The steepest growth that counts as flat. A kilobyte that is kept of each of the soak's streams is more."""

MEMORY_MB = 4.0
"""Growth below this in all is not judged: memory comes from the system in blocks."""

DESCRIPTORS = 4.0
"""The same for descriptors: streams come and go."""

DESCRIPTORS_PER_HOUR = 12.0


@dataclass
class Watched:
    """One process. samples: time in s, resident memory in MB, descriptors."""

    name: str
    process: psutil.Process
    warm_up_s: float = WARM_UP_S
    samples: list[tuple[float, float, int]] = field(default_factory=list)

    def sample(self, now_s: float) -> None:
        """Read the process. One that has ended is left as it was."""
        if not self.process.is_running():  # its number may belong to another process by now
            return
        with contextlib.suppress(psutil.Error):
            memory, descriptors = self.process.memory_info().rss, self.process.num_fds()
            if memory:  # of a process that was killed and not yet waited for, nothing is left
                self.samples.append((now_s, memory / 1e6, descriptors))

    def growth(self, column: int) -> Growth | None:
        """How memory (1) or descriptors (2) grew after the warm-up; None if it was not watched for long enough."""
        start_s = self.samples[0][0] + self.warm_up_s if self.samples else 0.0
        times_s, values = [
            np.array([row[index] for row in self.samples if row[0] >= start_s]) for index in (0, column)
        ]
        if times_s.size < 3 or times_s[-1] - times_s[0] < LEAST_S:
            return None
        slope = float(np.polyfit(times_s - times_s[0], values, 1)[0])
        return Growth(float(np.median(values)), slope * 3600, slope * float(times_s[-1] - times_s[0]))

    @property
    def problems(self) -> list[str]:
        """What is not flat, in sentences."""
        limits = (
            (1, "MB of memory", MEMORY_MB_PER_HOUR, MEMORY_MB),
            (2, "descriptors", DESCRIPTORS_PER_HOUR, DESCRIPTORS),
        )
        found = []
        for column, what, per_hour, at_all in limits:
            growth = self.growth(column)
            if growth is not None and growth.per_hour > per_hour and growth.total > at_all:
                found.append(
                    f"{self.name} grew by {growth.per_hour:.1f} {what} per hour, by {growth.total:.1f} in all "
                    f"(limit {per_hour:g} per hour)"
                )
        return found


@dataclass(frozen=True, slots=True)
class Growth:
    """A fitted line: its middle, its slope per hour, and its rise over the time that was watched."""

    middle: float
    per_hour: float
    total: float
