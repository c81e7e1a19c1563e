"""The record of a capacity search: one document, in capacity.json and in the manifest of the results file.

It contains every run and is rewritten after each, so an interrupted search loses nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Self

import msgspec

from harness.capacity.search import CapacityResult, SearchOutcome, SearchPlan, Trial, TrialVerdict
from harness.formatting import counted
from harness.gate.objective import Objective

MANIFEST_KEY = "capacity"

GROWTH = 0.05
"""If the open streams of a run grow by more than this share of its arrivals, the run has not settled, ..."""

DEVIATIONS = 3.0
"""... unless chance explains it: in a settled system both counts of open streams are roughly Poisson, so the
variance of their difference is their sum."""

State = Literal["running", "finished", "interrupted"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CapacityStep:
    """One run at one rate.

    rate: arrivals per second. why: missed objectives, or why there is no verdict; empty if passed. values: by
    objective, in the unit of the limit. percentiles: of the metrics with an objective, in ms. goodput: a share.
    completed_per_s: streams with a terminal event. open_before, open_after: open streams at the start and end of the
    measurement window of flow_s whole seconds, in which completed_per_s is counted, too. duration_s: until the last
    stream ended. folder: of the results file, relative to this document.
    """

    number: int
    rate: float
    verdict: TrialVerdict
    why: str
    values: dict[str, float | None] = field(default_factory=dict)
    percentiles: dict[str, dict[str, float | None]] = field(default_factory=dict)
    goodput: float | None = None
    streams: int = 0
    completed_per_s: float | None = None
    open_before: int = 0
    open_after: int = 0
    flow_s: int = 0
    saturation: tuple[str, ...] = ()
    started_at: str = ""
    duration_s: float = 0.0
    folder: str = ""

    @property
    def backlog_per_s(self) -> float:
        """Growth of the number of open streams per second."""
        return (self.open_after - self.open_before) / self.flow_s if self.flow_s else 0.0

    @property
    def settled(self) -> bool:
        """Whether about as many streams ended as started; if not, a longer run would give worse numbers."""
        chance = DEVIATIONS * math.sqrt(self.open_before + self.open_after)
        return self.backlog_per_s <= GROWTH * self.rate or self.open_after - self.open_before <= chance


@dataclass(slots=True, kw_only=True)
class Record:
    """A search: the plan, the runs so far, and the result once there is one.

    objectives: limit by key. step_s, warmup_s: measured seconds and warm-up seconds of each run. arrivals: "constant"
    or "poisson".
    """

    plan: SearchPlan
    objectives: dict[str, float]
    step_s: float
    warmup_s: float
    arrivals: str
    state: State = "running"
    steps: list[CapacityStep] = field(default_factory=list)
    answer: CapacityResult | None = None

    @property
    def trials(self) -> list[Trial]:
        """The runs as input for the search."""
        return [Trial(step.rate, step.verdict) for step in self.steps]

    def limits(self) -> tuple[Objective, ...]:
        """The objectives. Raises ValueError for one that this version does not know."""
        return tuple(Objective.parse(key, limit) for key, limit in self.objectives.items())

    def at(self, rate: float | None) -> list[CapacityStep]:
        """The runs at a rate, in order."""
        return [step for step in self.steps if step.rate == rate]

    def document(self) -> dict[str, Any]:
        """The record as JSON values."""
        built: dict[str, Any] = msgspec.to_builtins(self)
        answer = built["answer"]
        if self.answer is not None:
            answer["limit"], answer["confidence"] = self.answer.limit, self.answer.confidence
        return built

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Self:
        """The record from its `document`. Raises ValueError for anything else."""
        try:
            return msgspec.convert(document, cls)
        except msgspec.ValidationError as problem:
            raise ValueError(f"not the record of a capacity search: {problem}") from None

    def sentences(self) -> tuple[str, ...]:
        """The result in sentences, the most important first."""
        answer = self.answer
        if answer is None:
            return ("The search is still running or was killed; this is its record so far.",)
        if answer.outcome == "found" and answer.limit is not None:
            first = (
                f"The limit is {answer.limit:.3g} arrivals/s, between {answer.low:g} and {answer.high:g}/s"
            )
            first += f" (confidence at least {answer.confidence:.0%})."
        else:
            first = (
                f"{_OUTCOMES[answer.outcome]}: {answer.why}."
                if answer.why
                else f"{_OUTCOMES[answer.outcome]}."
            )
        return first, *self._evidence(answer), *self._caveats(answer)

    def _evidence(self, answer: CapacityResult) -> Iterator[str]:
        """The runs behind both ends of the interval."""
        if answer.low is not None:
            yield f"All objectives were met in {_of(answer.low_runs, self.at(answer.low))} at {answer.low:g}/s."
        if answer.high is not None:
            # A run at this rate may also have passed, or have no verdict: its reason would explain nothing here.
            counted_verdict = "saturated" if answer.by_harness else "failed"
            reasons = [step.why for step in self.at(answer.high) if step.verdict == counted_verdict]
            problem = "The harness was saturated" if answer.by_harness else "Not all objectives were met"
            sentence = f"{problem} in {_of(answer.high_runs, self.at(answer.high))} at {answer.high:g}/s"
            yield f"{sentence}: {reasons[0]}." if reasons else f"{sentence}."

    def _caveats(self, answer: CapacityResult) -> Iterator[str]:
        growing = [step for step in self.at(answer.low) if not step.settled]
        if growing:
            most = max(step.backlog_per_s for step in growing)
            yield (
                f"At {answer.low:g}/s the number of open streams still grew, by up to {most:.2g} per second: with "
                "longer steps the limit would be lower."
            )
        if self.arrivals == "constant":
            yield "Arrivals were evenly spaced; random arrivals (--arrivals poisson) are harder on a server."


_OUTCOMES: dict[SearchOutcome, str] = {
    "found": "Found",
    "above": "The limit was not reached",
    "below": "The limit is lower",
    "noise": "No limit found because of noise",
    "harness": "The server's limit was not reached",
    "invalid": "No limit found",
    "time": "No limit found yet",
    "interrupted": "Interrupted",
    "stopped": "The search was stopped",
}


def _of(agreeing: int, steps: Sequence[CapacityStep]) -> str:
    return f"{agreeing} of {counted(len(steps), 'run')}"
