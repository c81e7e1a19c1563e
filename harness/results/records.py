"""What a results file holds a row of."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

EXAMPLES_PER_REQUIREMENT = 20
VERDICTS = ("pass", "fail", "warn", "info", "not applicable", "inconclusive", "error", "known", "stale")
"""Every verdict of a conformance check."""

HARNESS_FAULT = "the harness broke"
"""How the reason of a stream begins that a fault of our own kept from being judged; no other reason begins so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamRecord:
    """One stream, that is one POST of a journey.

    journey: "fresh", "replay", "resume" or "conflict". step: "run", "original", "retry", "cut", "resumed"
    or "conflicting". intended_ns, sent_ns: wall clock, epoch nanoseconds; sent_ns is None when nothing was
    sent. outcome: an ending of the ledger, or "in flight". reason: why it failed; None when it went as its
    step wanted; of one that we broke on, and so did not judge, a text that begins with HARNESS_FAULT. The *_ms
    are what harness.results.metrics defines, None where not measured. violations: how many the judges found in
    it. id: the file's own number, given on writing.
    """

    journey: str
    step: str
    worker: str
    intended_ns: int
    outcome: str
    sent_ns: int | None = None
    status: int | None = None
    reason: str | None = None
    connect_ms: float | None = None
    head_ms: float | None = None
    first_event_ms: float | None = None
    ttft_ms: float | None = None
    service_ttft_ms: float | None = None
    duration_ms: float | None = None
    resume_ms: float | None = None
    stall_ms: float | None = None
    events: int = 0
    tokens: int = 0
    idempotency_key: str | None = None
    run_id: str | None = None
    violations: int = 0
    id: int | None = None

    @property
    def unjudged(self) -> bool:
        """Whether a fault of the harness kept it from being judged, so that it neither failed nor did not."""
        return self.reason is not None and self.reason.startswith(HARNESS_FAULT)


@dataclass(frozen=True, slots=True, kw_only=True)
class ViolationRecord:
    """One example of a violated requirement, met under load. evidence: JSON; at_ns: epoch nanoseconds."""

    requirement: str
    journey: str
    at_ns: int
    detail: str
    evidence: Any = None
    id: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckRecord:
    """One requirement's conformance verdict.

    level: "MUST", "SHOULD" or "INFO". verdict: one of VERDICTS. evidence: a list of {"exchange": id of a
    stored exchange or None, "event": index of an event in it or None, "note": text}.
    """

    id: str
    level: str
    verdict: str
    detail: str = ""
    duration_s: float | None = None
    evidence: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleResultRecord:
    """What one test said of its requirement, and the packed evidence that its judge was given."""

    test: str
    requirement: str
    verdict: str
    detail: str
    evidence: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessRecord:
    """How one process of the harness fared in one epoch second.

    cpu: processor time / wall time, of all its threads: 1.0 is one core. open_streams: at the second's end.
    """

    worker: str
    second: int
    cpu: float
    rss_bytes: int
    open_streams: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ExchangeRecord:
    """One recorded request and its answer; document holds "curl", "ending", "wire", "events" and so on."""

    id: str
    scenario: str
    label: str
    document: dict[str, Any]


def _columns(row_type: type) -> tuple[str, ...]:
    return tuple(column.name for column in fields(row_type))


RUN_COLUMNS = _columns(StreamRecord)
