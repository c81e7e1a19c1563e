import numpy as np
import pytest

from harness.gate import confidence_intervals
from harness.gate.confidence_intervals import (
    BUCKET_SD,
    block_length_s,
    bucket_sd,
    cases_to_decide,
    estimate_of_seconds,
    percentile_estimate,
    percentile_interval,
    share_estimate,
    share_interval,
    t_quantile,
)
from harness.results.histogram import RELATIVE_ERROR, WIDE_RELATIVE_ERROR, Histogram
from harness.results.reader import Results
from harness.results.writer import ResultsWriter
from tests.cases import all_cases
from tests.results.test_histogram import of, wide

START = 1_000


@pytest.fixture
def recorded(tmp_path):
    """Writes a results file of one metric: a list of values per second, None for an empty second."""
    opened = []

    def make(seconds, metric="ttft_ms", journey="fresh", measured_from=None):
        path = tmp_path / f"{len(opened)}.sqlite"
        with ResultsWriter(path) as writer:
            for second, values in enumerate(seconds):
                histogram = Histogram()
                histogram.record_many([] if values is None else values)
                writer.add_histogram(metric, journey, START + second, "w", histogram)
            if measured_from is not None:
                writer.set_manifest(measured_from=measured_from)
        opened.append(Results(path))
        return opened[-1]

    yield make
    for results in opened:
        results.close()


def drifting(rng, seconds, memory, sd, a_second=40, level=200.0):
    """Values of a load whose level drifts: a first-order autoregression from second to second."""
    drift = rng.normal(0, sd)
    for _ in range(seconds):
        drift = memory * drift + rng.normal(0, sd * np.sqrt(1 - memory**2))
        yield level * np.exp(drift + rng.normal(0, 0.1, a_second))


@pytest.mark.parametrize(
    ("freedom", "quantile"),
    [
        (1, 12.7062),
        (2, 4.3027),
        (3, 3.1824),
        (4, 2.7764),
        (8, 2.3060),
        (30, 2.0423),
        (100, 1.9840),
        (10**6, 1.9600),
    ],
)
def test_the_quantiles_of_t_are_those_of_the_tables(freedom, quantile):
    assert t_quantile(0.975, freedom) == pytest.approx(quantile, abs=5e-5)


def test_other_quantiles_of_t():
    assert t_quantile(0.995, 7) == pytest.approx(3.4995, abs=5e-5)
    assert t_quantile(0.9, 1) == pytest.approx(3.0777, abs=5e-5)
    for probability, freedom in ((0.5, 3), (1.0, 3), (0.975, 0)):
        with pytest.raises(ValueError, match="no quantile of t"):
            t_quantile(probability, freedom)


def test_seconds_all_alike_leave_the_histograms_own_error(recorded):
    low, high = percentile_interval(recorded([[100.0, 200.0]] * 30), "ttft_ms", 50)
    assert (low, high) == pytest.approx(
        (100 * np.exp(-RELATIVE_ERROR), 100 * np.exp(RELATIVE_ERROR)), rel=0.005
    )


def test_the_interval_of_an_older_file_has_the_error_of_its_buckets():
    sides = {
        error: estimate_of_seconds({second: make([100.0, 200.0]) for second in range(30)}, 50)
        for error, make in ((RELATIVE_ERROR, of), (WIDE_RELATIVE_ERROR, wide))
    }
    for error, estimate in sides.items():
        assert (estimate.low, estimate.high) == pytest.approx(
            (estimate.value * np.exp(-error), estimate.value * np.exp(error))
        )
        assert estimate.low < 100 < estimate.high
    assert sides[WIDE_RELATIVE_ERROR].sd == pytest.approx(3 * sides[RELATIVE_ERROR].sd)
    assert bucket_sd(wide([1.0])) == pytest.approx(3 * BUCKET_SD)


def test_the_value_is_the_histograms_own_percentile(recorded):
    rng = np.random.default_rng(1)
    results = recorded(list(drifting(rng, 60, 0.5, 0.05)))
    for percent in (50, 95, 99):
        estimate = percentile_estimate(results, "ttft_ms", percent)
        assert estimate.value == results.histogram("ttft_ms").percentile(percent)
        assert estimate.low < estimate.value < estimate.high
        assert percentile_interval(results, "ttft_ms", percent) == (estimate.low, estimate.high)


def test_a_resample_takes_the_percentile_as_a_histogram_would(recorded):
    rng = np.random.default_rng(2)
    values = [list(rng.lognormal(5, 0.5, 5)) for _ in range(20)]
    seconds = confidence_intervals._SecondBlocks.of(recorded(values).histograms_by_second("ttft_ms"))
    chosen = np.array([[0] * 20, list(range(20)), [3, 4] * 10, [19] * 20])
    for percent in (0.5, 50, 90, 99, 99.9):
        for row, found in zip(chosen, seconds.percentiles(percent, chosen), strict=True):
            histogram = Histogram()
            for second in row:
                histogram.record_many(values[second])
            assert found == histogram.percentile(percent)


def test_a_long_test_is_resampled_in_longer_rows(recorded):
    rng = np.random.default_rng(8)
    histograms = {}
    for second, values in enumerate(drifting(rng, 3000, 0.5, 0.05, a_second=5)):
        histograms[START + second] = Histogram()
        histograms[START + second].record_many(values)
    seconds = confidence_intervals._SecondBlocks.of(histograms)
    assert (seconds.row_s, seconds.duration_s, len(seconds.counts)) == (4, 3000, 750)
    assert seconds.counts.sum() == seconds.total.count == 15_000
    assert seconds.smallest.min() == seconds.total.min
    estimate = estimate_of_seconds(histograms, 50)
    assert estimate.blocks == 750 // 28  # 110 s, to the nearest row
    assert estimate.low < 200 < estimate.high < 1.03 * estimate.low


def test_a_file_that_grew_is_read_again(tmp_path):
    with ResultsWriter(tmp_path / "r.sqlite") as writer:
        intervals_found = []
        for level in (100.0, 300.0):
            for second in range(30):
                histogram = Histogram()
                histogram.record_many([level] * 50)
                writer.add_histogram("ttft_ms", "fresh", int(level) * 1000 + second, "w", histogram)
            writer.commit()
            if level == 100:
                results = Results(writer.path)
            intervals_found.append(percentile_interval(results, "ttft_ms", 90))
    results.close()
    assert intervals_found[0][1] < 101
    assert intervals_found[1][1] > 290


def test_the_same_file_gives_the_same_answer(recorded):
    values = [list(one) for one in drifting(np.random.default_rng(3), 40, 0.5, 0.05)]
    first, second = recorded(values), recorded(values)
    assert percentile_interval(first, "ttft_ms", 95) == percentile_interval(second, "ttft_ms", 95)


@pytest.mark.parametrize(
    ("seconds", "percent", "why"),
    [
        ([[1.0] * 100] * 15, 50, "too few seconds of data (15): at least 16 are needed"),
        ([[1.0] * 16] * 60, 99, "too few values (960): at least 10 must lie beyond the percentile"),
        ([[1.0] * 100] * 60, 100, "a maximum is a single value and has no confidence interval"),
        ([None] * 60, 50, "not measured"),
        ([[1.0] * 1000, *[None] * 18, [1.0]], 50, None),  # a gap is a fact
    ],
)
def test_too_little_data_has_no_interval_and_a_reason(recorded, seconds, percent, why):
    results = recorded(seconds)
    found = percentile_estimate(results, "ttft_ms", percent)
    assert found == why if why else not isinstance(found, str)
    assert (percentile_interval(results, "ttft_ms", percent) is None) is (why is not None)


def test_an_interval_is_of_one_journey_without_warm_up(recorded):
    rng = np.random.default_rng(4)
    results = recorded(
        [[5_000.0] * 40] * 10 + [list(one) for one in drifting(rng, 40, 0, 0.02)], measured_from=START + 10
    )
    low, high = percentile_interval(results, "ttft_ms", 99, "fresh")
    assert 200 < low < high < 300
    assert percentile_interval(results, "ttft_ms", 99, "resume") is None


def test_negative_lags_have_an_interval_above_0(recorded):
    low, high = percentile_interval(
        recorded([[-5.0, -1.0]] * 30, metric="receive_lag_ms"), "receive_lag_ms", 50
    )
    assert 0 < low < high < 0.0011


def held(files, memory, seconds=90):
    """Share of that many files whose interval of the median contains the true value."""
    rng = np.random.default_rng(5)
    found = 0
    for _ in range(files):
        histograms = {}
        for second, values in enumerate(drifting(rng, seconds, memory, 0.05, a_second=20)):
            histograms[second] = Histogram()
            histograms[second].record_many(values)
        estimate = estimate_of_seconds(histograms, 50)
        found += estimate.low <= 200 <= estimate.high
    return found


@pytest.mark.parametrize("memory", [0.0, 0.6, 0.9])
def test_the_interval_keeps_its_promise_also_where_seconds_hang_together(memory):
    """95% should contain the true value; with an autocorrelation of 0.9, 90% do."""
    assert held(30, memory) >= 26


def test_seconds_taken_for_independent_would_break_it(monkeypatch):
    """The test above can fail: with blocks of one second, most intervals miss the true value."""
    monkeypatch.setattr(confidence_intervals, "block_length_s", lambda _: 1)
    assert held(30, 0.9) <= 21


@all_cases(
    ("seconds", "length"),
    [(1, 1), (3, 1), (16, 4), (20, 5), (59, 14), (60, 15), (64, 16), (100, 20), (900, 60), (3600, 120)],
)
def test_blocks_grow_with_the_test_and_leave_at_least_four(seconds, length):
    assert block_length_s(seconds) == length


@pytest.fixture
def tallied(tmp_path):
    opened = []

    def make(failed, judged=100, journey="fresh", measured_from=None, words=("failed", "judged")):
        with ResultsWriter(tmp_path / f"{len(opened)}.sqlite") as writer:
            for second, count in enumerate(failed):
                writer.add_rate_counts("w", START + second, journey, words[0], count)
                writer.add_rate_counts("w", START + second, journey, words[1], judged)
            if measured_from is not None:
                writer.set_manifest(measured_from=measured_from)
        opened.append(Results(writer.path))
        return opened[-1]

    yield make
    for results in opened:
        results.close()


def test_a_share_has_an_interval_around_it(tallied):
    rng = np.random.default_rng(7)
    results = tallied(rng.binomial(100, 0.05, 60).tolist())
    low, high = share_interval(results, "error_rate")
    assert low < 0.05 < high
    # Of 6,000 independent streams: 1.96 · sqrt(0.05 · 0.95 / 6000) = 0.55 points, and more for four blocks.
    assert 0.004 < (high - low) / 2 < 0.012
    assert share_interval(results, "error_rate", "fresh") == (low, high)
    assert share_interval(results, "error_rate", "resume") is None


def test_without_failures_the_interval_is_not_empty(tallied):
    low, high = share_interval(tallied([0] * 60), "error_rate")
    assert low == 0
    assert 0.0003 < high < 0.001  # 3 of 6,000 is what a hidden rate may be at 95%
    low, high = share_interval(tallied([100] * 60, words=("good", "runs")), "goodput")
    assert 0.999 < low < 0.9997
    assert high == 1


def test_failures_that_come_together_widen_the_interval(tallied):
    scattered = share_estimate(tallied([5] * 60), "error_rate")
    together = share_estimate(tallied([0] * 50 + [30] * 10), "error_rate")
    assert scattered.value == together.value == 0.05
    assert together.sd > 3 * scattered.sd


def test_a_share_excludes_warm_up(tallied):
    results = tallied([100] * 10 + [0] * 40, measured_from=START + 10)
    assert share_estimate(results, "error_rate").value == 0
    assert (
        share_estimate(tallied([1] * 15), "error_rate")
        == "too few seconds of data (15): at least 16 are needed"
    )
    assert share_estimate(tallied([1] * 60), "goodput") == "not measured"


@pytest.mark.parametrize(
    ("value", "limit", "cases"),
    [(0, 0.001, 3000), (0, 0.01, 300), (1, 0.99, 300), (0.002, 0.001, 9700), (0.1, 0.1, None), (0, 0, None)],
)
def test_how_many_streams_decide_about_a_share(value, limit, cases):
    assert cases_to_decide(value, limit) == cases


@pytest.mark.parametrize(
    ("seconds", "duration_s", "warmup_s", "why"),
    [
        (15, 15, 0, "too short a test (15 s): at least 16 s are needed"),
        (
            16,
            15,
            0,
            "too short a test (15 s): at least 16 s are needed",
        ),  # the last value fell into the next second
        (16, 20, 5, "too short a test (15 s): at least 16 s are needed"),
        (15, 16, 0, None),
        (19, 20, 0, None),
        (5, 20, 0, "too few seconds of data (5): at least 16 are needed"),  # it was interrupted
    ],
)
def test_the_duration_decides_and_not_whether_a_value_fell_into_one_more_second(
    tmp_path, seconds, duration_s, warmup_s, why
):
    with ResultsWriter(tmp_path / "r.sqlite") as writer:
        writer.set_manifest(settings={"load": {"duration": float(duration_s), "warmup": float(warmup_s)}})
        for second in range(START, START + seconds):
            histogram = Histogram()
            histogram.record_many([100.0, 101.0] * 10)
            writer.add_histogram("ttft_ms", "fresh", second, "w", histogram)
            writer.add_rate_counts("w", second, "fresh", "judged", 10)
    with Results(writer.path) as results:
        for found in (percentile_estimate(results, "ttft_ms", 50), share_estimate(results, "error_rate")):
            assert found == why if why else not isinstance(found, str)
