"""Bottom-k sampling of the stream rows of a large test: a uniform sample of fixed size.

Each row draws a random priority and the k rows with the smallest priorities are kept, so that every set of k
rows is equally likely (Cohen and Kaplan, Summarizing data using bottom-k sketches, PODC 2007, section 2).
Failed rows draw smaller priorities than all others, so they are kept first, up to half of the sample. Failed rows
and ordinary rows are each a uniform sample.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

MOST_FAILED = 0.5
"""Share of the sample that failed rows may take from ordinary ones."""


@dataclass(frozen=True, slots=True)
class Surplus:
    """How many rows of each kind must be deleted, those with the largest priorities."""

    failed: int
    ordinary: int


@dataclass(slots=True)
class StreamSample:
    """State of the sample in one results file.

    keep: maximum number of rows. failed, ordinary: current number of rows. failed_below, ordinary_below: only a row
    with a smaller priority can still enter the sample; both only ever decrease.
    """

    keep: int
    failed: int = 0
    ordinary: int = 0
    failed_below: float = 0.0
    ordinary_below: float = 1.0
    rng: random.Random = field(default_factory=random.Random)

    @property
    def kept(self) -> int:
        """Number of rows of both kinds."""
        return self.failed + self.ordinary

    def draw(self, *, failed: bool) -> float | None:
        """A priority for the next row, -1 to 0 if it failed, else 0 to 1; None if it cannot enter the sample."""
        if self.keep == 0:
            return None
        priority = self.rng.random()
        if failed:
            return priority - 1 if priority - 1 < self.failed_below else None
        return priority if priority < self.ordinary_below else None

    def surplus(self) -> Surplus:
        """Rows over the limit: failed rows beyond their share first, then ordinary ones."""
        over = self.kept - self.keep
        if over <= 0:
            return Surplus(0, 0)
        failed = min(over, max(0, self.failed - int(self.keep * MOST_FAILED)))
        return Surplus(failed, over - failed)
