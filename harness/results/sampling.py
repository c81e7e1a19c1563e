"""Which rows of single streams a large test keeps: a uniform sample of fixed size, whatever comes when.

Every row draws a random priority, and the k smallest priorities stay. Any k rows are equally likely to be
those (a bottom-k sample: Cohen and Kaplan, Summarizing data using bottom-k sketches, PODC 2007, section 2).
Failed rows draw from below all others and so stay before them, up to half of the room; above that, and
below it, each of the two kinds is a uniform sample of its own.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

MOST_FAILED = 0.5
"""The share of the room that failed rows may take from others."""


@dataclass(frozen=True, slots=True)
class Surplus:
    """How many rows of each kind have the largest priorities and must go."""

    failed: int
    ordinary: int


@dataclass(slots=True)
class StreamSample:
    """The rows of one results file: how many there are, and which of the next still have a chance.

    keep: how many may stay. failed, ordinary: how many there are. failed_below, ordinary_below: only
    priorities below may still be among the smallest; both sink and never rise.
    """

    keep: int
    failed: int = 0
    ordinary: int = 0
    failed_below: float = 0.0
    ordinary_below: float = 1.0
    rng: random.Random = field(default_factory=random.Random)

    @property
    def kept(self) -> int:
        """Rows of both kinds."""
        return self.failed + self.ordinary

    def draw(self, *, failed: bool) -> float | None:
        """A priority for the next row, -1 to 0 for a failed one, else 0 to 1; None when it cannot stay."""
        if self.keep == 0:
            return None
        priority = self.rng.random()
        if failed:
            return priority - 1 if priority - 1 < self.failed_below else None
        return priority if priority < self.ordinary_below else None

    def surplus(self) -> Surplus:
        """What is over `keep`: failed rows beyond their share of the room first, then ordinary ones."""
        over = self.kept - self.keep
        if over <= 0:
            return Surplus(0, 0)
        failed = min(over, max(0, self.failed - int(self.keep * MOST_FAILED)))
        return Surplus(failed, over - failed)
