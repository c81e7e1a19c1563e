"""The harness's tabs in Locust's page, one table each: rows of text, because Locust's page shows cells unformatted."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from harness.load.stats.live import SnapshotDocument
from harness.results.journeys import belongs, parent

METRICS = {
    "ttft_ms": "TTFT",
    "inter_token_ms": "ITL",
    "tpot_ms": "TPOT",
    "duration_ms": "Duration",
    "stall_ms": "Stall",
    "resume_ms": "Resume",
    "conflict_ms": "409",
    "cancel_ms": "Cancel",
    "session_ms": "Session",
    "recovery_ms": "Recovery",
    "cold_ttft_ms": "Cold TTFT",
    "warm_ttft_ms": "Warm TTFT",
    "tokens_per_s": "Tokens/s",
    "output_tokens_per_s": "Output tokens/s",
    "ttf_reasoning_ms": "First reasoning",
    "ttf_tool_ms": "First tool call",
    "ttf_progress_ms": "First progress",
}
"""The metrics of the tabs, with their short names, in display order."""

_IF_MEASURED = (
    *(
        "cancel_ms",
        "session_ms",
        "recovery_ms",
        "cold_ttft_ms",
        "warm_ttft_ms",
        "tpot_ms",
        "output_tokens_per_s",
    ),
    *("ttf_reasoning_ms", "ttf_tool_ms", "ttf_progress_ms"),
)
"""Metrics that not every target has. Their rows are shown once they have a value."""

SIDE_BY_SIDE = ("ttft_ms", "inter_token_ms", "duration_ms")
"""Metrics that each journey has in its row."""

PERCENTILES = ("p50", "p95", "p99")
HARNESS_METRICS = {
    "lag_ms": "Receive lag",
    "schedule_lag_ms": "Schedule lag",
    "arrival_error_ms": "Arrival error",
    "hub_delay_ms": "Hub delay",
}
ALL_JOURNEYS = "all"
"""Label of the row of all journeys."""

TabRow = dict[str, str]


@dataclass(frozen=True, slots=True)
class Tab:
    """A tab with one table. columns: key and head of each. cells: gives the rows of a snapshot."""

    key: str
    title: str
    columns: tuple[tuple[str, str], ...]
    cells: Callable[[SnapshotDocument], Iterable[tuple[str, ...]]]

    @property
    def tab(self) -> dict[str, str]:
        """A tab, as Locust's page expects it."""
        return {"key": self.key, "title": self.title}

    @property
    def table(self) -> dict[str, Any]:
        """The head of the tab's table, as Locust's page expects it."""
        return {
            "key": self.key,
            "structure": [{"key": key, "title": title} for key, title in self.columns],
        }

    def rows(self, document: SnapshotDocument) -> list[TabRow]:
        """The rows of a snapshot (harness.load.stats.live)."""
        keys = [key for key, _ in self.columns]
        # The page sorts by "name" even if there is no such column. A row that is short has a sentence at its beginning.
        return [
            {**dict.fromkeys(keys, ""), **dict(zip(keys, cells, strict=False)), "name": f"{index:04}"}
            for index, cells in enumerate(self.cells(document))
        ]


def _streams(document: SnapshotDocument) -> Iterator[tuple[str, ...]]:
    yield from _state(document)
    if document["run"] is None:
        return
    yield _journey(document, None)
    for journey in sorted(document["ledger"]["journeys"]):
        yield _journey(document, journey)


def _state(document: SnapshotDocument) -> Iterator[tuple[str, ...]]:
    """What a reader has to know before the numbers."""
    if document.get("problem"):
        yield (f"Problem: {document['problem']}",)
    if document["run"] is None:
        yield ("no test yet",)
    if document["warming_up"]:
        yield ("warming up: streams due now are left out of percentiles and rates",)
    if document["workers_lost"]:
        yield (f"{', '.join(document['workers_lost'])} lost; the last results are missing",)


def _journey(document: SnapshotDocument, journey: str | None) -> tuple[str, ...]:
    """One journey, or all: how many streams, their outcomes, and the latencies side by side."""
    ledger, rates = document["ledger"], document["rates"]
    counts = ledger["counts"] if journey is None else ledger["journeys"][journey]
    rate = rates["all"] if journey is None else rates["journeys"].get(journey, {})
    violations = sum(
        count
        for found in document["violations"].values()
        for name, count in found["journeys"].items()
        if belongs(name, journey)
    )
    return (
        ALL_JOURNEYS if journey is None else journey,
        f"{counts.get('scheduled', 0):,}",
        f"{rate.get('failed', 0):,}/{rate.get('judged', 0):,}",
        f"{violations:,}",
        _percent(rate.get("goodput")),
        *(
            format_number(_values(document, metric, journey).get(word))
            for metric in SIDE_BY_SIDE
            for word in PERCENTILES
        ),
    )


def _values(document: SnapshotDocument, metric: str, journey: str | None = None) -> Mapping[str, Any]:
    """The distribution of a metric, of one journey or of all; empty without values."""
    found = document["metrics"].get(metric)
    if found is None:
        return {}
    values: Mapping[str, Any] = found["all"] if journey is None else found["journeys"].get(journey, {})
    return values


def _metrics(document: SnapshotDocument) -> Iterator[tuple[str, ...]]:
    for name, label in METRICS.items():
        values = _values(document, name)
        if values:
            cells = (format_number(values[word]) for word in (*PERCENTILES, "max"))
            yield label, f"{values['count']:,}", *cells, document["metrics"][name]["unit"]
        elif name not in _IF_MEASURED:
            yield label, "0"
    rates = document["rates"]["all"]
    if rates.get("sessions"):
        counts = f"{rates['sessions_succeeded']:,}/{rates['sessions']:,}"
        yield "Session success", counts, _percent(rates["session_success"])


def _violations(document: SnapshotDocument) -> Iterator[tuple[str, ...]]:
    for requirement, violations in document["violations"].items():
        by_journey = ", ".join(f"{journey} {count:,}" for journey, count in violations["journeys"].items())
        yield requirement, "MUST", f"{violations['count']:,}", by_journey
    for requirement, count in document["warnings"].items():
        yield requirement, "SHOULD", f"{count:,}"
    if not document["violations"] and not document["warnings"]:
        yield ("No violations under load.",)


def _ledger(document: SnapshotDocument) -> Iterator[tuple[str, ...]]:
    ledger = document["ledger"]
    for outcome, count in ledger["counts"].items():
        if count or outcome == "scheduled":
            steps = {parent(name) for name in ledger["journeys"]}
            by_journey = {name: n[outcome] for name, n in ledger["journeys"].items() if name not in steps}
            parts = ", ".join(f"{name} {number:,}" for name, number in by_journey.items() if number)
            yield outcome, f"{count:,}", parts
    yield ("adds up" if ledger["adds_up"] else f"DOES NOT ADD UP: {ledger['missing']:,} missing",)


def _harness(document: SnapshotDocument) -> Iterator[tuple[str, ...]]:
    harness = document["harness"]
    for name, label in HARNESS_METRICS.items():
        numbers = harness[name]
        if numbers["max"] is not None:
            yield label, *(format_number(numbers[word]) for word in ("p50", "p99", "max")), "ms"
    for sentence in harness["why"]:
        yield (f"saturated: {sentence}",)
    if harness["faults"]["streams"]:
        yield (f"fault: {harness['faults']['sentence']}",)


def _heads(*heads: str) -> tuple[tuple[str, str], ...]:
    # Locust's page rewrites keys with underscores, so they have none.
    return tuple(("".join(filter(str.isalnum, head.lower())), head) for head in heads)


TABS = (
    Tab(
        "streams",
        "Streams",
        (
            *_heads("Journey", "Streams", "Failed", "Violations", "Goodput"),
            *_heads(*(f"{METRICS[metric]} {word}, ms" for metric in SIDE_BY_SIDE for word in PERCENTILES)),
        ),
        _streams,
    ),
    Tab("metrics", "Metrics", _heads("Metric", "Count", "p50", "p95", "p99", "Max", "Unit"), _metrics),
    Tab("violations", "Violations", _heads("Requirement", "Level", "Count", "Journeys"), _violations),
    Tab("ledger", "Ledger", _heads("Outcome", "Streams", "Journeys"), _ledger),
    Tab("harness", "Harness", _heads("What", "p50", "p99", "Max", "Unit"), _harness),
)
"""The journeys come first. Violations, the ledger and the harness's own figures have their own tables."""

KEYS = frozenset(tab.key for tab in TABS)


def format_number(value: float | None) -> str:
    """Milliseconds or tokens/s, with about three significant digits; empty for None."""
    if value is None:
        return ""
    digits = 0 if abs(value) >= 1000 else 1 if abs(value) >= 10 else 2
    return f"{_rounded(Decimal(repr(float(value))), digits):,}"


def _percent(value: float | None) -> str:
    return "" if value is None else f"{_rounded(Decimal(value * 100), 2)}%"


def _rounded(value: Decimal, digits: int) -> Decimal:
    """Rounded as static/charts.js rounds: a half goes up. Both show the same numbers."""
    return value.quantize(Decimal(1).scaleb(-digits), ROUND_HALF_UP)
