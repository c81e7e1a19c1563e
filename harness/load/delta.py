"""What happened in one process since the last time it was asked: counts, histograms, rows and examples.

A Delta is merged by addition, wherever it is put and in whatever order.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Self

from harness.results.histogram import Histogram
from harness.results.store import ResultsWriter, RunRow, ViolationRow


@dataclass(slots=True)
class Delta:
    """What happened in one process since the last one was taken."""

    ledger: Counter[tuple[int, str, str]] = field(default_factory=Counter)  # second, journey, outcome
    failures: Counter[tuple[int, str]] = field(default_factory=Counter)  # second, journey
    violations: Counter[tuple[str, str]] = field(default_factory=Counter)  # requirement, journey
    warnings: Counter[str] = field(default_factory=Counter)  # requirement
    totals: Counter[str] = field(default_factory=Counter)
    rows: list[RunRow] = field(default_factory=list)
    examples: list[ViolationRow] = field(default_factory=list)
    histograms: dict[tuple[str, str, int], Histogram] = field(default_factory=dict)  # metric, journey, second

    def __bool__(self) -> bool:
        return any(getattr(self, part.name) for part in fields(self))

    def record(self, metric: str, journey: str, second: int, value_ms: float) -> None:
        """Add one measured value."""
        key = (metric, journey, second)
        histogram = self.histograms.get(key)
        if histogram is None:
            histogram = self.histograms[key] = Histogram()
        histogram.record(value_ms)

    def to_message(self) -> dict[str, Any]:
        """A form that travels between processes: JSON text, which alone can hold a server's lone surrogates,
        and the histograms' bytes.
        """
        books = {
            "ledger": _listed(self.ledger),
            "failures": _listed(self.failures),
            "violations": _listed(self.violations),
            "warnings": dict(self.warnings),
            "totals": dict(self.totals),
            "rows": [asdict(row) for row in self.rows],
            "examples": [asdict(example) for example in self.examples],
        }
        return {
            "books": json.dumps(books),
            "histograms": [[*key, histogram.to_bytes()] for key, histogram in self.histograms.items()],
        }

    @classmethod
    def from_message(cls, message: Mapping[str, Any]) -> Self:
        """What `to_message` made."""
        books = json.loads(message["books"])
        return cls(
            ledger=_counted(books["ledger"]),
            failures=_counted(books["failures"]),
            violations=_counted(books["violations"]),
            warnings=Counter(books["warnings"]),
            totals=Counter(books["totals"]),
            rows=[RunRow(**row) for row in books["rows"]],
            examples=[ViolationRow(**example) for example in books["examples"]],
            histograms={
                (metric, journey, second): Histogram.from_bytes(counts)
                for metric, journey, second, counts in message["histograms"]
            },
        )

    def write_to(self, writer: ResultsWriter, worker: str) -> None:
        """Add it to a results file, under its process's name."""
        for (second, journey, outcome), count in self.ledger.items():
            writer.add_ledger(worker, second, journey, outcome, count)
        for (second, journey), count in self.failures.items():
            writer.add_failures(worker, second, journey, count)
        for (requirement, journey), count in self.violations.items():
            writer.count_violation(requirement, journey, worker, count)
        for example in self.examples:
            writer.add_violation(
                example.requirement, example.journey, example.at_ns, example.detail, example.evidence
            )
        for (metric, journey, second), histogram in self.histograms.items():
            writer.add_histogram(metric, journey, second, worker, histogram)
        writer.add_runs(self.rows)


def _listed(counter: Counter[Any]) -> list[list[Any]]:
    return [[*key, count] for key, count in counter.items()]


def _counted(listed: list[list[Any]]) -> Counter[Any]:
    return Counter({tuple(key): count for *key, count in listed})
