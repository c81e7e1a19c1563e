"""The results file of one step, and the record of a whole search."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from harness.capacity.record import CapacityStep, Record
from harness.capacity.search import CapacityResult, SearchPlan
from harness.results.histogram import Histogram
from harness.results.writer import ResultsWriter

START = 1_900_000_000
RATE = 10
SECONDS = 6
OBJECTIVES = {"ttft_p95_ms": 800.0, "error_rate": 0.001}


def step_file(
    path: Path,
    *,
    ttft_ms: float = 100.0,
    lag_ms: float = 0.1,
    failed: int = 0,
    dropped: int = 0,
    done_a_second: int = RATE,
    journeys_end: bool = True,
    objectives: dict[str, float] | None = None,
    **manifest: Any,
) -> Path:
    """RATE streams per second over SECONDS; of each second's streams, `done_a_second` end in it, the others later."""
    with ResultsWriter(path) as writer:
        limits = OBJECTIVES if objectives is None else objectives
        writer.set_manifest(settings={"objectives": limits}, **{"load_state": "finished", **manifest})
        for second in range(START, START + SECONDS):
            ttft, lag = Histogram(), Histogram()
            ttft.record_many([ttft_ms] * RATE)
            lag.record_many([lag_ms] * RATE)
            writer.add_histogram("ttft_ms", "fresh", second, "w0", ttft)
            writer.add_histogram("schedule_lag_ms", "fresh", second, "w0", lag)
            writer.add_ledger("w0", second, "fresh", "scheduled", RATE)
            writer.add_ledger("w0", second, "fresh", "done" if journeys_end else "rejected", done_a_second)
        writer.add_ledger("w0", START + SECONDS, "fresh", "scheduled", dropped)
        writer.add_ledger("w0", START + SECONDS, "fresh", "dropped", dropped)
        left = SECONDS * (RATE - done_a_second)
        writer.add_ledger("w0", START + SECONDS + 9, "fresh", "done" if journeys_end else "rejected", left)
        for word, count in (
            ("judged", SECONDS * RATE),
            ("failed", failed),
            ("runs", SECONDS * RATE),
            ("good", SECONDS * RATE - failed),
        ):
            writer.add_rate_counts("w0", START + 1, "fresh", word, count)
    return path


def step(number: int, rate: float, verdict: Any, value: float | None, **more: Any) -> CapacityStep:
    values = {"ttft_p95_ms": value, "error_rate": 0.0}
    why = "ttft_p95_ms 1,200.00 ms, over 800 ms" if verdict == "failed" else ""
    return CapacityStep(
        number=number, rate=rate, verdict=verdict, why=why, values=values, goodput=0.9, **more
    )


def record(answer: CapacityResult | None = None, **more: Any) -> Record:
    """By default, of a search that found the limit between 10 and 11 per second."""
    steps = [step(1, 8, "passed", 90.0), step(2, 16, "failed", 1200.0)]
    steps += [
        step(number, 10, "passed", 120.0, open_before=3, open_after=4, flow_s=14) for number in (3, 5, 6)
    ]
    steps += [step(number, 11, "failed", 1200.0) for number in (4, 7, 8)]
    steps.sort(key=lambda one: one.number)
    found = CapacityResult("found", "", 10, 3, 11, 3)
    given = {
        "objectives": dict(OBJECTIVES),
        "step_s": 15.0,
        "warmup_s": 3.0,
        "arrivals": "constant",
        "steps": steps,
    }
    return Record(
        plan=SearchPlan(1, 200, 3, 0.1), answer=answer or found, state="finished", **{**given, **more}
    )
