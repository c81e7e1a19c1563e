"""The table of the *Streams* tab: rows of text, because Locust's page shows cells unformatted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from harness.load.stats.live import SnapshotDocument

TAB = {"key": "streams", "title": "Streams"}
COLUMNS = (
    ("what", "What"),
    ("journey", "Journey"),
    ("count", "Count"),
    ("p50", "p50"),
    ("p95", "p95"),
    ("p99", "p99"),
    ("longest", "Max"),
    ("unit", "Unit"),
)
TABLE = {"key": TAB["key"], "structure": [{"key": key, "title": title} for key, title in COLUMNS]}

METRICS = {
    "ttft_ms": "TTFT",
    "inter_token_ms": "ITL",
    "stall_ms": "Stall",
    "duration_ms": "Duration",
    "resume_ms": "Resume",
    "conflict_ms": "409",
}
"""The metrics of the tab, with their short names, in display order."""

HARNESS_METRICS = {"lag_ms": "receive lag", "schedule_lag_ms": "schedule lag", "hub_delay_ms": "hub delay"}
_COLUMN_OF = {"p50": "p50", "p95": "p95", "p99": "p99", "max": "longest"}

TabRow = dict[str, str]


def rows(document: SnapshotDocument) -> list[TabRow]:
    """The rows of a snapshot (harness.load.stats.live)."""
    table = [*_state(document)]
    if document["run"] is not None:
        table += [
            *_violations(document),
            *_metrics(document["metrics"]),
            *_rates(document["rates"]),
            *_ledger(document["ledger"]),
            *_harness(document["harness"]),
        ]
    # The page sorts by "name" even if there is no such column.
    return [{**row, "name": f"{index:04}"} for index, row in enumerate(table)]


def _row(what: str, journey: str = "", **cells: Any) -> TabRow:
    return {key: "" for key, _ in COLUMNS} | {"what": what, "journey": journey} | cells


def _state(document: SnapshotDocument) -> Iterator[TabRow]:
    if document.get("problem"):
        yield _row("Problem", str(document["problem"]))
    state = document["state"]
    if document["warming_up"]:
        state = "warming up: streams due now are left out of percentiles and rates"
    if document["workers_lost"]:
        state += f"; {', '.join(document['workers_lost'])} lost; the last results are missing"
    yield _row("Test", state)


def _metrics(metrics: Mapping[str, Any]) -> Iterator[TabRow]:
    for name, label in METRICS.items():
        if name not in metrics:
            yield _row(label, "all", count="0")
            continue
        metric = metrics[name]
        for journey, numbers in (("all", metric["all"]), *metric["journeys"].items()):
            cells = {column: format_number(numbers[percentile]) for percentile, column in _COLUMN_OF.items()}
            yield _row(label, journey, count=f"{numbers['count']:,}", unit=metric["unit"], **cells)


def _rates(rates: Mapping[str, Any]) -> Iterator[TabRow]:
    streams = rates["all"]
    if streams["judged"]:
        count = f"{streams['failed']:,}/{streams['judged']:,}"
        yield _row("Error rate", "all", count=count, p50=_percent(streams["error_rate"]))
    for journey, counts in (("all", streams), *rates["journeys"].items()):
        if counts["runs"]:
            count = f"{counts['good']:,}/{counts['runs']:,}"
            yield _row("Goodput", journey, count=count, p50=_percent(counts["goodput"]))


def _violations(document: SnapshotDocument) -> Iterator[TabRow]:
    if not document["violations"]:
        yield _row("Violations", "none", count="0")
    for requirement, violations in document["violations"].items():
        journeys = ", ".join(f"{journey} {count:,}" for journey, count in violations["journeys"].items())
        yield _row(f"Violation of {requirement}", journeys, count=f"{violations['count']:,}")
    for requirement, count in document["warnings"].items():
        yield _row(f"Warning: {requirement}", count=f"{count:,}")


def _ledger(ledger: Mapping[str, Any]) -> Iterator[TabRow]:
    for outcome, count in ledger["counts"].items():
        if count or outcome == "scheduled":
            by_journey = {name: counts[outcome] for name, counts in ledger["journeys"].items()}
            journeys = ", ".join(f"{name} {number:,}" for name, number in by_journey.items() if number)
            yield _row(f"Ledger: {outcome}", journeys, count=f"{count:,}")
    adds_up = "adds up" if ledger["adds_up"] else f"DOES NOT ADD UP: {ledger['missing']:,} missing"
    yield _row("Ledger", adds_up)


def _harness(harness: Mapping[str, Any]) -> Iterator[TabRow]:
    for name, label in HARNESS_METRICS.items():
        numbers = harness[name]
        if numbers["max"] is not None:
            cells = {_COLUMN_OF[percentile]: format_number(value) for percentile, value in numbers.items()}
            yield _row(f"Harness: {label}", unit="ms", **cells)
    for sentence in harness["why"]:
        yield _row("Harness: saturated", sentence)
    if harness["faults"]["streams"]:
        yield _row("Harness: fault", harness["faults"]["sentence"], count=f"{harness['faults']['streams']:,}")


def format_number(value: float | None) -> str:
    """Milliseconds or tokens/s, with about three significant digits; empty for None."""
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value * 100:.2f}%"
