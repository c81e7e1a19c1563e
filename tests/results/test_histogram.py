import math
import struct
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.results.histogram import (
    BUCKETS,
    FOLD_AT,
    RELATIVE_ERROR,
    UNFOLDED_AT_MOST,
    Histogram,
    Stored,
    Sums,
    nearest_rank,
)

in_range_ms = st.floats(min_value=0.001, max_value=3.6e7)
any_ms = st.floats(min_value=-1e12, max_value=1e12)
percents = st.one_of(st.sampled_from([0, 50, 90, 95, 99, 99.9, 100]), st.floats(min_value=0, max_value=100))


def of(values):
    histogram = Histogram()
    histogram.record_many(values)
    return histogram


def facts(histogram):
    return histogram.count, histogram.min, histogram.max, histogram.buckets()[1].tolist()


@given(st.lists(in_range_ms, min_size=1, max_size=300), percents)
def test_a_percentile_is_within_the_bound_of_the_exact_nearest_rank_one(values, percent):
    rank = max(1, math.ceil(Fraction(str(percent)) / 100 * len(values)))
    exact = sorted(values)[rank - 1]
    assert abs(of(values).percentile(percent) - exact) <= RELATIVE_ERROR * exact


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
def test_what_is_no_number_is_refused_and_changes_nothing(value):
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
def test_few_values_travel_as_they_are(count):
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
    import zlib

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
        zlib.compress(b"\x07" + plain[1:]),
        zlib.compress(wrong_count),
        b"\x02" + bytes(7),
        b"\x02" + bytes(8 * (UNFOLDED_AT_MOST + 1)),
        b"\x02" + struct.pack("<d", math.nan),
    ):
        with pytest.raises(ValueError, match="stored histogram"):
            Histogram.from_bytes(bad)


def test_the_coarser_buckets_of_earlier_files_are_read():
    import zlib

    from harness.results import histogram as module

    places, counts = np.array([0, 7, 360], "<u2"), np.array([1, 5, 4], "<i8")
    header = module._HEADER.pack(1, 10, 12.5, 0.0005, 1.0, 3)
    old = Histogram.from_bytes(zlib.compress(header + places.tobytes() + counts.tobytes()))
    assert (old.count, old.sum, old.min, old.max) == (10, 12.5, 0.0005, 1.0)
    edges, found = old.buckets()
    filled = {round(float(edge), 6): int(count) for edge, count in zip(edges, found, strict=True) if count}
    assert filled == {0.001: 1, 0.001133: 2, 0.001144: 3, 0.990452: 2, 1.0: 2}


def folded(values):
    """Stored by its buckets, however few values there are."""
    histogram = of(values)
    histogram.percentile(50)
    return histogram.to_bytes()


def one_by_one(labels, stored):
    merged = {}
    for label, data in zip(labels, stored, strict=True):
        if label is not None:
            merged.setdefault(label, Histogram()).merge(Histogram.from_bytes(data))
    return merged


def added(labels, stored, *, at_once=10_000):
    sums = Sums()
    for first in range(0, len(stored), at_once):
        part = slice(first, first + at_once)
        sums.add(labels[part], Stored.of(stored[part]))
    return sums


def same(ours, theirs):
    assert list(ours) == list(theirs)
    for label, histogram in ours.items():
        assert facts(histogram) == facts(theirs[label])
        assert histogram.sum == pytest.approx(theirs[label].sum, rel=1e-9, abs=1e-3)
        assert [histogram.percentile(p) for p in (0, 50, 99.9, 100)] == [
            theirs[label].percentile(p) for p in (0, 50, 99.9, 100)
        ]


# Empty ones, values below the first and above the last bucket, and both forms of storage.
some_values = st.lists(any_ms, max_size=UNFOLDED_AT_MOST + 9)
some_stored = some_values.map(folded) | some_values.map(lambda values: of(values).to_bytes())
labelled = st.lists(st.tuples(st.sampled_from(["a", "b", "c", None]), some_stored), min_size=1, max_size=12)


@given(labelled, st.integers(1, 12))
def test_adding_many_up_by_label_is_what_merging_one_after_the_other_gives(pairs, at_once):
    labels, stored = zip(*pairs, strict=True)
    same(added(labels, stored, at_once=at_once).take(), one_by_one(labels, stored))


@given(labelled, st.integers(1, 12))
def test_sums_that_are_kept_as_stored_ones_can_be_added_up_again(pairs, at_once):
    labels, stored = zip(*pairs, strict=True)
    found, parts = added(labels, stored, at_once=at_once).take_stored()
    again = Sums()
    again.add(found, parts)
    same(again.take(), one_by_one(labels, stored))


def test_sums_of_values_outside_the_range_and_of_nothing():
    stored = [folded([-5.0, 0.0]), folded([1e12, 3.0]), folded([]), folded([-7.0, 2e12])]
    sums = added(["a", "a", "none", "a"], stored).take()
    assert facts(sums["none"]) == facts(of([]))
    assert facts(sums["a"]) == facts(of([-5.0, 0.0, 1e12, 3.0, -7.0, 2e12]))
    counts = sums["a"].buckets()[1]
    assert (counts[0], counts[-1], sums["a"].min, sums["a"].max) == (3, 2, -7.0, 2e12)


def test_what_was_taken_out_stays_as_it_is():
    sums = added(["a"], [folded([1.0])])
    first = sums.take()
    assert (len(sums), sums.take()) == (0, {})
    sums.add(["a"], Stored.of([folded([2.0, 3.0])]))
    assert first["a"].count == 1
    assert sums.take()["a"].count == 2


def test_more_labels_than_there_was_room_for():
    labels, stored = list(range(300)), [folded([float(number)]) for number in range(300)]
    sums = added(labels, stored, at_once=7).take()
    assert [sums[number].max for number in labels] == labels


def test_adding_up_reads_the_earlier_format_and_refuses_what_is_damaged():
    import zlib

    from harness.results import histogram as module

    old = zlib.compress(
        module._HEADER.pack(1, 1, 2.0, 2.0, 2.0, 1)
        + np.array([9], "<u2").tobytes()
        + np.array([1], "<i8").tobytes()
    )
    good = of(np.arange(1.0, 200.0)).to_bytes()
    assert added("aaa", [good, old, of([7.0]).to_bytes()]).take()["a"].count == 201
    plain = zlib.decompress(good)
    far = bytearray(plain)
    struct.pack_into("<H", far, module._HEADER.size, module.BUCKETS)
    miscounted = plain[:1] + b"\x09" + plain[2:]
    for bad in (
        b"",
        b"rubbish",
        good[:-3],
        b"\x02" + bytes(7),
        *map(zlib.compress, (b"", plain[:20], plain[:-1], plain + b"\0", miscounted, bytes(far))),
    ):
        with pytest.raises(ValueError, match="stored histogram"):
            Stored.of([good, bad, good])
