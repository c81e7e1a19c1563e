"""What is measured and by which formula: written once, printed by the report, held by the gate."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

from harness.results.histogram import Histogram
from harness.results.store import VERDICTS, Part, ProcessRow, Results

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

ERROR_RATE_FORMULA = "streams that ended otherwise than their step wanted / streams that ended, unless by us"
GOODPUT_FORMULA = (
    "runs that were done without a violation and met every objective that a single run can meet / runs that "
    "ended, unless by us"
)
VIOLATIONS_FORMULA = "violations that judges found in streams under load + failed MUST checks"


def error_rate(results: Results, journey: str | None = None, part: Part = "measured") -> float | None:
    """Share of failed streams, 0 to 1, by ERROR_RATE_FORMULA; None when no stream ended."""
    tally = results.tally(journey, part)
    return tally.failed / tally.judged if tally.judged else None


def goodput(results: Results, journey: str | None = None, part: Part = "measured") -> float | None:
    """Share of good runs, 0 to 1, by GOODPUT_FORMULA; None when no run ended, or nobody counted.

    The name, and that a run must meet all objectives at once: Zhong et al., DistServe, OSDI 2024, section 2.
    """
    tally = results.tally(journey, part)
    return tally.good / tally.runs if tally.runs and tally.good is not None else None


def violations(results: Results) -> dict[str, int]:
    """Violations by requirement id, by VIOLATIONS_FORMULA; requirements without one are left out."""
    counts = Counter(results.violation_counts())
    counts.update(check.id for check in results.checks() if check.verdict == "fail" and check.level == "MUST")
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


def processes(results: Results) -> list[Process]:
    """Every process of the harness that watched itself."""
    rows: dict[str, list[ProcessRow]] = {}
    for row in results.processes():
        rows.setdefault(row.worker, []).append(row)
    delays = results.histograms_by_worker("hub_delay_ms")
    return [_process(worker, found, delays.get(worker, Histogram())) for worker, found in rows.items()]


def _process(worker: str, rows: list[ProcessRow], delays: Histogram) -> Process:
    return Process(
        worker=worker,
        seconds=len(rows),
        cpu_mean=sum(row.cpu for row in rows) / len(rows),
        cpu_max=max(row.cpu for row in rows),
        busy=sum(row.cpu > SATURATION_CPU for row in rows) / len(rows),
        rss_max_bytes=max(row.rss_bytes for row in rows),
        open_streams_max=max(row.open_streams for row in rows),
        hub_delay_p99_ms=delays.percentile(99),
    )


def saturation(results: Results) -> list[str]:
    """Why the harness was too busy for its latencies to be the server's alone, a clause each; empty if it was not.

    The p99 of receive lag and of schedule lag over all processes, hub delay and CPU in each that carries
    streams: among many processes a single busy one would not show.
    """
    why = []
    for name in ("receive_lag_ms", "schedule_lag_ms"):
        lag_ms = results.histogram(name).percentile(99)
        if lag_ms is not None and lag_ms > SATURATION_LAG_MS:
            why.append(
                f"the p99 of {METRICS[name].label.lower()} is {lag_ms:.1f} ms, over {SATURATION_LAG_MS:g} ms"
            )
    for worker, delays in results.histograms_by_worker("hub_delay_ms").items():
        delay_ms = delays.percentile(99)
        if worker != MASTER and delay_ms is not None and delay_ms > SATURATION_LAG_MS:
            why.append(f"the p99 of {worker}'s hub delay is {delay_ms:.1f} ms, over {SATURATION_LAG_MS:g} ms")
    why += [
        f"{one.worker} used more than {SATURATION_CPU:.0%} of a core in {one.busy:.0%} of its seconds, over "
        f"{SATURATION_CPU_SECONDS:.0%}"
        for one in processes(results)
        if one.worker != MASTER and one.busy > SATURATION_CPU_SECONDS
    ]
    return why


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


def _rates(results: Results, part: Part) -> dict[str, Any]:
    tally = results.tally(part=part)
    return {
        "streams": {
            "judged": tally.judged,
            "failed": tally.failed,
            "error_rate": error_rate(results, part=part),
        },
        "goodput": {"runs": tally.runs, "good": tally.good, "share": goodput(results, part=part)},
    }


def _distributions(results: Results, part: Part) -> dict[str, Any]:
    """Every metric that has data in any part: a reader finds the same names in both."""
    measured = set(results.metrics())
    shown = [name for name in METRICS if name in measured or name in ALWAYS_SUMMARISED]
    return {name: _distribution(results.histogram(name, part=part)) for name in shown}


def _distribution(histogram: Histogram) -> dict[str, float | int | None]:
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
    """The measurement's own error bar."""
    why = saturation(results)
    lags = {
        {"receive_lag_ms": "lag_ms"}.get(name, name): {
            word: results.histogram(name).percentile(PERCENTILES[word]) for word in ("p50", "p99", "max")
        }
        for name in ("receive_lag_ms", "schedule_lag_ms", "hub_delay_ms")
    }
    return {
        **lags,
        "processes": {
            one.worker: {key: value for key, value in asdict(one).items() if key != "worker"}
            for one in processes(results)
        },
        "saturated": bool(why),
        "why": why,
        "receive_stamp": results.manifest.get("receive_stamp"),
    }
