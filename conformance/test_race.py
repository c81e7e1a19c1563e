"""Simultaneous requests, and concurrent streams."""

from __future__ import annotations

from harness.contract.exchange import Exchange
from harness.contract.rules import race
from harness.suite.pytest_plugin import CheckFunction, decides


@decides(race.same_body)
def test_simultaneous_equal_requests_are_one_run(
    check: CheckFunction, equal_requests_together: list[list[Exchange]]
) -> None:
    check(equal_requests_together)


@decides(race.different_bodies)
def test_simultaneous_different_bodies_have_one_winner(
    check: CheckFunction, completed_run: Exchange, different_bodies_together: list[list[Exchange]]
) -> None:
    check(completed_run, different_bodies_together)


@decides(race.no_crosstalk)
def test_interleaved_runs_show_nothing_of_each_other(
    check: CheckFunction, interleaved_runs: dict[str, Exchange]
) -> None:
    check(interleaved_runs)


@decides(race.close_one)
def test_closing_one_stream_leaves_the_others_intact(
    check: CheckFunction, one_of_several_closed: tuple[Exchange, list[Exchange]]
) -> None:
    check(*one_of_several_closed)


@decides(race.slow_reader)
def test_a_stalled_reader_does_not_slow_the_others(
    check: CheckFunction, runs_with_a_stalled_reader: list[race.StalledRound]
) -> None:
    check(runs_with_a_stalled_reader)
