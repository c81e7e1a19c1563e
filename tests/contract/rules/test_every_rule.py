"""Every rule has test cases in which it passes, fails, and is inconclusive."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from functools import cache
from importlib import import_module
from itertools import count
from pathlib import Path
from typing import Any

from harness.contract.exchange import Ending, Exchange
from harness.contract.expectations import Expectations
from harness.contract.finding import Verdict
from harness.contract.requirements import CATALOGUE, RULES, Level, areas
from harness.contract.rules.comparisons import check_conflict, check_resumed, check_retry
from harness.contract.rules.rule import Rule
from harness.contract.rules.stream import STREAM_RULES, check_stream
from tests.cases import all_cases
from tests.contract.exchanges import (
    another_run,
    cut_run,
    empty_stream,
    error,
    no_answer,
    reply,
    run,
    token,
    whole_run,
)
from tests.contract.rules.case import Case

#: Rules that are never inconclusive.
ALWAYS_DECIDED = {"headers.method"}
UNDECIDED = {Verdict.INCONCLUSIVE, Verdict.NOT_APPLICABLE}
BROKEN = {Verdict.FAIL, Verdict.WARN}


@cache
def every_case() -> dict[str, list[Case]]:
    """The test cases of all modules in this folder, by requirement."""
    found: dict[str, list[Case]] = defaultdict(list)
    for path in sorted(Path(__file__).parent.glob("test_*.py")):
        for example in getattr(import_module(f"{__package__}.{path.stem}"), "CASES", ()):
            found[example.rule.requirement.id].append(example)
    return found


@all_cases("requirement_id", RULES)
def test_each_rule_has_cases_of_every_verdict(requirement_id: str) -> None:
    found = {example.verdict for example in every_case()[requirement_id]}
    level = RULES[requirement_id].requirement.level
    if level is Level.INFO:
        assert found == {Verdict.INFO, Verdict.INCONCLUSIVE}
        return
    assert Verdict.PASS in found
    assert (Verdict.FAIL if level is Level.MUST else Verdict.WARN) in found
    if requirement_id not in ALWAYS_DECIDED:
        assert found & UNDECIDED


@all_cases("requirement_id", RULES)
def test_each_rule_has_cases_in_the_module_of_its_area(requirement_id: str) -> None:
    area = RULES[requirement_id].requirement.area.replace("-", "_")
    module = import_module(f"{__package__}.test_{area}")
    assert any(example.rule is RULES[requirement_id] for example in module.CASES)


def test_each_requirement_has_a_rule_in_the_module_of_its_area() -> None:
    assert set(RULES) == set(CATALOGUE)
    for area in areas():
        module = import_module(f"harness.contract.rules.{area.replace('-', '_')}")
        found = {member.requirement.id for member in vars(module).values() if isinstance(member, Rule)}
        assert found == {row.id for row in CATALOGUE.values() if row.area == area}


#: Responses without a run.
NULLS: dict[str, Exchange] = {
    "an empty stream": empty_stream(),
    "a 204": reply(204, b""),
    "a 500": reply(500),
    "a 400": reply(400),
    "a 409": reply(409),
    "silence": no_answer(),
    "a closed connection": no_answer(Ending.TRUNCATED, "the server closed the connection before a response"),
    "a 409 event": run(error(0, code=409)),
    "an echo": run(b'{"organizationId": "org-1"}\n\n'),
}


@all_cases("what", NULLS)
@all_cases("requirement_id", RULES)
def test_nothing_passes_where_there_is_no_run(requirement_id: str, what: str) -> None:
    """Replace every Exchange in the evidence of each passing case."""

    def emptied(value: object) -> object:
        if isinstance(value, Exchange):
            return NULLS[what]
        if isinstance(value, dict):
            return {name: emptied(member) for name, member in value.items()}
        if isinstance(value, list | tuple):
            return type(value)(map(emptied, value))
        if hasattr(value, "canonical"):
            return type(value)(emptied(value.before), emptied(value.resumed), emptied(value.canonical))
        return value

    for example in every_case()[requirement_id]:
        if example.verdict is Verdict.PASS:
            finding = example.rule(*(emptied(value) for value in example.evidence), expect=example.expect)
            assert finding.verdict is not Verdict.PASS, finding.detail


@all_cases("requirement_id", RULES)
def test_each_rule_decides_whichever_answer_is_missing(requirement_id: str) -> None:
    """Replace each Exchange in the evidence of each case, one at a time; a server may refuse any connection."""
    for example in every_case()[requirement_id]:
        for number in range(_exchanges_in(example.evidence)):
            evidence = _without_answer(example.evidence, number)
            assert example.rule(*evidence, expect=example.expect).detail


def _exchanges_in(value: object) -> int:
    found: list[Exchange] = []

    def note(exchange: Exchange) -> Exchange:
        found.append(exchange)
        return exchange

    _mapped(value, note)
    return len(found)


def _without_answer(value: object, number: int) -> Any:
    """The evidence with no answer in place of its Exchange `number`, from 0."""
    places = count()
    return _mapped(value, lambda exchange: _unanswered(exchange) if next(places) == number else exchange)


def _unanswered(exchange: Exchange) -> Exchange:
    """The same request at the same time, without an answer."""
    return replace(
        exchange, reads=(), received=None, ending=Ending.TIMED_OUT, ending_detail="no event within 10 s"
    )


def _mapped(value: object, replaced: Callable[[Exchange], Exchange]) -> Any:
    if isinstance(value, Exchange):
        return replaced(value)
    if isinstance(value, dict):
        return {name: _mapped(member, replaced) for name, member in value.items()}
    if isinstance(value, list | tuple):
        mapped = [_mapped(member, replaced) for member in value]
        return type(value)(*mapped) if hasattr(value, "_fields") else type(value)(mapped)
    if is_dataclass(value) and not isinstance(value, type):
        parts = {
            part.name: _mapped(getattr(value, part.name), replaced) for part in fields(value) if part.init
        }
        return type(value)(**parts)
    return value


def test_a_good_run_passes_every_stream_rule() -> None:
    findings = check_stream(whole_run(), Expectations())
    others = {
        "events.whole-text",
        "events.usage",
        "events.pairs",
        "events.first",
        "run-id.single",
    }  # of other APIs
    names = [rule.requirement.id for rule in STREAM_RULES]
    assert [finding.requirement for finding in findings] == [name for name in names if name not in others]
    assert {finding.verdict for finding in findings} == {Verdict.PASS}


def test_stream_rules_are_inconclusive_without_a_run() -> None:
    verdicts = {finding.requirement: finding.verdict for finding in check_stream(reply(503), Expectations())}
    assert verdicts.pop("headers.event-stream") is Verdict.FAIL
    assert set(verdicts.values()) == {Verdict.INCONCLUSIVE}


def test_a_retrys_rules() -> None:
    good = check_retry(whole_run(), whole_run(), Expectations())
    assert [(finding.requirement, finding.verdict) for finding in good] == [
        ("resume.replay", Verdict.PASS),
        ("resume.no-new-run", Verdict.PASS),
        ("run-id.constant", Verdict.PASS),
    ]
    bad = check_retry(whole_run(), another_run(), Expectations())
    assert [finding.verdict for finding in bad] == [Verdict.FAIL, Verdict.FAIL, Verdict.INCONCLUSIVE]


def test_a_resumed_streams_and_a_conflicts_rules() -> None:
    (resumed,) = check_resumed(cut_run(2), whole_run(), None, Expectations(resume_start="replay"))
    assert (resumed.requirement, resumed.verdict) == ("resume.every-cut", Verdict.PASS)
    (lost,) = check_resumed(cut_run(2), run(token(3)), None, Expectations(resume_start="replay"))
    assert (lost.requirement, lost.verdict) == ("resume.every-cut", Verdict.FAIL)
    (conflict,) = check_conflict(whole_run(), reply(409, sent_ms=15), Expectations())
    assert (conflict.requirement, conflict.verdict) == ("conflict.in-flight", Verdict.PASS)
