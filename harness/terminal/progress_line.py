"""One plain line of progress, for logs, pipes and CI."""

from __future__ import annotations

from collections.abc import Iterator

from harness.formatting import clock, counted, number
from harness.terminal.snapshot import LiveDocument, failures, per_second, value_of, violations

_NOT_STARTED = "starting"


def progress_line(load: LiveDocument | None, suite: LiveDocument | None) -> str:
    """load: the live numbers. suite: the suite's progress. None before they exist."""
    return ", ".join(_parts(load, suite))


def _parts(load: LiveDocument | None, suite: LiveDocument | None) -> Iterator[str]:
    if load is None or load["started_s"] is None:
        yield _NOT_STARTED
    else:
        yield from _load(load)
    if load is not None and load["problem"] is not None:
        yield str(load["problem"])
    if suite is not None:
        yield f"conformance {suite['done']}/{suite['total']} tests"
        failed = len(suite["failed"])
        if failed:
            yield f"{counted(failed, 'requirement')} FAILED"
    if load is not None and load["left_s"] is not None:
        yield f"{clock(load['left_s'])} left"


def _load(load: LiveDocument) -> Iterator[str]:
    yield clock(load["elapsed_s"])
    if load["state"] != "running":
        yield str(load["state"])
    if load["warming_up"]:
        yield "warming up"
    yield f"{load['in_flight']} in flight"
    rate = per_second(load, "arrivals")
    if rate is not None and load["state"] == "running":
        yield f"{number(rate)}/s"
    ttft = [f"{word} {number(value_of(load, 'ttft_ms', word))}" for word in ("p50", "p95", "p99")]
    yield f"TTFT {' '.join(ttft)} ms"
    yield f"ITL p95 {number(value_of(load, 'inter_token_ms', 'p95'))} ms"
    yield f"{failures(load)} failed"
    yield f"{sum(violations(load).values())} violations"
    if load["harness"]["saturated"]:
        yield "HARNESS SATURATED"
    if load["harness"]["faults"]["streams"]:
        yield f"{load['harness']['faults']['streams']} NOT CHECKED"
