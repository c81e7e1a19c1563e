"""Reads a results file: everything that reports, gate and exports know of a test."""

from __future__ import annotations

import json
import os
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from harness.results.histogram import Histogram, Stored, Sums
from harness.results.ledger import ENDINGS, Ledger
from harness.results.rate_counts import RateCounts
from harness.results.records import (
    HARNESS_FAULT,
    RUN_COLUMNS,
    CheckRecord,
    ExchangeRecord,
    ProcessRecord,
    RuleResultRecord,
    StreamRecord,
    ViolationRecord,
)
from harness.results.schema import BUSY_TIMEOUT_S, ResultsError, identify

_TESTED_VERDICTS = frozenset({"pass", "fail", "warn", "known", "stale"})
# A stream that was refused, rejected or given up by us says nothing about how the server streams.
_TESTED_OUTCOMES = frozenset(ENDINGS) - {"refused", "rejected", "abandoned"}
HistogramPart = Literal["measured", "warm-up", "whole"]
"""Which of a load's seconds: those that count, those before (manifest: measured_from), or all."""
_TOGETHER = 500
"""So many stored histograms are decoded together: more are no faster, as the processor's caches do not hold them."""
_SECONDS_TOGETHER = 128
"""So many seconds of metrics are added up together."""
_KEPT_BUCKETS = 10_000_000
"""So many filled buckets of single seconds are kept, at 10 bytes each: an hour of every metric at 280 runs/s."""
_ALWAYS_S = 2**62  # above every epoch second, and still a SQLite integer


@dataclass(frozen=True, slots=True)
class Reason:
    """Why streams of one journey's step failed, and how many of the rows say so."""

    journey: str
    step: str
    reason: str
    rows: int


_Seconds = tuple[list[tuple[str, int]], Stored]
"""Metrics with epoch seconds, and one stored histogram for each."""


class _SecondBySecond:
    """Histograms by metric and second, of all journeys and workers; of a very long test there are none."""

    def __init__(self) -> None:
        self._parts: list[_Seconds] | None = []
        self._sums: Sums[tuple[str, int]] = Sums()
        self._buckets = 0

    def add(self, keys: Iterable[tuple[str, int]], stored: Stored) -> None:
        """Add some; keys: metric and epoch second of each."""
        if self._parts is None:
            return
        self._sums.add(keys, stored)
        if len(self._sums) >= _SECONDS_TOGETHER:
            self._keep()

    def parts(self) -> list[_Seconds] | None:
        """All of them, a second perhaps in more than one part; None when they would be too many to keep."""
        if self._parts is not None:
            self._keep()
        return self._parts

    def _keep(self) -> None:
        part = self._sums.take_stored()
        self._buckets += len(part[1].places)
        if self._parts is not None:
            self._parts.append(part)
        if self._buckets > _KEPT_BUCKETS:
            self._parts = None


@dataclass(frozen=True, slots=True)
class _Gathered:
    """All histograms of a file, added up.

    totals: by metric, and by journey, worker and whether they count (or are warm-up). seconds: of all journeys and
    workers, each second perhaps more than once; None when they would be too many to keep.
    """

    totals: dict[str, dict[tuple[str, str, bool], Histogram]]
    seconds: list[_Seconds] | None


_SELECT_RUNS = f"SELECT {', '.join(RUN_COLUMNS)} FROM runs ORDER BY intended_ns, id"  # noqa: S608 - likewise


class Results:
    """A results file, read only; also one whose writer is still at work or was killed. A context manager.

    Methods say what stands in the file now; sums, and histograms added up, are kept until it changes. A part
    is, where one can be chosen, a Part of the load's seconds; without a word, those that count.

    Raises ResultsError when the file is missing, is no results file, is of a newer schema, or turns out to
    be damaged. Of a file of an older schema, what it does not have is empty.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise ResultsError(
                f"{self.path}: there is no such results file; give the results.sqlite of a run"
            )
        try:
            self._db = sqlite3.connect(
                f"{self.path.absolute().as_uri()}?mode=ro",
                uri=True,
                timeout=BUSY_TIMEOUT_S,
                isolation_level=None,
            )
        except sqlite3.Error as problem:
            raise self._unreadable(problem) from None
        self._at = -1
        self._gathered: _Gathered | None = None
        self._read: dict[tuple[str, tuple[int, ...]], list[tuple[Any, ...]]] = {}
        try:
            self._version = identify(self._db, self.path)
        except sqlite3.Error as problem:
            self._db.close()
            raise self._unreadable(problem) from None
        except BaseException:
            self._db.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()

    @property
    def manifest(self) -> dict[str, Any]:
        """The manifest's keys and values; see ResultsWriter.set_manifest."""
        return {key: json.loads(value) for key, value in self._kept("SELECT key, value FROM manifest")}

    @property
    def tested(self) -> bool:
        """Whether anything was tested: a check came to a verdict on the server, or a stream was answered.

        Streams that were refused, rejected or abandoned alone test nothing, nor do checks that were not
        applicable, inconclusive, informative or the harness's own error.
        """
        return any(check.verdict in _TESTED_VERDICTS for check in self.checks()) or any(
            self.ledger()[outcome] for outcome in _TESTED_OUTCOMES
        )

    def streams(self) -> Iterator[StreamRecord]:
        """The streams, by intended start."""
        for row in self._rows(_SELECT_RUNS):
            yield StreamRecord(**dict(zip(RUN_COLUMNS, row, strict=True)))

    def longest_streams(self, limit: int) -> list[StreamRecord]:
        """The streams that took longest from due to terminal event, the longest first, without warm-up."""
        query = (
            f"SELECT {', '.join(RUN_COLUMNS)} FROM runs WHERE duration_ms IS NOT NULL AND intended_ns >= ?1 "  # noqa: S608 - our own column names
            "ORDER BY duration_ms DESC, id LIMIT ?2"
        )
        first_ns = (self.measured_from or 0) * 1_000_000_000
        return [
            StreamRecord(**dict(zip(RUN_COLUMNS, row, strict=True)))
            for row in self._rows(query, first_ns, limit)
        ]

    def sample(self) -> tuple[int, int]:
        """How many rows `runs` has, and of how many streams they are a sample; equal when it has them all."""
        ((kept,),) = self._kept("SELECT count(*) FROM runs")
        return kept, max(kept, int(self.manifest.get("runs_seen", kept)))

    @property
    def schema_version(self) -> int:
        """The file's own schema version, SCHEMA_VERSION or older."""
        return self._version

    def kept_failed(self) -> int:
        """How many of the rows `runs` has are of streams that failed, or that the harness failed to judge; of
        what is sampled they are a sample apart.
        """
        query = "SELECT count(*) FROM runs WHERE reason IS NOT NULL OR violations > 0"
        return next(int(count) for (count,) in self._rows(query))

    def failure_reasons(self, limit: int) -> tuple[list[Reason], int]:
        """The most frequent reasons of failure among the rows, and how many different ones there are."""
        is_failure = f"reason IS NOT NULL AND reason NOT LIKE '{HARNESS_FAULT}%'"
        grouped = f"SELECT journey, step, reason, count(*) AS n FROM runs WHERE {is_failure} GROUP BY 1, 2, 3"  # noqa: S608 - our own text
        (different,) = next(self._rows(f"SELECT count(*) FROM ({grouped})"))  # noqa: S608 - our own text
        rows = self._rows(f"{grouped} ORDER BY n DESC, journey, step, reason LIMIT ?", limit)
        return [Reason(*row) for row in rows], different

    def journeys(self) -> list[str]:
        """The journeys that the ledger or a histogram names, sorted."""
        union = "SELECT DISTINCT journey FROM ledger UNION SELECT DISTINCT journey FROM histograms ORDER BY 1"
        return [journey for (journey,) in self._kept(union) if journey]

    @property
    def measured_from(self) -> int | None:
        """The first epoch second that counts; None when there was no warm-up and all do."""
        found = self._kept("SELECT value FROM manifest WHERE key = 'measured_from'")
        value = json.loads(found[0][0]) if found else None
        return int(value) if value else None

    @property
    def harness_faults(self) -> dict[str, int]:
        """Why the harness itself broke on streams, and on how many: those are not judged, and in no rate."""
        found = self.manifest.get("harness_faults")
        return {str(reason): int(count) for reason, count in found.items()} if isinstance(found, dict) else {}

    def ledger(self, journey: str | None = None) -> Ledger:
        """What became of the streams, of one journey or of all, warm-up too.

        Of a test that is still going on, or whose writer was killed, the streams that were open when it was
        last written are in flight.
        """
        query = "SELECT journey, outcome, sum(count) FROM ledger GROUP BY 1, 2"
        if self._version >= 2:
            query += " UNION ALL SELECT journey, 'in flight', sum(count) FROM open_streams GROUP BY 1"
        ledger = Ledger()
        for name, outcome, count in self._kept(query):
            if journey in (None, name):
                ledger.add(outcome, count)
        return ledger

    def ledger_by_second(self) -> dict[int, Ledger]:
        """The ledger by epoch second, ascending; each outcome stands at the second that its writer gave."""
        ledgers: dict[int, Ledger] = {}
        query = "SELECT second, outcome, sum(count) FROM ledger GROUP BY second, outcome ORDER BY second"
        for second, outcome, count in self._rows(query):
            ledgers.setdefault(second, Ledger()).add(outcome, count)
        return ledgers

    def failures(self, journey: str | None = None) -> int:
        """Streams that ended otherwise than their step wanted, of one journey or of all, warm-up too."""
        query = "SELECT coalesce(sum(count), 0) FROM failures WHERE ?1 IS NULL OR journey = ?1"
        return next(int(count) for (count,) in self._rows(query, journey))

    def failures_by_second(self) -> dict[int, int]:
        """Failed streams by epoch second, ascending; seconds without a failure are left out."""
        return dict(self._rows("SELECT second, sum(count) FROM failures GROUP BY second ORDER BY second"))

    def rate_counts(self, journey: str | None = None, part: HistogramPart = "measured") -> RateCounts:
        """What goes into rates, of one journey or of all.

        A writer that did not tally had no warm-up, so its streams are taken from ledger and failures.
        """
        found = self._tallied() if self._version >= 2 else []
        if found or self.harness_faults:  # where we broke on every stream, none was tallied
            words: Counter[str] = Counter()
            for name, word, counts, count in found:
                if journey in (None, name) and part in ("whole", "measured" if counts else "warm-up"):
                    words[word] += count
            return RateCounts.of(words)
        if part == "warm-up":
            return RateCounts()
        return RateCounts(self.ledger(journey).judged, self.failures(journey), None, None)

    def _tallied(self) -> list[tuple[Any, ...]]:
        """Journey, word, whether they count (or are warm-up), and the sum."""
        counts_from, _ = self._seconds("measured")
        query = "SELECT journey, word, second >= ?1, sum(count) FROM tallies GROUP BY 1, 2, 3"
        return self._kept(query, counts_from)

    def rate_counts_by_second(self, journey: str | None = None) -> dict[int, RateCounts]:
        """What goes into rates by the epoch second in which the streams were due, ascending, warm-up too."""
        if self._version < 2:
            return {}
        counts: dict[int, dict[str, int]] = {}
        query = (
            "SELECT second, word, sum(count) FROM tallies WHERE ?1 IS NULL OR journey = ?1 "
            "GROUP BY second, word ORDER BY second"
        )
        for second, word, count in self._rows(query, journey):
            counts.setdefault(second, {})[word] = count
        return {second: RateCounts.of(words) for second, words in counts.items()}

    def processes(self, part: HistogramPart = "measured") -> list[ProcessRecord]:
        """How the harness's processes fared, by process and second."""
        if self._version < 2:
            return []
        query = (
            "SELECT worker, second, cpu, rss_bytes, open_streams FROM processes "
            "WHERE second >= ?1 AND second < ?2 ORDER BY worker, second"
        )
        return [
            ProcessRecord(
                worker=worker, second=second, cpu=cpu, rss_bytes=rss_bytes, open_streams=open_streams
            )
            for worker, second, cpu, rss_bytes, open_streams in self._rows(query, *self._seconds(part))
        ]

    def metrics(self) -> list[str]:
        """The names of the metrics that have data, sorted."""
        return [name for (name,) in self._kept("SELECT DISTINCT metric FROM histograms ORDER BY 1")]

    def histogram(
        self, metric: str, journey: str | None = None, part: HistogramPart = "measured"
    ) -> Histogram:
        """One metric over the whole run, of one journey or of all; empty when nothing was measured."""
        total = Histogram()
        for (name, _, counts), histogram in self._all().totals.get(metric, {}).items():
            if journey in (None, name) and part in ("whole", "measured" if counts else "warm-up"):
                total.merge(histogram)
        return total

    def histograms_by_worker(self, metric: str, part: HistogramPart = "measured") -> dict[str, Histogram]:
        """One metric by the process that measured it."""
        workers: dict[str, Histogram] = {}
        for (_, worker, counts), histogram in self._all().totals.get(metric, {}).items():
            if part in ("whole", "measured" if counts else "warm-up"):
                workers.setdefault(worker, Histogram()).merge(histogram)
        return dict(sorted(workers.items()))

    def histograms_by_second(
        self,
        metric: str,
        journey: str | None = None,
        part: HistogramPart = "measured",
        *,
        width_s: int = 1,
        first: int = 0,
    ) -> dict[int, Histogram]:
        """One metric by epoch second, ascending; seconds without a value are left out.

        width_s: seconds to a bin, which stands at its first one; bins are counted from `first`.
        """
        low, high = self._seconds(part)
        sums: Sums[int] = Sums()
        for seconds, stored in self._second_by_second(metric, journey):
            starts = (
                None if second is None or not low <= second < high else second - (second - first) % width_s
                for second in seconds
            )
            sums.add(starts, stored)
        return dict(sorted(sums.take().items()))

    def _second_by_second(
        self, metric: str, journey: str | None
    ) -> Iterator[tuple[Iterable[int | None], Stored]]:
        """Epoch seconds and a stored histogram for each, some at a time; None for one of another metric."""
        kept = self._all().seconds if journey is None else None
        if kept is not None:
            for keys, stored in kept:
                yield (second if name == metric else None for name, second in keys), stored
            return
        query = "SELECT second, counts FROM histograms WHERE metric = ?1 AND (?2 IS NULL OR journey = ?2)"
        for seconds, found in self._columns(query, metric, journey):
            yield seconds, self._decoded(found)

    def seconds_of(self, metric: str) -> tuple[int, int] | None:
        """The first and the last epoch second in which a metric has values, warm-up too; None without any."""
        first, last = next(
            self._rows("SELECT min(second), max(second) FROM histograms WHERE metric = ?1", metric)
        )
        return None if first is None else (first, last)

    def _seconds(self, part: HistogramPart) -> tuple[int, int]:
        """The first epoch second of that part, and the first after it."""
        counts_from = self.measured_from or -_ALWAYS_S
        return {
            "measured": (counts_from, _ALWAYS_S),
            "warm-up": (-_ALWAYS_S, counts_from),
            "whole": (-_ALWAYS_S, _ALWAYS_S),
        }[part]

    def _forget_what_changed(self) -> None:
        """Let go of what was kept when another process has changed the file since."""
        ((version,),) = self._rows("PRAGMA data_version")
        if version != self._at:
            self._gathered, self._read, self._at = None, {}, version

    def _kept(self, query: str, *parameters: int) -> list[tuple[Any, ...]]:
        """The rows of a query whose answer is short, and is wanted again: it is kept until the file changes."""
        self._forget_what_changed()
        key = query, parameters
        if key not in self._read:
            self._read[key] = list(self._rows(query, *parameters))
        return self._read[key]

    def _all(self) -> _Gathered:
        """The histograms of the whole file: who asks for one metric asks for others, and one pass reads them all."""
        self._forget_what_changed()
        if self._gathered is None:
            self._gathered = self._gather()
        return self._gathered

    def _gather(self) -> _Gathered:
        counts_from, _ = self._seconds("measured")
        totals: Sums[tuple[str, str, str, bool]] = Sums()
        seconds = _SecondBySecond()
        # By the index each would be a step to another place of the table; so it is read from end to end.
        query = "SELECT metric, journey, worker, second, counts FROM histograms NOT INDEXED"
        for names, journeys, workers, when, found in self._columns(query):
            stored = self._decoded(found)
            measured = [second >= counts_from for second in when]
            totals.add(zip(names, journeys, workers, measured, strict=True), stored)
            seconds.add(zip(names, when, strict=True), stored)
        by_metric: dict[str, dict[tuple[str, str, bool], Histogram]] = {}
        for (name, journey, worker, counts), histogram in totals.take().items():
            by_metric.setdefault(name, {})[journey, worker, counts] = histogram
        return _Gathered(by_metric, seconds.parts())

    def violations(self) -> list[ViolationRecord]:
        """The stored examples, at most 20 a requirement, in the order of writing."""
        query = "SELECT requirement, journey, at_ns, detail, evidence, id FROM violations ORDER BY id"
        return [
            ViolationRecord(
                requirement=requirement,
                journey=journey,
                at_ns=at_ns,
                detail=detail,
                evidence=json.loads(evidence),
                id=number,
            )
            for requirement, journey, at_ns, detail, evidence, number in self._rows(query)
        ]

    def violation_counts(self, journey: str | None = None) -> dict[str, int]:
        """Exact counts of violations met under load by requirement, of one journey or of all."""
        query = (
            "SELECT requirement, sum(count) FROM violation_counts WHERE ?1 IS NULL OR journey = ?1 "
            "GROUP BY requirement ORDER BY requirement"
        )
        return dict(self._rows(query, journey))

    def checks(self) -> list[CheckRecord]:
        """The conformance verdicts, in the order of writing."""
        query = "SELECT id, level, verdict, detail, duration_s, evidence FROM checks ORDER BY rowid"
        return [
            CheckRecord(
                id=name,
                level=level,
                verdict=verdict,
                detail=detail,
                duration_s=duration_s,
                evidence=json.loads(evidence),
            )
            for name, level, verdict, detail, duration_s, evidence in self._rows(query)
        ]

    def rule_results(self) -> Iterator[RuleResultRecord]:
        """What single tests said, in the order of writing."""
        query = "SELECT test, requirement, verdict, detail, evidence FROM judgements ORDER BY rowid"
        for test, requirement, verdict, detail, evidence in self._rows(query):
            yield RuleResultRecord(
                test=test,
                requirement=requirement,
                verdict=verdict,
                detail=detail,
                evidence=json.loads(evidence),
            )

    def exchange(self, id: str) -> ExchangeRecord:  # noqa: A002 - the column's name
        """One recorded exchange. Raises ResultsError when there is none of that id."""
        for row in self._exchanges("WHERE id = ?", id):
            return row
        raise ResultsError(f"{self.path}: there is no exchange {id!r} in it")

    def exchanges(self) -> Iterator[ExchangeRecord]:
        """The recorded exchanges, in the order of writing."""
        yield from self._exchanges("ORDER BY rowid")

    def _exchanges(self, clause: str, *parameters: str) -> Iterator[ExchangeRecord]:
        query = f"SELECT id, scenario, label, document FROM exchanges {clause}"  # noqa: S608 - our own clauses
        for name, scenario, label, document in self._rows(query, *parameters):
            yield ExchangeRecord(id=name, scenario=scenario, label=label, document=json.loads(document))

    def _rows(self, query: str, *parameters: str | int | None) -> Iterator[tuple[Any, ...]]:
        try:
            yield from self._db.execute(query, parameters)
        except sqlite3.Error as problem:
            raise self._unreadable(problem) from problem

    def _columns(self, query: str, *parameters: str | None) -> Iterator[tuple[Sequence[Any], ...]]:
        """The same, column by column, of _TOGETHER rows at a time."""
        rows = self._rows(query, *parameters)
        while some := list(islice(rows, _TOGETHER)):
            yield tuple(zip(*some, strict=True))

    def _decoded(self, stored: Sequence[bytes]) -> Stored:
        try:
            return Stored.of(stored)
        except ValueError as problem:
            raise ResultsError(f"{self.path}: the results file is damaged: {problem}") from problem

    def _unreadable(self, problem: sqlite3.Error) -> ResultsError:
        if getattr(problem, "sqlite_errorcode", None) == sqlite3.SQLITE_NOTADB:
            return ResultsError(f"{self.path}: this is no results file: it is no SQLite database")
        hint = ""
        if self.path.with_name(f"{self.path.name}-wal").exists():
            hint = "; its writer did not close it, so copy it with its -wal file to a writable directory"
        return ResultsError(f"{self.path}: cannot read the results file: {problem}{hint}")
