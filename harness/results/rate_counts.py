"""The counts behind error rate, goodput and session success, by the second in which each stream was due.

The ledger counts a stream at the second in which it ended. Rates need the second in which it was due, so
that warm-up can be left out. A session counts at its first stream's second, under the step with which it ended.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

COUNTERS = {
    "judged": "Streams that ended on their own and were judged: the denominator of the error rate.",
    "failed": "Streams that did not end as their step expects, or broke a MUST.",
    "runs": "Judged streams expected to complete a run: the denominator of goodput.",
    "good": "Runs that met every per-run objective, without a violation.",
    "sessions": "Sessions that ended on their own and were judged: the denominator of session success.",
    "sessions_succeeded": "Sessions of which no step failed.",
}
"""Every counter, in the order of the fields of RateCounts, with its meaning."""


@dataclass(frozen=True, slots=True)
class RateCounts:
    """Numbers of streams by counter, as COUNTERS describes them.

    Streams that a harness fault, the end of the test or a restart of the server kept from being judged are in none.
    """

    judged: int = 0
    failed: int = 0
    runs: int = 0
    good: int = 0
    sessions: int = 0
    sessions_succeeded: int = 0

    @classmethod
    def of(cls, counts: Mapping[str, int]) -> Self:
        """From counts by counter; a missing counter is 0."""
        return cls(**{counter: counts.get(counter, 0) for counter in COUNTERS})

    @property
    def error_rate(self) -> float | None:
        """Failed / judged, 0 to 1; None when no stream was judged."""
        return self.failed / self.judged if self.judged else None

    @property
    def goodput(self) -> float | None:
        """Good / runs, 0 to 1; None when no run was judged.

        The name, and that a run must meet all objectives at once: Zhong et al., DistServe, OSDI 2024, section 2.
        """
        return self.good / self.runs if self.runs else None

    @property
    def session_success(self) -> float | None:
        """Sessions of which no step failed / sessions, 0 to 1; None when no session was judged."""
        return self.sessions_succeeded / self.sessions if self.sessions else None


def counters_of(*, judged: bool, failed: bool, run: bool, good: bool) -> tuple[str, ...]:
    """The counters that one stream adds 1 to.

    judged: it ended on its own. run: it was expected to complete a run. A failed stream is always judged; only
    a judged run that did not fail can be good.
    """
    judged = judged or failed
    run = run and judged
    counted = {"judged": judged, "failed": failed, "runs": run, "good": run and good and not failed}
    return tuple(counter for counter in COUNTERS if counted.get(counter))


def checked_counter(counter: str, count: int = 0) -> str:
    """The counter itself. Raises ValueError if it is not in COUNTERS, or if the count is negative."""
    if counter not in COUNTERS:
        raise ValueError(f"unknown rate counter {counter!r}; use one of {', '.join(COUNTERS)}")
    if count < 0:
        raise ValueError(f"cannot add {count} to the rate counter {counter!r}: counts are never negative")
    return counter
