"""The table of the *Streams* tab: rows of texts, because Locust's page shows cells as they are."""

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
"""Those of the tab, by the field's short words, in its order."""

OWN = {"lag_ms": "receive lag", "schedule_lag_ms": "schedule lag", "hub_delay_ms": "hub delay"}
_WORDS = {"p50": "p50", "p95": "p95", "p99": "p99", "max": "longest"}

TableRow = dict[str, str]


def rows(document: SnapshotDocument) -> list[TableRow]:
    """What a document of harness.load.stats.live says, row by row."""
    found = [*_state(document)]
    if document["run"] is not None:
        found += [
            *_violations(document),
            *_metrics(document["metrics"]),
            *_rates(document["rates"]),
            *_ledger(document["ledger"]),
            *_harness(document["harness"]),
        ]
    # The page sorts by "name", whether there is such a column or not.
    return [{**row, "name": f"{place:04}"} for place, row in enumerate(found)]


def _row(what: str, journey: str = "", **cells: Any) -> TableRow:
    return {key: "" for key, _ in COLUMNS} | {"what": what, "journey": journey} | cells


def _state(document: SnapshotDocument) -> Iterator[TableRow]:
    if document.get("problem"):
        yield _row("Problem", str(document["problem"]))
    said = document["state"]
    if document["warming_up"]:
        said = "warming up: what begins now is left out of the percentiles and rates"
    if document["workers_lost"]:
        said += f"; {', '.join(document['workers_lost'])} died, with what had not been told yet"
    yield _row("Test", said)


def _metrics(metrics: Mapping[str, Any]) -> Iterator[TableRow]:
    for name, label in METRICS.items():
        if name not in metrics:
            yield _row(label, "all", count="0")
            continue
        found = metrics[name]
        for journey, numbers in (("all", found["all"]), *found["journeys"].items()):
            cells = {cell: shown(numbers[word]) for word, cell in _WORDS.items()}
            yield _row(label, journey, count=f"{numbers['count']:,}", unit=found["unit"], **cells)


def _rates(rates: Mapping[str, Any]) -> Iterator[TableRow]:
    streams = rates["all"]
    if streams["judged"]:
        counts = f"{streams['failed']:,}/{streams['judged']:,}"
        yield _row("Error rate", "all", count=counts, p50=_share(streams["error_rate"]))
    for journey, one in (("all", streams), *rates["journeys"].items()):
        if one["runs"]:
            yield _row(
                "Goodput", journey, count=f"{one['good']:,}/{one['runs']:,}", p50=_share(one["goodput"])
            )


def _violations(document: SnapshotDocument) -> Iterator[TableRow]:
    if not document["violations"]:
        yield _row("Violations", "none", count="0")
    for requirement, found in document["violations"].items():
        journeys = ", ".join(f"{journey} {count:,}" for journey, count in found["journeys"].items())
        yield _row(f"Violation of {requirement}", journeys, count=f"{found['count']:,}")
    for requirement, count in document["warnings"].items():
        yield _row(f"Warning: {requirement}", count=f"{count:,}")


def _ledger(ledger: Mapping[str, Any]) -> Iterator[TableRow]:
    for outcome, count in ledger["counts"].items():
        if count or outcome == "scheduled":
            journeys = {name: counts[outcome] for name, counts in ledger["journeys"].items()}
            said = ", ".join(f"{name} {number:,}" for name, number in journeys.items() if number)
            yield _row(f"Ledger: {outcome}", said, count=f"{count:,}")
    adds_up = "adds up" if ledger["adds_up"] else f"DOES NOT ADD UP: {ledger['missing']:,} missing"
    yield _row("Ledger", adds_up)


def _harness(harness: Mapping[str, Any]) -> Iterator[TableRow]:
    for name, label in OWN.items():
        numbers = harness[name]
        if numbers["max"] is not None:
            cells = {_WORDS[word]: shown(value) for word, value in numbers.items()}
            yield _row(f"Harness: {label}", unit="ms", **cells)
    for sentence in harness["why"]:
        yield _row("Harness: client-saturated", sentence)
    if harness["faults"]["streams"]:
        yield _row("Harness: fault", harness["faults"]["sentence"], count=f"{harness['faults']['streams']:,}")


def shown(value: float | None) -> str:
    """A number of milliseconds or tokens/s, with as many digits as tell something."""
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def _share(value: float | None) -> str:
    return "" if value is None else f"{value * 100:.2f}%"
