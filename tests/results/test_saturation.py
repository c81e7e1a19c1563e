"""When the load was lower than requested."""

from __future__ import annotations

import pytest

from harness.results.histogram import Histogram
from harness.results.saturation import ERROR_METRICS, ProcessUsage, saturation_reasons_from


def _histogram(*values: float) -> Histogram:
    histogram = Histogram()
    for value in values:
        histogram.record(value)
    return histogram


@pytest.mark.parametrize(
    ("wait_ms", "duration_ms", "saturated"),
    [
        (4.0, 8.0, False),  # between runs of a few ms any program waits as long
        (9.0, 8.0, True),
        (30.0, 1000.0, False),
        (30.0, 200.0, True),
        (200.0, 1000.0, True),
    ],
)
def test_users_of_a_closed_loop_who_wait_for_the_harness(
    wait_ms: float, duration_ms: float, saturated: bool
) -> None:
    measured = {name: Histogram() for name in ERROR_METRICS} | {"duration_ms": _histogram(duration_ms)}
    reasons = saturation_reasons_from(measured, {"local": _histogram(wait_ms)}, [])
    assert bool(reasons) == saturated, reasons


@pytest.mark.parametrize(
    ("lag_ms", "duration_ms", "saturated"),
    [(20.0, 20.0, False), (30.0, 1000.0, False), (30.0, 200.0, True), (200.0, 1000.0, True)],
)
def test_users_whose_runs_are_read_late_although_the_timers_are_in_time(
    lag_ms: float, duration_ms: float, saturated: bool
) -> None:
    measured = {name: Histogram() for name in ERROR_METRICS}
    measured |= {"duration_ms": _histogram(duration_ms), "receive_lag_ms": _histogram(lag_ms)}
    reasons = saturation_reasons_from(measured, {"local": _histogram(0.5)}, [])
    assert bool(reasons) == saturated, reasons


@pytest.mark.parametrize(("late_ms", "saturated"), [(90.0, False), (150.0, True)])
def test_an_open_loop_that_falls_behind_its_schedule(late_ms: float, saturated: bool) -> None:
    measured = {name: Histogram() for name in ERROR_METRICS}
    measured["schedule_lag_ms"] = _histogram(*[1.0] * 80, *[late_ms] * 20)
    usage = ProcessUsage("local", 5, 1.0, 1.0, 1.0, 1, 1, None)
    reasons = saturation_reasons_from(measured, {}, [usage])
    assert bool(reasons) == saturated, reasons


def _pause(pause_ms: float, test_ms: float, usual_ms: float = 0.5) -> Histogram:
    """Hub delays, sampled every 20 ms, of a test with one pause, during which each sample is late until its end."""
    samples = int(test_ms / 20)
    return _histogram(*[max(usual_ms, pause_ms - 20.0 * number) for number in range(samples)])


@pytest.mark.parametrize(
    ("pause_ms", "test_ms", "duration_ms", "share"),
    [
        (2200.0, 15_000.0, 253.0, "11%"),  # 15% of the time, and the last runs before it went on meanwhile
        (2200.0, 15_000.0, 20.0, "14%"),
        (2200.0, 60_000.0, 253.0, ""),  # 4% of the time, although the mean delay is 40 ms
        (2200.0, 60_000.0, 5.0, ""),
    ],
)
def test_a_pause_lets_users_wait_no_longer_than_it_lasts(
    pause_ms: float, test_ms: float, duration_ms: float, share: str
) -> None:
    measured = {name: Histogram() for name in ERROR_METRICS} | {"duration_ms": _histogram(duration_ms)}
    reasons = saturation_reasons_from(measured, {"worker-0": _pause(pause_ms, test_ms)}, [])
    assert bool(reasons) == bool(share), reasons
    assert all(f"waited for the harness for {share} of their time" in reason for reason in reasons)


def test_many_pauses_are_a_saturation() -> None:
    measured = {name: Histogram() for name in ERROR_METRICS} | {"duration_ms": _histogram(253.0)}
    pauses = _pause(2200.0, 6000.0)
    assert saturation_reasons_from(measured, {"worker-0": pauses}, [])
