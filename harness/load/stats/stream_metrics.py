"""One stream's ledger outcome, metrics and failure reason.

The formulas are those of harness.results.metrics. Run metrics (first event, TTFT, gaps, token rate, duration) come from
the stream that started the run, not from a replay, whose tokens were generated earlier.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from harness.contract.decoding.response import ResponseSummary
from harness.contract.exchange import Ending, Exchange
from harness.contract.finding import Finding, Verdict
from harness.formatting import visible
from harness.profiles.capability import Capability
from harness.results.metrics import LEAST_RATE_MS, NET_METRICS
from harness.run_clock import RUN_CLOCK

_REASON_CHARACTERS = 500
_TOO_MANY_REQUESTS = 429
_SECOND_NS = 1_000_000_000
_VISIBLE = partial(visible, keep="\r\n\t")  # one_line makes blanks of them


@dataclass(frozen=True, slots=True)
class StreamStep:
    """A stream's part in its journey.

    expects: the ledger outcomes that are not failures; failure reasons name the first.
    begins_run: whether it is the run's first stream, from which run metrics are taken.
    reads_at_once: whether it reads as soon as data arrives. If not, its receive lag is intended and not recorded.
    is_cold: of a session, whether it is the first run; None outside of sessions.
    is_request: a request whose answer is not a stream: with a 2xx it is done. may_be_run: whether goodput may count it.
    """

    name: str
    expects: tuple[str, ...] = ("done",)
    begins_run: bool = False
    reads_at_once: bool = True
    is_cold: bool | None = None
    is_request: bool = False
    may_be_run: bool = True

    @property
    def is_run(self) -> bool:
        """Whether it should complete a run, for goodput."""
        return self.may_be_run and self.expects[0] == "done" and not self.is_request


RUN = StreamStep("run", begins_run=True)
ORIGINAL = StreamStep("original", begins_run=True)
RETRY = StreamStep("retry")
CUT = StreamStep("cut", expects=("abandoned", "done"), begins_run=True)  # done: it ended before the cut
RESUMED = StreamStep("resumed")
RESUMED_AND_CUT = StreamStep("resumed", expects=("abandoned", "done"))
REREAD = StreamStep("reread")
CONFLICTING = StreamStep("conflicting", expects=("rejected",))
JOINED = StreamStep("joined")
JOINED_AND_CUT = StreamStep("joined", expects=("abandoned", "done"))
RACING = StreamStep("racing")  # the first of the race is ORIGINAL
ABANDONED = StreamStep("abandoned", expects=("abandoned", "done"), begins_run=True)
SLOW = StreamStep("slow", reads_at_once=False)  # begins a run, but its times depend on our reading pace
CANCELLED = StreamStep(
    "run", expects=("cancelled", "done"), begins_run=True
)  # done: before it could be cancelled
CANCELLING = StreamStep(
    "cancelling", expects=("done", "rejected"), is_request=True
)  # a rule decides on a rejection
REREAD_CANCELLED = StreamStep("reread", expects=("cancelled",))
REREAD_LEFT = StreamStep(
    "reread", expects=("cancelled", "done")
)  # done: it may have ended before a server must notice that its reader left; a rule decides
ASKING = StreamStep("outcome", is_request=True)
AFTER_RESTART = StreamStep(
    "after restart", expects=("done", "error", "cancelled"), may_be_run=False
)  # of an interrupted run, which may have ended with an error

_ENDING_OUTCOMES = {
    Ending.REFUSED: "refused",
    Ending.TIMED_OUT: "timed out",
    Ending.CUT: "abandoned",
    Ending.TRUNCATED: "truncated",
    Ending.RESET: "truncated",
    Ending.MALFORMED: "truncated",
    Ending.LIMIT: "abandoned",
}
_BROKEN_OFF = frozenset({"truncated", "timed out", "refused"})


def outcome_of(exchange: Exchange, step: StreamStep) -> str:
    """The ledger outcome of a stream that ended.

    A stream with an error of code 409 is a rejection only where the step sends a used key with a different body. A
    run that failed with such an error ended with ``error``.
    Raises ValueError for a stopped stream: whether it is "in flight" or "abandoned" depends on why it was stopped.
    """
    if exchange.ending is Ending.STOPPED:
        raise ValueError("a stopped stream has no outcome")
    outcome = _ENDING_OUTCOMES.get(exchange.ending)
    # A reset can overtake the end of the response body, but the terminal event was already read.
    if exchange.ending is Ending.RESET and exchange.status == 200 and exchange.outcome is not None:
        outcome = None
    if outcome is not None:
        return outcome
    if step.is_request:
        return "done" if exchange.status is not None and 200 <= exchange.status < 300 else "rejected"
    if exchange.status != 200 or ("rejected" in step.expects and exchange.has_conflict_event):
        return "rejected"
    return exchange.outcome or "truncated"


def broken_requirements(findings: list[Finding]) -> list[Finding]:
    """The findings of broken MUSTs, one per requirement."""
    return list(
        {finding.requirement: finding for finding in findings if finding.verdict is Verdict.FAIL}.values()
    )


def unmet_recommendations(findings: list[Finding]) -> list[Finding]:
    """The findings of unmet SHOULDs, one per requirement."""
    return list(
        {finding.requirement: finding for finding in findings if finding.verdict is Verdict.WARN}.values()
    )


def failure_reason(
    exchange: Exchange,
    outcome: str,
    step: StreamStep,
    broken: list[Finding],
    shown: Callable[[str], str] = _VISIBLE,
) -> str | None:
    """Why the stream failed, in one line; None if it ended as its step expects and broke no MUST.

    shown: masks what a server's words must not show.
    """
    reason = _unexpected_ending(exchange, outcome, step)
    if reason is None and broken:
        reason = f"{broken[0].requirement}: {broken[0].detail}"
    return None if reason is None else one_line(shown(reason))


def _unexpected_ending(exchange: Exchange, outcome: str, step: StreamStep) -> str | None:
    if outcome == "rejected" and exchange.is_throttled:  # not the rejection that a step may expect
        return "rate limited (429)" if exchange.status == _TOO_MANY_REQUESTS else "unavailable (503)"
    if outcome in _BROKEN_OFF:
        detail = exchange.ending_detail or "the response ended without a terminal event"
        return f"{outcome}: {detail}"
    if outcome in step.expects or exchange.ending is Ending.STOPPED:
        return None
    if outcome == "rejected":
        return f"rejected with status {exchange.status}, expected {step.expects[0]}"
    return f"ended with {outcome}, expected {step.expects[0]}"


def failure_kind(
    exchange: Exchange,
    outcome: str,
    step: StreamStep,
    broken: list[Finding],
    shown: Callable[[str], str] = _VISIBLE,
) -> str | None:
    """The failure reason without details of the single stream, for grouping in tables. shown: see failure_reason."""
    unexpected = _unexpected_ending(exchange, outcome, step)
    if unexpected is not None:
        return one_line(shown(unexpected))
    return f"violates {', '.join(finding.requirement for finding in broken)}" if broken else None


def one_line(text: str) -> str:
    """The text on one line, shortened to the maximum length of a reason."""
    line = " ".join(text.split())
    return line if len(line) <= _REASON_CHARACTERS else f"{line[:_REASON_CHARACTERS]}…"


def to_wall_ns(monotonic_ns: int) -> int:
    """A monotonic clock reading as wall clock time, epoch ns, as of the start of the test."""
    return RUN_CLOCK.wall_ns(monotonic_ns)


_Numbers = npt.NDArray[np.int64]


class TimedValues(NamedTuple):
    """Values in ns, each with the arrival that ends its gap or lag: wall clock, epoch ns."""

    at_wall_ns: _Numbers
    values_ns: _Numbers


def by_second(parts: Sequence[TimedValues]) -> dict[int, npt.NDArray[np.float64]]:
    """Values in ms by epoch second, those of many streams at once: for each alone it would take ten times as long."""
    if not parts:
        return {}
    seconds: _Numbers = np.concatenate([part.at_wall_ns for part in parts]) // _SECOND_NS
    order = np.argsort(seconds, kind="stable")
    seconds = seconds[order]
    values_ms = np.concatenate([part.values_ns for part in parts])[order] / 1e6
    starts = [0, *(np.flatnonzero(np.diff(seconds)) + 1).tolist(), len(seconds)]
    return {int(seconds[start]): values_ms[start:end] for start, end in pairwise(starts)}


@dataclass(slots=True)
class StreamMeasurement:
    """One stream's numbers.

    values: at most one value per metric of harness.results.metrics, NET_METRICS included. coalesced: tokens in the same
    read as the previous token, which therefore have no gap. stamped, unstamped: reads with and without a kernel
    timestamp.
    """

    values: dict[str, float] = field(default_factory=dict)
    gaps: TimedValues | None = None
    lags: TimedValues | None = None
    events: int = 0
    tokens: int = 0
    coalesced: int = 0
    stamped: int = 0
    unstamped: int = 0


def measure(exchange: Exchange, step: StreamStep, outcome: str, *, scheduled: bool) -> StreamMeasurement:
    """Measure a stream. scheduled: whether it had a due time (open loop)."""
    timing, summary = exchange.timing, exchange.summary
    measured = StreamMeasurement(events=summary.events, tokens=len(summary.token_arrivals_ns))
    if timing.connected_ns is not None:
        measured.values["connect_ms"] = _ms(timing.connected_ns - timing.started_ns)
    if scheduled:
        measured.values["schedule_lag_ms"] = _ms(timing.started_ns - timing.intended_ns)
    if step.reads_at_once and exchange.has_kernel_stamps:
        measured.values["arrival_error_ms"] = _ms(_arrival_error_ns(exchange, summary))
    if timing.sent_ns is not None:
        _measure_response(measured, exchange, step, outcome)
        wall_offset_ns = to_wall_ns(timing.sent_ns) - timing.sent_ns
        if step.begins_run and outcome != "rejected":
            _measure_gaps(measured, summary.token_arrivals_ns, wall_offset_ns)
        if step.reads_at_once:
            _measure_lags(measured, exchange, wall_offset_ns)
    return measured


def _measure_response(
    measured: StreamMeasurement, exchange: Exchange, step: StreamStep, outcome: str
) -> None:
    timing, summary, values = exchange.timing, exchange.summary, measured.values
    sent_ns = timing.sent_ns or 0
    if exchange.head_ns is not None:
        values["head_ms"] = _ms(exchange.head_ns - sent_ns)
    if step.name == CONFLICTING.name and outcome == "rejected" and not exchange.is_throttled:
        first_ns = summary.first_event_ns or exchange.reads[-1].arrival_ns
        values["conflict_ms"] = _ms(first_ns - sent_ns)
    if outcome == "rejected" or summary.first_event_ns is None:
        return
    if step.name == RESUMED.name:
        values["resume_ms"] = _ms(summary.first_event_ns - sent_ns)
    if step.begins_run:
        values["first_event_ms"] = _ms(summary.first_event_ns - timing.intended_ns)
        _measure_run(values, exchange, step, outcome)
    _measure_net(values, exchange, sent_ns)


def _measure_run(values: dict[str, float], exchange: Exchange, step: StreamStep, outcome: str) -> None:
    """When its first token and other signs of work came, and how long it took."""
    timing, summary = exchange.timing, exchange.summary
    sent_ns = timing.sent_ns or 0
    if summary.token_arrivals_ns:
        first_token_ns = summary.token_arrivals_ns[0]
        values["ttft_ms"] = _ms(first_token_ns - timing.intended_ns)
        values["service_ttft_ms"] = _ms(first_token_ns - sent_ns)
        if step.is_cold is not None:
            values["cold_ttft_ms" if step.is_cold else "warm_ttft_ms"] = values["ttft_ms"]
    for sign, first_ns in summary.first_signs_ns.items():
        values[f"ttf_{sign}_ms"] = _ms(first_ns - timing.intended_ns)
    if exchange.over_ns is not None:
        values["duration_ms"] = _ms(exchange.over_ns - timing.intended_ns)
        if outcome == "done":
            _measure_output(values, exchange, sent_ns, exchange.over_ns)


def _measure_output(values: dict[str, float], exchange: Exchange, sent_ns: int, over_ns: int) -> None:
    """The time per output token and their rate, over the whole run."""
    summary = exchange.summary
    tokens = _visible_tokens(exchange)
    if tokens is not None and tokens > 1 and summary.token_arrivals_ns:
        values["tpot_ms"] = _ms(over_ns - summary.token_arrivals_ns[0]) / (tokens - 1)
    took_ms = _ms(over_ns - sent_ns)
    if summary.output_tokens and took_ms >= LEAST_RATE_MS:
        values["output_tokens_per_s"] = summary.output_tokens / took_ms * 1000


def _visible_tokens(exchange: Exchange) -> int | None:
    """The output tokens that are text: by the API's count if it promises one, else the token events.

    None if its count is missing, or may have tokens of reasoning or of tool calls in it: these are not between the
    first token with text and the end.
    """
    summary = exchange.summary
    if Capability.USAGE not in exchange.profile.capabilities:
        return len(summary.token_arrivals_ns)
    reasoning = summary.reasoning_tokens
    if reasoning is None and "reasoning" not in summary.first_signs_ns:
        reasoning = 0
    if summary.output_tokens is None or reasoning is None or "tool" in summary.first_signs_ns:
        return None
    return summary.output_tokens - reasoning


def _measure_net(values: dict[str, float], exchange: Exchange, sent_ns: int) -> None:
    """The same without the harness's own delays before the send, stream by stream."""
    timing = exchange.timing
    connect_ns = 0 if timing.connected_ns is None else timing.connected_ns - timing.started_ns
    delay_ms = _ms(sent_ns - connect_ns - timing.intended_ns)
    for metric, net in NET_METRICS.items():
        if metric in values:
            values[net] = max(0.0, values[metric] - delay_ms)


def _arrival_error_ns(exchange: Exchange, summary: ResponseSummary) -> int:
    errors_ns = exchange.errors_ns()
    if not errors_ns:
        return 0
    first_token_ns = summary.token_arrivals_ns[0] if summary.token_arrivals_ns else None
    signs_ns = summary.first_signs_ns.values()
    moments = (exchange.head_ns, summary.first_event_ns, first_token_ns, *signs_ns, exchange.over_ns)
    return max((errors_ns.get(moment, 0) for moment in moments if moment is not None), default=0)


def _measure_gaps(measured: StreamMeasurement, arrivals_ns: Sequence[int], wall_offset_ns: int) -> None:
    # Tokens of one read share its arrival time; the gap between them is unknown, and not a stall. If runs without a gap
    # had no stall at all, its percentiles would change with how many short answers happen to come in one read.
    if len(arrivals_ns) < 2:
        return
    arrival_ns = _in_order(arrivals_ns)
    measured.values["stall_ms"] = 0.0
    if arrival_ns[0] == arrival_ns[-1]:
        measured.coalesced = len(arrivals_ns) - 1
        return
    ends_ns = arrival_ns[1:]
    gaps_ns = ends_ns - arrival_ns[:-1]  # np.diff takes five times as long for a short stream
    measured.values["stall_ms"] = int(np.maximum.reduce(gaps_ns)) / 1e6
    if np.minimum.reduce(gaps_ns) <= 0:
        positive = gaps_ns > 0
        ends_ns, gaps_ns = ends_ns[positive], gaps_ns[positive]
        measured.coalesced = len(positive) - len(gaps_ns)
    measured.gaps = TimedValues(ends_ns + wall_offset_ns, gaps_ns)
    spread_ms = int(arrival_ns[-1] - arrival_ns[0]) / 1e6
    if spread_ms >= LEAST_RATE_MS:
        measured.values["tokens_per_s"] = (len(arrivals_ns) - 1) / spread_ms * 1000


def _measure_lags(measured: StreamMeasurement, exchange: Exchange, wall_offset_ns: int) -> None:
    arrivals_ns, lags = exchange.stamps_ns()
    arrival_ns, lags_ns = _in_order(arrivals_ns), np.asarray(lags, dtype=np.int64)
    measured.stamped = len(lags_ns)
    if errors_ns := exchange.errors_ns():  # what had come with an earlier segment waited longer
        lags_ns = lags_ns + np.array([errors_ns.get(at_ns, 0) for at_ns in arrivals_ns])
    if lags_ns.size and np.minimum.reduce(lags_ns) < 0:
        stamped = lags_ns >= 0
        arrival_ns, lags_ns = arrival_ns[stamped], lags_ns[stamped]
    measured.unstamped, measured.stamped = measured.stamped - len(lags_ns), len(lags_ns)
    if measured.stamped:
        measured.lags = TimedValues(arrival_ns + wall_offset_ns, lags_ns)


def _in_order(arrivals_ns: Sequence[int]) -> _Numbers:
    """Arrivals that never fall: stamps that two readings of the clocks converted may fall by microseconds."""
    in_order: _Numbers = np.maximum.accumulate(np.asarray(arrivals_ns, dtype=np.int64))
    return in_order


def _ms(nanoseconds: int) -> float:
    # Kernel timestamps are converted between clocks read a moment apart, so a difference may come out negative.
    return max(0, nanoseconds) / 1e6
