"""What a capacity search leaves behind: one document, in capacity.json and in the results file's manifest.

It holds every run as it was measured, and is written anew after each, so that whatever ends the search
loses nothing. It is read with nothing but this.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Self

import msgspec

from harness.capacity.search import CapacityResult, SearchOutcome, SearchPlan, Trial, TrialVerdict
from harness.gate.objective import Objective

MANIFEST_KEY = "capacity"

GROWTH = 0.05
"""A run whose open streams grow by more than this share of its arrivals has not settled at its rate ..."""

DEVIATIONS = 3.0
"""... unless chance explains it: of a settled system both counts of open streams are about Poisson, so their
difference has the variance of their sum."""

State = Literal["running", "finished", "interrupted"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CapacityStep:
    """One run at one rate.

    rate: arrivals per second. why: what missed, or why there is no verdict; empty where all held. values: of
    each objective, in its limit's unit. percentiles: of the metrics that have an objective, in ms. goodput: a
    share. completed_per_s: streams that came to a terminal event. open_before, open_after: streams open at the
    beginning and the end of the flow_s whole seconds in which arrivals came and counted, as completed_per_s is
    taken over them. duration_s: of the whole run, until the last stream had ended. folder: of
    its results file, beside this document.
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
        """By how many the open streams grew each second."""
        return (self.open_after - self.open_before) / self.flow_s if self.flow_s else 0.0

    @property
    def settled(self) -> bool:
        """Whether about as many streams ended as began: otherwise a longer run would have fared worse."""
        chance = DEVIATIONS * math.sqrt(self.open_before + self.open_after)
        return self.backlog_per_s <= GROWTH * self.rate or self.open_after - self.open_before <= chance


@dataclass(slots=True, kw_only=True)
class Record:
    """A search: what was asked, the runs so far, and the answer once there is one.

    objectives: key to limit. step_s, warmup_s: of each run, seconds in which arrivals count, and before.
    arrivals: "constant" or "poisson".
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
        """The runs as the search knows them."""
        return [Trial(step.rate, step.verdict) for step in self.steps]

    def limits(self) -> tuple[Objective, ...]:
        """The objectives. Raises ValueError for one that is not of this version."""
        return tuple(Objective.parse(key, limit) for key, limit in self.objectives.items())

    def at(self, rate: float | None) -> list[CapacityStep]:
        """The runs at a rate, in their order."""
        return [step for step in self.steps if step.rate == rate]

    def document(self) -> dict[str, Any]:
        """As JSON values."""
        built: dict[str, Any] = msgspec.to_builtins(self)
        answer = built["answer"]
        if self.answer is not None:
            answer["limit"], answer["confidence"] = self.answer.limit, self.answer.confidence
        return built

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Self:
        """The record that `document` gave. Raises ValueError where it is something else."""
        try:
            return msgspec.convert(document, cls)
        except msgspec.ValidationError as problem:
            raise ValueError(f"this is no record of a capacity search: {problem}") from None

    def sentences(self) -> tuple[str, ...]:
        """The answer in words, the first of them for whoever reads no more."""
        answer = self.answer
        if answer is None:
            return ("The search is still going on, or it was killed. This is what it left.",)
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
        return first, *self._known(answer), *self._reservations(answer)

    def _known(self, answer: CapacityResult) -> Iterator[str]:
        """What the answer's ends rest on."""
        if answer.low is not None:
            yield f"All objectives held in {_of(answer.low_runs, self.at(answer.low))} at {answer.low:g}/s."
        if answer.high is not None:
            whys = [step.why for step in self.at(answer.high) if step.why]
            verb = "The harness was saturated" if answer.by_harness else "They did not all hold"
            said = f"{verb} in {_of(answer.high_runs, self.at(answer.high))} at {answer.high:g}/s"
            yield f"{said}: {whys[0]}." if whys else f"{said}."

    def _reservations(self, answer: CapacityResult) -> Iterator[str]:
        growing = [step for step in self.at(answer.low) if not step.settled]
        if growing:
            most = max(step.backlog_per_s for step in growing)
            yield (
                f"At {answer.low:g}/s the open streams still grew, by up to {most:.2g} a second: over longer steps the "
                "limit would be lower."
            )
        if self.arrivals == "constant":
            yield "Arrivals were evenly spaced; random ones (--arrivals poisson) are harder on a server."


_OUTCOMES: dict[SearchOutcome, str] = {
    "found": "Found",
    "above": "The limit was not reached",
    "below": "The limit lies lower",
    "noise": "No limit found, because of noise",
    "harness": "The server's limit was not reached",
    "invalid": "No limit found",
    "time": "No limit found yet",
    "interrupted": "Interrupted",
    "stopped": "The search was stopped",
}


def _of(agreeing: int, steps: Sequence[CapacityStep]) -> str:
    return f"{agreeing} of {len(steps)} run{'' if len(steps) == 1 else 's'}"
