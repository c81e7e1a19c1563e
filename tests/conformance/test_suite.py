"""What makes the suites of this project's tests cheaper is about the scenarios that users run."""

from __future__ import annotations

import hashlib

from harness.conformance.conftest import SCENARIOS
from harness.conformance.scenarios import cuts, race
from tests.conformance import suite


def test_the_keys_that_are_given_instead_of_searched_have_equal_hashes() -> None:
    names = [kind.removeprefix("what 32 bits of ").removesuffix(" hide") for kind in suite.SAME_HASHES]
    assert names == ["MD5", "SHA-1", "SHA-256"]
    for name, keys in zip(names, suite.SAME_HASHES.values(), strict=True):
        starts = {hashlib.new(name.replace("-", ""), key.encode()).digest()[:4] for key in keys}
        assert (len(set(keys)), len(starts)) == (2, 1), name


def test_what_is_repeated_less_often_are_scenarios() -> None:
    assert [scenarios - SCENARIOS.keys() for _, _, scenarios in suite.FEWER] == [set()] * len(suite.FEWER)


def test_what_decides_a_requirement_is_repeated_as_often_as_users_have_it() -> None:
    usual = _numbers()
    with suite.fewer_repeats():
        few = _numbers()
    with suite.fewer_repeats(besides="resume.every-cut"):
        assert _numbers() == {**few, "cuts": usual["cuts"]}
    with suite.fewer_repeats(besides="race.no-crosstalk"):
        assert _numbers() == {**few, "parties": usual["parties"]}
    with suite.fewer_repeats(besides="resume.retention"):
        assert _numbers() == usual
    assert _numbers() == usual
    assert all(few[name] < number for name, number in usual.items())


def _numbers() -> dict[str, int]:
    return {"cuts": cuts.MAX_CUTS, "parties": race.PARTIES}
