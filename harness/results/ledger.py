"""The ledger: how every scheduled stream ended. Its counts must add up, or the harness lost a stream."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

TERMINAL = ("done", "error", "cancelled")
"""Endings by a terminal event."""

ENDINGS = (*TERMINAL, "rejected", "truncated", "timed out", "refused", "abandoned")
"""The mutually exclusive endings of a stream."""

OUTCOMES = ("scheduled", *ENDINGS, "in flight", "dropped", "lost")
"""Every outcome in the ledger, in display order.

in flight: open when the test ended. dropped: an arrival of an open loop that was not started, because max_in_flight
streams were open. lost: open in a lost worker at its last report. These three are not endings and are not judged.
"""


_LABELS = {"abandoned": "abandoned (ended by the harness)"}


def outcome_label(outcome: str) -> str:
    """The outcome as texts name it: `abandoned` streams are those that the harness cut on purpose or stopped."""
    return _LABELS.get(outcome, outcome)


class Ledger:
    """Number of streams by outcome.

    Invariant: scheduled = done + error + cancelled + rejected + truncated + timed out + refused + abandoned +
    in flight + dropped + lost. Each is counted where it happens; none is computed from the others.
    """

    __slots__ = ("_counts",)

    def __init__(self, counts: Mapping[str, int] | None = None) -> None:
        self._counts: Counter[str] = Counter()
        for outcome, count in (counts or {}).items():
            self.add(outcome, count)

    def add(self, outcome: str, count: int = 1) -> None:
        """Add streams. Raises ValueError if the outcome is not in OUTCOMES or the count is negative."""
        self._counts[checked_outcome(outcome, count)] += count

    def merge(self, other: Ledger) -> None:
        """Add another ledger's counts to this one."""
        self._counts.update(other._counts)

    def __getitem__(self, outcome: str) -> int:
        return self._counts[checked_outcome(outcome)]

    def __eq__(self, other: object) -> bool:
        return self.as_dict() == other.as_dict() if isinstance(other, Ledger) else NotImplemented

    __hash__ = None  # type: ignore[assignment]  # it is mutable

    def __repr__(self) -> str:
        return f"Ledger({ {outcome: count for outcome, count in self.as_dict().items() if count} })"

    @property
    def scheduled(self) -> int:
        """Streams that were due: the left side of the invariant."""
        return self._counts["scheduled"]

    @property
    def ended(self) -> int:
        """Streams with any ending."""
        return sum(self._counts[outcome] for outcome in ENDINGS)

    @property
    def judged(self) -> int:
        """Streams that ended on their own: all that ended, except abandoned ones."""
        return self.ended - self._counts["abandoned"]

    @property
    def unended(self) -> int:
        """Streams without an ending: in flight, dropped, lost."""
        return sum(self._counts[outcome] for outcome in OUTCOMES[1 + len(ENDINGS) :])

    @property
    def opened(self) -> int:
        """Net change in the number of open streams; streams in flight at the end of the test stay open."""
        return self.scheduled - self.ended - self._counts["dropped"] - self._counts["lost"]

    @property
    def missing(self) -> int:
        """Scheduled streams without an outcome; negative if more ended than were scheduled."""
        return self.scheduled - self.ended - self.unended

    @property
    def adds_up(self) -> bool:
        """Whether the invariant holds."""
        return self.missing == 0

    def as_dict(self) -> dict[str, int]:
        """Count by outcome, including zeros, in the order of OUTCOMES."""
        return {outcome: self._counts[outcome] for outcome in OUTCOMES}


def checked_outcome(outcome: str, count: int = 0) -> str:
    """The outcome itself. Raises ValueError if it is not in OUTCOMES or the count is negative."""
    if outcome not in OUTCOMES:
        raise ValueError(f"unknown ledger outcome {outcome!r}; use one of {', '.join(OUTCOMES)}")
    if count < 0:
        raise ValueError(f"cannot add {count} to the ledger outcome {outcome!r}: counts are never negative")
    return outcome
