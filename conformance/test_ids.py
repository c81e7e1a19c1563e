"""What a client resumes by."""

from __future__ import annotations

from harness.contract.exchange import Exchange
from harness.contract.rules import ids
from harness.suite.pytest_plugin import JudgeFunction, requirement


@requirement("ids.present")
def test_each_event_has_an_id(judge: JudgeFunction, stream: Exchange) -> None:
    judge(ids.present, stream)


@requirement("ids.unique")
def test_no_id_comes_twice(judge: JudgeFunction, stream: Exchange) -> None:
    judge(ids.unique, stream)


@requirement("ids.increasing")
def test_ids_increase_as_pairs_of_numbers(judge: JudgeFunction, stream: Exchange) -> None:
    judge(ids.increasing, stream)


@requirement("ids.clock")
def test_ids_tell_the_wall_clock(judge: JudgeFunction, stream: Exchange) -> None:
    judge(ids.clock, stream)
