"""The list of known failures: read strictly, and updated without losing a reason."""

from __future__ import annotations

import tomllib
from datetime import date
from pathlib import Path

import pytest

from harness.contract.finding import Verdict
from harness.contract.verdicts import CheckOutcome, Verdicts
from harness.errors import SettingsError
from harness.suite.known_failures import UPDATE_REASON, load_known_failures, update_known_failures

LISTED = """
[[known]]
id = "resume.joins"
reason = "the gateway cuts joined streams"
issue = "https://tracker.example.com/1"
expires = 2027-01-31

[[known]]
id = "ids.clock"
reason = "a clock of its own"
"""


@pytest.fixture
def listed(tmp_path: Path) -> Path:
    path = tmp_path / "known.toml"
    path.write_text(LISTED)
    return path


def test_a_list_is_read(listed: Path) -> None:
    known = load_known_failures(listed, date(2027, 1, 31))
    assert known["resume.joins"].describe() == (
        "known: the gateway cuts joined streams (https://tracker.example.com/1), until 2027-01-31"
    )
    assert known["ids.clock"].describe() == "known: a clock of its own"


def test_what_has_expired_counts_again(listed: Path) -> None:
    assert set(load_known_failures(listed, date(2027, 2, 1))) == {"ids.clock"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            '[[known]]\nid = "resume.join"\nreason = "x"',
            "entry 1: unknown requirement 'resume.join'.*'resume.joins'",
        ),
        ('[[known]]\nid = "resume.joins"', "entry 1: reason: Field required"),
        ('[[known]]\nid = "resume.joins"\nreason = ""', "entry 1: reason"),
        ('[[known]]\nid = "resume.joins"\nreason = "x"\nuntil = 1', "entry 1: until: Extra inputs"),
        ("[known]", "contain no list"),
        ("[[knwon]]", "contain knwon"),
        ("[[known", "not valid TOML"),
    ],
)
def test_a_wrong_list_is_refused_in_a_sentence(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "known.toml"
    path.write_text(text)
    with pytest.raises(SettingsError, match=said) as refused:
        load_known_failures(path)
    assert "\n" not in str(refused.value)


def test_a_list_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot read the known failures"):
        load_known_failures(tmp_path / "none.toml")


def test_an_update_keeps_reasons_and_what_was_not_decided(listed: Path) -> None:
    update_known_failures(
        listed, ["resume.joins", "terminal.last"], {"resume.joins": True, "terminal.last": True}
    )
    rows = {row["id"]: row for row in tomllib.loads(listed.read_text())["known"]}
    assert rows["resume.joins"]["reason"] == "the gateway cuts joined streams"
    assert rows["resume.joins"]["expires"] == date(2027, 1, 31)
    assert rows["terminal.last"]["reason"] == UPDATE_REASON
    assert "ids.clock" in rows  # not tested
    update_known_failures(listed, [], {"resume.joins": True, "terminal.last": True, "ids.clock": True})
    assert load_known_failures(listed) == {}


def verdict_of(known: dict[str, str], found: Verdict) -> Verdict:
    verdicts = Verdicts(known=known)
    verdict, detail = verdicts.accept("ids.clock", found, "off by an hour")
    verdicts.add(CheckOutcome("ids.clock", verdict, detail, "test"))
    return next(check.verdict for check in verdicts.checks if check.requirement.id == "ids.clock")


def test_a_listed_failure_is_known_and_a_listed_pass_is_stale() -> None:
    listed = {"ids.clock": "known: a clock of its own"}
    assert verdict_of(listed, Verdict.WARN) is Verdict.KNOWN
    assert verdict_of(listed, Verdict.FAIL) is Verdict.KNOWN
    assert verdict_of(listed, Verdict.PASS) is Verdict.STALE
    assert verdict_of(listed, Verdict.INCONCLUSIVE) is Verdict.INCONCLUSIVE
    assert verdict_of({}, Verdict.WARN) is Verdict.WARN
