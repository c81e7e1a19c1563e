from __future__ import annotations

import pytest

from harness.contract.exchange import Exchange
from harness.contract.expectations import Expectations
from harness.contract.finding import (
    Judgement,
    Place,
    Verdict,
    broken,
    held,
    inconclusive,
    not_applicable,
    noted,
)
from harness.contract.rules import rule as judging
from harness.contract.rules.rule import (
    JUDGES,
    Judge,
    accepted,
    first_not_accepted,
    is_one_run,
    judges,
    merged,
    name_event,
    of_events,
    quoted,
    whole,
)
from tests.contract.exchanges import (
    another_run,
    cut_run,
    empty_stream,
    error,
    frame,
    reply,
    run,
    token,
    whole_run,
)


@pytest.fixture(autouse=True)
def _no_judges(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judging, "JUDGES", {})


@pytest.mark.parametrize(
    ("requirement_id", "verdict"),
    [("terminal.last", Verdict.FAIL), ("ids.clock", Verdict.WARN)],
)
def test_a_broken_should_is_a_warning(requirement_id: str, verdict: Verdict) -> None:
    @judges(requirement_id)
    def rule(run: Exchange) -> Judgement:
        return broken("no", Place(run))

    seen = whole_run()
    finding = rule(seen)
    assert (finding.requirement, finding.verdict, finding.detail) == (requirement_id, verdict, "no")
    assert finding.places == (Place(seen),)


def test_a_declaration_makes_a_must_of_a_should() -> None:
    @judges("resume.last-event-id", escalates=lambda expect: expect.last_event_id is True)
    def rule(run: Exchange) -> Judgement:
        return broken("no", Place(run))

    assert rule(whole_run()).verdict is Verdict.WARN
    assert rule(whole_run(), expect=Expectations(last_event_id=False)).verdict is Verdict.WARN
    assert rule(whole_run(), expect=Expectations(last_event_id=True)).verdict is Verdict.FAIL


@pytest.mark.parametrize("say", [held, noted, inconclusive, not_applicable])
def test_any_other_verdict_stays_as_it_is(say: object) -> None:
    @judges("ids.clock")
    def rule(run: Exchange) -> Judgement:
        return say("so")

    assert rule(whole_run()).verdict is say("so").verdict


def test_a_rule_is_told_of_the_target_only_when_it_asks() -> None:
    @judges("ids.clock")
    def rule(run: Exchange, *, expect: Expectations) -> Judgement:
        return noted(expect.conflict)

    assert rule(whole_run()).detail == "any"
    assert rule(whole_run(), expect=Expectations(conflict="event")).detail == "event"

    @judges("ids.unique")
    @of_events
    def guarded(run: Exchange, *, expect: Expectations) -> Judgement:
        return noted(expect.conflict)

    assert guarded(whole_run(), expect=Expectations(conflict="http-409")).detail == "http-409"


def test_evidence_that_does_not_fit_is_an_error_of_the_caller() -> None:
    @judges("ids.clock")
    def rule(run: Exchange, other: Exchange) -> Judgement:
        return held("so")

    with pytest.raises(TypeError):
        rule(whole_run())


def test_a_requirement_has_one_judge_and_must_exist() -> None:
    def rule(run: Exchange) -> Judgement:
        return held("so")

    assert isinstance(judges("ids.clock")(rule), Judge)
    with pytest.raises(ValueError, match=r"ids\.clock has two judges"):
        judges("ids.clock")(rule)
    with pytest.raises(KeyError, match=r"ids\.clocks.*did you mean 'ids\.clock'"):
        judges("ids.clocks")


def test_a_rule_of_events_says_nothing_without_one() -> None:
    rule = of_events(lambda run: held("so"))
    assert rule(whole_run()).verdict is Verdict.PASS
    for nothing in (empty_stream(), reply(500), run(error(0, code=409))):
        judgement = rule(nothing)
        assert judgement.verdict is Verdict.INCONCLUSIVE
        assert judgement.detail.startswith("there is no run to judge: status")
        assert judgement.places == (Place(nothing),)


def test_a_stream_without_a_run_event_can_break_a_rule_but_not_keep_it() -> None:
    echo = run(frame({"organizationId": "org-1"}))
    assert of_events(lambda run: held("so"))(echo).verdict is Verdict.INCONCLUSIVE
    assert of_events(lambda run: noted("so"))(echo).verdict is Verdict.INCONCLUSIVE
    assert of_events(lambda run: broken("no"))(echo).verdict is Verdict.FAIL
    assert not accepted(echo)
    assert accepted(run(frame({"organizationId": "org-1"}), token(1)))


def test_what_proves_nothing() -> None:
    assert whole(whole_run()) is None
    for bad in (cut_run(2), empty_stream(), reply(500), run(error(0, code=409))):
        assert whole(bad).verdict is Verdict.INCONCLUSIVE
    assert "a cut run did not come to a terminal event" in whole(cut_run(2)).detail
    assert first_not_accepted(whole_run(), cut_run(1)) is None
    refused = first_not_accepted(whole_run(), reply(401, label="the control"))
    assert refused.verdict is Verdict.INCONCLUSIVE
    assert refused.detail.startswith("the control, a valid request, was not accepted either: status 401")


def test_which_two_answers_are_of_one_run() -> None:
    assert is_one_run(whole_run(), whole_run())
    assert not is_one_run(whole_run(), another_run())
    assert not is_one_run(whole_run(), whole_run(run_id="another"))
    assert is_one_run(cut_run(2), cut_run(2))
    assert not is_one_run(cut_run(2), cut_run(1))


def test_several_judgements_as_one() -> None:
    first, second = Place(whole_run()), Place(another_run())
    both = merged([held("a"), broken("b", first), inconclusive("c"), broken("d", second)], "all")
    assert (both.verdict, both.detail, both.places) == (Verdict.FAIL, "b (and 1 more)", (first, second))
    assert merged([broken("b", first)], "all").detail == "b"
    assert merged([held("a"), inconclusive("c"), not_applicable("d")], "all").detail == "c"
    assert merged([held("a"), held("b")], "all") == held("all")
    assert merged([], "all") == inconclusive("nothing was tried")


def test_an_event_by_its_place_and_id() -> None:
    one = run(token(0), frame({"type": "x"}))
    assert [name_event(event) for event in one.events] == ["event 1 (id 1717000000000-0)", "event 2"]


def test_server_supplied_text_in_a_sentence() -> None:
    assert quoted("a\nb\x1b[31m") == "'a\\nb\\x1b[31m'"
    assert quoted("x" * 81) == f"'{'x' * 80}… (81 characters)'"
    assert quoted("x" * 80) == f"'{'x' * 80}'"
    assert quoted("abcdef", 3) == "'abc… (6 characters)'"


def test_the_real_judges_are_left_alone_by_these_tests() -> None:
    assert len(JUDGES) > 80
