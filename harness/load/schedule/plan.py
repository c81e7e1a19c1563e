"""What a load test's processes share: the plan, the journey mix, and each worker's part of the arrivals."""

from __future__ import annotations

import math
import uuid
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any, Self

from harness.config.load_settings import LoadSettings
from harness.config.settings import Settings
from harness.load.schedule.random_blocks import BLOCK_SIZE, JOURNEYS, RandomBlocks


def first_measured_second(start_wall_ns: int, warmup_s: float) -> int:
    """The first whole epoch second after the warm-up of a load that begins at this moment, epoch ns."""
    return -(-(start_wall_ns + round(warmup_s * 1e9)) // 1_000_000_000)


class JourneyMix:
    """The journey of each arrival, drawn by weight from the schedule's seed. Raises ValueError if every weight is 0."""

    def __init__(self, weights: Mapping[str, int], seed: int) -> None:
        self._names = [name for name, weight in weights.items() if weight > 0]
        self._bounds = list(accumulate(weights[name] for name in self._names))
        if not self._names:
            raise ValueError("every journey has weight 0; give at least one a positive weight")
        self._random = RandomBlocks(seed, JOURNEYS)
        self._block = -1
        self._numbers: list[float] = []

    def journey(self, index: int) -> str:
        """The journey of arrival `index`."""
        block, offset = divmod(index, BLOCK_SIZE)
        if block != self._block:
            self._numbers = self._random.block(block).tolist()
            self._block = block
        return self._names[bisect_right(self._bounds, self._numbers[offset] * self._bounds[-1])]


@dataclass(frozen=True, slots=True)
class WorkerShare:
    """One worker's part of the schedule: arrival i belongs to worker i mod count."""

    index: int
    count: int

    def __post_init__(self) -> None:
        if not 0 <= self.index < self.count:
            raise ValueError(f"worker {self.index} of {self.count} has no share")

    def arrivals(self) -> Iterator[int]:
        """The indexes of its arrivals, without end."""
        number = self.index
        while True:
            yield number
            number += self.count

    def of(self, total: int) -> int:
        """Its part of a number; the parts of all workers add up to `total`."""
        return total // self.count + (self.index < total % self.count)


@dataclass(frozen=True, slots=True)
class LoadPlan:
    """One test as a worker sees it.

    test: the test's id, in every message about it. start_wall_ns: the schedule's zero, epoch ns. load, objectives:
    the settings of the process that started the test; they override the worker's own. share: None if the worker
    joined too late to have one. trace_share: the share of journeys whose traces are exported, in addition to the
    slowest and the failed; None if none are.
    """

    test: str
    start_wall_ns: int
    load: LoadSettings
    share: WorkerShare | None
    objectives: Mapping[str, float] = field(default_factory=dict)
    trace_share: float | None = None

    @classmethod
    def of(cls, settings: Settings, start_wall_ns: int, share: WorkerShare | None) -> Self:
        """The plan of a new test."""
        export = settings.export
        return cls(
            uuid.uuid4().hex,
            start_wall_ns,
            settings.load,
            share,
            settings.objectives,
            None if export.otlp_traces_endpoint is None else export.trace_share,
        )

    @property
    def measured_from(self) -> float:
        """The first epoch second that counts: a whole one, after the warm-up; without one, all do."""
        warmup_s = self.load.warmup
        return first_measured_second(self.start_wall_ns, warmup_s) if warmup_s > 0 else -math.inf

    def to_message(self, workers: Sequence[str]) -> dict[str, Any]:
        """The plan as a message to the workers. Their order decides their shares."""
        return {
            "test": self.test,
            "start_wall_ns": self.start_wall_ns,
            "load": self.load.to_message(),
            "objectives": dict(self.objectives),
            "workers": list(workers),
            "trace_share": self.trace_share,
        }

    @classmethod
    def from_message(cls, message: Mapping[str, Any], worker: str) -> Self:
        """The plan that `to_message` encoded, for one worker; without a share if it is not among the workers.

        Raises SettingsError if this process cannot follow the settings, for example because a trace is missing.
        """
        workers = message["workers"]
        share = WorkerShare(workers.index(worker), len(workers)) if worker in workers else None
        load = LoadSettings.from_message(message["load"])
        objectives, trace_share = message["objectives"], message["trace_share"]
        return cls(message["test"], message["start_wall_ns"], load, share, objectives, trace_share)
