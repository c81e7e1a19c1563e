"""The schedule of an open loop: the mix of journeys, one process's share, and the whole plan."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any, Self

from harness.config.load_settings import LoadSettings
from harness.load.schedule.random_blocks import BLOCK_SIZE, JOURNEYS, RandomBlocks


class JourneyMix:
    """Which journey each arrival begins, as often as it weighs: a part of the schedule, by the same seed."""

    def __init__(self, weights: Mapping[str, int], seed: int) -> None:
        self._names = [name for name, weight in weights.items() if weight > 0]
        self._bounds = list(accumulate(weights[name] for name in self._names))
        if not self._names:
            raise ValueError("every weight is 0, so there is no journey to take")
        self._random = RandomBlocks(seed, JOURNEYS)
        self._block = -1
        self._numbers: list[float] = []

    def journey(self, index: int) -> str:
        """The journey of arrival `index`."""
        block, place = divmod(index, BLOCK_SIZE)
        if block != self._block:
            self._numbers = self._random.block(block).tolist()
            self._block = block
        return self._names[bisect_right(self._bounds, self._numbers[place] * self._bounds[-1])]


@dataclass(frozen=True, slots=True)
class WorkerShare:
    """One worker's part of the schedule: arrival i belongs to worker i mod count."""

    index: int
    count: int

    def __post_init__(self) -> None:
        if not 0 <= self.index < self.count:
            raise ValueError(f"worker {self.index} of {self.count} has no share")

    def arrivals(self) -> Iterator[int]:
        """The numbers of its arrivals, without end."""
        number = self.index
        while True:
            yield number
            number += self.count

    def of(self, total: int) -> int:
        """Its part of something that is counted; the parts of all workers add up to `total`."""
        return total // self.count + (self.index < total % self.count)


@dataclass(frozen=True, slots=True)
class LoadPlan:
    """What the workers of one test have in common, and what is each one's own.

    test: the test's id, under which its counts travel. start_wall_ns: the schedule's zero, epoch ns.
    load, objectives: the settings of the process that started it, which all go by. share: None where the worker
    came too late to have one.
    """

    test: str
    start_wall_ns: int
    load: LoadSettings
    share: WorkerShare | None
    objectives: Mapping[str, float] = field(default_factory=dict)

    def to_message(self, workers: Sequence[str]) -> dict[str, Any]:
        """A form that travels to the workers, whose order decides their shares."""
        return {
            "test": self.test,
            "start_wall_ns": self.start_wall_ns,
            "load": self.load.model_dump(mode="json", exclude_none=True),
            "objectives": dict(self.objectives),
            "workers": list(workers),
        }

    @classmethod
    def from_message(cls, message: Mapping[str, Any], worker: str) -> Self:
        """What `to_message` made, as that worker sees it: without a share, where it was not among them.

        Raises SettingsError where the settings cannot be followed here, as with a trace that is missing.
        """
        workers = message["workers"]
        share = WorkerShare(workers.index(worker), len(workers)) if worker in workers else None
        load = LoadSettings.from_message(message["load"])
        return cls(message["test"], message["start_wall_ns"], load, share, message["objectives"])
