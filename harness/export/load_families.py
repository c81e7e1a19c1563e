"""The metric families of a load: from a results file, or from a running test."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from harness.export.metric_families import Distribution, Family, make_family
from harness.results import metrics
from harness.results.histogram import Histogram, accuracy
from harness.results.ledger import ENDINGS, Ledger
from harness.results.rate_counts import COUNTERS, RateCounts

_OUTCOMES = (*ENDINGS, "dropped", "lost")  # counters; "in flight" can decrease


class LoadNumbers(Protocol):
    """The numbers of a load: a results file, or the live state of a running test.

    Methods are those of harness.results.reader.Results. Histograms and rate counts exclude warm-up.
    """

    def journeys(self) -> list[str]:
        """Names of the journeys; of the steps where a journey has several, so that their numbers can be added."""
        ...

    def metrics(self) -> list[str]:
        """Names of the metrics that have data."""
        ...

    def histogram(self, metric: str, journey: str | None = None, /) -> Histogram:
        """One metric, of one journey or of all."""
        ...

    def ledger(self, journey: str | None = None, /) -> Ledger:
        """The ledger of one journey or of all."""
        ...

    def rate_counts(self, journey: str | None = None, /) -> RateCounts:
        """The counts behind error rate and goodput, of one journey or of all."""
        ...

    def violation_counts(self, journey: str | None = None, /) -> dict[str, int]:
        """Number of violations under load by requirement, of one journey or of all."""
        ...


def load_families(load: LoadNumbers, target: str) -> list[Family]:
    """The families of a load, without empty ones."""
    return [family for family in _of_load(load, target) if family.samples]


def _of_load(load: LoadNumbers, target: str) -> Iterator[Family]:
    journeys = load.journeys()
    measured = set(load.metrics())
    for metric in metrics.METRICS.values():
        if metric.name in measured:
            yield from _of_metric(load, metric, journeys, target)
    if journeys:
        yield from _of_ledger(load, journeys, target)
        yield from _of_rate_counts(load, journeys, target)
    yield make_family(
        "violations",
        "counter",
        "{violation}",
        "Violations of a requirement in streams under load, including warm-up.",
        (
            ({"requirement": requirement, "journey": journey}, count)
            for journey in journeys
            for requirement, count in load.violation_counts(journey).items()
        ),
        target,
    )


def _of_metric(
    load: LoadNumbers, metric: metrics.Metric, journeys: list[str], target: str
) -> Iterator[Family]:
    in_ms = metric.unit == "ms"
    name, unit, scale = (
        (metric.name.removesuffix("_ms"), "s", 0.001)
        if in_ms
        else (metric.name.removesuffix("_per_s"), "{token}/s", 1.0)
    )
    # Metrics of a process itself have no journey.
    by_journey = {journey: load.histogram(metric.name, journey) for journey in (*journeys, "")}
    measured = {journey: histogram for journey, histogram in by_journey.items() if histogram.count}
    help_text = f"{metric.label}: {metric.formula}. Excludes warm-up."
    yield make_family(
        name,
        "histogram",
        unit,
        help_text,
        (
            ({"journey": journey}, Distribution.of(histogram, scale))
            for journey, histogram in measured.items()
        ),
        target,
    )
    with_total = {"": load.histogram(metric.name), **{name: part for name, part in measured.items() if name}}
    error = max(histogram.relative_error for histogram in with_total.values())
    yield make_family(
        f"{name}.percentile",
        "gauge",
        unit,
        f"{help_text} Nearest-rank percentiles so far, {accuracy(error)}. Without a journey label: all journeys.",
        (
            ({"journey": journey, "percentile": name}, value * scale)
            for journey, histogram in with_total.items()
            for name, percent in metrics.PERCENTILES.items()
            if (value := histogram.percentile(percent)) is not None
        ),
        target,
    )


def _of_ledger(load: LoadNumbers, journeys: list[str], target: str) -> Iterator[Family]:
    ledgers = {journey: load.ledger(journey) for journey in journeys}
    yield make_family(
        "streams.scheduled",
        "counter",
        "{stream}",
        "Streams that were due, including warm-up.",
        (({"journey": journey}, ledger.scheduled) for journey, ledger in ledgers.items()),
        target,
    )
    yield make_family(
        "streams",
        "counter",
        "{stream}",
        "Streams by outcome, including warm-up.",
        (
            ({"journey": journey, "outcome": outcome}, ledger[outcome])
            for journey, ledger in ledgers.items()
            for outcome in _OUTCOMES
        ),
        target,
    )
    yield make_family(
        "streams.in_flight",
        "gauge",
        "{stream}",
        "Streams that are open, or were open when the test ended.",
        (({"journey": journey}, ledger["in flight"]) for journey, ledger in ledgers.items()),
        target,
    )
    yield make_family(
        "streams.missing",
        "gauge",
        "{stream}",
        "Scheduled streams without an outcome; if it is not 0, the ledger does not add up.",
        [({}, load.ledger().missing)],
        target,
    )


def _of_rate_counts(load: LoadNumbers, journeys: list[str], target: str) -> Iterator[Family]:
    counts = {journey: load.rate_counts(journey) for journey in journeys}
    for counter, meaning in COUNTERS.items():
        of_sessions = counter.startswith("sessions")
        yield make_family(
            counter.replace("_", ".") if of_sessions else f"streams.{counter}",
            "counter",
            "{session}" if of_sessions else "{stream}",
            f"{meaning} Excludes warm-up.",
            [({"journey": journey}, getattr(numbers, counter)) for journey, numbers in counts.items()],
            target,
        )
