"""The measurement's own error, as the page shows it: how late the harness was, and how busy each of its processes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from harness.results.metrics import (
    HARNESS_METRICS,
    METRICS,
    PERCENTILES,
    SATURATION_CPU,
    SATURATION_CPU_SECONDS,
    SATURATION_LAG_MS,
)
from harness.results.reader import Results

from .text import NOTHING, count, counted, milliseconds, percent

PROCESS_HEADS = (
    "seconds",
    "CPU mean",
    "CPU max",
    f"seconds over {SATURATION_CPU:.0%}",
    "hub delay p99",
    "memory max",
    "streams max",
)
"""Heads of the table of processes, after their names."""

_STAMPS = {
    "kernel": "Arrivals are the kernel's receive stamps, so a latency does not depend on how busy the harness was, as "
    "long as each token is read on its own: what shares a read bears the stamp of the newest.",
    "user": "Arrivals were read off the harness's own clock, as the kernel gave no stamps: each latency may be "
    "too long by the time the harness took to look.",
    "mixed": "Some arrivals are the kernel's receive stamps and some were read off the harness's own clock; the "
    "latter may be too long by the time the harness took to look.",
}


@dataclass(frozen=True, slots=True)
class LagView:
    """The measurement's own error. rows: which lag, how many values, and percentiles in ms.

    faults: on how many streams it broke, and why, in a sentence; empty where on none.

    processes: a name and cells as PROCESS_HEADS.
    """

    saturated: bool
    measured: bool
    sentence: str
    faults: str
    stamps: str
    coalesced: str
    rows: tuple[tuple[str, ...], ...]
    processes: tuple[tuple[str, ...], ...]


def lag_view(results: Results, summary: Mapping[str, Any]) -> LagView:
    """How far the harness's own numbers may be off."""
    harness = summary["harness"]
    rows = []
    for name in HARNESS_METRICS:
        histogram = results.histogram(name)
        if histogram.count:
            cells = (milliseconds(histogram.percentile(one)) for one in PERCENTILES.values())
            rows.append((METRICS[name].label, METRICS[name].formula, count(histogram.count), *cells))
    processes = tuple(_process(name, numbers) for name, numbers in harness["processes"].items())
    return LagView(
        bool(harness["saturated"]),
        bool(rows or processes),
        _sentence(harness["why"], bool(rows), bool(processes)),
        _faults(harness["faults"]["sentence"]),
        _STAMPS.get(str(harness["receive_stamp"]), "The file does not say where arrival times come from."),
        _coalesced(results.manifest),
        tuple(rows),
        processes,
    )


def _sentence(why: list[str], has_lags: bool, has_processes: bool) -> str:
    if why:
        return (
            f"The harness was saturated: {'; '.join(why)}. So it was too busy to keep its schedule or to read in "
            "time. Lower the load or give it more processes before blaming the server."
        )
    kept = []
    if has_lags:
        kept.append(f"the p99 of each lag of its own is within {SATURATION_LAG_MS:g} ms")
    if has_processes:
        kept.append(
            f"none of its processes used more than {SATURATION_CPU:.0%} of a core for more than "
            f"{SATURATION_CPU_SECONDS:.0%} of the time"
        )
    if kept:
        return f"The harness kept up: {', and '.join(kept)}."
    return "The harness's own lag was not measured in this run."


def _faults(sentence: str) -> str:
    return (
        f"{sentence[:1].upper()}{sentence[1:]}. Its own code broke there, or a judge in a locustfile of yours."
        if sentence
        else ""
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
    """Tokens whose own arrival nobody saw, in a sentence; empty when there are none."""
    together, tokens = manifest.get("coalesced_tokens"), manifest.get("tokens")
    if not isinstance(together, int) or not isinstance(tokens, int) or not together:
        return ""
    return (
        f"{count(together)} of {counted(tokens, 'token')} came in one read with the token before; they share its "
        "arrival, and no gap was made up for them."
    )
