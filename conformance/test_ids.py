"""What a client resumes from."""

from __future__ import annotations

from harness.contract.exchange import Exchange
from harness.contract.rules import ids
from harness.suite.pytest_plugin import CheckFunction, decides


@decides(ids.present)
def test_each_event_has_an_id(check: CheckFunction, stream: Exchange) -> None:
    check(stream)


@decides(ids.unique)
def test_no_id_appears_twice(check: CheckFunction, stream: Exchange) -> None:
    check(stream)


@decides(ids.increasing)
def test_ids_increase_as_pairs_of_numbers(check: CheckFunction, stream: Exchange) -> None:
    check(stream)


@decides(ids.clock)
def test_ids_follow_the_wall_clock(check: CheckFunction, stream: Exchange) -> None:
    check(stream)
