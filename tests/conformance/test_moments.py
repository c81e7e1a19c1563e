"""The suite's joins, resumptions and conflicts come at moments that are spread over the gap between events."""

from __future__ import annotations

from itertools import pairwise

import pytest

from harness.conformance.scenarios.moments import moment_before_end, phase_wait_s, spread_moments
from tests.contract.exchanges import done, no_answer, run, token

GAP_MS = 60.0
EVENTS = 20
WHOLE = run(
    *(token(place) for place in range(EVENTS)), at=[200.0 + GAP_MS * place for place in range(EVENTS)]
)


def test_moments_are_spread_over_the_gap() -> None:
    first, *between = spread_moments(WHOLE, 19)
    assert (first.event, first.wait_s) == (0, 0.1), "half of the time to the first event"
    phases = sorted(moment.wait_s * 1000 / GAP_MS for moment in between)
    assert all(abs(after - before - 1 / 18) < 1e-6 for before, after in pairwise(phases))
    assert 0 < phases[0] < 1 / 18
    assert 17 / 18 < phases[-1] < 1


def test_moments_are_spread_over_the_run_and_do_not_race_its_end() -> None:
    _, *between = spread_moments(WHOLE, 19)
    assert min(moment.event for moment in between) == 1
    assert len({moment.event for moment in between}) >= 10
    at_ms = [200 + (moment.event - 1) * GAP_MS + moment.wait_s * 1000 for moment in between]
    assert max(at_ms) <= 200 + (EVENTS - 1) * GAP_MS - 100


def test_moments_of_a_run_in_one_read_or_without_events() -> None:
    for whole in (run(*(token(place) for place in range(4)), at=[5.0] * 4), no_answer()):
        assert {(moment.event, moment.wait_s) for moment in spread_moments(whole, 5)[1:]} == {(1, 0.0)}
        assert phase_wait_s(whole, 3) == 0.0


def test_resumptions_are_spread_over_the_gap() -> None:
    phases = sorted(phase_wait_s(WHOLE, number) * 1000 / GAP_MS for number in range(24))
    assert phases[0] == 0.0
    assert max(after - before for before, after in pairwise([*phases, 1.0])) < 0.1


def test_moments_before_the_end_follow_the_last_event_before_them() -> None:
    run_of_four = run(token(0), token(1), token(2), done(3), at=[1000.0, 1060.0, 1120.0, 1180.0])
    found = [moment_before_end(run_of_four, before_ms) for before_ms in (0, 15, 60, 100, 180, 500)]
    assert [(moment.event, round(moment.wait_s, 6)) for moment in found] == [
        (4, 0.0), (3, 0.045), (3, 0.0), (2, 0.02), (1, 0.0), (1, 0.0)
    ]  # fmt: skip
    with pytest.raises(ValueError, match="is not over"):
        moment_before_end(run(token(0)), 10)
