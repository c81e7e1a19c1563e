"""How many requests the suite sends, and sends at most: for APIs that cost money."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from harness.formatting import counted
from harness.suite.not_decided import Undecided


@dataclass(frozen=True, slots=True)
class Cost:
    """What a scenario sends to the embedded server. needs: the scenarios whose outcome it uses; their cost is extra.

    runs: how many of its requests have a key that no request had before, or none.
    """

    requests: int
    runs: int
    needs: tuple[str, ...] = ()


def total(costs: Mapping[str, Cost], scenarios: Iterable[str]) -> Cost:
    """What these scenarios and those that they need send together. needs: all of them."""
    found: set[str] = set()
    left = list(scenarios)
    while left:
        name = left.pop()
        if name not in found:
            found.add(name)
            left += costs[name].needs
    every = [costs[name] for name in found]
    return Cost(sum(cost.requests for cost in every), sum(cost.runs for cost in every), tuple(sorted(found)))


class RequestBudget:
    """Counts the requests of a suite. limit: how many it may send; None for any number."""

    def __init__(self, limit: int | None = None) -> None:
        self.limit = limit
        self.sent = 0
        self.is_used_up = False

    def take(self) -> None:
        """Count a request that is about to be sent. Raises Undecided if it is one too many."""
        self.require(1)
        self.sent += 1

    def require(self, count: int) -> None:
        """Raises Undecided if fewer than `count` requests are left; from then on none is sent."""
        if self.limit is not None and self.sent + count > self.limit:
            self.is_used_up = True
        if self.is_used_up:
            raise Undecided(self.reason())

    def reason(self) -> str:
        """Why something was not tested, in a clause."""
        return (
            f"the suite's budget of {counted(self.limit or 0, 'request')} (limits.budget_requests, --budget-requests) "
            "is used up"
        )

    def announcement(self, cost: Cost, *, keyed: bool) -> str:
        """How many requests a suite of this cost sends, in a clause. keyed: whether a repeated key starts no run."""
        runs = (
            f"which start at most about {counted(cost.runs, 'run')}"
            if keyed
            else "each of which may start a run"
        )
        clause = f"at most about {counted(cost.requests, 'request')}, {runs}, and more if the target answers 429 or 503"
        if self.limit is None:
            return clause
        return f"{clause}; never more than {counted(self.limit, 'request')} (limits.budget_requests)"
