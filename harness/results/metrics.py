"""What is measured and by which formula. Report, gate, live page and exports take both from here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from harness.results.histogram import Histogram
from harness.results.reader import Results
from harness.results.stored_histograms import HistogramPart

PERCENTILES = {"p50": 50.0, "p90": 90.0, "p95": 95.0, "p99": 99.0, "p999": 99.9, "max": 100.0}
"""The percentiles in summaries and objectives."""


LEAST_RATE_MS = 10.0
"""Shortest time from a run's first token to its last that gives a token rate.

Arrivals are known to about a millisecond. Tokens that come closer together were ready before they were sent, as those
of a replay are: such a rate is that of the connection, and no server generates tokens that fast.
"""


@dataclass(frozen=True, slots=True)
class Metric:
    """One measured quantity: name in the results file, unit, label, and formula in words."""

    name: str
    unit: str
    label: str
    formula: str


METRICS: dict[str, Metric] = {
    name: Metric(name, "tokens/s" if name.endswith("tokens_per_s") else "ms", label, formula)
    for name, label, formula in (
        (
            "ttft_ms",
            "Time to first token (TTFT)",
            "arrival of the first token event with content - intended start",
        ),
        (
            "service_ttft_ms",
            "Service TTFT",
            "arrival of the first token event with content - actual send",
        ),
        *(
            (
                f"ttf_{sign}_ms",
                f"Time to first {words}",
                f"arrival of the first event with {words} - intended start",
            )
            for sign, words in (("reasoning", "reasoning"), ("tool", "tool call"), ("progress", "progress"))
        ),
        ("first_event_ms", "Time to first event", "arrival of the first event - intended start"),
        ("head_ms", "Time to head", "arrival of the response's status and headers - actual send"),
        ("connect_ms", "Connect time", "connection ready (TCP, and TLS where used) - start of connecting"),
        (
            "inter_token_ms",
            "Inter-token latency (ITL)",
            "time between the arrivals of two successive token events of a run",
        ),
        (
            "tpot_ms",
            "Time per output token (TPOT)",
            "(arrival of the terminal event - arrival of the first token event) / (output tokens - 1), as in MLPerf "
            "Inference",
        ),
        ("stall_ms", "Stall", "longest time between the arrivals of two successive token events of a run"),
        ("duration_ms", "Run duration", "arrival of the terminal event - intended start"),
        (
            "tokens_per_s",
            "Token rate",
            "(token events of a run - 1) / (arrival of its last token - arrival of its first), if these are at least "
            f"{LEAST_RATE_MS:g} ms apart",
        ),
        (
            "output_tokens_per_s",
            "Output token rate",
            "output tokens by the API's own count / (arrival of the terminal event - actual send), if these are at "
            f"least {LEAST_RATE_MS:g} ms apart",
        ),
        (
            "resume_ms",
            "Resume latency",
            "arrival of the first event on the new connection - send of the resuming request",
        ),
        (
            "cold_ttft_ms",
            "Cold TTFT",
            "arrival of the first token event with content - intended start, of the first run of a session",
        ),
        (
            "warm_ttft_ms",
            "Warm TTFT",
            "arrival of the first token event with content - intended start, of the later runs of a session",
        ),
        ("session_ms", "Session duration", "sum of the run durations of a session, without its think times"),
        (
            "cancel_ms",
            "Time to cancelled",
            "arrival of the `cancelled` event - send of the request that cancels the run",
        ),
        (
            "recovery_ms",
            "Time to first good run after a restart",
            "arrival of the terminal event of the first run that was sent after the restart's first lost connection "
            "and ended with `done`, without a violation - start of the restart",
        ),
        ("conflict_ms", "Conflict latency", "arrival of the rejection - send of the conflicting request"),
        ("schedule_lag_ms", "Schedule lag", "start of the send - intended start (open loop)"),
        (
            "receive_lag_ms",
            "Receive lag",
            "time at which the harness had read the bytes - time at which the kernel received them",
        ),
        (
            "arrival_error_ms",
            "Arrival error",
            "timestamp - earliest time at which it may have arrived: the largest of a stream's head, first event, "
            "first token or other sign of work, and terminal event",
        ),
        (
            "hub_delay_ms",
            "Hub delay",
            "time at which a timer of the harness ran - time at which it was due, every 20 ms",
        ),
    )
}
"""Every metric by name, in display order."""

HARNESS_METRICS = ("schedule_lag_ms", "receive_lag_ms", "arrival_error_ms", "hub_delay_ms")
"""Metrics of the harness itself: how far its other numbers may be off."""

NET_METRICS = {
    "ttft_ms": "net_ttft_ms",
    "ttf_reasoning_ms": "net_ttf_reasoning_ms",
    "ttf_tool_ms": "net_ttf_tool_ms",
    "ttf_progress_ms": "net_ttf_progress_ms",
    "cold_ttft_ms": "net_cold_ttft_ms",
    "warm_ttft_ms": "net_warm_ttft_ms",
    "first_event_ms": "net_first_event_ms",
    "duration_ms": "net_duration_ms",
}
"""For each metric that begins at the intended start, the same without what the harness is known to have added before
the send: the arrival - actual send + time to connect. Stored with the others, and used for error bounds only."""

ERROR_RATE_FORMULA = (
    "streams that did not end as their step expects, or broke a MUST / streams that ended on their own and were "
    "judged"
)
GOODPUT_FORMULA = (
    "runs that ended with `done`, without a violation, and met every per-run objective / runs that ended on their "
    "own and were judged"
)
SESSION_SUCCESS_FORMULA = (
    "sessions of which each step ended as it expects, without a violation / sessions that ended on their own and were "
    "judged"
)
RUN_STREAM = "stream that should complete a run"
"""What goodput counts: one stream for each run that the load expects to see to its end."""
RUN_STREAMS = "streams that should complete a run"

VIOLATIONS_FORMULA = "violations that the rules found in streams under load + failed MUST checks"


def error_rate(
    results: Results, journey: str | None = None, part: HistogramPart = "measured"
) -> float | None:
    """Share of failed streams, 0 to 1, by ERROR_RATE_FORMULA; None if no stream was judged."""
    return results.rate_counts(journey, part).error_rate


def goodput(results: Results, journey: str | None = None, part: HistogramPart = "measured") -> float | None:
    """Share of good runs, 0 to 1, by GOODPUT_FORMULA; None if no run was judged."""
    return results.rate_counts(journey, part).goodput


def session_success(
    results: Results, journey: str | None = None, part: HistogramPart = "measured"
) -> float | None:
    """Share of sessions that succeeded, 0 to 1, by SESSION_SUCCESS_FORMULA; None if no session was judged."""
    return results.rate_counts(journey, part).session_success


ShareName = Literal["error_rate", "goodput", "session_success"]
SHARE_FORMULAS: Mapping[ShareName, Callable[[Results, str | None], float | None]] = {
    "error_rate": error_rate,
    "goodput": goodput,
    "session_success": session_success,
}
"""Every share of streams, runs or sessions, of one journey or of all."""

SHARE_COUNTS: Mapping[ShareName, tuple[str, str]] = {
    "error_rate": ("failed", "judged"),
    "goodput": ("good", "runs"),
    "session_success": ("sessions_succeeded", "sessions"),
}
"""The counters of harness.results.rate_counts whose quotient is a share."""


def violations(results: Results, journey: str | None = None) -> dict[str, int]:
    """Number of violations by requirement, by VIOLATIONS_FORMULA; of one journey only those of its streams."""
    counts = Counter(results.violation_counts(journey))
    checks = results.checks() if journey is None else []
    counts.update(check.id for check in checks if check.verdict == "fail" and check.level == "MUST")
    return {requirement: count for requirement, count in sorted(counts.items()) if count}


def distribution(histogram: Histogram) -> dict[str, float | int | None]:
    """A metric's count and PERCENTILES, in its unit; None where nothing was measured."""
    return {
        "count": histogram.count,
        **{word: histogram.percentile(percent) for word, percent in PERCENTILES.items()},
    }
