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


@pytest.mark.parametrize(("late_ms", "saturated"), [(90.0, False), (150.0, True)])
def test_an_open_loop_that_falls_behind_its_schedule(late_ms: float, saturated: bool) -> None:
    measured = {name: Histogram() for name in ERROR_METRICS}
    measured["schedule_lag_ms"] = _histogram(*[1.0] * 80, *[late_ms] * 20)
    usage = ProcessUsage("local", 5, 1.0, 1.0, 1.0, 1, 1, None)
    reasons = saturation_reasons_from(measured, {}, [usage])
    assert bool(reasons) == saturated, reasons
