from __future__ import annotations

from itertools import islice

import pytest

from harness.load.arrivals import Constant, Plan, Share


def test_constant_is_absolute_and_does_not_drift() -> None:
    every = Constant(3)
    assert [every.due_s(index) for index in range(4)] == [0, 1 / 3, 2 / 3, 1]
    assert every.due_s(3_000_000) == 1_000_000


@pytest.mark.parametrize("rate", [0, -1, float("nan")])
def test_a_rate_is_above_zero(rate: float) -> None:
    with pytest.raises(ValueError, match="must be above 0"):
        Constant(rate)


@pytest.mark.parametrize("count", [1, 2, 8])
def test_the_split_gives_every_arrival_to_one_worker(count: int) -> None:
    shares = [list(islice(Share(index, count).arrivals(), 40 // count)) for index in range(count)]
    assert sorted(number for share in shares for number in share) == list(range(40))


@pytest.mark.parametrize(("index", "count"), [(2, 2), (-1, 2), (0, 0)])
def test_no_such_share(index: int, count: int) -> None:
    with pytest.raises(ValueError, match="has no share"):
        Share(index, count)


@pytest.mark.parametrize(("worker", "share"), [("a", Share(0, 2)), ("b", Share(1, 2)), ("late", None)])
def test_a_plan_travels(worker: str, share: Share | None) -> None:
    message = Plan("test", 123, None).to_message(["a", "b"])
    assert Plan.from_message(message, worker) == Plan("test", 123, share)
