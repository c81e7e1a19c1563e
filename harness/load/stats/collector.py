"""Counts every stream of one process: scheduled before it is sent, ended exactly once.

Nothing here waits or switches greenlets, so the counts need no locks and a reader never sees half an update.
Results leave as StatsBatches, which are merged by addition.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field, replace

from harness.contract.decoding.token_layout import token_reader_in_use
from harness.contract.evidence.redaction import Redactor
from harness.contract.exchange import Exchange
from harness.contract.finding import Finding
from harness.formatting import visible
from harness.gate.goodput import is_good, limits_of
from harness.load.stats.journey_spans import JourneySpans
from harness.load.stats.stats_batch import StatsBatch
from harness.load.stats.stream_metrics import (
    StreamMeasurement,
    StreamStep,
    TimedValues,
    broken_requirements,
    by_second,
    failure_kind,
    failure_reason,
    measure,
    one_line,
    outcome_of,
    to_wall_ns,
    unmet_recommendations,
)
from harness.load.stats.violation_evidence import excerpts
from harness.protocol.traceparent import sent_trace_id
from harness.results.records import (
    AT_RESTART,
    EXAMPLES_PER_REQUIREMENT,
    HARNESS_FAULT,
    StreamRecord,
    ViolationRecord,
)
from harness.run_clock import RUN_CLOCK
from harness.transport.ready_sockets import reader_in_use

_SECOND_NS = 1_000_000_000
_MOST_FAULT_REASONS = 10  # per process; further reasons are counted together
_STREAMS_AT_ONCE = 64  # of which the gaps and lags are recorded together
_VALUES_AT_ONCE = 4096  # a stream with more waits for no other, so that they take little memory
_NO_CONTEXT = nullcontext()
_ID_CHARACTERS = 200  # limit for keys and run ids, which a server may make as long as it likes


class CollectorClosedError(RuntimeError):
    """The test has ended; no stream may be sent any more."""


@dataclass(slots=True)
class PendingStream:
    """A stream from its scheduling to its record. Times are wall clock, epoch ns, of RUN_CLOCK.

    exchange: what was exchanged, also if the stream was stopped. reason: why it failed, in full. kind: the reason
    without details of the single stream. was_checked: its findings are known. harness_fault: a fault of the harness
    kept it from being checked; then reason and kind describe that fault. at_restart: it failed because the server was
    restarted; its reason and kind say so, and it is in no rate. spans: those of its journey, if there are any.
    """

    journey: str
    step: StreamStep
    intended_wall_ns: int
    scheduled: bool
    exchange: Exchange | None = None
    outcome: str | None = None
    measured: StreamMeasurement = field(default_factory=StreamMeasurement)
    findings: list[Finding] = field(default_factory=list)
    reason: str | None = None
    kind: str | None = None
    was_checked: bool = False
    harness_fault: bool = False
    spans: JourneySpans | None = None
    at_restart: bool = False

    @property
    def is_judged(self) -> bool:
        """Whether it ended on its own and was checked."""
        kept = self.harness_fault or self.at_restart
        return self.outcome not in (None, "abandoned") and not kept and self.was_checked


class Collector:
    """One process's streams of one test.

    worker: the process's name in the results. secrets: masked in every text from the server. base_url: of the target,
    for curl commands in the evidence. run_limits: the per-run objectives by metric; journey_limits: those of journeys
    with their own (harness.gate.goodput). extra_stats: adds process statistics to each batch. on_finalized: called with
    each finished stream once it is known whether it failed.
    excuses: whether a stream failed because the server was restarted.
    """

    def __init__(
        self,
        worker: str,
        secrets: Iterable[str] = (),
        *,
        base_url: str = "",
        run_limits: Mapping[str, float] | None = None,
        journey_limits: Mapping[str, Mapping[str, float]] | None = None,
        extra_stats: Callable[[StatsBatch], None] = lambda _: None,
        on_finalized: Callable[[PendingStream], None] = lambda _: None,
        excuses: Callable[[PendingStream], bool] = lambda _: False,
    ) -> None:
        self.worker = worker
        self.closed = False
        self._secrets = tuple(secrets)
        self._redact = Redactor(self._secrets)
        self._base_url = base_url
        self._run_limits = run_limits or {}
        self._journey_limits = journey_limits or {}
        self._extra_stats = extra_stats
        self._on_finalized = on_finalized
        self._excuses = excuses
        self._open: dict[int, PendingStream] = {}
        self._unchecked: dict[int, PendingStream] = {}  # ended, not yet finalized
        self._batch = StatsBatch()
        self._waiting: dict[tuple[str, str], list[TimedValues]] = {}  # by metric and journey
        self._examples: Counter[str] = Counter()
        self._fault_reasons: set[str] = set()

    @property
    def open_streams(self) -> int:
        """The number of streams that were scheduled and have not ended."""
        return len(self._open)

    def schedule(self, journey: str, step: StreamStep, intended_ns: int | None = None) -> PendingStream:
        """Count a stream before anything is sent.

        intended_ns: when it was due, monotonic clock (open loop); None for now.
        Raises CollectorClosedError after `close`.
        """
        if self.closed:
            raise CollectorClosedError("the test has ended; no stream may start")
        wall_ns = RUN_CLOCK.wall_ns(intended_ns)
        stream = PendingStream(journey, step, wall_ns, scheduled=intended_ns is not None)
        self._open[id(stream)] = stream
        self._batch.ledger[wall_ns // _SECOND_NS, journey, "scheduled"] += 1
        return stream

    def drop(self, journey: str, intended_ns: int) -> None:
        """Count an arrival that does not start because max_in_flight is reached.

        intended_ns: when it was due, monotonic clock. Raises CollectorClosedError after `close`.
        """
        if self.closed:
            raise CollectorClosedError("the test has ended; no arrival is due")
        second = to_wall_ns(intended_ns) // _SECOND_NS
        self._batch.ledger[second, journey, "scheduled"] += 1
        self._batch.ledger[second, journey, "dropped"] += 1

    def end(self, stream: PendingStream, exchange: Exchange) -> str:
        """Count how a stream ended and return its outcome; `finalize` must follow.

        After `close` it stays "in flight". Raises ValueError if the stream has already ended or was stopped (a
        stopped stream stays open). After any other exception, which is a harness fault, call `abort`.
        """
        if self.closed:
            return "in flight"
        outcome = outcome_of(exchange, stream.step)
        self._record_outcome(stream, exchange, outcome)
        self._measure(stream, exchange, outcome)
        return outcome

    def add_value(self, stream: PendingStream, metric: str, value_ms: float) -> None:
        """Add what is known of a stream only with a later one. Does nothing after `close`."""
        if not self.closed:
            stream.measured.values[metric] = value_ms
            self._batch.record(metric, stream.journey, stream.intended_wall_ns // _SECOND_NS, value_ms)

    def end_session(
        self, first: PendingStream, last: PendingStream, *, succeeded: bool, duration_ms: float
    ) -> None:
        """Count a session that ended on its own, with its last stream's step.

        first: its first stream; warm-up and rates go by when that was due. succeeded: whether no step failed; then
        its duration is measured. Does nothing after `close`.
        """
        if self.closed:
            return
        second = first.intended_wall_ns // _SECOND_NS
        self._batch.rate_counts[second, last.journey, "sessions"] += 1
        if succeeded:
            self._batch.rate_counts[second, last.journey, "sessions_succeeded"] += 1
            self._batch.record("session_ms", last.journey, second, duration_ms)

    def abort(self, stream: PendingStream, exchange: Exchange, fault: str | None = None) -> None:
        """Count a stream as abandoned: its user was stopped during the test.

        fault: the harness fault that stopped it, if any; then it is not measured, and a stream for which `end`
        already counted an outcome keeps it. Raises ValueError if the stream is already finalized.
        """
        if fault is None:
            self._record_outcome(stream, exchange, "abandoned")
            self._measure(stream, exchange, "abandoned")
        elif id(stream) not in self._unchecked:
            self._record_outcome(stream, exchange, "abandoned")
        self.finalize(stream, [], fault=fault)

    def _record_outcome(self, stream: PendingStream, exchange: Exchange, outcome: str) -> None:
        if self._open.pop(id(stream), None) is None:
            raise ValueError(f"a {stream.journey} stream ended twice, or was never scheduled")
        stream.exchange = exchange
        stream.outcome = outcome
        second = to_wall_ns(exchange.timing.ended_ns) // _SECOND_NS
        self._batch.ledger[second, stream.journey, outcome] += 1
        self._unchecked[id(stream)] = stream

    def _measure(self, stream: PendingStream, exchange: Exchange, outcome: str) -> None:
        measured = measure(exchange, stream.step, outcome, scheduled=stream.scheduled)
        stream.measured = measured
        batch, journey = self._batch, stream.journey
        second = stream.intended_wall_ns // _SECOND_NS
        batch.record_all(measured.values, journey, second)
        if measured.gaps is not None:
            self._record_later("inter_token_ms", journey, measured.gaps)
        if measured.lags is not None:
            self._record_later("receive_lag_ms", journey, measured.lags)
        batch.totals["tokens"] += measured.tokens
        batch.totals["coalesced_tokens"] += measured.coalesced
        batch.totals["reads_stamped"] += measured.stamped
        batch.totals["reads_unstamped"] += measured.unstamped
        batch.totals[f"reads_{reader_in_use()}"] += measured.stamped + measured.unstamped
        batch.totals[f"tokens_{token_reader_in_use()}"] += measured.tokens

    def _record_later(self, metric: str, journey: str, values: TimedValues) -> None:
        """Record them together with those of other streams, in this batch."""
        waiting = self._waiting.setdefault((metric, journey), [])
        waiting.append(values)
        if len(waiting) >= _STREAMS_AT_ONCE or len(values.values_ns) >= _VALUES_AT_ONCE:
            self._record_waiting(metric, journey)

    def _record_waiting(self, metric: str, journey: str) -> None:
        for second, values_ms in by_second(self._waiting.pop((metric, journey))).items():
            self._batch.record_many(metric, journey, second, values_ms)

    def finalize(self, stream: PendingStream, findings: list[Finding], *, fault: str | None = None) -> None:
        """Record the findings of an ended stream, and so whether it failed and why.

        fault: the harness fault that kept it from being checked; then it counts neither for nor against the server
        and findings are ignored. Raises ValueError if the stream is already finalized or has not ended.
        """
        exchange, outcome = stream.exchange, stream.outcome
        if self._unchecked.pop(id(stream), None) is None or exchange is None or outcome is None:
            raise ValueError(f"a {stream.journey} stream is already finalized, or has not ended")
        if fault is None:
            stream.was_checked = True
            self._record_findings(stream, exchange, outcome, findings)
        else:
            self._record_fault(stream, fault)
        self._add_row(stream, exchange, outcome)
        self._on_finalized(stream)

    def _record_fault(self, stream: PendingStream, fault: str) -> None:
        reason = one_line(self._redact.lines(f"{HARNESS_FAULT} {fault}"))
        stream.harness_fault, stream.reason, stream.kind = True, reason, reason
        if reason not in self._fault_reasons and len(self._fault_reasons) == _MOST_FAULT_REASONS:
            reason = f"{HARNESS_FAULT} for other reasons"
        else:
            self._fault_reasons.add(reason)
        self._batch.faults[reason] += 1

    def _record_findings(
        self, stream: PendingStream, exchange: Exchange, outcome: str, findings: list[Finding]
    ) -> None:
        broken = [
            replace(finding, detail=self._redact.sentence(finding.detail))
            for finding in broken_requirements(findings)
        ]
        stream.findings = broken
        # Masked before it is shortened: half a secret would not be recognized.
        stream.reason = failure_reason(exchange, outcome, stream.step, broken, self._redact.lines)
        stream.kind = failure_kind(exchange, outcome, stream.step, broken, self._redact.lines)
        ended_wall_ns = to_wall_ns(exchange.timing.ended_ns)
        if stream.reason is not None and not broken and self._excuses(stream):
            stream.at_restart = True
            stream.reason, stream.kind = f"{AT_RESTART} {stream.reason}", f"{AT_RESTART} {stream.kind}"
        else:
            if stream.reason is not None:
                self._batch.failures[ended_wall_ns // _SECOND_NS, stream.journey] += 1
            self._count_rates(stream, outcome, broken)
        for finding in broken:
            self._record_violation(finding, stream.journey, ended_wall_ns)
        for finding in unmet_recommendations(findings):
            self._batch.warnings[finding.requirement] += 1

    def _count_rates(self, stream: PendingStream, outcome: str, broken: list[Finding]) -> None:
        step = stream.step
        self._batch.count_rates(
            stream.intended_wall_ns // _SECOND_NS,
            stream.journey,
            judged=outcome != "abandoned",
            failed=stream.reason is not None,
            run=step.is_run,
            good=outcome == "done"
            and not broken
            and is_good(
                stream.measured.values,
                limits_of(stream.journey, self._run_limits, self._journey_limits),
                begins_run=step.begins_run,
            ),
        )

    def _record_violation(self, finding: Finding, journey: str, at_ns: int) -> None:
        self._batch.violations[finding.requirement, journey] += 1
        self._batch.violated_at[at_ns // _SECOND_NS] += 1
        if self._examples[finding.requirement] < EXAMPLES_PER_REQUIREMENT:
            self._examples[finding.requirement] += 1
            self._batch.examples.append(
                ViolationRecord(
                    requirement=finding.requirement,
                    journey=journey,
                    at_ns=at_ns,
                    detail=finding.detail,
                    evidence=excerpts(finding.places, self._base_url, self._redact.secrets),
                )
            )

    def _add_row(self, stream: PendingStream, exchange: Exchange | None, outcome: str) -> None:
        row = self._row(stream, exchange, outcome)
        self._batch.rows.append(row)
        if stream.spans is not None:
            stream.spans.add(
                stream.step,
                exchange,
                row,
                kind=stream.kind,
                cancel_ms=stream.measured.values.get("cancel_ms"),
            )

    def _row(self, stream: PendingStream, exchange: Exchange | None, outcome: str) -> StreamRecord:
        measured = stream.measured
        value = measured.values.get
        sent_ns = status = key = run_id = trace_id = None
        if exchange is not None:
            sent_ns = None if exchange.timing.sent_ns is None else to_wall_ns(exchange.timing.sent_ns)
            key = exchange.request.header("idempotency-key")
            sent_id = sent_trace_id(exchange.request)
            # After a harness fault, decoding itself may raise.
            with suppress(Exception) if stream.harness_fault else _NO_CONTEXT:
                status, run_id = exchange.status, exchange.run_id
            key, run_id, trace_id = map(self._shown, self._redact.texts((key, run_id, sent_id)))
            if trace_id != sent_id:  # it has a secret in it
                trace_id = None
        return StreamRecord(
            journey=stream.journey,
            step=stream.step.name,
            worker=self.worker,
            intended_ns=stream.intended_wall_ns,
            outcome=outcome,
            sent_ns=sent_ns,
            status=status,
            reason=stream.reason,
            connect_ms=value("connect_ms"),
            head_ms=value("head_ms"),
            first_event_ms=value("first_event_ms"),
            ttft_ms=value("ttft_ms"),
            service_ttft_ms=value("service_ttft_ms"),
            duration_ms=value("duration_ms"),
            resume_ms=value("resume_ms"),
            stall_ms=value("stall_ms"),
            events=measured.events,
            tokens=measured.tokens,
            idempotency_key=key,
            run_id=run_id,
            trace_id=trace_id,
            violations=len(stream.findings),
        )

    @staticmethod
    def _shown(text: str | None) -> str | None:
        """A masked id for the results, which a server may make as long as it likes."""
        return None if text is None else visible(text)[:_ID_CHARACTERS]

    def close(self) -> None:
        """End the test: open streams count as in flight, and nothing can be scheduled any more.

        A stream that ended but was not checked counts in rates only if its outcome alone makes it a failure.
        Further calls do nothing.
        """
        if self.closed:
            return
        self.closed = True
        for stream in list(self._unchecked.values()):
            self._finalize_unchecked(stream)
        second = RUN_CLOCK.wall_ns() // _SECOND_NS
        for stream in self._open.values():
            self._batch.ledger[second, stream.journey, "in flight"] += 1
            if stream.exchange is not None:
                self._measure(stream, stream.exchange, "in flight")
            self._add_row(stream, stream.exchange, "in flight")

    def _finalize_unchecked(self, stream: PendingStream) -> None:
        """Record an ended stream that no rule has checked: in no rate, unless its outcome makes it a failure."""
        exchange, outcome = stream.exchange, stream.outcome
        if (
            exchange is None
            or outcome is None
            or failure_reason(exchange, outcome, stream.step, []) is not None
        ):
            self.finalize(stream, [])
            return
        del self._unchecked[id(stream)]
        self._add_row(stream, exchange, outcome)
        self._on_finalized(stream)

    def take(self) -> StatsBatch:
        """What happened since the previous call."""
        for metric, journey in list(self._waiting):
            self._record_waiting(metric, journey)
        batch, self._batch = self._batch, StatsBatch()
        self._extra_stats(batch)
        if self.closed:
            batch.open = {}
        else:
            batch.open = dict(Counter(stream.journey for stream in self._open.values()))
        return batch
