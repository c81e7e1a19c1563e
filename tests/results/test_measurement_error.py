"""The bounds hold for any way in which delays and true values can be paired."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.results.histogram import Histogram, nearest_rank
from harness.results.measurement_error import Delays, PercentileError, net_bounds, percentile_bounds
from harness.results.metrics import METRICS
from harness.results.reader import Results
from harness.results.writer import ResultsWriter


@pytest.fixture
def writer(tmp_path):
    with ResultsWriter(tmp_path / "results.sqlite") as writer:
        yield writer


@pytest.fixture
def results(writer):
    with Results(writer.path) as results:
        yield results


def histogram(values_ms):
    made = Histogram()
    made.record_many(list(values_ms))
    return made


def add(writer, metric, values_ms, worker="w", journey="fresh"):
    writer.add_histogram(metric, journey, 1, worker, histogram(values_ms))
    writer.commit()


def bounds(results, metric="ttft_ms", percent=50.0, journey=None):
    found = percentile_bounds(results, metric, percent, journey)
    return found.low, found.high


def test_without_a_delay_there_is_no_error(writer, results):
    add(writer, "ttft_ms", [100.0, 200.0, 300.0])
    assert bounds(results) == (pytest.approx(200, rel=0.005), pytest.approx(200, rel=0.005))
    assert percentile_bounds(results, "duration_ms", 50.0) is None


def test_a_late_send_makes_what_is_timed_from_the_due_time_too_long(writer, results):
    for metric in ("ttft_ms", "first_event_ms", "duration_ms", "service_ttft_ms", "head_ms", "resume_ms"):
        add(writer, metric, [100.0] * 100)
    add(writer, "schedule_lag_ms", [10.0] * 100)
    add(writer, "receive_lag_ms", [30.0] * 100)  # of reads with a kernel timestamp
    add(writer, "hub_delay_ms", [0.0] * 100)
    for metric in ("first_event_ms", "duration_ms"):
        assert bounds(results, metric) == (pytest.approx(90, rel=0.01), 100.0)
    for metric in ("service_ttft_ms", "head_ms", "resume_ms"):
        assert bounds(results, metric) == (100.0, 100.0)
    # Service TTFT is measured from the actual send: nothing that came before it can be missing.
    assert bounds(results) == (100.0, 100.0)


def test_what_waited_with_other_segments_may_have_arrived_earlier(writer, results):
    """Of 100 streams, ten may have come up to 60 ms before their timestamps: which of them is not known."""
    metrics = (
        "ttft_ms",
        "service_ttft_ms",
        "first_event_ms",
        "duration_ms",
        "head_ms",
        "resume_ms",
        "conflict_ms",
    )
    for metric in metrics:
        add(writer, metric, [100.0] * 50 + [200.0] * 50)
    add(writer, "arrival_error_ms", [0.0] * 90 + [60.0] * 10)
    for metric in metrics:
        assert bounds(results, metric, 50.0) == (pytest.approx(100, rel=0.01), pytest.approx(100, rel=0.01))
        assert bounds(results, metric, 55.0) == (pytest.approx(140, rel=0.01), pytest.approx(200, rel=0.01))
        assert bounds(results, metric, 99.0) == (pytest.approx(200, rel=0.01), pytest.approx(200, rel=0.01))
    add(writer, "connect_ms", [100.0] * 100)
    assert bounds(results, "connect_ms") == (100.0, 100.0)


def test_with_the_delays_of_each_stream_only_those_of_the_event_loop_remain(writer, results):
    writer.set_manifest(receive_stamp="kernel")
    add(writer, "duration_ms", [110.0] * 50 + [210.0] * 50)
    add(writer, "net_duration_ms", [100.0] * 50 + [200.0] * 50)
    add(writer, "schedule_lag_ms", [10.0] * 100)
    assert bounds(results, "duration_ms") == (pytest.approx(100, rel=0.01), pytest.approx(110, rel=0.01))
    add(writer, "hub_delay_ms", [2.0] * 1000)  # without a new connection, they delay nothing
    assert bounds(results, "duration_ms")[0] == pytest.approx(100, rel=0.01)
    add(writer, "connect_ms", [5.0] * 100)
    assert bounds(results, "duration_ms")[0] == pytest.approx(98, rel=0.01)
    add(writer, "hub_delay_ms", [20.0] * 1000)  # but the connection was never later than it took
    assert bounds(results, "duration_ms")[0] == pytest.approx(95, rel=0.01)
    net = net_bounds(results, "duration_ms", 50.0)
    assert (net.low, net.high) == (pytest.approx(95, rel=0.01), pytest.approx(100, rel=0.01))


def test_a_tls_connection_waits_for_the_event_loop_twice(writer, results):
    writer.set_manifest(target={"base_url": "https://agent.example"}, receive_stamp="kernel")
    add(writer, "connect_ms", [50.0] * 100)
    add(writer, "duration_ms", [110.0] * 100)
    add(writer, "net_duration_ms", [100.0] * 100)
    add(writer, "hub_delay_ms", [2.0] * 1000)
    assert bounds(results, "duration_ms")[0] == pytest.approx(96, rel=0.01)
    assert bounds(results, "connect_ms")[0] == pytest.approx(46, rel=0.01)


@pytest.mark.parametrize("late", [1, 2])
def test_a_few_late_sends_shift_a_percentile_by_as_many_ranks(writer, results, late):
    values = [float(value) for value in range(100, 200)]
    add(writer, "ttft_ms", values)
    add(writer, "schedule_lag_ms", [160.0] * late + [0.001] * (100 - late))
    for percent in (50.0, 90.0, 98.0):
        low, high = bounds(results, percent=percent)
        rank = nearest_rank(percent, 100)
        assert low == pytest.approx(values[rank - 1 - late], rel=0.005)
        assert high == pytest.approx(values[rank - 1], rel=0.005)
    assert bounds(results, percent=100.0) == (pytest.approx(199 - late, rel=0.005), 199.0)


def test_delays_of_another_journey_do_not_count(writer, results):
    add(writer, "ttft_ms", [100.0] * 10)
    add(writer, "schedule_lag_ms", [50.0] * 10, journey="resume")
    assert bounds(results, journey="fresh") == (100.0, 100.0)
    assert bounds(results)[0] == pytest.approx(50, rel=0.01)


@pytest.mark.parametrize(("stamp", "low"), [("kernel", 100.0), ("user", 80.0), ("mixed", 80.0), (None, 80.0)])
def test_reads_without_a_kernel_timestamp_are_as_late_as_the_event_loop(writer, results, stamp, low):
    add(writer, "head_ms", [100.0] * 100)
    add(writer, "hub_delay_ms", [20.0] * 1000)
    add(writer, "hub_delay_ms", [900.0] * 1000, worker="master")
    if stamp is not None:
        writer.set_manifest(receive_stamp=stamp)
        writer.commit()
    assert bounds(results, "head_ms") == (pytest.approx(low, rel=0.01), 100.0)


def test_without_kernel_timestamps_a_gap_can_be_too_short_as_well(writer, results):
    writer.set_manifest(receive_stamp="user")
    add(writer, "inter_token_ms", [100.0] * 100)
    add(writer, "hub_delay_ms", [20.0] * 1000)
    assert bounds(results, "inter_token_ms") == (pytest.approx(80, rel=0.01), pytest.approx(120, rel=0.01))
    assert bounds(results, "inter_token_ms", 100.0) == (
        pytest.approx(80, rel=0.01),
        pytest.approx(120, rel=0.01),
    )


@pytest.mark.parametrize(("late_ticks", "lost"), [(0, 0), (1, 1), (10, 10), (500, 30)])
def test_gaps_that_the_harness_may_have_lost_are_the_shortest_or_the_longest(
    writer, results, late_ticks, lost
):
    writer.set_manifest(receive_stamp="kernel", tokens=1000, coalesced_tokens=30)
    gaps = [float(value) for value in range(1000, 2000)]
    add(writer, "inter_token_ms", gaps)
    add(writer, "hub_delay_ms", [0.2] * (1000 - late_ticks) + [5.0] * late_ticks)
    low, high = bounds(results, "inter_token_ms", 95.0)
    rank = nearest_rank(95.0, 1000 + lost)
    assert high == pytest.approx(gaps[rank - 1], rel=0.005)
    assert gaps[rank - 1 - lost] - 5.1 - lost <= low <= gaps[rank - 1 - lost]


def test_harness_metrics_have_no_error(writer, results):
    add(writer, "schedule_lag_ms", [10.0] * 10)
    add(writer, "hub_delay_ms", [10.0] * 10)
    for metric in ("schedule_lag_ms", "hub_delay_ms"):
        assert bounds(results, metric) == (10.0, 10.0)
    assert set(METRICS) >= {"tokens_per_s"}
    add(writer, "tokens_per_s", [10.0] * 10)
    assert bounds(results, "tokens_per_s") == (10.0, 10.0)


def test_how_many_values_are_above_a_limit_whatever_the_delays(writer, results):
    add(writer, "ttft_ms", [100.0] * 80 + [105.0] * 10 + [200.0] * 10)
    add(writer, "schedule_lag_ms", [0.1] * 95 + [20.0] * 5)
    error = PercentileError(results, "ttft_ms")
    assert (error.above(103.0), error.certainly_above(103.0)) == (20, 15)
    assert (error.above(90.0), error.certainly_above(90.0)) == (100, 95)
    assert (error.above(300.0), error.certainly_above(300.0)) == (0, 0)


_MS = st.floats(0.01, 10_000.0)


@given(
    pairs=st.lists(st.tuples(_MS, st.one_of(st.just(0.0), _MS)), min_size=1, max_size=60),
    others=st.lists(_MS, max_size=10),
    percent=st.sampled_from([50.0, 90.0, 95.0, 99.0, 100.0]),
)
def test_the_true_percentile_is_within_the_bounds(tmp_path_factory, pairs, others, percent):
    """others: late streams without a value of this metric, for example because they were rejected."""
    path = tmp_path_factory.mktemp("pairs") / "results.sqlite"
    with ResultsWriter(path) as writer:
        add(writer, "ttft_ms", [true + late for true, late in pairs])
        add(writer, "schedule_lag_ms", [late for _, late in pairs] + others)
    true = sorted(value for value, _ in pairs)[nearest_rank(percent, len(pairs)) - 1]
    with Results(path) as results:
        low, high = bounds(results, percent=percent)
        resolution = 0.01 * max(value + late for value, late in pairs)  # of the buckets of what was measured
        assert low - resolution <= true <= high + resolution
        certain = PercentileError(results, "ttft_ms").certainly_above(true + resolution)
        assert certain <= sum(value > true for value, _ in pairs)


def test_few_pairs_are_tried_for_many_delays():
    rng = np.random.default_rng(1)
    delays = Delays.of(histogram(rng.lognormal(1, 2, 100_000)))
    assert len(delays.beyond) <= 64
    assert delays.beyond[0] > delays.beyond[-1] == 0
    assert (np.diff(delays.bound_ms) >= 0).all()


def test_a_mean_time_per_token_may_be_off_by_the_error_of_its_first_and_last_arrival(writer, results):
    add(writer, "tpot_ms", [10.0] * 100)
    add(writer, "arrival_error_ms", [0.0] * 40 + [3.0] * 60)
    low, high = bounds(results, "tpot_ms", 50.0)
    assert (low, high) == (pytest.approx(7.0, rel=0.02), pytest.approx(13.0, rel=0.02))


def test_the_first_sign_of_work_begins_when_its_run_was_due(writer, results):
    add(writer, "ttf_reasoning_ms", [100.0] * 100)
    add(writer, "net_ttf_reasoning_ms", [60.0] * 100)
    low, high = bounds(results, "ttf_reasoning_ms", 50.0)
    assert (low, high) == (pytest.approx(60.0, rel=0.02), 100.0)
