"""What one stream says in numbers and words: its ledger word, its durations, and why it failed.

The formulas are those of harness.results.metrics. Metrics of a run (TTFT, gaps, duration) are taken
where the run is first asked for, and not from a replay of it, whose tokens were not made then.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from itertools import pairwise

from harness.contract.exchange import Ending, Exchange
from harness.contract.finding import Finding, Verdict

_REASON_CHARACTERS = 500


@dataclass(frozen=True, slots=True)
class Step:
    """A stream's part in its journey.

    wants: the ledger words that are no failure; the first is what a sentence says was expected.
    begins_run: whether it is the run's first stream, so that the run's metrics are taken from it.
    """

    name: str
    wants: tuple[str, ...] = ("done",)
    begins_run: bool = False


RUN = Step("run", begins_run=True)
ORIGINAL = Step("original", begins_run=True)
RETRY = Step("retry")
CUT = Step("cut", wants=("abandoned", "done"), begins_run=True)  # done: it ended before it could be cut
RESUMED = Step("resumed")
CONFLICTING = Step("conflicting", wants=("rejected",))

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
    if exchange.ending is Ending.RESET and exchange.status == 200 and exchange.terminals:
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


def reason_of(exchange: Exchange, outcome: str, step: Step, broken: list[Finding]) -> str | None:
    """Why the stream failed, in one line; None when it went as its step wanted and broke no MUST."""
    reason = _unwanted(exchange, outcome, step)
    if reason is None and broken:
        reason = f"{broken[0].requirement}: {broken[0].detail}"
    return None if reason is None else _one_line(reason)


def _unwanted(exchange: Exchange, outcome: str, step: Step) -> str | None:
    if outcome in _BROKEN_OFF:
        detail = exchange.ending_detail or "the message ended without a terminal event"
        return f"{outcome}: {detail}"
    if outcome in step.wants or exchange.ending is Ending.STOPPED:
        return None
    if outcome == "rejected":
        return f"rejected with status {exchange.status}, {step.wants[0]} was expected"
    return f"ended with {outcome}, {step.wants[0]} was expected"


def kind_of(exchange: Exchange, outcome: str, step: Step, broken: list[Finding]) -> str | None:
    """The reason without what differs from stream to stream: for tables that group by it."""
    unwanted = _unwanted(exchange, outcome, step)
    if unwanted is not None:
        return _one_line(unwanted)
    return f"violates {', '.join(one.requirement for one in broken)}" if broken else None


def _one_line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _REASON_CHARACTERS else f"{line[:_REASON_CHARACTERS]}…"


def wall_now_ns(monotonic_ns: int) -> int:
    """A monotonic clock reading as wall clock time, Unix epoch in ns, by the clocks' distance now."""
    return monotonic_ns + time.time_ns() - time.monotonic_ns()


@dataclass(slots=True)
class Measured:
    """One stream's numbers.

    per_run_ms: metric to value, at most one each. gaps_ms, lags_ms: (epoch second of arrival, value).
    coalesced: tokens that came in one read with the token before them: they have no gap of their own.
    stamped, unstamped: reads whose arrival time is the kernel's, or this process's.
    """

    per_run_ms: dict[str, float] = field(default_factory=dict)
    gaps_ms: list[tuple[int, float]] = field(default_factory=list)
    lags_ms: list[tuple[int, float]] = field(default_factory=list)
    events: int = 0
    tokens: int = 0
    coalesced: int = 0
    stamped: int = 0
    unstamped: int = 0


def measure(exchange: Exchange, step: Step, outcome: str, *, scheduled: bool) -> Measured:
    """Take every metric that this stream gives. scheduled: it had a due time (open loop)."""
    timing = exchange.timing
    tokens = exchange.tokens
    measured = Measured(events=len(exchange.events), tokens=len(tokens))
    if timing.connected_ns is not None:
        measured.per_run_ms["connect_ms"] = _ms(timing.connected_ns - timing.started_ns)
    if scheduled:
        measured.per_run_ms["schedule_lag_ms"] = _ms(timing.started_ns - timing.intended_ns)
    if timing.sent_ns is not None:
        _measure_answer(measured, exchange, step, outcome)
        to_wall_ns = (timing.sent_wall_ns or 0) - timing.sent_ns
        if step.begins_run and outcome != "rejected":
            _measure_gaps(measured, [token.arrival_ns for token in tokens], to_wall_ns)
        _measure_lags(measured, exchange, to_wall_ns)
    return measured


def _measure_answer(measured: Measured, exchange: Exchange, step: Step, outcome: str) -> None:
    timing, values = exchange.timing, measured.per_run_ms
    sent_ns = timing.sent_ns or 0
    if exchange.head_ns is not None:
        values["head_ms"] = _ms(exchange.head_ns - sent_ns)
    if step.name == CONFLICTING.name and outcome == "rejected":
        first_ns = exchange.events[0].arrival_ns if exchange.events else exchange.reads[-1].arrival_ns
        values["conflict_ms"] = _ms(first_ns - sent_ns)
    if outcome == "rejected" or not exchange.events:
        return
    first_ns = exchange.events[0].arrival_ns
    values["first_event_ms"] = _ms(first_ns - timing.intended_ns)
    if step.name == RESUMED.name:
        values["resume_ms"] = _ms(first_ns - sent_ns)
    if step.begins_run:
        if exchange.tokens:
            first_token_ns = exchange.tokens[0].arrival_ns
            values["ttft_ms"] = _ms(first_token_ns - timing.intended_ns)
            values["service_ttft_ms"] = _ms(first_token_ns - sent_ns)
        if exchange.terminals:
            values["duration_ms"] = _ms(exchange.terminals[0].arrival_ns - timing.intended_ns)


def _measure_gaps(measured: Measured, arrivals_ns: list[int], to_wall_ns: int) -> None:
    # Tokens of one read share its arrival time: what lay between them is not known, and not invented.
    for before_ns, after_ns in pairwise(arrivals_ns):
        if after_ns > before_ns:
            measured.gaps_ms.append(((after_ns + to_wall_ns) // 1_000_000_000, _ms(after_ns - before_ns)))
        else:
            measured.coalesced += 1
    if measured.gaps_ms:
        measured.per_run_ms["stall_ms"] = max(gap_ms for _, gap_ms in measured.gaps_ms)


def _measure_lags(measured: Measured, exchange: Exchange, to_wall_ns: int) -> None:
    for read in exchange.reads:
        if read.lag_ns is None:
            measured.unstamped += 1
        else:
            measured.stamped += 1
            measured.lags_ms.append(((read.arrival_ns + to_wall_ns) // 1_000_000_000, _ms(read.lag_ns)))


def _ms(nanoseconds: int) -> float:
    # A kernel's stamp is carried over between clocks that are read a moment apart, and may come out early.
    return max(0, nanoseconds) / 1e6
