"""What broke in a test, the most frequent first: requirements that were not met, and unexpected endings under load."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass

from harness.formatting import counted
from harness.results.reader import Results

SHOWN = 3
"""Breakages in a headline."""

_REASONS_READ = 10_000
"""Most different reasons that are read from a results file; the rarest beyond it are not counted."""

_NUMBERS = re.compile(r"\d+")


@dataclass(frozen=True, slots=True)
class Breakage:
    """One requirement that was not met, or one unexpected ending.

    name: the requirement's id, or the reason for which streams failed. streams: under load, including warm-up.
    tests: of the conformance suite, those that failed; of_tests: all tests of the requirement. Both are 0 for an ending
    and if the suite did not run. sampled: streams is counted in a sample, so there may be more.
    """

    name: str
    is_requirement: bool
    streams: int
    tests: int = 0
    of_tests: int = 0
    sampled: bool = False

    @property
    def counts(self) -> str:
        """How often, in words: "36 streams under load, 2 of 14 tests"."""
        parts = []
        if self.streams:
            parts.append(f"{'at least ' if self.sampled else ''}{counted(self.streams, 'stream')} under load")
        if self.tests:
            parts.append(f"{self.tests:,} of {counted(self.of_tests, 'test')}")
        return ", ".join(parts)


def breakages(results: Results) -> list[Breakage]:
    """Everything that broke, the most frequent first: by streams and tests together, then by name. Raises ResultsError.

    A stream counts once for each requirement that it broke, and once for its unexpected ending.
    """
    failed = {check.id for check in results.checks() if check.verdict == "fail"}
    tests = results.test_counts()
    under_load = {name: count for name, count in results.violation_counts().items() if count}
    found = [
        Breakage(
            name,
            is_requirement=True,
            streams=under_load.get(name, 0),
            # A results file may have the requirement's verdict without those of its tests.
            tests=max(tests.get(name, {}).get("fail", 0), 1) if name in failed else 0,
            of_tests=max(sum(tests.get(name, {}).values()), 1) if name in failed else 0,
        )
        for name in sorted({*failed, *under_load})
    ]
    found += _endings(results, under_load)
    return sorted(found, key=lambda breakage: -(breakage.streams + breakage.tests))


def _endings(results: Results, requirements: dict[str, int]) -> list[Breakage]:
    """Reasons of failed streams that name no requirement; those that differ in numbers only count together."""
    rows, _ = results.failure_reasons(_REASONS_READ)
    streams: Counter[str] = Counter()
    wording: dict[str, str] = {}
    for row in rows:
        if row.reason.partition(": ")[0] in requirements:
            continue
        kind = _NUMBERS.sub("0", row.reason)
        wording.setdefault(kind, row.reason)
        streams[kind] += row.rows
    kept, seen = results.sample()
    return [
        Breakage(wording[kind], is_requirement=False, streams=count, sampled=kept < seen)
        for kind, count in streams.most_common()
    ]
