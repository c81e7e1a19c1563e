"""What of the streams goes into rates: counted at the second in which each was due, so that warm-up can be left out.

The ledger tells when streams ended, which is what an operator wants to see over time; a rate needs to know
when they were due.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

WORDS = ("judged", "failed", "runs", "good")
"""Every word that is counted; see Tally."""


@dataclass(frozen=True, slots=True)
class RateCounts:
    """Counts of streams.

    judged: those whose ending was the server's doing, unless a fault of ours or the test's end kept them from
    being judged: such streams count nowhere here. failed: those of them that ended otherwise than their step
    wanted, or broke a MUST. runs: the judged ones that were meant to come to the end of a run. good: those of
    the runs that met every objective a single run can meet, without a violation. runs and good are None in a
    file whose writer did not count them.
    """

    judged: int = 0
    failed: int = 0
    runs: int | None = 0
    good: int | None = 0

    @classmethod
    def of(cls, counts: Mapping[str, int]) -> Self:
        """From counts by word; words that are missing stand for 0."""
        return cls(**{word: counts.get(word, 0) for word in WORDS})


def checked_word(word: str, count: int = 0) -> str:
    """The word itself. Raises ValueError for one that is not of WORDS, or a negative count."""
    if word not in WORDS:
        raise ValueError(f"{word!r} is not tallied; it is one of {', '.join(WORDS)}")
    if count < 0:
        raise ValueError(f"a tally counts streams, so {count} of {word!r} cannot be added")
    return word
