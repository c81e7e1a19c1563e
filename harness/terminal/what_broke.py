"""What broke under load, in two lines: unexpected endings and requirements, each with its count."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from harness.formatting import counted
from harness.results.breakage import SHOWN, breakages
from harness.results.reader import Results


def what_broke(results: Results) -> Iterator[str]:
    """Sentences: how streams ended unexpectedly, and which requirements they broke; none if nothing broke.

    Warm-up included. Raises ResultsError.
    """
    under_load = [breakage for breakage in breakages(results) if breakage.streams]
    endings = [breakage for breakage in under_load if not breakage.is_requirement]
    if endings:
        sample = "at least " if endings[0].sampled else ""
        reasons = [f"{sample}{breakage.streams:,} {breakage.name}" for breakage in endings]
        yield f"Unexpected endings: {_first(reasons, 'other reason')}."
    violated = sorted(
        (breakage for breakage in under_load if breakage.is_requirement),
        key=lambda breakage: -breakage.streams,
    )
    if violated:
        names = [f"{breakage.streams:,} {breakage.name}" for breakage in violated]
        yield f"Violations under load: {_first(names, 'other requirement')}."


def _first(terms: Sequence[str], noun: str) -> str:
    more = len(terms) - SHOWN
    named = "; ".join(terms[:SHOWN])
    return f"{named}; and {counted(more, noun)}" if more > 0 else named
