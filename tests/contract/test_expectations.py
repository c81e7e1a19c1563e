from __future__ import annotations

import pytest

from harness.contract.expectations import Budgets, Expectations


@pytest.mark.parametrize(
    ("heartbeat_s", "first_event_s", "silence_s"),
    [(15.0, 10.0, 30.0), (1.0, 10.0, 10.0), (5.0, 10.0, 10.0), (6.0, 10.0, 12.0)],
)
def test_a_stream_is_given_up_after_twice_the_heartbeat_budget(
    heartbeat_s: float, first_event_s: float, silence_s: float
) -> None:
    assert Budgets(heartbeat_s=heartbeat_s, first_event_s=first_event_s).silence_s == silence_s


def test_nothing_is_declared_by_default() -> None:
    expect = Expectations()
    assert (expect.conflict, expect.resume_start, expect.last_event_id) == ("any", "any", None)
    assert expect.budgets == Budgets(10.0, 5.0, 15.0, 120.0)
