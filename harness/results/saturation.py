"""How the harness itself fared: lags, CPU usage, harness faults, and whether it was saturated.

The harness is saturated if it could not produce the requested load. What its delays do to a latency is an
error with bounds, not saturation: see harness.results.measurement_error.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from harness.formatting import counted
from harness.results.histogram import MIDDLES_MS, Histogram
from harness.results.metrics import HARNESS_METRICS, PERCENTILES
from harness.results.reader import Results
from harness.results.records import HARNESS_FAULT, ProcessRecord

MASTER = "master"
"""The process that only collects what workers measure: it delays no stream."""

LOAD_SHORTFALL = 0.01
"""An open loop that falls behind its schedule by this share of the test sends that much less load than requested."""

LEAST_LATE_MS = 100.0
"""Arrivals that are late by less than this do not count as a shortfall, however short the test is."""

LATE_PERCENTILE = 90.0
"""This share of the schedule must be on time. A single pause of the machine does not matter; a generator that cannot
keep up falls behind more and more."""

USERS_WAIT = 0.1
"""Users of a closed loop who wait for the harness for this share of their time are fewer users than requested."""

LEAST_WAIT_MS = 25.0
"""Shorter waits count only if users wait for MOSTLY_WAIT of their time: between runs of a few ms, any program waits as
long as a run."""

MOSTLY_WAIT = 0.5

BUSY_CPU = 0.9
"""A process that uses more of a core than this is shown as busy. This alone distorts nothing."""

ERROR_METRICS = (*HARNESS_METRICS, "duration_ms")
"""The metrics that tell how the harness fared. A user's waits matter in proportion to the duration of its runs."""

_FAULTS_NAMED = 3


@dataclass(frozen=True, slots=True)
class ProcessUsage:
    """Resource usage of one harness process over the measured seconds.

    seconds: how many there are. cpu_mean, cpu_max: CPU time / wall time of a second, 1.0 is one core. busy: share of
    seconds above BUSY_CPU. hub_delay_p99_ms: None where not measured.
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
        self._busy += row.cpu > BUSY_CPU
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
    """Why the load was lower than requested, one clause per reason; empty if it was not."""
    return saturation_reasons_from(
        {name: results.histogram(name) for name in ERROR_METRICS},
        results.histograms_by_worker("hub_delay_ms"),
        processes(results),
    )


def saturation_reasons_from(
    measured: Mapping[str, Histogram], hub_delays: Mapping[str, Histogram], usages: Iterable[ProcessUsage]
) -> list[str]:
    """`saturation_reasons` for numbers in memory. measured: ERROR_METRICS by name. hub_delays: by process."""
    if measured["schedule_lag_ms"].count:
        return _behind_schedule(
            measured["schedule_lag_ms"], max((usage.seconds for usage in usages), default=0)
        )
    duration_ms = measured["duration_ms"].mean
    return [*_waiting_users(duration_ms, hub_delays), *_unread(duration_ms, measured["receive_lag_ms"])]


def _behind_schedule(lags: Histogram, seconds: int) -> list[str]:
    late_ms = lags.percentile(LATE_PERCENTILE) or 0.0
    limit_ms = max(LEAST_LATE_MS, LOAD_SHORTFALL * seconds * 1000)
    if late_ms <= limit_ms:
        return []
    share = 1 - LATE_PERCENTILE / 100
    return [
        f"the load fell behind its schedule: {share:.0%} of the arrivals were sent at least {late_ms:,.0f} ms late "
        f"(limit {limit_ms:,.0f} ms)"
    ]


def _waiting_users(duration_ms: float | None, hub_delays: Mapping[str, Histogram]) -> Iterator[str]:
    for worker, delays in hub_delays.items():
        if worker == MASTER or not delays.count or not duration_ms:
            continue
        for limit, least_ms in ((USERS_WAIT, LEAST_WAIT_MS), (MOSTLY_WAIT, 0.0)):
            share = _waiting_share(delays, duration_ms, least_ms)
            if share > limit:
                yield (
                    f"between two runs, the users of {worker} waited for the harness for {share:.0%} of their time "
                    f"(limit {limit:.0%})"
                )
                break


def _unread(duration_ms: float | None, lags: Histogram) -> Iterator[str]:
    """A process with too many streams reads them late, although its timers run in time."""
    if not lags.count or not duration_ms:
        return
    share = _waiting_share(lags, duration_ms, LEAST_WAIT_MS)
    if share > USERS_WAIT:
        yield (
            f"users waited for the harness to read the end of their runs for {share:.0%} of their time "
            f"(limit {USERS_WAIT:.0%})"
        )


def _waiting_share(delays: Histogram, duration_ms: float, least_ms: float) -> float:
    """The share of their time that users wait for the harness, in waits of at least `least_ms`.

    The delays are samples over time. While the delay is d, each run of D is followed by a wait of d: users then wait
    for d / (d + D) of the time. The average over time is the share of the whole test. (The mean delay is not: a single
    pause lets each user wait once, and not after each run.)
    """
    _, counts = delays.buckets()
    waits_ms = np.clip(MIDDLES_MS, max(0.0, delays.min or 0.0), max(0.0, delays.max or 0.0))
    shares = waits_ms / (waits_ms + duration_ms)
    return float((counts * shares)[waits_ms >= least_ms].sum() / delays.count)


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
        {name: results.histogram(name) for name in ERROR_METRICS},
        results.histograms_by_worker("hub_delay_ms"),
        processes(results),
        results.manifest.get("receive_stamp"),
        results.harness_faults,
    )


def measurement_error_of(
    measured: Mapping[str, Histogram],
    hub_delays: Mapping[str, Histogram],
    usages: Iterable[ProcessUsage],
    receive_stamp: str | None,
    faults: Mapping[str, int],
) -> dict[str, Any]:
    """`measurement_error` for numbers in memory; arguments as in `saturation_reasons_from` and `fault_sentence`."""
    usages = list(usages)
    reasons = saturation_reasons_from(measured, hub_delays, usages)
    shown = {
        {"receive_lag_ms": "lag_ms"}.get(name, name): {
            word: measured[name].percentile(PERCENTILES[word]) for word in ("p50", "p99", "max")
        }
        for name in HARNESS_METRICS
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
