"""What happened in one process since its last report: counters, histograms, rows and examples.

Batches are merged by addition, in any order. Only `open` is a gauge: the newest value replaces the previous one.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from operator import attrgetter
from typing import Any, Self

import numpy.typing as npt

from harness.export.trace_records import TraceRecord
from harness.results.histogram import Histogram
from harness.results.rate_counts import counters_of
from harness.results.records import ProcessRecord, ScrapeRecord, StreamRecord, ViolationRecord
from harness.results.writer import ResultsWriter

_STREAM_COLUMNS = tuple(column.name for column in fields(StreamRecord))
_ROWS_AT_ONCE = 32
_STREAM_VALUES = attrgetter(*_STREAM_COLUMNS)  # takes a tenth of the time of dataclasses.asdict


@dataclass(slots=True)
class StatsBatch:
    """What happened in one process since the previous batch.

    Every counter is declared here, with how it is stored in COUNTERS; messages and results files follow these two.
    Their keys, with seconds since the epoch:

    - ledger: second, journey, outcome. failures: second, journey. rate_counts: second due, journey, counter.
    - violations: requirement, journey. violated_at: second (all requirements together). warnings: requirement.
    - faults: reason of a harness fault, as in the stream's row.
    - restart: runs that a restart of the server affected, by the names of RestartCost. lost_at: epoch ns of a process's
      first connection that was lost at a restart.
    - totals: "tokens", "coalesced_tokens", "reads_stamped", "reads_unstamped"; "reads_native", "reads_python";
      "tokens_native", "tokens_python", by the token reader of the process; "traces_left_out".

    open: streams in flight by journey when the batch was taken; None from a process without users.
    histograms: by metric, journey and second. traces: for a collector, not for the results file.
    """

    ledger: Counter[tuple[int, str, str]] = field(default_factory=Counter)
    failures: Counter[tuple[int, str]] = field(default_factory=Counter)
    rate_counts: Counter[tuple[int, str, str]] = field(default_factory=Counter)
    violations: Counter[tuple[str, str]] = field(default_factory=Counter)
    violated_at: Counter[int] = field(default_factory=Counter)
    warnings: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    totals: Counter[str] = field(default_factory=Counter)
    restart: Counter[str] = field(default_factory=Counter)
    lost_at: Counter[int] = field(default_factory=Counter)
    open: dict[str, int] | None = None
    rows: list[StreamRecord] = field(default_factory=list)
    examples: list[ViolationRecord] = field(default_factory=list)
    histograms: dict[tuple[str, str, int], Histogram] = field(default_factory=dict)
    processes: list[ProcessRecord] = field(default_factory=list)
    scrapes: list[ScrapeRecord] = field(default_factory=list)
    traces: list[TraceRecord] = field(default_factory=list)

    def __bool__(self) -> bool:
        # A change of `open` alone cannot happen: the ledger changes with it.
        return any(getattr(self, part.name) for part in fields(self) if part.name != "open")

    def record(self, metric: str, journey: str, second: int, value_ms: float) -> None:
        """Add one measured value."""
        self._histogram(metric, journey, second).record(value_ms)

    def record_all(self, values_ms: Mapping[str, float], journey: str, second: int) -> None:
        """Add one measured value of each metric."""
        histograms = self.histograms
        for metric, value_ms in values_ms.items():
            key = (metric, journey, second)
            histogram = histograms.get(key)
            if histogram is None:
                histogram = histograms[key] = Histogram()
            histogram.record(value_ms)

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
        """Count a stream for rates, at the epoch second in which it was due.

        The flags are those of harness.results.rate_counts.counters_of.
        """
        for counter in counters_of(judged=judged, failed=failed, run=run, good=good):
            self.rate_counts[second, journey, counter] += 1

    def to_message(self, pause: Callable[[], object] = lambda: None) -> dict[str, Any]:
        """The batch as a message between processes: JSON texts, and the histograms as bytes.

        JSON because msgpack, Locust's format, cannot encode lone surrogates, which a server may send. pause: called
        after each part of the work, which takes tens of milliseconds in all.
        """
        rows = []
        for start in range(0, len(self.rows), _ROWS_AT_ONCE):
            rows.append(json.dumps([_STREAM_VALUES(row) for row in self.rows[start : start + _ROWS_AT_ONCE]]))
            pause()
        histograms = []
        for key, histogram in self.histograms.items():
            histograms.append([*key, histogram.to_bytes()])
            pause()
        content = {
            "counters": {name: _pairs(getattr(self, name)) for name in COUNTERS},
            "open": self.open,
            "processes": [asdict(row) for row in self.processes],
            "scrapes": [asdict(row) for row in self.scrapes],
            "examples": [asdict(example) for example in self.examples],
            "traces": [trace.to_message() for trace in self.traces],
        }
        return {"content": json.dumps(content), "rows": rows, "histograms": histograms}

    @classmethod
    def from_message(cls, message: Mapping[str, Any]) -> Self:
        """The batch that `to_message` encoded."""
        content = json.loads(message["content"])
        return cls(
            **{name: _counter_of(pairs) for name, pairs in content["counters"].items()},
            open=content["open"],
            rows=[
                StreamRecord(**dict(zip(_STREAM_COLUMNS, row, strict=True)))
                for rows in message["rows"]
                for row in json.loads(rows)
            ],
            processes=[ProcessRecord(**row) for row in content["processes"]],
            scrapes=[ScrapeRecord(**row) for row in content["scrapes"]],
            examples=[ViolationRecord(**example) for example in content["examples"]],
            traces=[TraceRecord.from_message(trace) for trace in content["traces"]],
            histograms={
                (metric, journey, second): Histogram.from_bytes(counts)
                for metric, journey, second, counts in message["histograms"]
            },
        )

    def write_to(self, writer: ResultsWriter, worker: str) -> None:
        """Add it to a results file under its process's name, in one transaction."""
        with writer.transaction():
            for name, add in COUNTERS.items():
                if add is not None:
                    for key, count in getattr(self, name).items():
                        add(writer, worker, key, count)
            if self.open is not None:
                writer.set_open(worker, self.open)
            for example in self.examples:
                writer.add_violation(
                    example.requirement, example.journey, example.at_ns, example.detail, example.evidence
                )
            for (metric, journey, second), histogram in self.histograms.items():
                writer.add_histogram(metric, journey, second, worker, histogram)
            writer.add_streams(self.rows)
            writer.add_processes(self.processes)
            writer.add_scrapes(self.scrapes)


COUNTERS: dict[str, Callable[[ResultsWriter, str, Any, int], None] | None] = {
    "ledger": lambda writer, worker, key, n: writer.add_ledger(worker, key[0], key[1], key[2], n),
    "failures": lambda writer, worker, key, n: writer.add_failures(worker, key[0], key[1], n),
    "rate_counts": lambda writer, worker, key, n: writer.add_rate_counts(worker, key[0], key[1], key[2], n),
    "violations": lambda writer, worker, key, n: writer.count_violation(key[0], key[1], worker, n),
    "violated_at": None,
    "warnings": None,
    "faults": None,
    "totals": None,
    "restart": None,
    "lost_at": None,
}
"""Every counter of StatsBatch, with the function that adds one count (writer, worker, key, count) to a results file.

None: the manifest holds its total, or the file does not need it.
"""


def _pairs(counter: Counter[Any]) -> list[tuple[Any, int]]:
    return list(counter.items())


def _counter_of(pairs: list[tuple[Any, int]]) -> Counter[Any]:
    return Counter({tuple(key) if isinstance(key, list) else key: count for key, count in pairs})
