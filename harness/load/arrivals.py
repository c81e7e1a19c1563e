"""When streams are due in an open loop: a schedule that does not wait for the server.

The schedule is one for the whole test and absolute: arrival i is due at a fixed distance from the start,
whoever sends it and however late the one before it was. So nothing drifts, splitting it over workers
changes nothing, and a server that backs up is seen in the latencies instead of slowing its own test.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self


class Arrivals(Protocol):
    """A schedule of arrivals, endless."""

    def due_s(self, index: int) -> float:
        """Seconds from the start at which arrival `index`, from 0, is due; never falls as `index` grows."""
        ...


@dataclass(frozen=True, slots=True)
class Constant:
    """Evenly spaced: arrival i at i / rate. At 4 per second: 0, 0.25, 0.5, 0.75, 1 …"""

    rate: float

    def __post_init__(self) -> None:
        if not self.rate > 0:
            raise ValueError(f"the rate must be above 0 per second, not {self.rate}")

    def due_s(self, index: int) -> float:
        """Computed anew for each arrival, so that no rounding error adds up."""
        return index / self.rate


@dataclass(frozen=True, slots=True)
class Share:
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


@dataclass(frozen=True, slots=True)
class Plan:
    """What the workers of one test have in common, and what is each one's own.

    test: the test's id, under which its counts travel. start_wall_ns: the schedule's zero, epoch ns.
    share: None where the worker came too late to have one.
    """

    test: str
    start_wall_ns: int
    share: Share | None

    def to_message(self, workers: Sequence[str]) -> dict[str, Any]:
        """A form that travels to the workers, whose order decides their shares."""
        return {"test": self.test, "start_wall_ns": self.start_wall_ns, "workers": list(workers)}

    @classmethod
    def from_message(cls, message: Mapping[str, Any], worker: str) -> Self:
        """What `to_message` made, as that worker sees it: without a share, where it was not among them."""
        workers = message["workers"]
        share = Share(workers.index(worker), len(workers)) if worker in workers else None
        return cls(message["test"], message["start_wall_ns"], share)
