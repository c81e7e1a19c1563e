"""The settings of single journeys."""

from __future__ import annotations

import random
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from harness.config.parsing import SecondsFromZero, StrictModel

MOST_STEPS = 100
_LONGEST_THINK_S = 3600.0

StepAction = Literal["success", "long", "silent", "quiet", "echo", "recall"]
"""The actions that end with done, so that a step may follow."""


def _not_too_long(think_s: float) -> float:
    if think_s > _LONGEST_THINK_S:
        raise ValueError("a think time is an hour at most")
    return think_s


ThinkTime = Annotated[SecondsFromZero, AfterValidator(_not_too_long)]


class WorkflowSettings(StrictModel):
    """A session: its steps, and the time between them."""

    #: the actions of the steps, of those in [target.actions] that end with done, for example ["echo", "recall"]
    steps: tuple[StepAction, ...] = Field(
        ("success", "success", "success"), min_length=2, max_length=MOST_STEPS
    )
    #: the mean time between two steps, for example "2s"; it is part of no latency
    think_time: ThinkTime = 0.0
    #: how think times are distributed: all equal, exponential, or lognormal
    think: Literal["fixed", "exponential", "lognormal"] = "fixed"
    #: of a lognormal think time: the standard deviation of its logarithm
    think_sigma: float = Field(1.0, gt=0, le=3, allow_inf_nan=False)

    def think_s(self, rng: random.Random) -> float:
        """A think time, in seconds. All distributions have the same mean; none is longer than an hour."""
        if not self.think_time or self.think == "fixed":
            return self.think_time
        if self.think == "exponential":
            drawn = rng.expovariate(1 / self.think_time)
        else:  # the mean of exp(N(0, sigma)) is exp(sigma² / 2)
            drawn = self.think_time * rng.lognormvariate(-(self.think_sigma**2) / 2, self.think_sigma)
        return min(drawn, _LONGEST_THINK_S)


class JourneySettings(StrictModel):
    """Settings of the journeys that have some."""

    #: the journey `workflow`
    workflow: WorkflowSettings = Field(default_factory=WorkflowSettings)
