"""What broke under load, in two lines: the most frequent reasons and requirements, each with its count."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from harness.contract.requirements import CATALOGUE
from harness.formatting import counted
from harness.results.reader import Results

_NAMED = 3
_MOST_REASONS = 10_000


def what_broke(results: Results) -> Iterator[str]:
    """Sentences: why streams failed, and which requirements they broke; none if nothing broke. Warm-up included."""
    kinds = _failure_kinds(results)
    if kinds:
        stored, failed = kinds.total(), results.failures()
        sample = f" (of {stored:,} stored, from {failed:,})" if stored < failed else ""
        reasons = [f"{count:,} {reason}" for reason, count in _ranked(kinds)]
        yield f"Failed streams: {_first(reasons, 'other reason')}{sample}."
    violations = {name: count for name, count in results.violation_counts().items() if count}
    if violations:
        names = [f"{count:,} {name}" for name, count in _ranked(violations)]
        yield f"Violations under load: {_first(names, 'other requirement')}."


def _failure_kinds(results: Results) -> Counter[str]:
    """How many stored streams failed for each reason, without the details of a single stream."""
    kinds: Counter[str] = Counter()
    rows, _ = results.failure_reasons(_MOST_REASONS)
    for row in rows:
        requirement = row.reason.partition(": ")[0]
        kinds[f"broke {requirement}" if requirement in CATALOGUE else row.reason] += row.rows
    return kinds


def _ranked(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def _first(terms: Sequence[str], noun: str) -> str:
    more = len(terms) - _NAMED
    named = "; ".join(terms[:_NAMED])
    return f"{named}; and {counted(more, noun)}" if more > 0 else named
