"""The rows of a results file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from typing import Any

from harness.formatting import counted

EXAMPLES_PER_REQUIREMENT = 20
VERDICTS = ("pass", "fail", "warn", "info", "not applicable", "inconclusive", "error", "known", "stale")
"""Every verdict of a conformance check."""

LEVELS = ("MUST", "SHOULD", "INFO")
"""Every level of a requirement."""

HARNESS_FAULT = "harness fault"
"""Prefix of the reason of every stream that a fault of the harness kept from being judged, and of no other."""

AT_RESTART = "at the restart:"
"""Prefix of the reason of every stream that failed because the server was restarted: it is in no rate."""


def tally(verdicts: Iterable[str], tests: int = 0) -> str:
    """How many requirements have which verdict: "93 requirements: 85 pass, 8 info (decided by 224 tests)".

    Page, terminal and summaries use these words, so that their numbers count the same. tests: 0 if unknown.
    """
    counts = Counter(verdicts)
    parts = ", ".join(f"{counts[verdict]:,} {verdict}" for verdict in VERDICTS if counts[verdict])
    text = f"{counted(counts.total(), 'requirement')}: {parts}"
    return f"{text} (decided by {counted(tests, 'test')})" if tests else text


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamRecord:
    """One stream: one POST of a journey and its response.

    step: the stream's part in the journey, for example "run", "cut" or "resumed". intended_ns, sent_ns: wall
    clock, epoch nanoseconds; sent_ns is None when nothing was sent. outcome: an ending of the ledger, or "in
    flight". reason: why it failed; None when it ended as its step expects; begins with HARNESS_FAULT when a fault
    of the harness kept it from being judged. *_ms: see harness.results.metrics; None where not measured.
    trace_id: 32 hexadecimal digits, of the traceparent field of its request. violations: requirements that the rules
    found broken in it. id: row number, assigned on writing.
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
    trace_id: str | None = None
    violations: int = 0
    id: int | None = None

    @property
    def unjudged(self) -> bool:
        """Whether a fault of the harness kept it from being judged: it neither passed nor failed."""
        return self.reason is not None and self.reason.startswith(HARNESS_FAULT)


@dataclass(frozen=True, slots=True, kw_only=True)
class ViolationRecord:
    """One example of a requirement violated under load. evidence: JSON; at_ns: epoch nanoseconds."""

    requirement: str
    journey: str
    at_ns: int
    detail: str
    evidence: Any = None
    id: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckRecord:
    """One requirement's conformance verdict.

    level: one of LEVELS. verdict: one of VERDICTS. evidence: a list of {"exchange": id of a
    stored exchange or None, "event": index of the event or None, "note": text}.
    """

    id: str
    level: str
    verdict: str
    detail: str = ""
    duration_s: float | None = None
    evidence: list[dict[str, Any]] = field(default_factory=list)

    @property
    def tested(self) -> bool:
        """Whether a test of the requirement ran."""
        return self.verdict != "inconclusive" or bool(self.duration_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleResultRecord:
    """One test's verdict on its requirement, and the packed evidence that its rule was given."""

    test: str
    requirement: str
    verdict: str
    detail: str
    evidence: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessRecord:
    """Resource usage of one harness process in one epoch second.

    cpu: CPU time / wall time over all threads; 1.0 is one core. open_streams: at the end of the second.
    """

    worker: str
    second: int
    cpu: float
    rss_bytes: int
    open_streams: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ScrapeRecord:
    """A value of the server's own metrics, read in that epoch second.

    series: name and labels, as Prometheus writes them. kind: "counter", which only grows, or "gauge".
    """

    second: int
    series: str
    kind: str
    value: float


SCRAPE_KINDS = ("counter", "gauge")


@dataclass(frozen=True, slots=True, kw_only=True)
class ExchangeRecord:
    """One recorded request and its response. document: keys "curl", "ending", "wire", "events" and others."""

    id: str
    scenario: str
    label: str
    document: dict[str, Any]


def _columns(row_type: type) -> tuple[str, ...]:
    return tuple(column.name for column in fields(row_type))


STREAM_COLUMNS = _columns(StreamRecord)
