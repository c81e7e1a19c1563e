import math
import struct
import tracemalloc
import zlib
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.results.histogram import (
    BUCKETS,
    FOLD_AT,
    HEADER,
    IMPOSSIBLE,
    INCONSISTENT,
    PLAIN_BYTES,
    RELATIVE_ERROR,
    UNFOLDED_AT_MOST,
    WIDE_FORMAT,
    WIDE_RELATIVE_ERROR,
    Histogram,
    inflated,
    nearest_rank,
)

in_range_ms = st.floats(min_value=0.001, max_value=3.6e7)
any_ms = st.floats(min_value=-1e12, max_value=1e12)
percents = st.one_of(st.sampled_from([0, 50, 90, 95, 99, 99.9, 100]), st.floats(min_value=0, max_value=100))


def of(values):
    histogram = Histogram()
    histogram.record_many(values)
    return histogram


def wide(values):
    """The histogram that an earlier version stored, as it wrote it: 240 buckets per decade, in format 2."""
    counts = {}
    for value in values:
        place = math.ceil(math.log10(max(value, 0.001) / 0.001) * 240)
        counts[min(place, 2640)] = counts.get(min(place, 2640), 0) + 1
    places = sorted(counts)
    extremes = (min(values), max(values)) if values else (math.inf, -math.inf)
    plain = struct.pack("<BQdddH", 2, len(values), math.fsum(values), *extremes, len(places))
    plain += struct.pack(f"<{len(places)}H", *places)
    plain += struct.pack(f"<{len(places)}q", *(counts[place] for place in places))
    return Histogram.from_bytes(zlib.compress(plain))


def facts(histogram):
    return histogram.count, histogram.min, histogram.max, histogram.buckets()[1].tolist()


@given(st.lists(in_range_ms, min_size=1, max_size=300), percents)
def test_a_percentile_is_within_the_bound_of_the_exact_nearest_rank_one(values, percent):
    assert abs(of(values).percentile(percent) - exact(values, percent)) <= RELATIVE_ERROR * exact(
        values, percent
    )


def exact(values, percent):
    return sorted(values)[max(1, math.ceil(Fraction(str(percent)) / 100 * len(values))) - 1]


@given(in_range_ms)
def test_the_error_is_at_most_half_the_width_of_a_bucket(value):
    """0.16%, as the docs say: of a TTFT of 200 ms, 0.32 ms."""
    values = [0.001, *[value] * 9, 3.6e7]
    assert of(values).percentile(50) == pytest.approx(value, rel=0.0016)


@given(st.lists(in_range_ms, min_size=1, max_size=300), percents)
def test_a_percentile_of_an_older_file_is_within_its_own_bound(values, percent):
    stored = wide(values)
    assert stored.relative_error == WIDE_RELATIVE_ERROR
    assert abs(stored.percentile(percent) - exact(values, percent)) <= WIDE_RELATIVE_ERROR * exact(
        values, percent
    )


@given(
    st.lists(in_range_ms, min_size=1, max_size=99), st.lists(in_range_ms, min_size=1, max_size=99), percents
)
def test_a_sum_of_both_widths_has_the_wider_one_and_says_so(old, new, percent):
    for first, second in ((wide(old), of(new)), (of(new), wide(old))):
        first.percentile(50)
        first.merge(second)
        first.record(7.0)
        whole = [*old, *new, 7.0]
        assert facts(first) == facts(wide(whole))
        assert first.relative_error == second_error(first) == WIDE_RELATIVE_ERROR
        assert abs(first.percentile(percent) - exact(whole, percent)) <= WIDE_RELATIVE_ERROR * exact(
            whole, percent
        )


def second_error(histogram):
    """The error after a histogram was stored and read."""
    return Histogram.from_bytes(histogram.to_bytes()).relative_error


def test_a_sum_of_today_does_not_become_wide():
    histogram = of(np.arange(1.0, 9999.0))
    histogram.merge(of(np.arange(1.0, 9999.0)))
    histogram.merge(wide([]))
    assert histogram.relative_error == second_error(histogram) == RELATIVE_ERROR


@given(st.lists(in_range_ms, min_size=1, max_size=99))
def test_no_value_is_above_the_edge_of_its_bucket(values):
    for histogram in (of(values), wide(values)):
        edges, counts = histogram.buckets()
        assert (np.diff(edges) >= 0).all()
        for edge, below in zip(edges[counts > 0], np.cumsum(counts[counts > 0]), strict=True):
            assert below <= sum(value <= edge * (1 + 1e-9) for value in values)
            assert below >= sum(value <= edge / histogram.growth for value in values)


def test_an_older_blob_is_stored_again_as_it_was():
    values = np.random.default_rng(3).lognormal(3, 2, 5000).tolist()
    stored = wide(values)
    plain = inflated(stored.to_bytes())
    assert plain[0] == WIDE_FORMAT
    assert Histogram.from_bytes(stored.to_bytes()).to_bytes() == stored.to_bytes()
    places = np.frombuffer(plain, "<u2", (len(plain) - HEADER.size) // 10, HEADER.size)
    assert places.tolist() == sorted({math.ceil(math.log10(value / 0.001) * 240) for value in values})


@given(st.lists(st.lists(any_ms, max_size=30), max_size=6), st.randoms())
def test_the_order_of_merging_does_not_matter(parts, random):
    shuffled = list(parts)
    random.shuffle(shuffled)
    forwards, backwards = Histogram(), Histogram()
    for part in parts:
        forwards.merge(of(part))
    for part in shuffled:
        backwards.merge(of(part))
    whole = of([value for part in parts for value in part])
    assert facts(forwards) == facts(backwards) == facts(whole)
    assert forwards.sum == pytest.approx(whole.sum, rel=1e-9, abs=1e-3)


@given(st.lists(any_ms, max_size=50))
def test_bytes_bring_back_the_same_histogram(values):
    histogram = of(values)
    again = Histogram.from_bytes(histogram.to_bytes())
    assert facts(again) == facts(histogram)
    assert again.sum == histogram.sum


def test_single_records_and_bulk_records_are_the_same():
    values = np.random.default_rng(1).lognormal(3, 1, 2 * FOLD_AT + 7)
    one_by_one = Histogram()
    for value in values:
        one_by_one.record(float(value))
    assert facts(one_by_one) == facts(of(values))
    assert one_by_one.sum == pytest.approx(math.fsum(values))


def test_memory_is_bounded():
    histogram = Histogram()
    for _ in range(3 * FOLD_AT + 1):
        histogram.record(1.0)
    assert len(histogram._recent) == 1


def test_count_extremes_sum_and_mean_are_exact():
    histogram = of([3.0, 1.5, 250.25])
    assert (histogram.count, histogram.min, histogram.max) == (3, 1.5, 250.25)
    assert histogram.sum == 254.75
    assert histogram.mean == 254.75 / 3
    assert histogram.percentile(0) == 1.5
    assert histogram.percentile(100) == 250.25


def test_an_empty_histogram_has_no_values():
    histogram = of([])
    assert (histogram.count, histogram.sum) == (0, 0.0)
    assert histogram.min is histogram.max is histogram.mean is histogram.percentile(50) is None
    assert histogram.buckets()[1].sum() == 0
    assert Histogram.from_bytes(histogram.to_bytes()).percentile(99) is None


def test_values_outside_the_range_are_counted_and_stay_between_the_extremes():
    histogram = of([-5.0, -5.0, -5.0, 0.0, 1e12, 1e12, 1e12])
    counts = histogram.buckets()[1]
    assert (counts[0], counts[-1], counts.sum()) == (4, 3, 7)
    assert histogram.percentile(10) == -5.0
    assert histogram.percentile(100) == 1e12
    assert -5.0 <= histogram.percentile(50) <= 0.001


def test_a_value_on_an_edge_is_in_the_bucket_below_it():
    edges, counts = of([1.0]).buckets()
    assert edges[int(np.flatnonzero(counts)[0])] == pytest.approx(1.0)
    assert len(edges) == len(counts) == BUCKETS
    assert edges[0] == 0.001
    assert edges[-1] >= 3.6e7


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_non_finite_values_are_refused_and_change_nothing(value):
    histogram = of([1.0])
    with pytest.raises(ValueError, match="finite"):
        histogram.record(value)
    with pytest.raises(ValueError, match="finite"):
        histogram.record_many([2.0, value])
    assert facts(histogram) == facts(of([1.0]))


def test_merging_leaves_the_other_as_it_was():
    one, other = of([1.0]), of([2.0, 3.0])
    one.merge(other)
    one.record(4.0)
    assert (one.count, other.count) == (4, 2)


def test_merging_with_itself_doubles():
    histogram = of([1.0, 2.0])
    histogram.merge(histogram)
    assert (histogram.count, histogram.sum) == (4, 6.0)


@pytest.mark.parametrize("count", [0, 1, UNFOLDED_AT_MOST, UNFOLDED_AT_MOST + 1])
def test_few_values_are_serialized_unfolded(count):
    histogram = Histogram()
    for value in range(count):
        histogram.record(value + 0.25)
    data = histogram.to_bytes()
    assert (data[:1] == b"\x02") is (count <= UNFOLDED_AT_MOST)
    back = Histogram.from_bytes(data)
    assert facts(back) == facts(histogram)
    assert back.to_bytes() == histogram.to_bytes()


@pytest.mark.parametrize("percent", [-0.1, 100.1, math.nan])
def test_a_percentile_outside_0_to_100_is_refused(percent):
    with pytest.raises(ValueError, match="between 0 and 100"):
        of([1.0]).percentile(percent)


@pytest.mark.parametrize(
    ("percent", "count", "rank"),
    [(99.9, 1000, 999), (50, 4, 2), (50, 5, 3), (0, 9, 1), (100, 9, 9), (1e-9, 9, 1)],
)
def test_the_nearest_rank_has_no_float_error(percent, count, rank):
    assert nearest_rank(percent, count) == rank


def test_bytes_that_are_something_else_are_refused():
    good = of(np.arange(1.0, 200.0)).to_bytes()
    plain = zlib.decompress(good)
    wrong_count = plain[:1] + b"\x09" + plain[2:]
    for bad in (
        b"",
        b"rubbish",
        good[:-3],
        zlib.compress(b""),
        zlib.compress(plain[:-1]),
        zlib.compress(plain + b"\0"),
        zlib.compress(b"\x01" + plain[1:]),
        zlib.compress(b"\x07" + plain[1:]),
        zlib.compress(wrong_count),
        b"\x02" + bytes(7),
        b"\x02" + bytes(8 * (UNFOLDED_AT_MOST + 1)),
        b"\x02" + struct.pack("<d", math.nan),
    ):
        with pytest.raises(ValueError, match="stored histogram"):
            Histogram.from_bytes(bad)


def changed(*, sums=None, places=None):
    """A stored histogram of many values with another sum, minimum and maximum, or other places of its buckets."""
    plain = bytearray(inflated(of(np.arange(1.0, 3000.0)).to_bytes()))
    form, count, *own, filled = HEADER.unpack_from(plain)
    HEADER.pack_into(plain, 0, form, count, *(sums or own), filled)
    if places is not None:
        plain[HEADER.size : HEADER.size + 2 * len(places)] = np.array(places, "<u2").tobytes()
    return zlib.compress(bytes(plain))


def test_sums_and_places_that_no_values_have_are_refused():
    Histogram.from_bytes(changed())
    nan = float("nan")
    for sums in ((nan, 1.0, 2999.0), (4.5e6, nan, 2999.0), (4.5e6, 2999.0, 1.0), (1.0, 1.0, 2999.0)):
        with pytest.raises(ValueError, match=IMPOSSIBLE):
            Histogram.from_bytes(changed(sums=sums))
    for places in ([BUCKETS], [0, 0], [5, 4]):
        with pytest.raises(ValueError, match=INCONSISTENT):
            Histogram.from_bytes(changed(places=places))


def test_no_more_is_inflated_than_a_histogram_has():
    bomb = zlib.compress(b"\0" * 30_000_000)
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="too long"):
            inflated(bomb)
        assert tracemalloc.get_traced_memory()[1] < 2 * PLAIN_BYTES + 1_000_000
    finally:
        tracemalloc.stop()
