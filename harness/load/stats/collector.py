"""The books of one process: every stream is entered before it is sent, and crossed out exactly once.

Nothing here waits or switches greenlets, so the counts need no locks and no reader sees half an entry.
What was gathered leaves as a Delta, which is merged by addition wherever it is put.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field

from harness.contract.evidence.redaction import Redactor
from harness.contract.exchange import Exchange
from harness.contract.finding import Finding
from harness.gate.goodput import is_good
from harness.load.stats.stats_batch import StatsBatch
from harness.load.stats.stream_metrics import (
    StreamMeasurement,
    StreamStep,
    broken_requirements,
    kind_of,
    measure,
    one_line,
    outcome_of,
    reason_of,
    unmet_recommendations,
    wall_now_ns,
)
from harness.load.stats.violation_evidence import excerpts
from harness.results.records import EXAMPLES_PER_REQUIREMENT, HARNESS_FAULT, StreamRecord, ViolationRecord

_SECOND_NS = 1_000_000_000
_DIFFERENT_FAULTS = 10  # of one process that are told apart
_NAME_CHARACTERS = 200  # of keys and run ids, which a server may make as long as it likes


class CollectorClosedError(RuntimeError):
    """The test is over, and its books are closed: nothing more may be sent."""


@dataclass(slots=True)
class PendingStream:
    """One entry. Times are wall clock, epoch ns; `exchange` is what came of it, also when it was stopped.

    reason, kind: why it failed, in full and without what differs from stream to stream. unjudged: neither is
    the server's doing, but a fault of ours.
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
    unjudged: bool = False


class Collector:
    """One process's books for one test.

    worker: the name under which they are kept. secrets: texts that must stand in no evidence. base_url: of
    the target, for its curl commands. run_limits: what a run has to meet to be good, by metric, and
    journey_limits, of the journeys that have limits of their own (harness.gate.evaluate). beside: adds to
    what leaves the process. on_settled: told of each stream that ended, once it is known whether it failed.
    """

    def __init__(
        self,
        worker: str,
        secrets: Iterable[str] = (),
        *,
        base_url: str = "",
        run_limits: Mapping[str, float] | None = None,
        journey_limits: Mapping[str, Mapping[str, float]] | None = None,
        beside: Callable[[StatsBatch], None] = lambda _: None,
        on_settled: Callable[[PendingStream], None] = lambda _: None,
    ) -> None:
        self.worker = worker
        self.closed = False
        self._secrets = tuple(secrets)
        self._base_url = base_url
        self._run_limits = run_limits or {}
        self._journey_limits = journey_limits or {}
        self._beside = beside
        self._on_settled = on_settled
        self._open: dict[int, PendingStream] = {}  # entered, not ended
        self._unsettled: dict[int, PendingStream] = {}  # ended, and still to be judged
        self._delta = StatsBatch()
        self._examples: Counter[str] = Counter()
        self._faults: set[str] = set()

    @property
    def open_streams(self) -> int:
        """How many streams have been entered and have not ended."""
        return len(self._open)

    def schedule(self, journey: str, step: StreamStep, intended_ns: int | None = None) -> PendingStream:
        """Enter a stream; call it before anything is sent.

        intended_ns: when it was due, on the monotonic clock (open loop); None for now.
        Raises CollectorClosedError after `close`.
        """
        if self.closed:
            raise CollectorClosedError("the test is over; no stream may begin")
        wall_ns = time.time_ns() if intended_ns is None else wall_now_ns(intended_ns)
        stream = PendingStream(journey, step, wall_ns, scheduled=intended_ns is not None)
        self._open[id(stream)] = stream
        self._delta.ledger[wall_ns // _SECOND_NS, journey, "scheduled"] += 1
        return stream

    def drop(self, journey: str, intended_ns: int) -> None:
        """Enter an arrival that is not begun, because as many as may be are under way.

        intended_ns: when it was due, on the monotonic clock. Raises CollectorClosedError after `close`.
        """
        if self.closed:
            raise CollectorClosedError("the test is over; no arrival is due")
        second = wall_now_ns(intended_ns) // _SECOND_NS
        self._delta.ledger[second, journey, "scheduled"] += 1
        self._delta.ledger[second, journey, "dropped"] += 1

    def end(self, stream: PendingStream, exchange: Exchange) -> str:
        """Cross a stream out under the word for how it ended, which is returned; `settle` must follow.

        In closed books it stays what it was when they were closed, in flight. Raises ValueError when it has
        ended before, and for one that was stopped, which stays open. Of whatever else it raises, which is a fault
        of ours, `give_up` is to be told.
        """
        if self.closed:
            return "in flight"
        outcome = outcome_of(exchange)
        self._record_outcome(stream, exchange, outcome)
        self._measure(stream, exchange, outcome)
        return outcome

    def give_up(self, stream: PendingStream, exchange: Exchange, fault: str | None = None) -> None:
        """A user was stopped in mid-test, and its stream with it: it was abandoned by us.

        fault: what of ours broke, where it was no orderly stop; then it is not measured. One on which `end`
        broke keeps its word if it had one by then. Raises ValueError for one that is settled already.
        """
        if fault is None:
            self._record_outcome(stream, exchange, "abandoned")
            self._measure(stream, exchange, "abandoned")
        elif id(stream) not in self._unsettled:
            self._record_outcome(stream, exchange, "abandoned")
        self.finalize(stream, [], fault=fault)

    def _record_outcome(self, stream: PendingStream, exchange: Exchange, outcome: str) -> None:
        if self._open.pop(id(stream), None) is None:
            raise ValueError(f"a {stream.journey} stream ended twice, or was never scheduled")
        stream.exchange = exchange
        stream.outcome = outcome
        second = wall_now_ns(exchange.timing.ended_ns) // _SECOND_NS
        self._delta.ledger[second, stream.journey, outcome] += 1
        self._unsettled[id(stream)] = stream

    def _measure(self, stream: PendingStream, exchange: Exchange, outcome: str) -> None:
        measured = measure(exchange, stream.step, outcome, scheduled=stream.scheduled)
        stream.measured = measured
        delta, journey = self._delta, stream.journey
        second = stream.intended_wall_ns // _SECOND_NS
        for metric, value in measured.per_run.items():
            delta.record(metric, journey, second, value)
        for arrival_second, gaps_ms in measured.gaps_ms.items():
            delta.record_many("inter_token_ms", journey, arrival_second, gaps_ms)
        for arrival_second, lags_ms in measured.lags_ms.items():
            delta.record_many("receive_lag_ms", journey, arrival_second, lags_ms)
        delta.totals["tokens"] += measured.tokens
        delta.totals["coalesced_tokens"] += measured.coalesced
        delta.totals["reads_stamped"] += measured.stamped
        delta.totals["reads_unstamped"] += measured.unstamped

    def finalize(self, stream: PendingStream, findings: list[Finding], *, fault: str | None = None) -> None:
        """Enter what the judges found in a stream that ended, and so whether it failed and why.

        fault: what of ours broke, so that it could not be judged; it counts neither for nor against the server
        then, and findings are not entered. Raises ValueError when it is settled already.
        """
        exchange, outcome = stream.exchange, stream.outcome
        if self._unsettled.pop(id(stream), None) is None or exchange is None or outcome is None:
            raise ValueError(f"a {stream.journey} stream is settled already, or has not ended")
        if fault is None:
            self._judged(stream, exchange, outcome, findings)
        else:
            self._broke_on(stream, fault)
        self._delta.rows.append(self._row(stream, exchange, outcome))
        self._on_settled(stream)

    def _broke_on(self, stream: PendingStream, fault: str) -> None:
        said = one_line(Redactor(self._secrets).text(f"{HARNESS_FAULT} {fault}"))
        stream.unjudged, stream.reason, stream.kind = True, said, said
        if said not in self._faults and len(self._faults) == _DIFFERENT_FAULTS:
            said = f"{HARNESS_FAULT} for other reasons"
        else:
            self._faults.add(said)
        self._delta.faults[said] += 1

    def _judged(
        self, stream: PendingStream, exchange: Exchange, outcome: str, findings: list[Finding]
    ) -> None:
        broken = broken_requirements(findings)
        stream.findings = broken
        stream.reason = reason_of(exchange, outcome, stream.step, broken)
        stream.kind = kind_of(exchange, outcome, stream.step, broken)
        at_ns = wall_now_ns(exchange.timing.ended_ns)
        if stream.reason is not None:
            self._delta.failures[at_ns // _SECOND_NS, stream.journey] += 1
        self._count_rates(stream, outcome, broken)
        for finding in broken:
            self._violation(finding, stream.journey, at_ns)
        for finding in unmet_recommendations(findings):
            self._delta.warnings[finding.requirement] += 1

    def _count_rates(self, stream: PendingStream, outcome: str, broken: list[Finding]) -> None:
        step, values = stream.step, stream.measured.per_run
        self._delta.count_rates(
            stream.intended_wall_ns // _SECOND_NS,
            stream.journey,
            judged=outcome != "abandoned",
            failed=stream.reason is not None,
            run=step.wants[0] == "done",
            good=outcome == "done"
            and not broken
            and is_good(
                values,
                self._journey_limits.get(stream.journey, self._run_limits),
                begins_run=step.begins_run,
            ),
        )

    def _violation(self, finding: Finding, journey: str, at_ns: int) -> None:
        self._delta.violations[finding.requirement, journey] += 1
        self._delta.violated_at[at_ns // _SECOND_NS] += 1
        if self._examples[finding.requirement] < EXAMPLES_PER_REQUIREMENT:
            self._examples[finding.requirement] += 1
            self._delta.examples.append(
                ViolationRecord(
                    requirement=finding.requirement,
                    journey=journey,
                    at_ns=at_ns,
                    detail=finding.detail,
                    evidence=excerpts(finding.places, self._base_url, self._secrets),
                )
            )

    def _row(self, stream: PendingStream, exchange: Exchange | None, outcome: str) -> StreamRecord:
        measured = stream.measured
        value = measured.per_run.get
        sent_ns = status = key = run_id = None
        if exchange is not None:
            sent_ns = exchange.timing.sent_wall_ns
            key = _shortened(exchange.request.header("idempotency-key"))
            with suppress(Exception) if stream.unjudged else nullcontext():  # its decoding may be what broke
                status, run_id = exchange.status, _shortened(exchange.run_id)
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
            violations=len(stream.findings),
        )

    def close(self) -> None:
        """The test is over: what is open now is in flight. Nothing can be scheduled after it.

        A stream that ended and was not judged any more is no success: it counts only where it ended as a failure.
        A second call does nothing.
        """
        if self.closed:
            return
        self.closed = True
        for stream in list(self._unsettled.values()):
            self._leave(stream)
        second = time.time_ns() // _SECOND_NS
        for stream in self._open.values():
            self._delta.ledger[second, stream.journey, "in flight"] += 1
            if stream.exchange is not None:
                self._measure(stream, stream.exchange, "in flight")
            self._delta.rows.append(self._row(stream, stream.exchange, "in flight"))

    def _leave(self, stream: PendingStream) -> None:
        """Enter a stream that nobody came to judge: in no rate, unless it failed by its ending alone."""
        exchange, outcome = stream.exchange, stream.outcome
        if exchange is None or outcome is None or reason_of(exchange, outcome, stream.step, []) is not None:
            self.finalize(stream, [])
            return
        del self._unsettled[id(stream)]
        self._delta.rows.append(self._row(stream, exchange, outcome))
        self._on_settled(stream)

    def take(self) -> StatsBatch:
        """What happened since the last call."""
        delta, self._delta = self._delta, StatsBatch()
        self._beside(delta)
        if self.closed:
            delta.open = {}
        else:
            delta.open = dict(Counter(stream.journey for stream in self._open.values()))
        return delta


def _shortened(text: str | None) -> str | None:
    return None if text is None else text[:_NAME_CHARACTERS]
