"""A condition that aborts a load, for example "error_rate > 20% for 10s"."""

from __future__ import annotations

from dataclasses import dataclass

from harness.gate.objective import AT_LEAST, Objective

DEFAULT_WINDOW_S = 10.0
LEAST_WINDOW_S, MOST_WINDOW_S = 1.0, 3600.0


@dataclass(frozen=True, slots=True)
class AbortCondition:
    """A limit that a load must not pass for longer than `window_s`.

    objective: metric, limit and journey; the limit is a lower one for AT_LEAST, else an upper one. inclusive: whether a
    value at the limit passes it, too.
    """

    objective: Objective
    inclusive: bool
    window_s: float = DEFAULT_WINDOW_S

    @property
    def below(self) -> bool:
        """Whether values below the limit abort the load."""
        return self.objective.key in AT_LEAST

    @property
    def expression(self) -> str:
        """The condition in the syntax of harness.gate.expressions: error_rate > 20% for 10s."""
        sign = ("<" if self.below else ">") + ("=" if self.inclusive else "")
        return f"{self.objective.name} {sign} {self.objective.limit_text} for {self.window_s:g}s"

    def is_met_by(self, value: float) -> bool:
        """Whether the value, in the unit of the limit, is beyond the limit."""
        if value == self.objective.limit:
            return self.inclusive
        return value < self.objective.limit if self.below else value > self.objective.limit
