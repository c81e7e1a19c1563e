from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from harness.contract.exchange import Ending, Exchange
from harness.contract.expectations import Expectations
from harness.contract.finding import (
    Location,
    RuleResult,
    Verdict,
    failed,
    inconclusive,
    info,
    not_applicable,
    passed,
)
from harness.contract.rules.rule import (
    Level,
    Need,
    Requirement,
    Rule,
    combine,
    event_label,
    is_same_run,
    needs_events,
    quoted,
    require_accepted,
    require_terminal,
    rule,
    was_accepted,
)
from tests.contract.exchanges import (
    another_run,
    cut_run,
    empty_stream,
    error,
    frame,
    reply,
    run,
    scripted,
    token,
    whole_run,
)


def declared(requirement_id: str, level: Level = Level.MUST, **options: Any) -> Callable[..., Rule]:
    """A rule of a requirement with that id."""
    return rule(
        requirement_id,
        level,
        "What is required",
        why="What goes wrong.",
        fix="Change it.",
        source="ours",
        **options,
    )


@pytest.mark.parametrize(
    ("level", "verdict"),
    [(Level.MUST, Verdict.FAIL), (Level.SHOULD, Verdict.WARN), (Level.INFO, Verdict.WARN)],
)
def test_a_failed_should_is_a_warning(level: Level, verdict: Verdict) -> None:
    @declared("ids.clock", level)
    def example(run: Exchange) -> RuleResult:
        return failed("no", Location(run))

    seen = whole_run()
    finding = example(seen)
    assert (finding.requirement, finding.verdict, finding.detail) == ("ids.clock", verdict, "no")
    assert finding.places == (Location(seen),)


def test_a_declaration_makes_a_must_of_a_should() -> None:
    @declared("resume.last-event-id", Level.SHOULD, escalates=lambda expect: expect.last_event_id is True)
    def example(run: Exchange) -> RuleResult:
        return failed("no", Location(run))

    assert example(whole_run()).verdict is Verdict.WARN
    assert example(whole_run(), expect=Expectations(last_event_id=False)).verdict is Verdict.WARN
    assert example(whole_run(), expect=Expectations(last_event_id=True)).verdict is Verdict.FAIL


@pytest.mark.parametrize("say", [passed, info, inconclusive, not_applicable])
def test_any_other_verdict_stays_as_it_is(say: object) -> None:
    @declared("ids.clock")
    def example(run: Exchange) -> RuleResult:
        return say("so")

    assert example(whole_run()).verdict is say("so").verdict


def test_a_rule_gets_the_expectations_only_if_it_takes_them() -> None:
    @declared("ids.clock")
    def example(run: Exchange, *, expect: Expectations) -> RuleResult:
        return info(expect.conflict)

    assert example(whole_run()).detail == "any"
    assert example(whole_run(), expect=Expectations(conflict="event")).detail == "event"

    @declared("ids.unique")
    @needs_events
    def guarded(run: Exchange, *, expect: Expectations) -> RuleResult:
        return info(expect.conflict)

    assert guarded(whole_run(), expect=Expectations(conflict="http-409")).detail == "http-409"


def test_evidence_that_does_not_fit_is_an_error_of_the_caller() -> None:
    @declared("ids.clock")
    def example(run: Exchange, other: Exchange) -> RuleResult:
        return passed("so")

    with pytest.raises(TypeError):
        example(whole_run())


def test_a_rule_carries_its_requirement() -> None:
    @rule(
        "ids.clock",
        Level.SHOULD,
        "The clock is right",
        why="It misleads.",
        fix="Set it.",
        source="api",
        needs=Need.LONG_ACTION,
        any_stream=True,
        format_only=True,
    )
    @needs_events
    def clock(run: Exchange) -> RuleResult:
        """Docstring."""
        return passed("so")

    assert clock.requirement == Requirement(
        "ids.clock", Level.SHOULD, "The clock is right", "It misleads.", "Set it.", "api", Need.LONG_ACTION
    )
    assert clock.requirement.area == "ids"
    assert (clock.any_stream, clock.format_only, clock.takes_expectations) == (True, True, False)
    assert (clock.function.__name__, clock.function.__doc__) == ("clock", "Docstring.")


def test_needs_events_is_inconclusive_without_events() -> None:
    guarded = needs_events(lambda run: passed("so"))
    assert guarded(whole_run()).verdict is Verdict.PASS
    for nothing in (empty_stream(), reply(500), run(error(0, code=409))):
        result = guarded(nothing)
        assert result.verdict is Verdict.INCONCLUSIVE
        assert result.detail.startswith("no run to check: status")
        assert result.places == (Location(nothing),)


def test_a_stream_without_a_run_event_can_break_a_rule_but_not_keep_it() -> None:
    echo = run(frame({"organizationId": "org-1"}))
    assert needs_events(lambda run: passed("so"))(echo).verdict is Verdict.INCONCLUSIVE
    assert needs_events(lambda run: info("so"))(echo).verdict is Verdict.INCONCLUSIVE
    assert needs_events(lambda run: failed("no"))(echo).verdict is Verdict.FAIL
    assert not was_accepted(echo)
    assert was_accepted(run(frame({"organizationId": "org-1"}), token(1)))


def test_preconditions() -> None:
    assert require_terminal(whole_run()) is None
    for bad in (cut_run(2), empty_stream(), reply(500), run(error(0, code=409))):
        assert require_terminal(bad).verdict is Verdict.INCONCLUSIVE
    assert "a cut run did not reach a terminal event" in require_terminal(cut_run(2)).detail
    assert require_accepted(whole_run(), cut_run(1)) is None
    refused = require_accepted(whole_run(), reply(401, label="the control"))
    assert refused.verdict is Verdict.INCONCLUSIVE
    assert refused.detail.startswith("a valid request (the control) was not accepted either: status 401")


def test_is_same_run() -> None:
    assert is_same_run(whole_run(), whole_run())
    assert not is_same_run(whole_run(), another_run())
    assert not is_same_run(whole_run(), whole_run(run_id="another"))
    assert is_same_run(cut_run(2), cut_run(2))
    assert not is_same_run(cut_run(2), cut_run(1))


def test_combine() -> None:
    first, second = Location(whole_run()), Location(another_run())
    both = combine([passed("a"), failed("b", first), inconclusive("c"), failed("d", second)], "all")
    assert (both.verdict, both.detail) == (Verdict.FAIL, "b; d")
    assert both.places == (replace(first, note="b"), replace(second, note="d"))
    assert combine([failed("b", first)], "all").detail == "b"
    assert combine([passed("a"), inconclusive("c"), not_applicable("d")], "all").detail == "c"
    assert combine([passed("a"), passed("b")], "all") == passed("all")
    assert combine([], "all") == inconclusive("nothing was tested")


def test_the_evidence_of_combined_failures_names_all_of_them() -> None:
    details = [f"a different field{number} returned the first body's run" for number in range(40)]
    places = [Location(whole_run(label=detail)) for detail in details]
    result = combine([failed(*both, places[0]) for both in zip(details, places, strict=True)], "all")
    assert [place.note for place in result.places[::2]] == details
    assert result.detail.startswith("; ".join(details[:5]))
    left = int(re.search(r"; and (\d+) more$", result.detail)[1])
    assert result.detail.count("returned") + left == len(details)
    assert len(result.detail) < 700


def test_a_failure_keeps_the_note_of_its_place() -> None:
    results = [failed("b", Location(whole_run(), note="2 of 3")), failed("d"), failed("d")]
    both = combine(results, "all")
    assert both.detail == "b; d"
    assert [place.note for place in both.places] == ["b (2 of 3)"]


def test_event_label() -> None:
    one = run(token(0), frame({"type": "x"}))
    assert [event_label(event) for event in one.events] == ["event 1 (id 1717000000000-0)", "event 2"]


def test_quoted() -> None:
    assert quoted("a\nb\x1b[31m") == "'a\\nb\\x1b[31m'"
    assert quoted("x" * 81) == f"'{'x' * 80}… (81 characters)'"
    assert quoted("x" * 80) == f"'{'x' * 80}'"
    assert quoted("abcdef", 3) == "'abc… (6 characters)'"


def test_what_a_finding_says_and_points_at_is_bounded() -> None:
    """A server decides how many things there are to name."""
    one = whole_run()
    wordy = declared("events.wordy")(lambda _: failed("x" * 10_000, *[Location(one)] * 1000))
    finding = wordy(one)
    assert len(finding.detail) == 4001
    assert finding.detail.endswith("x…")
    assert len(finding.places) == 100


def test_a_request_that_the_harness_sent_too_late_is_not_blamed_on_the_server() -> None:
    late, in_time = (
        scripted(
            ending=Ending.TIMED_OUT,
            detail="not sent within 3 s",
            sent_ms=None,
            ended_ms=3000,
            late_ms=late_ms,
        )
        for late_ms in (2900, 10)
    )
    blame = declared("events.late")(lambda *runs: failed("no answer", *map(Location, runs)))
    assert blame(late).verdict is Verdict.INCONCLUSIVE
    assert "the harness itself was late" in blame(late).detail
    assert blame(in_time).verdict is Verdict.FAIL
    assert blame(late, in_time).verdict is Verdict.INCONCLUSIVE
    by_head = declared("headers.late")(lambda *runs: failed("no answer", *map(Location, runs)))
    assert by_head(late).verdict is Verdict.INCONCLUSIVE
    assert "was not sent" in by_head(late).detail
    assert by_head(late, in_time).verdict is Verdict.FAIL
