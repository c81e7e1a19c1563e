"""The numbers that leave for dashboards: each named, explained and labelled once, whichever format carries them.

Names and units are those of OpenTelemetry ("agent.run.ttft", "s"); Prometheus has the same ones by the rules with
which a collector translates them ("agent_run_ttft_seconds").
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, Protocol, Self

import numpy as np

from harness.gate.evaluate import evaluate
from harness.gate.objective import parse_objectives
from harness.gate.report import GateOutcome, RowVerdict
from harness.results import metrics
from harness.results.histogram import EDGES_MS, Histogram
from harness.results.ledger import ENDINGS, Ledger
from harness.results.rate_counts import RateCounts
from harness.results.reader import Results
from harness.results.records import VERDICTS
from harness.results.schema import ResultsError

PREFIX = "agent.run."

BOUNDS: tuple[float, ...] = (
    *(step * 10.0**decade for decade in range(-1, 5) for step in (1, 2, 3, 5)),
    100_000.0,
)
"""Upper bounds of a distribution's buckets: 0.1 ms to 100 s, and of token rates the same numbers in tokens/s."""

# The last of our own edges that is not above a bound; 1e-12 is room for the rounding of a power of ten.
_PLACES = np.searchsorted(EDGES_MS, np.array(BOUNDS) * (1 + 1e-12), side="right") - 1

BOUND_ERROR = 0.01
"""How far below its bound a bucket may end, as a share: a bucket of ours is that wide."""

_OUTCOMES = (*ENDINGS, "dropped", "lost")  # that only grow; "in flight" does not
_GATE_OUTCOMES: tuple[GateOutcome, ...] = (
    "passed",
    "failed",
    "inconclusive",
    "not measured",
    "nothing tested",
)
_ROW_VERDICTS: tuple[RowVerdict, ...] = ("passed", "failed", "inconclusive", "not measured")

MetricKind = Literal["counter", "gauge", "histogram"]
Labels = Mapping[str, str]


class Counts(Protocol):
    """Where a load's numbers are taken from: a results file, or what a process keeps while it goes on.

    The methods are those of harness.results.reader.Results; warm-up is left out of histograms and tallies.
    """

    def journeys(self) -> list[str]:
        """The journeys that were travelled."""
        ...

    def metrics(self) -> list[str]:
        """The metrics that have data."""
        ...

    def histogram(self, metric: str, journey: str | None = None, /) -> Histogram:
        """One metric, of one journey or of all."""
        ...

    def ledger(self, journey: str | None = None, /) -> Ledger:
        """What became of the streams, of one journey or of all."""
        ...

    def rate_counts(self, journey: str | None = None, /) -> RateCounts:
        """What goes into rates, of one journey or of all."""
        ...

    def violation_counts(self, journey: str | None = None, /) -> dict[str, int]:
        """Violations under load by requirement, of one journey or of all."""
        ...


@dataclass(frozen=True, slots=True)
class Distribution:
    """How many values came in each bucket: `counts` has one more than `bounds`, of what is above them all.

    A value counts in the first bucket whose bound is not below it, save that one within BOUND_ERROR below
    a bound may count in the next bucket. So no value above a bound is counted below it. The sum is in the
    unit of the bounds.
    """

    bounds: tuple[float, ...]
    counts: tuple[int, ...]
    sum: float
    min: float
    max: float

    @property
    def count(self) -> int:
        """How many values there are."""
        return sum(self.counts)

    @classmethod
    def of(cls, histogram: Histogram, scale: float) -> Self:
        """A histogram's values, times `scale`, in the buckets of BOUNDS. Raises ValueError for an empty one."""
        if histogram.min is None or histogram.max is None:
            raise ValueError("an empty histogram has no distribution")
        _, counts = histogram.buckets()
        below = np.cumsum(counts)[_PLACES]
        parts = np.diff(np.concatenate(([0], below, [histogram.count])))
        return cls(
            tuple(float(f"{bound * scale:.12g}") for bound in BOUNDS),
            tuple(int(part) for part in parts),
            histogram.sum * scale,
            histogram.min * scale,
            histogram.max * scale,
        )


@dataclass(frozen=True, slots=True)
class MetricSample:
    """One value and what it is of."""

    labels: Labels
    value: float | Distribution


@dataclass(frozen=True, slots=True)
class Family:
    """What is measured, in which unit (UCUM, as OpenTelemetry writes it), and its values."""

    name: str
    kind: MetricKind
    unit: str
    help: str
    samples: tuple[MetricSample, ...]


def load_families(counts: Counts, target: str) -> list[Family]:
    """What a load measured and counted; families without a value are left out."""
    return [family for family in _of_load(counts, target) if family.samples]


def _of_load(counts: Counts, target: str) -> Iterator[Family]:
    journeys = counts.journeys()
    measured = set(counts.metrics())
    for metric in metrics.METRICS.values():
        if metric.name in measured:
            yield from _of_metric(counts, metric, journeys, target)
    if journeys:
        yield from _of_ledger(counts, journeys, target)
        yield from _of_rate_counts(counts, journeys, target)
    yield _family(
        "violations",
        "counter",
        "{violation}",
        "Violations of a requirement that judges found in streams under load, warm-up too.",
        (
            ({"requirement": requirement, "journey": journey}, count)
            for journey in journeys
            for requirement, count in counts.violation_counts(journey).items()
        ),
        target,
    )


def result_families(results: Results) -> list[Family]:
    """Everything that a results file says to a dashboard. Raises ResultsError."""
    target = _target(results.manifest)
    families = [
        *load_families(results, target),
        *_of_rates(results, target),
        *_of_checks(results, target),
        *_of_gate(results, target),
        *_of_harness(results, target),
        *_of_test(results, target),
    ]
    return [family for family in families if family.samples]


def _family(
    name: str,
    kind: MetricKind,
    unit: str,
    about: str,
    values: Iterable[tuple[Labels, float | Distribution]],
    target: str,
) -> Family:
    samples = (MetricSample(_labels({**labels, "target": target}), value) for labels, value in values)
    return Family(PREFIX + name, kind, unit, about, tuple(samples))


def _labels(labels: Labels) -> Labels:
    # Without a value is without the label. Lone surrogates, which a command line can hold, no format can.
    return {name: text.encode("utf-8", "backslashreplace").decode() for name, text in labels.items() if text}


def _target(manifest: Mapping[str, Any]) -> str:
    target = manifest.get("target")
    return str(target.get("base_url") or "") if isinstance(target, dict) else ""


def _of_metric(counts: Counts, metric: metrics.Metric, journeys: list[str], target: str) -> Iterator[Family]:
    in_ms = metric.unit == "ms"
    name, unit, scale = (
        (metric.name.removesuffix("_ms"), "s", 0.001) if in_ms else ("tokens", "{token}/s", 1.0)
    )
    # What a process measures of itself belongs to no journey.
    by_journey = {journey: counts.histogram(metric.name, journey) for journey in (*journeys, "")}
    found = {journey: histogram for journey, histogram in by_journey.items() if histogram.count}
    about = f"{metric.label}: {metric.formula}. Without warm-up."
    yield _family(
        name,
        "histogram",
        unit,
        about,
        (({"journey": journey}, Distribution.of(one, scale)) for journey, one in found.items()),
        target,
    )
    shown = {"": counts.histogram(metric.name), **{name: one for name, one in found.items() if name}}
    yield _family(
        f"{name}.percentile",
        "gauge",
        unit,
        f"{about} Nearest-rank percentiles so far, within 0.5%; without a journey, of all.",
        (
            ({"journey": journey, "percentile": word}, value * scale)
            for journey, one in shown.items()
            for word, percent in metrics.PERCENTILES.items()
            if (value := one.percentile(percent)) is not None
        ),
        target,
    )


def _of_ledger(counts: Counts, journeys: list[str], target: str) -> Iterator[Family]:
    ledgers = {journey: counts.ledger(journey) for journey in journeys}
    yield _family(
        "streams.scheduled",
        "counter",
        "{stream}",
        "Streams that were to be opened, warm-up too.",
        (({"journey": journey}, ledger.scheduled) for journey, ledger in ledgers.items()),
        target,
    )
    yield _family(
        "streams",
        "counter",
        "{stream}",
        "What became of the streams, warm-up too.",
        (
            ({"journey": journey, "outcome": outcome}, ledger[outcome])
            for journey, ledger in ledgers.items()
            for outcome in _OUTCOMES
        ),
        target,
    )
    yield _family(
        "streams.in_flight",
        "gauge",
        "{stream}",
        "Streams that are open, or were when the test ended.",
        (({"journey": journey}, ledger["in flight"]) for journey, ledger in ledgers.items()),
        target,
    )
    yield _family(
        "streams.missing",
        "gauge",
        "{stream}",
        "Scheduled streams of which nothing is known; other than 0 the ledger does not add up.",
        [({}, counts.ledger().missing)],
        target,
    )


def _of_rate_counts(counts: Counts, journeys: list[str], target: str) -> Iterator[Family]:
    tallies = {journey: counts.rate_counts(journey) for journey in journeys}
    for word, about in (
        ("judged", "Streams whose ending was the server's doing: what the error rate is a share of."),
        ("failed", "Streams that ended otherwise than their step wanted, or broke a MUST."),
        ("runs", "Judged streams that were meant to come to the end of a run: what goodput is a share of."),
        ("good", "Runs that met every objective that a single run can meet, without a violation."),
    ):
        values = {journey: getattr(tally, word) for journey, tally in tallies.items()}
        yield _family(
            f"streams.{word}",
            "counter",
            "{stream}",
            f"{about} Without warm-up.",
            (({"journey": journey}, value) for journey, value in values.items() if value is not None),
            target,
        )


def _of_rates(results: Results, target: str) -> Iterator[Family]:
    for name, formula, rate in (
        ("error_rate", metrics.ERROR_RATE_FORMULA, metrics.error_rate),
        ("goodput", metrics.GOODPUT_FORMULA, metrics.goodput),
    ):
        yield _family(
            name,
            "gauge",
            "1",
            f"{formula}. Without warm-up; without a journey, of all.",
            (
                ({"journey": journey or ""}, value)
                for journey in (None, *results.journeys())
                if (value := rate(results, journey)) is not None
            ),
            target,
        )


def _of_checks(results: Results, target: str) -> Iterator[Family]:
    checks = results.checks()
    if not checks:
        return
    yield _family(
        "checks",
        "gauge",
        "{check}",
        "Requirements of the conformance suite by verdict.",
        (({"verdict": word}, sum(one.verdict == word for one in checks)) for word in VERDICTS),
        target,
    )
    yield _family(
        "check.verdict",
        "gauge",
        "",
        "1 for the verdict that the conformance suite came to on a requirement.",
        (({"requirement": one.id, "level": one.level, "verdict": one.verdict}, 1) for one in checks),
        target,
    )


def _of_gate(results: Results, target: str) -> Iterator[Family]:
    settings = results.manifest.get("settings")
    said = settings.get("objectives") if isinstance(settings, dict) else None
    try:
        objectives = parse_objectives(said if isinstance(said, dict) else {})
    except ValueError as problem:
        raise ResultsError(f"{results.path}: its objectives are not of this version: {problem}") from None
    report = evaluate(results, objectives)
    own_unit = "in the unit that its name says, shares from 0 to 1"
    yield _family(
        "objective.value",
        "gauge",
        "",
        f"What was held against a limit, {own_unit}.",
        (({"objective": row.name}, row.value) for row in report.rows if row.value is not None),
        target,
    )
    yield _family(
        "objective.limit",
        "gauge",
        "",
        f"The limit, an upper one save for goodput, {own_unit}.",
        (({"objective": row.name}, row.limit) for row in report.rows),
        target,
    )
    yield _family(
        "objective.verdict",
        "gauge",
        "",
        "1 for the verdict on an objective, 0 for the others.",
        (
            ({"objective": row.name, "verdict": word}, row.verdict == word)
            for row in report.rows
            for word in _ROW_VERDICTS
        ),
        target,
    )
    yield _family(
        "gate.outcome",
        "gauge",
        "",
        "1 for what the gate says of the test, 0 for the others; only held is a pass.",
        (({"outcome": word}, report.outcome == word) for word in _GATE_OUTCOMES),
        target,
    )


def _of_harness(results: Results, target: str) -> Iterator[Family]:
    if not results.ledger().scheduled:
        return
    yield _family(
        "harness.saturated",
        "gauge",
        "",
        "1 when the harness was too busy for its latencies to be the server's alone.",
        [({}, bool(metrics.saturation(results)))],
        target,
    )
    yield _family(
        "harness.faults",
        "gauge",
        "",
        "Streams that a fault of the harness itself kept from being judged; they are in no rate.",
        [({}, sum(results.harness_faults.values()))],
        target,
    )
    processes = metrics.processes(results)
    yield _family(
        "harness.cpu.max",
        "gauge",
        "1",
        "Processor time / wall time of a harness process in its busiest second; 1 is one core.",
        (({"worker": one.worker}, one.cpu_max) for one in processes),
        target,
    )
    yield _family(
        "harness.memory.max",
        "gauge",
        "By",
        "Memory in RAM of a harness process, at most.",
        (({"worker": one.worker}, one.rss_max_bytes) for one in processes),
        target,
    )


def _of_test(results: Results, target: str) -> Iterator[Family]:
    manifest = results.manifest
    versions = manifest.get("versions")
    said = versions if isinstance(versions, dict) else {}
    yield _family(
        "harness.info",
        "gauge",
        "",
        "1; what measured it.",
        [
            (
                {
                    "version": str(said.get("agent-run-harness", "")),
                    "locust": str(said.get("locust", "")),
                    "python": str(said.get("python", "")),
                    "schema": str(results.schema_version),
                    "receive_stamp": str(manifest.get("receive_stamp") or ""),
                },
                1,
            )
        ],
        target,
    )
    yield _family(
        "test.state",
        "gauge",
        "",
        "1 for the state of the test, 0 for the others.",
        (({"state": word}, manifest.get("state") == word) for word in ("running", "finished", "interrupted")),
        target,
    )
    for word, about in (("started", "The test began at that time"), ("ended", "The test ended at that time")):
        yield _family(
            f"test.{word}.timestamp",
            "gauge",
            "s",
            f"{about}, Unix epoch.",
            (({}, at_s) for at_s in _epoch_s(manifest.get(f"{word}_at"))),
            target,
        )


def _epoch_s(text: Any) -> list[float]:
    try:
        return [datetime.fromisoformat(text).timestamp()]
    except (TypeError, ValueError):  # a test that was killed has no end
        return []
