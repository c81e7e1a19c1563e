"""How far the harness's own numbers may be off: lags, CPU usage, saturation and harness faults."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from harness.formatting import counted
from harness.results.histogram import Histogram
from harness.results.metrics import HARNESS_METRICS, METRICS, PERCENTILES
from harness.results.reader import Results
from harness.results.records import HARNESS_FAULT, ProcessRecord

SATURATION_LAG_MS = 10.0
"""A p99 of receive lag, schedule lag or hub delay above this means that the harness was saturated."""

SATURATION_CPU = 0.9
"""A process that uses more of a core than this is busy."""

SATURATION_CPU_SECONDS = 0.1
"""A process that was busy in more than this share of its seconds was saturated."""

MASTER = "master"
"""The process that only collects what workers measure: its CPU usage distorts no latency."""

_FAULTS_NAMED = 3


@dataclass(frozen=True, slots=True)
class ProcessUsage:
    """Resource usage of one harness process over the measured seconds.

    seconds: how many there are. cpu_mean, cpu_max: CPU time / wall time of a second, 1.0 is one core. busy: share of
    seconds above SATURATION_CPU. hub_delay_p99_ms: None where not measured.
    """

    worker: str
    seconds: int
    cpu_mean: float
    cpu_max: float
    busy: float
    rss_max_bytes: int
    open_streams_max: int
    hub_delay_p99_ms: float | None


class ProcessSeconds:
    """Accumulates the seconds of one process in constant memory."""

    def __init__(self) -> None:
        self._seconds = self._busy = 0
        self._cpu_sum = self._cpu_max = 0.0
        self._rss_max_bytes = self._open_streams_max = 0

    def add(self, row: ProcessRecord) -> None:
        """Add one second."""
        self._seconds += 1
        self._busy += row.cpu > SATURATION_CPU
        self._cpu_sum += row.cpu
        self._cpu_max = max(self._cpu_max, row.cpu)
        self._rss_max_bytes = max(self._rss_max_bytes, row.rss_bytes)
        self._open_streams_max = max(self._open_streams_max, row.open_streams)

    def usage(self, worker: str, hub_delays: Histogram) -> ProcessUsage:
        """The usage of this process. At least one second must have been added."""
        return ProcessUsage(
            worker=worker,
            seconds=self._seconds,
            cpu_mean=self._cpu_sum / self._seconds,
            cpu_max=self._cpu_max,
            busy=self._busy / self._seconds,
            rss_max_bytes=self._rss_max_bytes,
            open_streams_max=self._open_streams_max,
            hub_delay_p99_ms=hub_delays.percentile(99),
        )


def processes(results: Results) -> list[ProcessUsage]:
    """Usage of every harness process that monitored itself."""
    seconds: dict[str, ProcessSeconds] = {}
    for row in results.processes():
        seconds.setdefault(row.worker, ProcessSeconds()).add(row)
    hub_delays = results.histograms_by_worker("hub_delay_ms")
    return [total.usage(worker, hub_delays.get(worker, Histogram())) for worker, total in seconds.items()]


def saturation_reasons(results: Results) -> list[str]:
    """Why the harness was too busy to measure the server alone, one clause per reason; empty if it was not.

    Checks the p99 of receive lag and schedule lag over all processes, and hub delay and CPU of each process
    that carries streams: a single saturated process would not show in the sum of many.
    """
    lags = {name: results.histogram(name) for name in HARNESS_METRICS}
    return saturation_reasons_from(lags, results.histograms_by_worker("hub_delay_ms"), processes(results))


def saturation_reasons_from(
    lags: Mapping[str, Histogram], hub_delays: Mapping[str, Histogram], usages: Iterable[ProcessUsage]
) -> list[str]:
    """`saturation_reasons` for numbers in memory. lags: HARNESS_METRICS by name. hub_delays: by process."""
    reasons = []
    for name in ("receive_lag_ms", "schedule_lag_ms"):
        lag_ms = lags[name].percentile(99)
        if lag_ms is not None and lag_ms > SATURATION_LAG_MS:
            reasons.append(
                f"the p99 of {METRICS[name].label.lower()} is {lag_ms:.1f} ms (limit {SATURATION_LAG_MS:g} ms)"
            )
    for worker, delays in hub_delays.items():
        delay_ms = delays.percentile(99)
        if worker != MASTER and delay_ms is not None and delay_ms > SATURATION_LAG_MS:
            reasons.append(
                f"the p99 of hub delay in {worker} is {delay_ms:.1f} ms (limit {SATURATION_LAG_MS:g} ms)"
            )
    reasons += [
        f"{usage.worker} used more than {SATURATION_CPU:.0%} of a core in {usage.busy:.0%} of its seconds "
        f"(limit {SATURATION_CPU_SECONDS:.0%})"
        for usage in usages
        if usage.worker != MASTER and usage.busy > SATURATION_CPU_SECONDS
    ]
    return reasons


def fault_sentence(faults: Mapping[str, int]) -> str:
    """How many streams harness faults kept from being judged, and why, as a clause; empty if none.

    faults: number of streams by reason, in order of first occurrence; reasons begin with HARNESS_FAULT.
    """
    if not faults:
        return ""
    streams = sum(faults.values())
    reasons = [f"{reason.removeprefix(HARNESS_FAULT).strip()} ({count})" for reason, count in faults.items()]
    named = "; ".join(reasons[:_FAULTS_NAMED])
    if len(reasons) > _FAULTS_NAMED:
        named += f"; and {counted(len(reasons) - _FAULTS_NAMED, 'more reason')}"
    verb = "was" if streams == 1 else "were"
    return f"{counted(streams, 'stream')} {verb} not judged because of a harness fault: {named}"


def measurement_error(results: Results) -> dict[str, Any]:
    """The measurement error of a test, as "harness" in summary.json."""
    return measurement_error_of(
        {name: results.histogram(name) for name in HARNESS_METRICS},
        results.histograms_by_worker("hub_delay_ms"),
        processes(results),
        results.manifest.get("receive_stamp"),
        results.harness_faults,
    )


def measurement_error_of(
    lags: Mapping[str, Histogram],
    hub_delays: Mapping[str, Histogram],
    usages: Iterable[ProcessUsage],
    receive_stamp: str | None,
    faults: Mapping[str, int],
) -> dict[str, Any]:
    """`measurement_error` for numbers in memory; arguments as in `saturation_reasons_from` and `fault_sentence`."""
    usages = list(usages)
    reasons = saturation_reasons_from(lags, hub_delays, usages)
    shown = {
        {"receive_lag_ms": "lag_ms"}.get(name, name): {
            word: lags[name].percentile(PERCENTILES[word]) for word in ("p50", "p99", "max")
        }
        for name in ("receive_lag_ms", "schedule_lag_ms", "hub_delay_ms")
    }
    return {
        **shown,
        "processes": {
            usage.worker: {key: value for key, value in asdict(usage).items() if key != "worker"}
            for usage in usages
        },
        "saturated": bool(reasons),
        "why": reasons,
        "receive_stamp": receive_stamp,
        "faults": {
            "streams": sum(faults.values()),
            "reasons": dict(faults),
            "sentence": fault_sentence(faults),
        },
    }
