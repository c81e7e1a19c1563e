"""What happened in one process since the last time it was asked: counts, histograms, rows and examples.

A Delta is merged by addition, wherever it is put and in whatever order; only of how many streams are open
does the newest count alone.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from operator import attrgetter
from typing import Any, Self

import numpy.typing as npt

from harness.results.histogram import Histogram
from harness.results.records import ProcessRecord, StreamRecord, ViolationRecord
from harness.results.writer import ResultsWriter

_COLUMNS = tuple(column.name for column in fields(StreamRecord))
_VALUES = attrgetter(*_COLUMNS)  # a tenth of what dataclasses.asdict takes, and no stream is read meanwhile


@dataclass(slots=True)
class StatsBatch:
    """What happened in one process since the last one was taken.

    open: streams of each journey that have not ended, at the moment of taking it; None from who knows of none,
    such as a process without users.
    """

    ledger: Counter[tuple[int, str, str]] = field(default_factory=Counter)  # second, journey, outcome
    failures: Counter[tuple[int, str]] = field(default_factory=Counter)  # second, journey
    tallies: Counter[tuple[int, str, str]] = field(default_factory=Counter)  # second due, journey, word
    open: dict[str, int] | None = None
    violations: Counter[tuple[str, str]] = field(default_factory=Counter)  # requirement, journey
    violated_at: Counter[int] = field(default_factory=Counter)  # second: violations of all requirements
    warnings: Counter[str] = field(default_factory=Counter)  # requirement
    faults: Counter[str] = field(default_factory=Counter)  # why we broke on a stream, as its row says
    totals: Counter[str] = field(default_factory=Counter)
    rows: list[StreamRecord] = field(default_factory=list)
    examples: list[ViolationRecord] = field(default_factory=list)
    histograms: dict[tuple[str, str, int], Histogram] = field(default_factory=dict)  # metric, journey, second
    processes: list[ProcessRecord] = field(default_factory=list)

    def __bool__(self) -> bool:
        # Whatever changes the number of open streams stands in the ledger as well.
        return any(getattr(self, part.name) for part in fields(self) if part.name != "open")

    def record(self, metric: str, journey: str, second: int, value_ms: float) -> None:
        """Add one measured value."""
        self._histogram(metric, journey, second).record(value_ms)

    def record_many(self, metric: str, journey: str, second: int, values_ms: npt.ArrayLike) -> None:
        """Add measured values."""
        self._histogram(metric, journey, second).record_many(values_ms)

    def _histogram(self, metric: str, journey: str, second: int) -> Histogram:
        key = (metric, journey, second)
        histogram = self.histograms.get(key)
        if histogram is None:
            histogram = self.histograms[key] = Histogram()
        return histogram

    def count_rates(
        self,
        second: int,
        journey: str,
        *,
        judged: bool = False,
        failed: bool = False,
        run: bool = False,
        good: bool = False,
    ) -> None:
        """Count a stream for rates, at the epoch second in which it was due; see harness.results.rate_counts.

        judged: its ending was the server's doing. run: it was meant to come to the end of a run. What failed
        is judged, and only a run that was judged and did not fail can be good.
        """
        judged = judged or failed
        run = run and judged
        words = {"judged": judged, "failed": failed, "runs": run, "good": run and good and not failed}
        for word, holds in words.items():
            if holds:
                self.tallies[second, journey, word] += 1

    def to_message(self) -> dict[str, Any]:
        """A form that travels between processes: JSON text, which alone can hold a server's lone surrogates,
        and the histograms' bytes.
        """
        books = {
            "ledger": _listed(self.ledger),
            "failures": _listed(self.failures),
            "violations": _listed(self.violations),
            "violated_at": list(self.violated_at.items()),
            "warnings": dict(self.warnings),
            "faults": dict(self.faults),
            "totals": dict(self.totals),
            "tallies": _listed(self.tallies),
            "open": self.open,
            "rows": [_VALUES(row) for row in self.rows],
            "processes": [asdict(row) for row in self.processes],
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
            violated_at=Counter(dict(books["violated_at"])),
            warnings=Counter(books["warnings"]),
            faults=Counter(books["faults"]),
            totals=Counter(books["totals"]),
            tallies=_counted(books["tallies"]),
            open=books["open"],
            rows=[StreamRecord(**dict(zip(_COLUMNS, row, strict=True))) for row in books["rows"]],
            processes=[ProcessRecord(**row) for row in books["processes"]],
            examples=[ViolationRecord(**example) for example in books["examples"]],
            histograms={
                (metric, journey, second): Histogram.from_bytes(counts)
                for metric, journey, second, counts in message["histograms"]
            },
        )

    def write_to(self, writer: ResultsWriter, worker: str) -> None:
        """Add it to a results file, under its process's name and as a whole."""
        with writer.transaction():
            self._write_counts(writer, worker)
            for example in self.examples:
                writer.add_violation(
                    example.requirement, example.journey, example.at_ns, example.detail, example.evidence
                )
            for (metric, journey, second), histogram in self.histograms.items():
                writer.add_histogram(metric, journey, second, worker, histogram)
            writer.add_streams(self.rows)
            writer.add_processes(self.processes)

    def _write_counts(self, writer: ResultsWriter, worker: str) -> None:
        for (second, journey, outcome), count in self.ledger.items():
            writer.add_ledger(worker, second, journey, outcome, count)
        if self.open is not None:
            writer.set_open(worker, self.open)
        for (second, journey), count in self.failures.items():
            writer.add_failures(worker, second, journey, count)
        for (second, journey, word), count in self.tallies.items():
            writer.add_rate_counts(worker, second, journey, word, count)
        for (requirement, journey), count in self.violations.items():
            writer.count_violation(requirement, journey, worker, count)


def _listed(counter: Counter[Any]) -> list[list[Any]]:
    return [[*key, count] for key, count in counter.items()]


def _counted(listed: list[list[Any]]) -> Counter[Any]:
    return Counter({tuple(key): count for *key, count in listed})
