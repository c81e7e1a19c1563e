"""What became of every stream that was scheduled: counts that must add up, or the harness lost something."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

TERMINAL = ("done", "error", "cancelled")
"""Endings by a terminal event of the run."""

ENDINGS = (*TERMINAL, "rejected", "truncated", "timed out", "refused", "abandoned")
"""The mutually exclusive ways in which a stream ends."""

OUTCOMES = ("scheduled", *ENDINGS, "in flight", "dropped", "lost")
"""Every word of the ledger, in the order in which it is shown.

in flight: open when the test ended. dropped: an arrival of an open loop that never began, because as many
streams as allowed were in flight. lost: open in a worker that died, when it last told of its streams. None of
the three is an ending, and none is judged.
"""


class Ledger:
    """Counts of streams by outcome.

    The equation: scheduled = done + error + cancelled + rejected + truncated + timed out + refused +
    abandoned + in flight + dropped + lost. Each is counted where it happens; none is derived from others.
    """

    __slots__ = ("_counts",)

    def __init__(self, counts: Mapping[str, int] | None = None) -> None:
        self._counts: Counter[str] = Counter()
        for outcome, count in (counts or {}).items():
            self.add(outcome, count)

    def add(self, outcome: str, count: int = 1) -> None:
        """Count streams. Raises ValueError for a word that is not of OUTCOMES, or a negative count."""
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
        return f"Ledger({ {word: count for word, count in self.as_dict().items() if count} })"

    @property
    def scheduled(self) -> int:
        """The equation's left side: streams that were to be opened."""
        return self._counts["scheduled"]

    @property
    def ended(self) -> int:
        """Streams that ended, in whichever way."""
        return sum(self._counts[word] for word in ENDINGS)

    @property
    def judged(self) -> int:
        """Streams whose ending was the server's doing: all that ended, less those that we abandoned."""
        return self.ended - self._counts["abandoned"]

    @property
    def unended(self) -> int:
        """Streams known to have had no ending: in flight, dropped, lost."""
        return sum(self._counts[word] for word in OUTCOMES[1 + len(ENDINGS) :])

    @property
    def opened(self) -> int:
        """How many more streams are open after what is counted here than before; what was in flight when the
        test ended still is.
        """
        return self.scheduled - self.ended - self._counts["dropped"] - self._counts["lost"]

    @property
    def missing(self) -> int:
        """Scheduled streams of which nothing is known; negative when more ended than were scheduled."""
        return self.scheduled - self.ended - self.unended

    @property
    def adds_up(self) -> bool:
        """Whether the equation holds."""
        return self.missing == 0

    def as_dict(self) -> dict[str, int]:
        """Every outcome with its count, zeros too, in the order of OUTCOMES."""
        return {word: self._counts[word] for word in OUTCOMES}


def checked_outcome(outcome: str, count: int = 0) -> str:
    """The outcome itself. Raises ValueError for a word that is not of OUTCOMES, or a negative count."""
    if outcome not in OUTCOMES:
        raise ValueError(f"{outcome!r} is no outcome of the ledger; it is one of {', '.join(OUTCOMES)}")
    if count < 0:
        raise ValueError(f"the ledger counts streams, so {count} of {outcome!r} cannot be added")
    return outcome
