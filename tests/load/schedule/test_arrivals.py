from __future__ import annotations

import math
from bisect import bisect_left
from collections import Counter
from itertools import count, islice, pairwise, takewhile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.config.load_settings import LoadSettings
from harness.errors import SettingsError
from harness.load.schedule.arrivals import (
    Arrivals,
    Constant,
    PiecewiseRate,
    Poisson,
    Rate,
    RateSegment,
    Trace,
    arrivals_for,
    ramp,
    spike,
    steps,
)
from harness.load.schedule.plan import JourneyMix, LoadPlan, WorkerShare
from tests.cases import all_cases

NEVER = math.inf


def times_s(arrivals: Arrivals, until_s: float) -> list[float]:
    return list(takewhile(lambda time_s: time_s < until_s, map(arrivals.due_s, count())))


def merged(load: LoadSettings, workers: int, until_s: float) -> list[float]:
    """What so many processes send together, each of which computes its own part alone."""
    found: list[float] = []
    for worker in range(workers):
        arrivals = arrivals_for(load)
        assert arrivals is not None
        due = (arrivals.due_s(number) for number in WorkerShare(worker, workers).arrivals())
        found += takewhile(lambda time_s: time_s < until_s, due)
    return sorted(found)


# The shapes, against times worked out by hand


def test_constant_is_absolute_and_does_not_drift() -> None:
    every = Constant(3)
    assert [every.due_s(index) for index in range(4)] == [0, 1 / 3, 2 / 3, 1]
    assert every.due_s(3_000_000) == 1_000_000


@pytest.mark.parametrize("rate", [0, -1, float("nan"), math.inf])
def test_a_rate_is_above_zero(rate: float) -> None:
    with pytest.raises(ValueError, match="must be above 0"):
        Constant(rate)


@all_cases(
    ("shape", "due_s"),
    [
        # 0 to 2 per second over 4 s: t²/4 arrivals in t, and 2 more each second after the 4 of the ramp.
        (ramp(0, 2, 4), [0, 2, math.sqrt(8), math.sqrt(12), 4, 4.5, 5, 5.5]),
        # Down from 4 to 1 over 4 s: 4t - 3t²/8.
        (ramp(4, 1, 4), [0, (4 - math.sqrt(14.5)) * 4 / 3, (4 - math.sqrt(13)) * 4 / 3]),
        # 2 arrivals over 2 s, and never more.
        (ramp(2, 0, 2), [0, 2 - math.sqrt(2), NEVER]),
        (ramp(5, 5, 1), [0, 0.2, 0.4, 0.6, 0.8, 1, 1.2]),
        (steps([(1, 2), (2, 1)]), [0, 1, 2, 2.5, NEVER, NEVER]),
        # A pause: what is expected at its beginning falls to its end.
        (steps([(2, 1), (0, 3), (1, 2)]), [0, 0.5, 4, 5, NEVER]),
        (steps([(0, 5), (1, 2)]), [5, 6, NEVER]),
        (spike(1, 4, 2, 0.5), [0, 1, 2, 2.25, 2.5, 3.5, 4.5]),
        (spike(1, 4, 0, 0.5), [0, 0.25, 0.5, 1.5]),
        (spike(0, 10, 3, 0.2), [3, 3.1, NEVER]),
        (spike(1, 0, 1, 5), [0, 6, 7]),
        (Trace([0, 0.5, 0.5, 3]), [0, 0.5, 0.5, 3, NEVER]),
    ],
)
def test_when_arrivals_are_due(shape: Arrivals, due_s: list[float]) -> None:
    found = [shape.due_s(index) for index in range(len(due_s))]
    assert found == pytest.approx(due_s, abs=1e-12)


def test_steps_of_whole_numbers_are_exact() -> None:
    found = times_s(steps([(10, 30), (20, 30)]), math.inf)
    assert found == [index / 10 for index in range(300)] + [30 + index / 20 for index in range(600)]


@pytest.mark.parametrize("rate", [500, 333, 7, 0.3])
def test_a_constant_rate_over_a_duration_is_exactly_that_many(rate: float) -> None:
    assert len(times_s(Constant(rate), 10)) == 10 * rate


@pytest.mark.parametrize(
    "segments",
    [
        [],
        [RateSegment(0, 0, 5)],
        [RateSegment(-1, 1, 5)],
        [RateSegment(1, 1, 0)],
        [RateSegment(math.nan, 1, 1)],
        [RateSegment(1, 1, -1)],
    ],
)
def test_segments_in_which_nothing_can_arrive(segments: list[RateSegment]) -> None:
    with pytest.raises(ValueError, match=r"nothing ever arrives|invalid rate segment"):
        PiecewiseRate(segments)


RATES = st.one_of(st.just(0.0), st.floats(0.01, 1000))
SEGMENTS = st.lists(
    st.builds(RateSegment, RATES, RATES, st.floats(0.01, 100)), min_size=1, max_size=5
).filter(lambda segments: any(segment.from_rate or segment.to_rate for segment in segments))


def cumulative(segments: list[RateSegment], time_s: float) -> float:
    """How many are expected up to then, by the area under each segment."""
    expected, start_s = 0.0, 0.0
    for from_rate, to_rate, for_s in segments:
        within_s = min(max(time_s - start_s, 0.0), for_s)
        now = from_rate + (to_rate - from_rate) * within_s / for_s
        expected += (from_rate + now) / 2 * within_s
        start_s += for_s
    return expected


@given(SEGMENTS, st.floats(0, 0.999999))
def test_it_is_the_inverse_of_the_cumulative_rate(segments: list[RateSegment], part: float) -> None:
    total = cumulative(segments, math.inf)
    assert cumulative(segments, PiecewiseRate(segments).when_s(part * total)) == pytest.approx(
        part * total, rel=1e-6, abs=1e-6
    )


@given(SEGMENTS)
def test_it_ends_with_its_last_segment(segments: list[RateSegment]) -> None:
    total = cumulative(segments, math.inf)
    assert PiecewiseRate(segments).when_s(total * 1.000001 + 1e-6) == NEVER
    assert PiecewiseRate(segments).when_s(total * 0.999999) <= sum(segment.for_s for segment in segments)


@given(SEGMENTS, st.integers(0, 2**63 - 1), st.integers(0, 20_000))
def test_it_never_falls(segments: list[RateSegment], seed: int, first: int) -> None:
    shape = PiecewiseRate(segments)
    for arrivals in (shape, Poisson(shape, seed)):
        due_s = [arrivals.due_s(index) for index in range(first, first + 50)]
        assert due_s == sorted(due_s)


# Poisson


def test_a_seed_repeats_a_schedule() -> None:
    # Fixed by Philox4x64-10 and -ln(1 - u): whoever repeats a test of last year gets last year's arrivals.
    arrivals = Poisson(Constant(10), 42)
    found = [arrivals.due_s(index) for index in (0, 1, 2, 4095, 4096, 10_000)]
    known = [0.1715899855890263, 0.1925689992334697, 0.394807706024127]
    known += [399.1562791930195, 399.17940975758466, 998.3604527228015]
    assert found == pytest.approx(known, rel=1e-12)


def test_a_different_seed_gives_a_different_schedule() -> None:
    assert Poisson(Constant(10), 1).due_s(5) != Poisson(Constant(10), 2).due_s(5)


def test_due_times_can_be_read_in_any_order() -> None:
    onward = Poisson(Constant(10), 3)
    numbers = [0, 1, 4095, 4096, 20_000, 20_001]
    due_s = {number: onward.due_s(number) for number in numbers}
    back = Poisson(Constant(10), 3)
    assert {number: back.due_s(number) for number in reversed(numbers)} == due_s


def dispersion(times: list[float], rate: Rate, windows: int, mean: float) -> float:
    """Variance by mean of the counts in windows in each of which `mean` arrivals are expected; 1 for Poisson.

    Its standard error is the root of 2 by the number of windows.
    """
    edges = [rate.when_s(mean * edge) for edge in range(windows + 1)]
    counts = np.diff([bisect_left(times, edge) for edge in edges])
    return float(counts.var(ddof=1) / counts.mean())


@pytest.mark.parametrize("workers", [1, 2, 8])
@pytest.mark.parametrize(("mean", "windows"), [(2, 20_000), (20, 5_000)])
def test_merged_arrivals_are_as_scattered_as_poissons(workers: int, mean: float, windows: int) -> None:
    load = LoadSettings(rate=100, arrivals="poisson", seed=11)
    times = merged(load, workers, mean * windows / 100)
    assert len(times) == pytest.approx(mean * windows, rel=0.02)
    assert 0.95 < dispersion(times, Constant(100), windows, mean) < 1.05


@pytest.mark.parametrize("workers", [2, 8])
def test_the_number_of_workers_does_not_change_the_schedule(workers: int) -> None:
    load = LoadSettings(rate=100, arrivals="poisson", seed=11)
    assert merged(load, workers, 300) == merged(load, 1, 300)


def test_poisson_follows_a_shape() -> None:
    load = LoadSettings(ramp="0:400:100s", arrivals="poisson", seed=5)
    times = merged(load, 4, 100)
    assert len(times) == pytest.approx(20_000, abs=500)  # three and a half standard deviations
    assert bisect_left(times, 50) == pytest.approx(5_000, abs=250)
    assert 0.9 < dispersion(times, ramp(0, 400, 100), 2_000, 10) < 1.1


def test_gaps_are_exponential() -> None:
    arrivals = Poisson(Constant(1), 9)
    due_s = [0.0, *(arrivals.due_s(index) for index in range(40_000))]
    gaps = sorted(after - before for before, after in pairwise(due_s))
    distances = [abs((1 - math.exp(-gap)) - rank / len(gaps)) for rank, gap in enumerate(gaps)]
    assert max(distances) < 1.63 / math.sqrt(len(gaps))  # Kolmogorov and Smirnov, 1%


# The mix of journeys


def test_journeys_occur_by_their_weights() -> None:
    mix = JourneyMix({"fresh": 3, "replay": 0, "resume": 1}, 7)
    counts = Counter(mix.journey(index) for index in range(20_000))
    assert set(counts) == {"fresh", "resume"}
    assert counts["resume"] == pytest.approx(5_000, abs=250)  # four standard deviations


def test_the_seed_decides_the_mix() -> None:
    def journeys(seed: int, numbers: range) -> list[str]:
        mix = JourneyMix({"a": 1, "b": 1}, seed)
        return [mix.journey(number) for number in numbers]

    whole = journeys(1, range(9000))
    assert [journeys(1, range(worker, 9000, 3)) for worker in range(3)] == [whole[w::3] for w in range(3)]
    assert journeys(2, range(9000)) != whole


def test_journeys_are_independent_of_gaps() -> None:
    # The two must come from different numbers, or "a" would always be what follows a long gap.
    arrivals, mix = Poisson(Constant(1), 4), JourneyMix({"a": 1, "b": 1}, 4)
    gaps = np.diff([arrivals.due_s(index) for index in range(10_001)])
    is_a = np.array([mix.journey(index + 1) == "a" for index in range(10_000)])
    assert abs(np.corrcoef(gaps, is_a)[0, 1]) < 0.04


def test_a_mix_of_nothing() -> None:
    with pytest.raises(ValueError, match="every journey has weight 0"):
        JourneyMix({"fresh": 0}, 1)


# Settings to schedule


@pytest.mark.parametrize(
    ("load", "due_s"),
    [
        ({"rate": 4}, [0, 0.25, 0.5]),
        ({"ramp": "0:2:4s"}, [0, 2, math.sqrt(8)]),
        ({"steps": "1:1s,2:1s"}, [0, 1, 1.5, NEVER]),
        ({"spike": "1:2:1s:500ms"}, [0, 1, 1.5, 2.5]),
    ],
)
def test_the_schedule_of_settings(load: dict[str, float | str], due_s: list[float]) -> None:
    arrivals = arrivals_for(LoadSettings.model_validate(load))
    assert arrivals is not None
    assert [arrivals.due_s(index) for index in range(len(due_s))] == pytest.approx(due_s)


def test_a_closed_loop_has_no_arrivals() -> None:
    assert arrivals_for(LoadSettings(users=3)) is None


def test_a_trace(tmp_path: Path) -> None:
    file = tmp_path / "trace"
    file.write_text("0\n0.25\n7\n")
    load = LoadSettings(trace=str(file))
    assert merged(load, 2, load.duration) == [0, 0.25, 7]
    file.unlink()
    with pytest.raises(SettingsError, match=r"setting 'load\.trace': cannot read the trace .*: No such file"):
        arrivals_for(load)


# Shares and plans


@pytest.mark.parametrize("workers", [1, 2, 8])
def test_the_split_gives_every_arrival_to_one_worker(workers: int) -> None:
    shares = [list(islice(WorkerShare(index, workers).arrivals(), 40 // workers)) for index in range(workers)]
    assert sorted(number for share in shares for number in share) == list(range(40))


@pytest.mark.parametrize(("index", "workers"), [(2, 2), (-1, 2), (0, 0)])
def test_an_invalid_share(index: int, workers: int) -> None:
    with pytest.raises(ValueError, match="has no share"):
        WorkerShare(index, workers)


@given(st.integers(1, 50), st.integers(0, 10_000))
def test_parts_add_up(workers: int, total: int) -> None:
    parts = [WorkerShare(index, workers).of(total) for index in range(workers)]
    assert sum(parts) == total
    assert max(parts) - min(parts) <= 1


@pytest.mark.parametrize(
    ("worker", "share"), [("a", WorkerShare(0, 2)), ("b", WorkerShare(1, 2)), ("late", None)]
)
@pytest.mark.parametrize("load", [LoadSettings(users=3), LoadSettings(ramp="1:2:5s", arrivals="poisson")])
def test_a_plan_survives_the_message(worker: str, share: WorkerShare | None, load: LoadSettings) -> None:
    message = LoadPlan("test", 123, load, None).to_message(["a", "b"])
    assert LoadPlan.from_message(message, worker) == LoadPlan("test", 123, load, share)


def test_a_plan_that_cannot_be_followed_here(tmp_path: Path) -> None:
    file = tmp_path / "trace"
    file.write_text("0\n")
    message = LoadPlan("test", 123, LoadSettings(trace=str(file)), None).to_message(["a"])
    file.unlink()
    with pytest.raises(SettingsError, match="cannot run the master's load: cannot read the trace"):
        LoadPlan.from_message(message, "a")
