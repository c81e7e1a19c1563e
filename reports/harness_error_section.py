"""The harness's own measurement error: its lags, where its timestamps come from, and the load of its processes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from harness.results.measurement_error import percentile_bounds
from harness.results.metrics import HARNESS_METRICS, METRICS, PERCENTILES
from harness.results.reader import Results
from harness.results.saturation import BUSY_CPU

from .text import NOTHING, count, counted, milliseconds, percent

PROCESS_COLUMNS = (
    "seconds",
    "CPU mean",
    "CPU max",
    f"time over {BUSY_CPU:.0%} CPU",
    "hub delay p99",
    "memory max",
    "streams max",
)
"""Columns of the table of processes, after the process's name."""

_ERRORS_SHOWN = {"ttft_ms": "TTFT", "duration_ms": "duration"}
"""The metrics whose error a sentence names, with their names in it."""

_STAMPS = {
    "kernel": "Arrival times are the kernel's receive timestamps, so they do not depend on how late the harness read "
    "the data. Tokens that arrive in one read share the timestamp of the last of them; the arrival error is by how "
    "much earlier the first may have arrived.",
    "user": "Arrival times are from the harness's own clock, because the kernel gave no timestamps. Each latency "
    "includes the delay until the harness read the data.",
    "mixed": "Some arrival times are the kernel's receive timestamps, others are from the harness's own clock. The "
    "latter include the delay until the harness read the data.",
}
_FROM_DUE_TIME = (
    " TTFT, time to first event and run duration begin when a stream was due, so they include how late the harness "
    "sent it (schedule lag)."
)


@dataclass(frozen=True, slots=True)
class HarnessErrorView:
    """How far the measurement may be off.

    sentence: whether the harness kept up. faults: on how many streams the harness itself failed, and why, empty
    if on none. lags: label, formula, count and percentiles in ms of each lag. processes: a name and cells as
    PROCESS_COLUMNS.
    """

    saturated: bool
    measured: bool
    sentence: str
    faults: str
    stamps: str
    coalesced: str
    lags: tuple[tuple[str, ...], ...]
    processes: tuple[tuple[str, ...], ...]


def harness_error_view(results: Results, summary: Mapping[str, Any]) -> HarnessErrorView:
    """The measurement error of a test. summary: as `summarize` returns it."""
    harness = summary["harness"]
    lags = []
    for name in HARNESS_METRICS:
        histogram = results.histogram(name)
        if histogram.count:
            cells = (milliseconds(histogram.percentile(percentile)) for percentile in PERCENTILES.values())
            lags.append((METRICS[name].label, METRICS[name].formula, count(histogram.count), *cells))
    processes = tuple(_process(name, numbers) for name, numbers in harness["processes"].items())
    return HarnessErrorView(
        bool(harness["saturated"]),
        bool(lags or processes),
        _sentence(results, harness["why"], has_lags=bool(lags or processes)),
        _faults(harness["faults"]["sentence"]),
        _stamps(results, str(harness["receive_stamp"])),
        _coalesced(results.manifest),
        tuple(lags),
        processes,
    )


def _sentence(results: Results, reasons: list[str], *, has_lags: bool) -> str:
    if reasons:
        return (
            f"The harness was saturated: {'; '.join(reasons)}. The load was lower than requested. Lower it or add "
            "worker processes before you draw conclusions about the server."
        )
    if not has_lags:
        return "The harness's own lag was not measured."
    errors = [
        f"{_percentile_error(results, metric, 'p50')} of the median and {_percentile_error(results, metric, 'p99')} "
        f"of the p99 of {label}"
        for metric, label in _ERRORS_SHOWN.items()
        if results.histogram(metric).count
    ]
    kept_up = "The harness kept up: the load was as requested"
    return f"{kept_up}. Its own delays are at most {', and '.join(errors)}." if errors else f"{kept_up}."


def _percentile_error(results: Results, metric: str, percentile: str) -> str:
    bounds = percentile_bounds(results, metric, PERCENTILES[percentile])
    return NOTHING if bounds is None else f"{milliseconds(bounds.high - bounds.low)} ms"


def _stamps(results: Results, source: str) -> str:
    """Which of the harness's delays are in the latencies, in sentences."""
    text = _STAMPS.get(source, "The source of the arrival times is not recorded.")
    return text + (_FROM_DUE_TIME if results.histogram("schedule_lag_ms").count else "")


def _faults(sentence: str) -> str:
    if not sentence:
        return ""
    return (
        f"{sentence[:1].upper()}{sentence[1:]}. "
        "The cause is a bug in the harness, or in a rule that your locustfile adds."
    )


def _process(name: str, numbers: Mapping[str, Any]) -> tuple[str, ...]:
    delay_ms = numbers["hub_delay_p99_ms"]
    return (
        name,
        count(numbers["seconds"]),
        percent(numbers["cpu_mean"]),
        percent(numbers["cpu_max"]),
        percent(numbers["busy"]),
        NOTHING if delay_ms is None else f"{milliseconds(delay_ms)} ms",
        f"{numbers['rss_max_bytes'] / 2**20:,.0f} MiB",
        count(numbers["open_streams_max"]),
    )


def _coalesced(manifest: Mapping[str, Any]) -> str:
    """A sentence about tokens that share an arrival time; empty if there are none."""
    coalesced, tokens = manifest.get("coalesced_tokens"), manifest.get("tokens")
    if not isinstance(coalesced, int) or not isinstance(tokens, int) or not coalesced:
        return ""
    return (
        f"{count(coalesced)} of {counted(tokens, 'token')} arrived in the same read as the token before; they share "
        "its arrival time, and no inter-token gap is recorded for them."
    )
