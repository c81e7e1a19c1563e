"""The recorder that every client uses."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.benchmarks.stock.recorder import Distribution, Recorder

MS = 1_000_000


@pytest.fixture
def recorder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Recorder]:
    monkeypatch.setenv("BENCH_OUT", str(tmp_path / "measured.json"))
    before = [signal.getsignal(number) for number in (signal.SIGUSR1, signal.SIGUSR2)]
    recorder = Recorder()
    recorder.listen()
    yield recorder
    for number, handler in zip((signal.SIGUSR1, signal.SIGUSR2), before, strict=True):
        signal.signal(number, handler)


def test_percentiles_are_nearest_rank_and_never_too_low() -> None:
    distribution = Distribution()
    for number in range(1, 101):
        distribution.add(number * MS - 1)
    # The upper edge of the bin: at most 10 us above the true value, never below.
    assert distribution.percentile_ms(50) == 50.0
    assert distribution.percentile_ms(99) == 99.0
    assert distribution.percentile_ms(100) == (100 * MS - 1) / 1e6
    assert distribution.document() == {"count": 100, "p50": 50.0, "p99": 99.0, "max": 99.999999}


def test_errors_of_timestamps_have_fine_bins(recorder: Recorder) -> None:
    """A goal of 10 us can't be decided by bins of 10 us."""
    recorder.kernel_error.add(10_100)
    recorder.kernel_error.add(11_000)
    assert recorder.kernel_error.percentile_ms(50) == 0.0105


def test_one_outlier_in_101_values_is_above_p99() -> None:
    distribution = Distribution()
    for _ in range(100):
        distribution.add(MS)
    distribution.add(500 * MS)
    assert distribution.percentile_ms(99) == 1.01
    assert distribution.percentile_ms(100) == 500.0


@pytest.mark.parametrize(("duration_ns", "shown_ms"), [(-5, 0.0), (0, 0.0), (60_000 * MS, 10_000.0)])
def test_values_outside_the_bins_count_in_the_outermost(duration_ns: int, shown_ms: float) -> None:
    distribution = Distribution()
    distribution.add(duration_ns)
    assert distribution.percentile_ms(99) == shown_ms
    assert distribution.count == 1


def test_no_percentiles_without_values() -> None:
    assert Distribution().document() == {"count": 0, "p50": None, "p99": None, "max": None}


def test_only_the_window_counts(recorder: Recorder, tmp_path: Path) -> None:
    long_ago_ns = time.monotonic_ns() - 50 * MS
    recorder.parsed(long_ago_ns)
    recorder.first_token(long_ago_ns)
    os.kill(os.getpid(), signal.SIGUSR1)
    recorder.parsed(long_ago_ns)
    recorder.parsed(None)
    recorder.first_token(long_ago_ns)
    inside_ns = time.monotonic_ns()
    os.kill(os.getpid(), signal.SIGUSR2)
    recorder.parsed(long_ago_ns)
    recorder.ended(3)
    measured = json.loads((tmp_path / "measured.json").read_text())
    assert (measured["lag_ms"]["count"], measured["ttft_ms"]["count"]) == (1, 1)
    assert measured["lag_ms"]["p50"] >= 50
    assert recorder.lag.count == 1
    assert (measured["streams"], recorder.streams, recorder.events) == (0, 1, 3)
    assert recorder.within(inside_ns)
    assert not recorder.within(long_ago_ns)
    assert not recorder.within(time.monotonic_ns())
