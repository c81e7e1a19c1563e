"""Reads a results file: reports, gate and exports get everything they know about a test from here."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from harness.results.database import ResultsDatabase, Row
from harness.results.histogram import Histogram
from harness.results.journeys import belongs, is_of
from harness.results.ledger import ENDINGS, Ledger
from harness.results.manifest import NO_LOAD
from harness.results.rate_counts import RateCounts
from harness.results.records import (
    AT_RESTART,
    HARNESS_FAULT,
    STREAM_COLUMNS,
    CheckRecord,
    ExchangeRecord,
    ProcessRecord,
    RuleResultRecord,
    ScrapeRecord,
    StreamRecord,
    ViolationRecord,
)
from harness.results.schema import WITHOUT_TOTALS, WITHOUT_TRACES, ResultsError
from harness.results.stored_histograms import (
    HistogramPart,
    MetricSums,
    StoredHistograms,
    in_part,
    seconds_of_part,
)
from harness.results.stored_values import (
    bounded_json,
    checked_manifest,
    checked_pointers,
    without_escaped_surrogates,
)

_TESTED_VERDICTS = frozenset({"pass", "fail", "warn", "known", "stale"})
# A refused, rejected or abandoned stream does not show how the server streams.
_TESTED_OUTCOMES = frozenset(ENDINGS) - {"refused", "rejected", "abandoned"}


@dataclass(frozen=True, slots=True)
class FailureReason:
    """Why streams of one journey's step failed, and how many of the stored rows have that reason."""

    journey: str
    step: str
    reason: str
    rows: int


_OF_JOURNEY = is_of("journey", "?1")
_STREAM_VALUES = ", ".join(STREAM_COLUMNS)


class Results:
    """A results file, read-only, also while its writer is at work or after it was killed. A context manager.

    Methods read the current state of the file, or that of a `snapshot`; sums are cached until another process changes
    it. `part`: which seconds of the load, by default those that count.

    Methods and constructor raise ResultsError if the file is missing, is not a results file, has a different
    schema version, or is damaged.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._database = ResultsDatabase(self.path)
        self._histograms = StoredHistograms(self._database)
        self._manifest: dict[str, Any] = {}
        self._manifest_rows: list[Row] | None = None  # those that it was read from

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def snapshot(self) -> AbstractContextManager[None]:
        """A block in which all methods read one state of the file, the one that the first of them read.

        Without it, methods called one after the other may disagree while the test is running. Do not nest it. While it
        lasts, no test can begin to write to a finished file; it waits for up to 30 s.
        """
        return self._database.snapshot()

    @property
    def manifest(self) -> dict[str, Any]:
        """Keys and values of the manifest; see ResultsWriter.set_manifest."""
        rows = self._database.cached_rows("SELECT key, value FROM manifest")
        if rows is not self._manifest_rows:
            manifest = {key: self._json(without_escaped_surrogates(value), "manifest") for key, value in rows}
            with self._damaged("manifest"):
                self._manifest = checked_manifest(manifest)
            self._manifest_rows = rows
        return dict(self._manifest)

    @property
    def has_load(self) -> bool:
        """Whether the test has a load, or should have had one; False only if its manifest says so."""
        return self.manifest.get("load_state") != NO_LOAD

    @property
    def load_aborted(self) -> str:
        """Why the load was aborted, in one sentence; empty if it was not."""
        if self.manifest.get("load_state") != "aborted":
            return ""
        return str(self.manifest.get("load_aborted") or "the load was aborted")

    @property
    def tested(self) -> bool:
        """Whether anything was tested: a check reached a verdict on the server, or a stream was answered.

        Refused, rejected and abandoned streams test nothing; nor do checks that were not applicable,
        inconclusive, informational, or ended in an error of the harness.
        """
        return any(check.verdict in _TESTED_VERDICTS for check in self.checks()) or any(
            self.ledger()[outcome] for outcome in _TESTED_OUTCOMES
        )

    @property
    def _streams(self) -> str:
        values = _STREAM_VALUES
        if self.schema_version <= WITHOUT_TRACES:
            values = values.replace("trace_id", "NULL")
        return f"SELECT {values} FROM streams"  # noqa: S608 - our own column names

    def streams(self) -> Iterator[StreamRecord]:
        """The stored streams by intended start."""
        for row in self._database.rows(f"{self._streams} ORDER BY intended_ns, id"):
            yield StreamRecord(**dict(zip(STREAM_COLUMNS, row, strict=True)))

    def longest_streams(self, limit: int) -> list[StreamRecord]:
        """The stored streams with the longest duration, longest first, without warm-up."""
        query = (
            f"{self._streams} WHERE duration_ms IS NOT NULL AND intended_ns >= ?1 "
            "ORDER BY duration_ms DESC, id LIMIT ?2"
        )
        first_ns = (self.measured_from or 0) * 1_000_000_000
        return [
            StreamRecord(**dict(zip(STREAM_COLUMNS, row, strict=True)))
            for row in self._database.rows(query, first_ns, limit)
        ]

    def sample(self) -> tuple[int, int]:
        """Number of stored streams, and of streams they are a sample of; equal if all are stored."""
        ((kept,),) = self._database.cached_rows("SELECT count(*) FROM streams")
        return kept, max(kept, int(self.manifest.get("streams_seen") or 0))

    @property
    def schema_version(self) -> int:
        """The schema version of the file."""
        return self._database.schema_version()

    def kept_failed(self) -> int:
        """Number of stored streams that failed or were not judged; these are sampled separately from the others."""
        query = "SELECT count(*) FROM streams WHERE reason IS NOT NULL OR violations > 0"
        return next(int(count) for (count,) in self._database.rows(query))

    def failure_reasons(self, limit: int) -> tuple[list[FailureReason], int]:
        """The most frequent failure reasons of the stored streams, and the number of different ones.

        Streams that a fault of the harness or a restart of the server broke are left out.
        """
        no_failure = " AND ".join(f"reason NOT LIKE '{prefix}%'" for prefix in (HARNESS_FAULT, AT_RESTART))
        is_failure = f"reason IS NOT NULL AND {no_failure}"
        grouped = (
            f"SELECT journey, step, reason, count(*) AS n FROM streams WHERE {is_failure} GROUP BY 1, 2, 3"  # noqa: S608 - our own text
        )
        query = f"SELECT *, count(*) OVER () FROM ({grouped}) ORDER BY n DESC, journey, step, reason LIMIT ?1"  # noqa: S608 - our own text
        rows = list(self._database.rows(query, limit))
        return [FailureReason(*row) for *row, _ in rows], rows[0][-1] if rows else 0

    def journeys(self) -> list[str]:
        """Names of the journeys in the ledger or the histograms, sorted; of the steps where a journey has several."""
        union = (
            f"SELECT DISTINCT journey FROM ledger UNION SELECT DISTINCT journey FROM {self._histograms.names_in()} "  # noqa: S608 - our own names
            "ORDER BY 1"
        )
        return [journey for (journey,) in self._database.cached_rows(union) if journey]

    @property
    def measured_from(self) -> int | None:
        """First epoch second after the warm-up; None if there was none."""
        rows = self._database.cached_rows("SELECT value FROM manifest WHERE key = 'measured_from'")
        value = self._json(rows[0][0], "manifest") if rows else None
        with self._damaged("manifest"):
            checked_manifest({"measured_from": value})
        return int(value) if value else None

    @property
    def harness_faults(self) -> dict[str, int]:
        """Streams that a fault of the harness kept from being judged, by reason; they are in no rate."""
        faults = self.manifest.get("harness_faults")
        return (
            {str(reason): int(count) for reason, count in faults.items()} if isinstance(faults, dict) else {}
        )

    def ledger(self, journey: str | None = None) -> Ledger:
        """The ledger of one journey or of all, including warm-up.

        During a test, or if its writer was killed, streams open at the last write count as in flight.
        """
        query = (
            "SELECT journey, outcome, sum(count) FROM ledger GROUP BY 1, 2 "
            "UNION ALL SELECT journey, 'in flight', sum(count) FROM open_streams GROUP BY 1"
        )
        ledger = Ledger()
        for name, outcome, count in self._database.cached_rows(query):
            if belongs(name, journey):
                ledger.add(outcome, count)
        return ledger

    def ledger_by_second(self) -> dict[int, Ledger]:
        """The ledger by epoch second, ascending."""
        ledgers: dict[int, Ledger] = {}
        query = "SELECT second, outcome, sum(count) FROM ledger GROUP BY second, outcome ORDER BY second"
        for second, outcome, count in self._database.rows(query):
            ledgers.setdefault(second, Ledger()).add(outcome, count)
        return ledgers

    def failures(self, journey: str | None = None) -> int:
        """Number of failed streams of one journey or of all, including warm-up."""
        query = f"SELECT coalesce(sum(count), 0) FROM failures WHERE {_OF_JOURNEY}"  # noqa: S608 - our own text
        return next(int(count) for (count,) in self._database.rows(query, journey))

    def failures_by_second(self) -> dict[int, int]:
        """Number of failed streams by epoch second, ascending, without seconds that have none."""
        return dict(
            self._database.rows("SELECT second, sum(count) FROM failures GROUP BY second ORDER BY second")
        )

    def rate_counts(self, journey: str | None = None, part: HistogramPart = "measured") -> RateCounts:
        """The counts behind error rate and goodput, of one journey or of all."""
        first, _ = seconds_of_part("measured", self.measured_from)
        query = "SELECT journey, counter, second >= ?1, sum(count) FROM rate_counts GROUP BY 1, 2, 3"
        counts: Counter[str] = Counter()
        for name, counter, measured, count in self._database.cached_rows(query, first):
            if belongs(name, journey) and in_part(part, measured=bool(measured)):
                counts[counter] += count
        return RateCounts.of(counts)

    def rate_counts_by_second(self, journey: str | None = None) -> dict[int, RateCounts]:
        """The same counts by the epoch second in which streams were due, ascending, including warm-up."""
        query = (
            f"SELECT second, counter, sum(count) FROM rate_counts WHERE {_OF_JOURNEY} "  # noqa: S608 - our own text
            "GROUP BY second, counter ORDER BY second"
        )
        seconds: dict[int, dict[str, int]] = {}
        for second, counter, count in self._database.rows(query, journey):
            seconds.setdefault(second, {})[counter] = count
        return {second: RateCounts.of(counts) for second, counts in seconds.items()}

    def processes(self, part: HistogramPart = "measured") -> list[ProcessRecord]:
        """Resource usage of the harness's processes, by process and second."""
        query = (
            "SELECT worker, second, cpu, rss_bytes, open_streams FROM processes "
            "WHERE second >= ?1 AND second < ?2 ORDER BY worker, second"
        )
        return [
            ProcessRecord(
                worker=worker, second=second, cpu=cpu, rss_bytes=rss_bytes, open_streams=open_streams
            )
            for worker, second, cpu, rss_bytes, open_streams in self._database.rows(
                query, *seconds_of_part(part, self.measured_from)
            )
        ]

    def scrapes(self) -> dict[str, list[ScrapeRecord]]:
        """The server's own metrics by series, each by second, ascending, including warm-up."""
        series: dict[str, list[ScrapeRecord]] = {}
        if self.schema_version == WITHOUT_TOTALS:
            return series
        query = "SELECT second, series, kind, value FROM scrapes ORDER BY series, second"
        for second, name, kind, value in self._database.rows(query):
            row = ScrapeRecord(second=second, series=name, kind=kind, value=value)
            series.setdefault(name, []).append(row)
        return series

    def metrics(self) -> list[str]:
        """Names of the metrics that have data, sorted."""
        return [
            name
            for (name,) in self._database.cached_rows(
                f"SELECT DISTINCT metric FROM {self._histograms.names_in()} ORDER BY 1"  # noqa: S608 - our own names
            )
        ]

    def histogram(
        self, metric: str, journey: str | None = None, part: HistogramPart = "measured"
    ) -> Histogram:
        """One metric, of one journey or of all; empty if nothing was measured."""
        return self._histograms.total(metric, journey, part, self.measured_from)

    def histograms_by_worker(self, metric: str, part: HistogramPart = "measured") -> dict[str, Histogram]:
        """One metric by the process that measured it, sorted."""
        return self._histograms.by_worker(metric, part, self.measured_from)

    def histograms_by_second(
        self,
        metric: str,
        journey: str | None = None,
        part: HistogramPart = "measured",
        *,
        width_s: int = 1,
        first: int = 0,
    ) -> dict[int, Histogram]:
        """One metric by epoch second, ascending, without empty seconds.

        width_s: seconds per bin; a bin is keyed by its first second, and bins are aligned to `first`.
        """
        return self._histograms.by_second(
            metric, journey, part, self.measured_from, width_s=width_s, first=first
        )

    def histogram_sums(self) -> Iterator[MetricSums]:
        """Every metric, added up from its single histograms (harness.results.totals)."""
        for metric in self.metrics():
            yield self._histograms.sums_of(metric, self.measured_from)

    def seconds_of(
        self, metric: str, journey: str | None = None, part: HistogramPart = "whole"
    ) -> tuple[int, int] | None:
        """First and last epoch second with values of a metric, of one journey or of all; None if it has none."""
        query = (
            f"SELECT min(second), max(second) FROM histograms WHERE metric = ?1 AND {is_of('journey', '?2')} "  # noqa: S608 - our own text
            "AND second >= ?3 AND second < ?4"
        )
        parts = seconds_of_part(part, self.measured_from)
        first, last = next(self._database.rows(query, metric, journey, *parts))
        return None if first is None else (first, last)

    def violations(self) -> list[ViolationRecord]:
        """The stored examples, at most 20 per requirement, in the order written."""
        query = "SELECT requirement, journey, at_ns, detail, evidence, id FROM violations ORDER BY id"
        return [
            ViolationRecord(
                requirement=requirement,
                journey=journey,
                at_ns=at_ns,
                detail=detail,
                evidence=self._json(evidence, "violations"),
                id=number,
            )
            for requirement, journey, at_ns, detail, evidence, number in self._database.rows(query)
        ]

    def violation_counts(self, journey: str | None = None) -> dict[str, int]:
        """Number of violations under load by requirement, of one journey or of all."""
        query = (
            f"SELECT requirement, sum(count) FROM violation_counts WHERE {_OF_JOURNEY} "  # noqa: S608 - our own text
            "GROUP BY requirement ORDER BY requirement"
        )
        return dict(self._database.rows(query, journey))

    def checks(self) -> list[CheckRecord]:
        """The conformance verdicts, in the order written."""
        query = "SELECT id, level, verdict, detail, duration_s, evidence FROM checks ORDER BY rowid"
        return [
            CheckRecord(
                id=name,
                level=level,
                verdict=verdict,
                detail=detail,
                duration_s=duration_s,
                evidence=self._pointers(evidence),
            )
            for name, level, verdict, detail, duration_s, evidence in self._database.rows(query)
        ]

    def rule_results(self) -> Iterator[RuleResultRecord]:
        """The rule results of single tests, in the order written."""
        query = "SELECT test, requirement, verdict, detail, evidence FROM rule_results ORDER BY rowid"
        for test, requirement, verdict, detail, evidence in self._database.rows(query):
            yield RuleResultRecord(
                test=test,
                requirement=requirement,
                verdict=verdict,
                detail=detail,
                evidence=self._json(evidence, "rule_results"),
            )

    @property
    def tests(self) -> int:
        """Number of the suite's tests that reached a verdict. A requirement has one or more tests."""
        return sum(sum(counts.values()) for counts in self.test_counts().values())

    def test_counts(self) -> dict[str, dict[str, int]]:
        """Number of the suite's tests by requirement and verdict."""
        counts: dict[str, dict[str, int]] = {}
        query = "SELECT requirement, verdict, count(*) FROM rule_results GROUP BY 1, 2 ORDER BY 1, 2"
        for requirement, verdict, count in self._database.rows(query):
            counts.setdefault(requirement, {})[verdict] = count
        return counts

    def exchange(self, id: str) -> ExchangeRecord:  # noqa: A002 - the column's name
        """One recorded exchange. Raises ResultsError if there is none with this id."""
        for row in self._exchanges("WHERE id = ?1", id):
            return row
        raise ResultsError(f"{self.path}: no exchange with the id {id!r}")

    def exchanges(self) -> Iterator[ExchangeRecord]:
        """The recorded exchanges, in the order written."""
        yield from self._exchanges("ORDER BY rowid")

    def _exchanges(self, clause: str, *parameters: str) -> Iterator[ExchangeRecord]:
        query = f"SELECT id, scenario, label, document FROM exchanges {clause}"  # noqa: S608 - our own clauses
        for name, scenario, label, document in self._database.rows(query, *parameters):
            content = self._json(document, "exchanges")
            if not isinstance(content, dict):
                raise ResultsError(
                    f"{self.path}: the results file is damaged: an exchange is not a JSON object"
                )
            yield ExchangeRecord(id=name, scenario=scenario, label=label, document=content)

    def _json(self, text: str, table: str) -> Any:
        """The value of a JSON cell. Raises ResultsError."""
        with self._damaged(table):
            return bounded_json(text)

    def _pointers(self, text: str) -> list[dict[str, Any]]:
        with self._damaged("checks"):
            return checked_pointers(bounded_json(text))

    @contextmanager
    def _damaged(self, table: str) -> Iterator[None]:
        """Make a ValueError in the block a sentence about the table that the value is from."""
        try:
            yield
        except ValueError as problem:
            raise ResultsError(
                f"{self.path}: the results file is damaged: a value in {table} cannot be read: {problem}"
            ) from None
