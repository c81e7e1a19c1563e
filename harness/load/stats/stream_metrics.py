"""What one stream says in numbers and words: its ledger word, its durations, and why it failed.

The formulas are those of harness.results.metrics. Metrics of a run (TTFT, gaps, duration) are taken
where the run is first asked for, and not from a replay of it, whose tokens were not made then.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from harness.contract.exchange import Ending, Exchange
from harness.contract.finding import Finding, Verdict

_REASON_CHARACTERS = 500
_SECOND_NS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class StreamStep:
    """A stream's part in its journey.

    wants: the ledger words that are no failure; the first is what a sentence says was expected.
    begins_run: whether it is the run's first stream, so that the run's metrics are taken from it.
    reads_at_once: whether it reads as soon as something comes; else its receive lag is our own doing.
    """

    name: str
    wants: tuple[str, ...] = ("done",)
    begins_run: bool = False
    reads_at_once: bool = True


RUN = StreamStep("run", begins_run=True)
ORIGINAL = StreamStep("original", begins_run=True)
RETRY = StreamStep("retry")
CUT = StreamStep("cut", wants=("abandoned", "done"), begins_run=True)  # done: it ended before it could be cut
RESUMED = StreamStep("resumed")
RESUMED_AND_CUT = StreamStep("resumed", wants=("abandoned", "done"))
REREAD = StreamStep("reread")
CONFLICTING = StreamStep("conflicting", wants=("rejected",))
JOINED = StreamStep("joined")
JOINED_AND_CUT = StreamStep("joined", wants=("abandoned", "done"))
RACING = StreamStep("racing")  # the first of those that race is the original
ABANDONED = StreamStep("abandoned", wants=("abandoned", "done"), begins_run=True)
SLOW = StreamStep("slow", reads_at_once=False)  # begins a run, but its times are those of our reading

_ENDING_WORDS = {
    Ending.REFUSED: "refused",
    Ending.TIMED_OUT: "timed out",
    Ending.CUT: "abandoned",
    Ending.TRUNCATED: "truncated",
    Ending.RESET: "truncated",
    Ending.MALFORMED: "truncated",
}
_BROKEN_OFF = frozenset({"truncated", "timed out", "refused"})


def outcome_of(exchange: Exchange) -> str:
    """The ledger's word for a stream that ended.

    Raises ValueError for one that was stopped: whether that is "in flight" or "abandoned" depends on why.
    """
    if exchange.ending is Ending.STOPPED:
        raise ValueError("a stream that was stopped has no ending of its own")
    word = _ENDING_WORDS.get(exchange.ending)
    # A reset may overtake the message's end, but not the terminal event that was already read.
    if exchange.ending is Ending.RESET and exchange.status == 200 and exchange.outcome is not None:
        word = None
    if word is not None:
        return word
    if exchange.status != 200 or exchange.is_rejection_event:
        return "rejected"
    return exchange.outcome or "truncated"


def broken_requirements(findings: list[Finding]) -> list[Finding]:
    """The findings that say that a MUST is not met, one a requirement."""
    return list({one.requirement: one for one in findings if one.verdict is Verdict.FAIL}.values())


def unmet_recommendations(findings: list[Finding]) -> list[Finding]:
    """The findings that say that a SHOULD is not met, one a requirement."""
    return list({one.requirement: one for one in findings if one.verdict is Verdict.WARN}.values())


def reason_of(exchange: Exchange, outcome: str, step: StreamStep, broken: list[Finding]) -> str | None:
    """Why the stream failed, in one line; None when it went as its step wanted and broke no MUST."""
    reason = _unwanted(exchange, outcome, step)
    if reason is None and broken:
        reason = f"{broken[0].requirement}: {broken[0].detail}"
    return None if reason is None else one_line(reason)


def _unwanted(exchange: Exchange, outcome: str, step: StreamStep) -> str | None:
    if outcome in _BROKEN_OFF:
        detail = exchange.ending_detail or "the message ended without a terminal event"
        return f"{outcome}: {detail}"
    if outcome in step.wants or exchange.ending is Ending.STOPPED:
        return None
    if outcome == "rejected":
        return f"rejected with status {exchange.status}, {step.wants[0]} was expected"
    return f"ended with {outcome}, {step.wants[0]} was expected"


def kind_of(exchange: Exchange, outcome: str, step: StreamStep, broken: list[Finding]) -> str | None:
    """The reason without what differs from stream to stream: for tables that group by it."""
    unwanted = _unwanted(exchange, outcome, step)
    if unwanted is not None:
        return one_line(unwanted)
    return f"violates {', '.join(one.requirement for one in broken)}" if broken else None


def one_line(text: str) -> str:
    """A text as a reason has it: on one line, and bounded."""
    line = " ".join(text.split())
    return line if len(line) <= _REASON_CHARACTERS else f"{line[:_REASON_CHARACTERS]}…"


def wall_now_ns(monotonic_ns: int) -> int:
    """A monotonic clock reading as wall clock time, Unix epoch in ns, by the clocks' distance now."""
    return monotonic_ns + time.time_ns() - time.monotonic_ns()


_Numbers = npt.NDArray[np.int64]
BySecond = dict[int, list[float]]
"""Values in ms, by the epoch second of the arrival that they end with."""


@dataclass(slots=True)
class StreamMeasurement:
    """One stream's numbers.

    per_run: metric of harness.results.metrics to value, at most one each. coalesced: tokens that came in one
    read with the token before them: they have no gap of their own. stamped, unstamped: reads whose arrival
    time is the kernel's, or this process's.
    """

    per_run: dict[str, float] = field(default_factory=dict)
    gaps_ms: BySecond = field(default_factory=dict)
    lags_ms: BySecond = field(default_factory=dict)
    events: int = 0
    tokens: int = 0
    coalesced: int = 0
    stamped: int = 0
    unstamped: int = 0


def measure(exchange: Exchange, step: StreamStep, outcome: str, *, scheduled: bool) -> StreamMeasurement:
    """Take every metric that this stream gives. scheduled: it had a due time (open loop)."""
    timing, summary = exchange.timing, exchange.summary
    measured = StreamMeasurement(events=summary.events, tokens=len(summary.token_arrivals_ns))
    if timing.connected_ns is not None:
        measured.per_run["connect_ms"] = _ms(timing.connected_ns - timing.started_ns)
    if scheduled:
        measured.per_run["schedule_lag_ms"] = _ms(timing.started_ns - timing.intended_ns)
    if timing.sent_ns is not None:
        _measure_answer(measured, exchange, step, outcome)
        to_wall_ns = (timing.sent_wall_ns or 0) - timing.sent_ns
        if step.begins_run and outcome != "rejected":
            _measure_gaps(measured, summary.token_arrivals_ns, to_wall_ns)
        if step.reads_at_once:
            _measure_lags(measured, exchange, to_wall_ns)
    return measured


def _measure_answer(measured: StreamMeasurement, exchange: Exchange, step: StreamStep, outcome: str) -> None:
    timing, summary, values = exchange.timing, exchange.summary, measured.per_run
    sent_ns = timing.sent_ns or 0
    if exchange.head_ns is not None:
        values["head_ms"] = _ms(exchange.head_ns - sent_ns)
    if step.name == CONFLICTING.name and outcome == "rejected":
        first_ns = summary.first_event_ns or exchange.reads[-1].arrival_ns
        values["conflict_ms"] = _ms(first_ns - sent_ns)
    if outcome == "rejected" or summary.first_event_ns is None:
        return
    values["first_event_ms"] = _ms(summary.first_event_ns - timing.intended_ns)
    if step.name == RESUMED.name:
        values["resume_ms"] = _ms(summary.first_event_ns - sent_ns)
    if step.begins_run:
        if summary.token_arrivals_ns:
            first_token_ns = summary.token_arrivals_ns[0]
            values["ttft_ms"] = _ms(first_token_ns - timing.intended_ns)
            values["service_ttft_ms"] = _ms(first_token_ns - sent_ns)
        if summary.terminal_ns is not None:
            values["duration_ms"] = _ms(summary.terminal_ns - timing.intended_ns)


def _measure_gaps(measured: StreamMeasurement, arrivals_ns: Sequence[int], to_wall_ns: int) -> None:
    # Tokens of one read share its arrival time: what lay between them is not known, and not invented.
    if len(arrivals_ns) < 2:
        return
    if arrivals_ns[0] == arrivals_ns[-1]:
        measured.coalesced = len(arrivals_ns) - 1
        return
    came_ns = np.asarray(arrivals_ns)
    gaps_ns = np.diff(came_ns)
    apart = gaps_ns > 0
    measured.coalesced = len(apart) - int(np.count_nonzero(apart))
    measured.gaps_ms = _by_second(came_ns[1:][apart], gaps_ns[apart], to_wall_ns)
    measured.per_run["stall_ms"] = int(gaps_ns.max()) / 1e6
    spread_s = (arrivals_ns[-1] - arrivals_ns[0]) / 1e9
    measured.per_run["tokens_per_s"] = (len(arrivals_ns) - 1) / spread_s


def _measure_lags(measured: StreamMeasurement, exchange: Exchange, to_wall_ns: int) -> None:
    came_ns, lags_ns = (np.asarray(one) for one in exchange.stamps_ns())
    measured.stamped = len(lags_ns)
    if lags_ns.size and lags_ns.min() < 0:
        stamped = lags_ns >= 0
        came_ns, lags_ns = came_ns[stamped], lags_ns[stamped]
    measured.unstamped, measured.stamped = measured.stamped - len(lags_ns), len(lags_ns)
    if measured.stamped:
        measured.lags_ms = _by_second(came_ns, lags_ns, to_wall_ns)


def _by_second(at_ns: _Numbers, values_ns: _Numbers, to_wall_ns: int) -> BySecond:
    """Values, in ms, by the second in which each was taken; the times rise, and there is at least one."""
    first, last = (int(at_ns[place] + to_wall_ns) // _SECOND_NS for place in (0, -1))
    values_ms = (values_ns / 1e6).tolist()
    if first == last:
        return {first: values_ms}
    ends = np.searchsorted(at_ns, [second * _SECOND_NS - to_wall_ns for second in range(first + 1, last + 1)])
    places = [0, *ends.tolist(), len(values_ms)]
    return {
        second: values_ms[start:end]
        for second, (start, end) in enumerate(pairwise(places), start=first)
        if end > start
    }


def _ms(nanoseconds: int) -> float:
    # A kernel's stamp is carried over between clocks that are read a moment apart, and may come out early.
    return max(0, nanoseconds) / 1e6
