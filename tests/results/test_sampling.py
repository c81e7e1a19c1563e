import random
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from harness.results.sampling import StreamSample, Surplus


def kept(kinds, keep, seed, trim_every=1):
    """The sample of size `keep` after rows of those kinds (True: failed), trimmed regularly."""
    sample, rows = StreamSample(keep, rng=random.Random(seed)), []
    for number, failed in enumerate(kinds):
        priority = sample.draw(failed=failed)
        if priority is not None:
            rows.append((priority, number))
            sample.failed += failed
            sample.ordinary += not failed
        if number % trim_every == 0 or number == len(kinds) - 1:
            rows = trimmed(sample, rows)
    return sample, rows


def trimmed(sample, rows):
    surplus = sample.surplus()
    failed = sorted(row for row in rows if row[0] < 0)
    ordinary = sorted(row for row in rows if row[0] >= 0)
    for part, over, name in ((failed, surplus.failed, "failed"), (ordinary, surplus.ordinary, "ordinary")):
        if over:
            setattr(sample, f"{name}_below", part[-over][0])
            setattr(sample, name, len(part) - over)
            del part[-over:]
    return failed + ordinary


@given(st.lists(st.booleans(), max_size=80), st.integers(0, 12), st.integers(1, 7), st.integers(0, 5))
def test_it_is_the_smallest_priorities_of_all_whatever_was_passed_over_and_trimmed_when(
    kinds, keep, trim_every, seed
):
    _, rows = kept(kinds, keep, seed, trim_every)
    rng = random.Random(seed)
    drawn = [(rng.random() - failed, number) for number, failed in enumerate(kinds)] if keep else []
    failed, ordinary = (
        sorted(row for row in drawn if row[0] < 0),
        sorted(row for row in drawn if row[0] >= 0),
    )
    of_failed = min(len(failed), max(keep // 2, keep - len(ordinary)))
    assert rows == failed[:of_failed] + ordinary[: keep - of_failed]


def test_every_row_is_equally_likely():
    times = Counter(number for seed in range(3_000) for _, number in kept([False] * 20, 5, seed)[1])
    assert sum(times.values()) == 15_000
    # Expected 750 each; the standard deviation is sqrt(3000 * 1/4 * 3/4) = 24.
    assert all(abs(times[number] - 750) < 5 * 24 for number in range(20))


def test_failed_rows_stay_before_others_up_to_half_of_the_room():
    sample, rows = kept([True] * 4 + [False] * 100, 10, 1)
    assert (sample.failed, sample.ordinary, len(rows), sample.kept) == (4, 6, 10, 10)
    sample, _ = kept([True] * 50 + [False] * 100, 10, 1)
    assert (sample.failed, sample.ordinary) == (5, 5)
    sample, _ = kept([True] * 50 + [False] * 2, 10, 1)
    assert (sample.failed, sample.ordinary) == (8, 2)


def test_the_surplus():
    assert StreamSample(10, failed=8, ordinary=2).surplus() == Surplus(0, 0)
    assert StreamSample(10, failed=8, ordinary=5).surplus() == Surplus(3, 0)
    assert StreamSample(10, failed=8, ordinary=20).surplus() == Surplus(3, 15)
    assert StreamSample(0, failed=0, ordinary=0).surplus() == Surplus(0, 0)
    assert StreamSample(0).draw(failed=True) is None
