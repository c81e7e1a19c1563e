"""What is measured and by which formula: written once, printed by the report, held by the gate."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from harness.results.histogram import Histogram
from harness.results.rate_counts import RateCounts
from harness.results.reader import HistogramPart, Results
from harness.results.records import HARNESS_FAULT, VERDICTS, ProcessRecord

SATURATION_LAG_MS = 10.0
"""A p99 of receive lag, schedule lag or hub delay above this says that the harness was too busy to be believed."""

SATURATION_CPU = 0.9
"""A process that uses more of a core than this has nothing left for what comes next."""

SATURATION_CPU_SECONDS = 0.1
"""Above SATURATION_CPU in more than this share of its seconds, a process was too busy to be believed."""

MASTER = "master"
"""The process that only gathers what others measured: how busy it is distorts no latency."""

PERCENTILES = {"p50": 50.0, "p90": 90.0, "p95": 95.0, "p99": 99.0, "p999": 99.9, "max": 100.0}
"""The percentiles that summaries show and objectives name."""

_FAULTS_NAMED = 3

ALWAYS_SUMMARISED = ("ttft_ms", "inter_token_ms", "duration_ms", "resume_ms")


@dataclass(frozen=True, slots=True)
class Metric:
    """One measured quantity: its name in the results file, unit, label for people, and formula in words."""

    name: str
    unit: str
    label: str
    formula: str


METRICS: dict[str, Metric] = {
    name: Metric(name, "tokens/s" if name == "tokens_per_s" else "ms", label, formula)
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
        ("first_event_ms", "Time to first event", "arrival of the first event - intended start"),
        ("head_ms", "Time to head", "arrival of the response's status and headers - actual send"),
        ("connect_ms", "Connect time", "connection ready (TCP, and TLS where used) - start of connecting"),
        (
            "inter_token_ms",
            "Inter-token latency (ITL)",
            "gap between the arrivals of two successive token events of a run",
        ),
        ("stall_ms", "Stall", "largest gap between successive token arrivals of a run"),
        ("duration_ms", "Run duration", "arrival of the terminal event - intended start"),
        (
            "tokens_per_s",
            "Token rate",
            "(token events of a run - 1) / (arrival of its last token - arrival of its first)",
        ),
        (
            "resume_ms",
            "Resume latency",
            "arrival of the first event on the new connection - send of the resuming request",
        ),
        ("conflict_ms", "Conflict latency", "arrival of the rejection - send of the conflicting request"),
        ("schedule_lag_ms", "Schedule lag", "start of the sending - intended start (open loop)"),
        ("receive_lag_ms", "Receive lag", "time at which the harness had the bytes - kernel's receive time"),
        (
            "hub_delay_ms",
            "Hub delay",
            "time at which a timer of the harness's own ran - time at which it was due, every 20 ms",
        ),
    )
}
"""Every metric by name, in the order in which they are shown."""

HARNESS_METRICS = ("schedule_lag_ms", "receive_lag_ms", "hub_delay_ms")
"""Those that say how far the harness's own numbers may be off."""

ERROR_RATE_FORMULA = (
    "streams that ended otherwise than their step wanted / streams that ended, save those that we ended or "
    "broke on"
)
GOODPUT_FORMULA = (
    "runs that were done without a violation and met every objective that a single run can meet / runs that "
    "ended, save those that we ended or broke on"
)
VIOLATIONS_FORMULA = "violations that judges found in streams under load + failed MUST checks"


def error_rate(
    results: Results, journey: str | None = None, part: HistogramPart = "measured"
) -> float | None:
    """Share of failed streams, 0 to 1, by ERROR_RATE_FORMULA; None when no stream ended."""
    return error_rate_of(results.rate_counts(journey, part))


def error_rate_of(tally: RateCounts) -> float | None:
    """The same of counts that stand in no results file, or not yet."""
    return tally.failed / tally.judged if tally.judged else None


def goodput(results: Results, journey: str | None = None, part: HistogramPart = "measured") -> float | None:
    """Share of good runs, 0 to 1, by GOODPUT_FORMULA; None when no run ended, or nobody counted.

    The name, and that a run must meet all objectives at once: Zhong et al., DistServe, OSDI 2024, section 2.
    """
    return goodput_of(results.rate_counts(journey, part))


def goodput_of(tally: RateCounts) -> float | None:
    """The same of counts that stand in no results file, or not yet."""
    return tally.good / tally.runs if tally.runs and tally.good is not None else None


def violations(results: Results, journey: str | None = None) -> dict[str, int]:
    """Violations by requirement id, by VIOLATIONS_FORMULA; requirements without one are left out.

    Those of one journey are of its streams alone: a check belongs to none.
    """
    counts = Counter(results.violation_counts(journey))
    checks = results.checks() if journey is None else []
    counts.update(check.id for check in checks if check.verdict == "fail" and check.level == "MUST")
    return {requirement: count for requirement, count in sorted(counts.items()) if count}


@dataclass(frozen=True, slots=True)
class Process:
    """How one process of the harness fared over the seconds that count.

    seconds: how many there are. cpu_mean, cpu_max: processor time / wall time of a second, 1.0 is one core.
    busy: the share of its seconds above SATURATION_CPU. hub_delay_p99_ms: None where it was not measured.
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
    """Adds up the seconds of one process, one after the other; what it takes does not grow with them."""

    def __init__(self) -> None:
        self._seconds = self._busy = 0
        self._cpu_sum = self._cpu_max = 0.0
        self._rss_max_bytes = self._open_streams_max = 0

    def add(self, row: ProcessRecord) -> None:
        """Count one second."""
        self._seconds += 1
        self._busy += row.cpu > SATURATION_CPU
        self._cpu_sum += row.cpu
        self._cpu_max = max(self._cpu_max, row.cpu)
        self._rss_max_bytes = max(self._rss_max_bytes, row.rss_bytes)
        self._open_streams_max = max(self._open_streams_max, row.open_streams)

    def fared(self, worker: str, delays: Histogram) -> Process:
        """How the process of that name fared. delays: of its hub. At least one second must have been added."""
        return Process(
            worker=worker,
            seconds=self._seconds,
            cpu_mean=self._cpu_sum / self._seconds,
            cpu_max=self._cpu_max,
            busy=self._busy / self._seconds,
            rss_max_bytes=self._rss_max_bytes,
            open_streams_max=self._open_streams_max,
            hub_delay_p99_ms=delays.percentile(99),
        )


def processes(results: Results) -> list[Process]:
    """Every process of the harness that watched itself."""
    seconds: dict[str, ProcessSeconds] = {}
    for row in results.processes():
        seconds.setdefault(row.worker, ProcessSeconds()).add(row)
    delays = results.histograms_by_worker("hub_delay_ms")
    return [one.fared(worker, delays.get(worker, Histogram())) for worker, one in seconds.items()]


def saturation(results: Results) -> list[str]:
    """Why the harness was too busy for its latencies to be the server's alone, a clause each; empty if it was not.

    The p99 of receive lag and of schedule lag over all processes, hub delay and CPU in each that carries
    streams: among many processes a single busy one would not show.
    """
    lags = {name: results.histogram(name) for name in HARNESS_METRICS}
    return saturation_of(lags, results.histograms_by_worker("hub_delay_ms"), processes(results))


def saturation_of(
    lags: Mapping[str, Histogram], hub_delays: Mapping[str, Histogram], fared: Iterable[Process]
) -> list[str]:
    """The same of what stands in no results file, or not yet: HARNESS_METRICS by name, hub delay by process."""
    why = []
    for name in ("receive_lag_ms", "schedule_lag_ms"):
        lag_ms = lags[name].percentile(99)
        if lag_ms is not None and lag_ms > SATURATION_LAG_MS:
            why.append(
                f"the p99 of {METRICS[name].label.lower()} is {lag_ms:.1f} ms, over {SATURATION_LAG_MS:g} ms"
            )
    for worker, delays in hub_delays.items():
        delay_ms = delays.percentile(99)
        if worker != MASTER and delay_ms is not None and delay_ms > SATURATION_LAG_MS:
            why.append(f"the p99 of {worker}'s hub delay is {delay_ms:.1f} ms, over {SATURATION_LAG_MS:g} ms")
    why += [
        f"{one.worker} used more than {SATURATION_CPU:.0%} of a core in {one.busy:.0%} of its seconds, over "
        f"{SATURATION_CPU_SECONDS:.0%}"
        for one in fared
        if one.worker != MASTER and one.busy > SATURATION_CPU_SECONDS
    ]
    return why


def fault_sentence(faults: Mapping[str, int]) -> str:
    """On how many streams the harness itself broke, and why, as a clause; empty when it broke on none.

    faults: reasons that begin with HARNESS_FAULT, in the order in which they came, and how many streams each.
    """
    if not faults:
        return ""
    streams = sum(faults.values())
    they = "1 stream, which was" if streams == 1 else f"{streams} streams, which were"
    said = [f"{reason.removeprefix(HARNESS_FAULT).strip()} ({count})" for reason, count in faults.items()]
    named = "; ".join(said[:_FAULTS_NAMED])
    if len(said) > _FAULTS_NAMED:
        named += f"; and {len(said) - _FAULTS_NAMED} more reasons"
    return f"the harness itself broke on {they} not judged, for or against the server: {named}"


def summary(results: Results) -> dict[str, Any]:
    """What summary.json says. Warm-up is left out of all but the ledger, violations and its own entry.

    The metrics of ALWAYS_SUMMARISED are there with count 0 and nulls when nothing was measured; the others
    only when they have data. Each is in its METRICS unit.
    """
    verdicts = Counter(check.verdict for check in results.checks())
    kept, seen = results.sample()
    return {
        "ledger": results.ledger().as_dict(),
        **_rates(results, "measured"),
        "metrics": _distributions(results, "measured"),
        "violations": violations(results),
        "warmup": _warmup(results),
        "harness": _harness(results),
        "runs": {"seen": seen, "kept": kept},
        "checks": {verdict: verdicts[verdict] for verdict in VERDICTS},
    }


def _rates(results: Results, part: HistogramPart) -> dict[str, Any]:
    tally = results.rate_counts(part=part)
    return {
        "streams": {
            "judged": tally.judged,
            "failed": tally.failed,
            "error_rate": error_rate(results, part=part),
        },
        "goodput": {"runs": tally.runs, "good": tally.good, "share": goodput(results, part=part)},
    }


def _distributions(results: Results, part: HistogramPart) -> dict[str, Any]:
    """Every metric that has data in any part: a reader finds the same names in both."""
    measured = set(results.metrics())
    shown = [name for name in METRICS if name in measured or name in ALWAYS_SUMMARISED]
    return {name: distribution(results.histogram(name, part=part)) for name in shown}


def distribution(histogram: Histogram) -> dict[str, float | int | None]:
    """A metric's count and PERCENTILES, in its unit; None where nothing was measured."""
    return {
        "count": histogram.count,
        **{word: histogram.percentile(percent) for word, percent in PERCENTILES.items()},
    }


def _warmup(results: Results) -> dict[str, Any] | None:
    """What was left out, in the same words; None without a warm-up."""
    if results.measured_from is None:
        return None
    return {
        "measured_from": results.measured_from,
        "seconds": results.manifest.get("warmup_s"),
        **_rates(results, "warm-up"),
        "metrics": _distributions(results, "warm-up"),
    }


def _harness(results: Results) -> dict[str, Any]:
    return error_bar(
        {name: results.histogram(name) for name in HARNESS_METRICS},
        results.histograms_by_worker("hub_delay_ms"),
        processes(results),
        results.manifest.get("receive_stamp"),
        results.harness_faults,
    )


def error_bar(
    lags: Mapping[str, Histogram],
    hub_delays: Mapping[str, Histogram],
    fared: Iterable[Process],
    receive_stamp: str | None,
    faults: Mapping[str, int],
) -> dict[str, Any]:
    """The measurement's own error bar, as summary.json has it.

    faults: as `fault_sentence` has them. The other arguments are those of `saturation_of`.
    """
    fared = list(fared)
    why = saturation_of(lags, hub_delays, fared)
    shown = {
        {"receive_lag_ms": "lag_ms"}.get(name, name): {
            word: lags[name].percentile(PERCENTILES[word]) for word in ("p50", "p99", "max")
        }
        for name in ("receive_lag_ms", "schedule_lag_ms", "hub_delay_ms")
    }
    return {
        **shown,
        "processes": {
            one.worker: {key: value for key, value in asdict(one).items() if key != "worker"} for one in fared
        },
        "saturated": bool(why),
        "why": why,
        "receive_stamp": receive_stamp,
        "faults": {
            "streams": sum(faults.values()),
            "reasons": dict(faults),
            "sentence": fault_sentence(faults),
        },
    }
