"""The short form of the cycles, and proof that disagreeing counts are reported."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.cases import all_cases
from tests.truth.cycles import Cycle, Session, by_api, by_web

CYCLES = 3


@pytest.mark.slow
@pytest.mark.parametrize(
    "way",
    [
        pytest.param(lambda where: by_api(where, CYCLES, stop_timeout=0), id="runner-stopped-at-once"),
        pytest.param(lambda where: by_api(where, CYCLES, stop_timeout=2), id="runner-with-stop-timeout"),
        pytest.param(lambda where: by_web(where, CYCLES, stop_timeout=0), id="web-page"),
    ],
)
def test_all_counts_agree(tmp_path: Path, way: Callable[[Path], Session]) -> None:
    session = way(tmp_path)
    assert list(session.problems()) == []
    assert len(session.cycles) == CYCLES


def cycle(number: int, **values: object) -> Cycle:
    default = Cycle(
        number=number,
        scheduled=10,
        in_flight=2,
        done=7,
        rejected=1,
        by_worker={"worker-0": 5, "worker-1": 3},
        in_file_by_worker={"worker-0": 5, "worker-1": 3},
        by_master=8,
        failures=0,
        keys=frozenset((f"{number}a", f"{number}b")),
        unsent_keys=frozenset(),
        without_key=0,
        problems=(),
    )
    return replace(default, **values)  # type: ignore[arg-type]


def session(*cycles: Cycle) -> Session:
    return Session(cycles, requests=20, done=14, rejected=2, keys=frozenset(("1a", "1b", "2a", "2b")))


def test_two_tests_that_agree() -> None:
    assert list(session(cycle(1), cycle(2)).problems()) == []


@all_cases(
    ("changed", "problem"),
    [
        ({"by_master": 7}, "test 2"),
        ({"by_worker": {"worker-0": 4, "worker-1": 4}}, "test 2"),
        ({"by_worker": {"worker-0": 5}, "in_file_by_worker": {"worker-0": 5}}, "test 2"),
        ({"failures": 1}, "test 2"),
        ({"problems": ("the ledger does not add up",)}, "test 2"),
        ({"scheduled": 2, "in_flight": 2, "by_master": 0}, "test 2"),
        ({"done": 9}, "the server counted 14 runs read to their end, the results say 16 to 20"),
        ({"rejected": 3}, "the server counted 2 conflicts, the results say 4 to 8"),
        ({"keys": frozenset(("1a", "2a", "2b"))}, "1 runs are in the results of two tests"),
        ({"keys": frozenset(("2a",))}, "1 runs of the server are in no results"),
        ({"keys": frozenset(("2a", "2b", "2c"))}, "1 runs ended that the server does not know"),
    ],
)
def test_disagreeing_counts_are_reported(changed: dict[str, object], problem: str) -> None:
    assert any(text.startswith(problem) for text in session(cycle(1), cycle(2, **changed)).problems())


def test_a_stream_that_was_stopped_need_not_have_reached_the_server() -> None:
    keys = frozenset(("2a", "2b", "2c"))
    assert not list(session(cycle(1), cycle(2, keys=keys, unsent_keys=frozenset(("2c",)))).problems())


def test_a_stream_without_a_known_key_accounts_for_one_run() -> None:
    lacking = frozenset(("2a",))
    assert not list(session(cycle(1), cycle(2, keys=lacking, without_key=1)).problems())
    assert list(session(cycle(1), cycle(2, keys=frozenset(), without_key=1)).problems())


@pytest.mark.parametrize(("requests", "agrees"), [(15, False), (16, True), (20, True), (21, False)])
def test_how_many_requests_the_server_may_have_read(requests: int, agrees: bool) -> None:
    found = replace(session(cycle(1), cycle(2)), requests=requests)
    assert (not list(found.problems())) is agrees
