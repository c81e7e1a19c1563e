import resource
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.results.histogram import BUCKETS, HEADER, UNFOLDED_AT_MOST, WIDE_BUCKETS, WIDE_FORMAT, Histogram
from harness.results.histogram_batch import HistogramBatch, HistogramSums
from tests.results.test_histogram import any_ms, facts, of, wide


def folded(values):
    """Serialized in the bucket form, even if there are few values."""
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
    sums = HistogramSums()
    for first in range(0, len(stored), at_once):
        part = slice(first, first + at_once)
        sums.add(labels[part], HistogramBatch.of(stored[part]))
    return sums


def same(ours, theirs):
    assert list(ours) == list(theirs)
    for label, histogram in ours.items():
        assert facts(histogram) == facts(theirs[label])
        assert histogram.relative_error == theirs[label].relative_error
        assert histogram.sum == pytest.approx(theirs[label].sum, rel=1e-9, abs=1e-3)
        assert [histogram.percentile(p) for p in (0, 50, 99.9, 100)] == [
            theirs[label].percentile(p) for p in (0, 50, 99.9, 100)
        ]


# Empty ones, values below the first and above the last bucket, and both forms of storage.
some_values = st.lists(any_ms, max_size=UNFOLDED_AT_MOST + 9)
some_stored = (
    some_values.map(folded)
    | some_values.map(lambda values: of(values).to_bytes())
    | some_values.map(lambda values: wide(values).to_bytes())
)
labelled = st.lists(st.tuples(st.sampled_from(["a", "b", "c", None]), some_stored), min_size=1, max_size=12)


@given(labelled, st.integers(1, 12))
def test_sums_equal_merging_one_by_one(pairs, at_once):
    labels, stored = zip(*pairs, strict=True)
    same(added(labels, stored, at_once=at_once).take(), one_by_one(labels, stored))


@given(labelled, st.integers(1, 12))
def test_sums_taken_as_a_batch_can_be_added_again(pairs, at_once):
    labels, stored = zip(*pairs, strict=True)
    expected = one_by_one(labels, stored)
    labels, batch = added(labels, stored, at_once=at_once).take_batch()
    again = HistogramSums()
    again.add(labels, batch)
    same(again.take(), expected)


def test_sums_of_values_outside_the_range_and_of_nothing():
    stored = [folded([-5.0, 0.0]), folded([1e12, 3.0]), folded([]), folded([-7.0, 2e12])]
    sums = added(["a", "a", "none", "a"], stored).take()
    assert facts(sums["none"]) == facts(of([]))
    assert facts(sums["a"]) == facts(of([-5.0, 0.0, 1e12, 3.0, -7.0, 2e12]))
    counts = sums["a"].buckets()[1]
    assert (counts[0], counts[-1], sums["a"].min, sums["a"].max) == (3, 2, -7.0, 2e12)


def test_taken_sums_do_not_change():
    sums = added(["a"], [folded([1.0])])
    first = sums.take()
    assert (len(sums), sums.take()) == (0, {})
    sums.add(["a"], HistogramBatch.of([folded([2.0, 3.0])]))
    assert first["a"].count == 1
    assert sums.take()["a"].count == 2


def test_more_labels_than_were_allocated():
    labels, stored = list(range(300)), [folded([float(number)]) for number in range(300)]
    sums = added(labels, stored, at_once=7).take()
    assert [sums[number].max for number in labels] == labels


@pytest.mark.skipif(
    not Path("/proc/self/statm").exists(), reason="the system does not tell the resident memory"
)
def test_sums_take_the_memory_of_filled_buckets():
    def resident_bytes():
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()

    labels = list(range(2000))
    batch = HistogramBatch.of([folded([100.0 + label % 50, 140.0]) for label in labels])
    before = resident_bytes()
    sums = HistogramSums()
    sums.add(labels, batch)
    taken = sums.take()
    assert len(taken) == 2000
    assert resident_bytes() - before < 2000 * 63_000 / 3


def test_damaged_histograms_are_refused():
    good = of(np.arange(1.0, 200.0)).to_bytes()
    assert added("aa", [good, of([7.0]).to_bytes()]).take()["a"].count == 200
    plain = zlib.decompress(good)
    far = bytearray(plain)
    struct.pack_into("<H", far, HEADER.size, BUCKETS)
    far_wide = bytearray(zlib.decompress(wide(np.arange(1.0, 200.0).tolist()).to_bytes()))
    assert far_wide[0] == WIDE_FORMAT
    struct.pack_into("<H", far_wide, HEADER.size, WIDE_BUCKETS)
    miscounted = plain[:1] + b"\x09" + plain[2:]
    for bad in (
        b"",
        b"rubbish",
        good[:-3],
        b"\x02" + bytes(7),
        *map(
            zlib.compress,
            (
                *(b"", plain[:20], plain[:-1], plain + b"\0", b"\x01" + plain[1:], miscounted),
                *(bytes(far), bytes(far_wide)),
            ),
        ),
    ):
        with pytest.raises(ValueError, match="stored histogram"):
            HistogramBatch.of([good, bad, good])
