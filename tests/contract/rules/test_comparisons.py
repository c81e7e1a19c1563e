"""Which rules apply to a journey's streams, and that they find one lost, repeated or changed event anywhere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import pytest

from harness.contract.exchange import Ending, Exchange
from harness.contract.expectations import Expectations
from harness.contract.finding import Finding, Verdict
from harness.contract.rules.comparisons import (
    canonical_stream,
    check_abandoned,
    check_first_reader,
    check_joined,
    check_parts,
    check_race,
)
from harness.formatting import counted
from tests.cases import all_cases
from tests.contract.exchanges import (
    CUT,
    POST,
    another_run,
    asking,
    cancelled,
    cut_run,
    done,
    id_at,
    no_answer,
    reply,
    run,
    token,
    whole_run,
)

ANY = Expectations()
REPLAY = Expectations(resume_start="replay")
TAIL = Expectations(resume_start="tail")
BY_ID = Expectations(resume_start="replay", last_event_id=True)
TOKENS = 6  # of the run, which has one event more


def part(*places: int, after: int | None = None, to_end: bool = False, **options: Any) -> Exchange:
    """The stream that brings the run's events of these places, and done after them or a cut of ours.

    after: the place that its Last-Event-ID names.
    """
    frames = [token(place) for place in places]
    request = POST if after is None else asking(last_event_id=id_at(after))
    if to_end:
        return run(*frames, done(TOKENS), request=request, **options)
    detail = f"{CUT} after {counted(len(places), 'event')}"
    return run(*frames, request=request, **{"ending": Ending.CUT, "detail": detail, **options})


def broken(findings: Sequence[Finding]) -> dict[str, str]:
    return {finding.requirement: finding.detail for finding in findings if finding.verdict is Verdict.FAIL}


WHOLE = part(*range(TOKENS), to_end=True)
GOOD: list[tuple[list[Exchange], Exchange | None, Expectations]] = [
    ([part(0, 1), part(*range(TOKENS), to_end=True)], None, REPLAY),
    ([part(0, 1), part(0, 1, 2, 3), part(0), part(*range(TOKENS), to_end=True)], None, REPLAY),
    ([part(0, 1), part(0, 1, 2, 3), part(0), part(*range(TOKENS), to_end=True)], None, ANY),
    ([part(0, 1), part(2, 3, 4, 5, after=1, to_end=True)], WHOLE, BY_ID),
    ([part(0, 1), part(2, after=1), part(3, 4, after=2), part(5, after=4, to_end=True)], WHOLE, BY_ID),
    ([part(0, 1), part(after=1), part(2, 3, 4, 5, after=1, to_end=True)], WHOLE, BY_ID),
    ([part(0, 1), part(3, 4, 5, to_end=True)], WHOLE, TAIL),
    ([part(0, 1), part(3), part(5, to_end=True)], WHOLE, ANY),
    ([part(0, 1), part(3), part(*range(TOKENS), to_end=True)], None, ANY),
]


@pytest.mark.parametrize(("parts", "reread", "expect"), GOOD)
def test_parts_of_one_run(parts: list[Exchange], reread: Exchange | None, expect: Expectations) -> None:
    findings = check_parts(parts, reread, expect)
    assert [finding.verdict for finding in findings] == [Verdict.PASS] * len(findings)
    assert findings[0].requirement == "resume.every-cut"
    named = parts[-1].request.header("last-event-id") is not None
    assert [finding.requirement for finding in findings[1:]] == (["resume.last-event-id"] if named else [])


BAD: list[tuple[list[Exchange], Exchange | None, Expectations, str]] = [
    ([part(0, 2), part(0), part(*range(TOKENS), to_end=True)], None, REPLAY, "event 2 is id"),
    ([part(0), part(0, 2), part(*range(TOKENS), to_end=True)], None, REPLAY, "event 2 is id"),
    ([part(0), part(0, 1, 1), part(*range(TOKENS), to_end=True)], None, REPLAY, "event 3 is id"),
    ([part(0), part(1, 2), part(*range(TOKENS), to_end=True)], None, REPLAY, "event 1 is id"),
    ([part(0), part(0), part(1, 2, 3, 4, 5, to_end=True)], WHOLE, REPLAY, "starts with event 2"),
    ([part(0, 1), part(3, 4, 5, after=1, to_end=True)], WHOLE, BY_ID, "1 event lost at the resume point"),
    ([part(0, 1), part(3, after=1), part(4, 5, after=3, to_end=True)], WHOLE, BY_ID, "event 3 is id"),
    ([part(0, 1), part(1, 2, after=1), part(3, 4, 5, after=2, to_end=True)], WHOLE, BY_ID, "event 3 is id"),
    ([part(0, 2), part(3, after=2), part(4, 5, after=3, to_end=True)], WHOLE, BY_ID, "event 2 is id"),
    ([part(0, 1, 1), part(2, 3, 4, 5, after=1, to_end=True)], WHOLE, BY_ID, "event 3 is id"),
    ([part(0, 1), part(2, after=1), part(3, 5, after=2, to_end=True)], WHOLE, BY_ID, "event 2 is id"),
    ([part(0, 1), part(2, after=1), part(3, 4, after=2)], WHOLE, BY_ID, "the resumed stream did not end"),
    ([part(1, 2), part(3, 4, 5, to_end=True)], WHOLE, ANY, "event 1 is id"),
    ([part(0, 1), part(3, 5), part(5, to_end=True)], WHOLE, ANY, "event 5 is id"),
    ([part(0, 1), no_answer()], None, REPLAY, "the resumption got no response"),
    ([part(0, 1), reply(409)], None, REPLAY, "the resumption got status 409"),
]


@all_cases(("parts", "reread", "expect", "says"), BAD)
def test_parts_that_are_not_one_run(
    parts: list[Exchange], reread: Exchange | None, expect: Expectations, says: str
) -> None:
    assert says in broken(check_parts(parts, reread, expect))["resume.every-cut"]


def test_changed_data_in_the_middle_part() -> None:
    middle = run(token(2, "other"), ending=Ending.CUT, request=asking(last_event_id=id_at(1)))
    parts = [part(0, 1), middle, part(3, 4, 5, after=2, to_end=True)]
    assert "event 3 (id" in broken(check_parts(parts, WHOLE, BY_ID))["resume.every-cut"]


def test_a_resumption_that_ignores_its_last_event_id() -> None:
    replayed = part(*range(TOKENS), after=1, to_end=True)
    failures = broken(check_parts([part(0, 1), replayed], None, BY_ID))
    assert failures.keys() == {"resume.last-event-id"}
    assert "replayed from the first event" in failures["resume.last-event-id"]


def test_a_run_that_is_cancelled_by_its_cut() -> None:
    last = run(token(0), token(1), cancelled(2))
    failures = broken(check_parts([part(0), part(0, 1), last], None, REPLAY))
    assert failures.keys() == {"resume.survives-disconnect"}


@pytest.mark.parametrize(
    ("reread", "says"),
    [
        (another_run(), "event 1 is id"),
        (part(0, 1, 2, 3, 4, to_end=True), "1 event lost before it"),
        (run(token(5), done(TOKENS)), "5 events lost before it"),  # all tokens in one
    ],
)
@pytest.mark.parametrize("expect", [BY_ID, ANY])
def test_a_reread_without_events_that_the_parts_have_is_the_wrong_one(
    reread: Exchange, says: str, expect: Expectations
) -> None:
    """The server sent them, so they are the run's: the resumption is not blamed."""
    parts = [part(0, 1), part(2, 3, 4, 5, after=1, to_end=True)]
    failures = broken(check_parts(parts, reread, expect))
    assert failures.keys() == {"resume.replay"}
    assert says in failures["resume.replay"]


@all_cases("lost", range(TOKENS))
@all_cases("first", [1, 2, 3, 4, 5])
@all_cases("expect", [BY_ID, ANY])
def test_a_wrong_reread_names_an_event_of_the_connection_that_received_it(
    lost: int, first: int, expect: Expectations
) -> None:
    """Events of the first connection are none of the last's, however few that has."""
    last = part(*range(first, TOKENS), after=first - 1, to_end=True)
    reread = part(*(place for place in range(TOKENS) if place != lost), to_end=True)
    (wrong,) = (
        finding
        for finding in check_parts([part(*range(first)), last], reread, expect)
        if finding.verdict is Verdict.FAIL
    )
    named = [where.frame.frame.id for where in wrong.places if where.exchange is last and where.frame]
    assert named == ([id_at(lost)] if lost >= first else [])


def test_where_the_reread_is_wrong_the_parts_are_still_checked() -> None:
    repeating = [part(0, 1), part(1, 2, 3, 4, 5, after=1, to_end=True)]
    failures = broken(check_parts(repeating, part(0, 1, 2, 3, 4, to_end=True), BY_ID))
    assert failures.keys() >= {"resume.replay", "resume.every-cut"}


def test_one_part_is_no_resumption() -> None:
    with pytest.raises(ValueError, match="at least two parts"):
        check_parts([part(0)], None, ANY)


DROPPED = part(0, 1, 3, 4, 5, to_end=True)
DOUBLED = part(0, 1, 1, 2, 3, 4, 5, to_end=True)
SWAPPED = part(0, 2, 1, 3, 4, 5, to_end=True)


@all_cases("odd", [DROPPED, DOUBLED, SWAPPED, part(0, 1, 2), no_answer(), reply(503)])
@all_cases("place", [0, 1, 2])
@all_cases("resume_start", ["any", "replay"])
def test_the_canonical_stream_is_not_the_odd_one(
    odd: Exchange, place: int, resume_start: Literal["any", "replay"]
) -> None:
    readers = [whole_run(TOKENS), whole_run(TOKENS)]
    readers.insert(place, odd)
    assert canonical_stream(readers, Expectations(resume_start=resume_start)) is not odd


def test_the_canonical_stream_of_two() -> None:
    for odd in (DROPPED, DOUBLED, part(0, 1, 2)):
        assert canonical_stream([odd, WHOLE], ANY) is WHOLE
        assert canonical_stream([WHOLE, odd], ANY) is WHOLE
    assert canonical_stream([WHOLE, SWAPPED], ANY) is WHOLE
    lone = part(0)
    assert canonical_stream([lone], ANY) is lone


def test_where_most_lack_the_same_event_the_whole_one_is_canonical() -> None:
    assert canonical_stream([WHOLE, DROPPED, part(0, 1, 3, 4, 5, to_end=True)], ANY) is WHOLE


JOINED_MS = 25.0  # three of the run's events had come


@pytest.mark.parametrize(
    ("joined", "expect", "expected"),
    [
        (part(*range(TOKENS), to_end=True, sent_ms=JOINED_MS), REPLAY, {}),
        (part(3, 4, 5, to_end=True, sent_ms=JOINED_MS), ANY, {}),
        (part(3, 4, 5, to_end=True, sent_ms=JOINED_MS), REPLAY, {"resume.joins": "event 1 is id"}),
        (
            part(0, 3, 4, 5, to_end=True, sent_ms=JOINED_MS),
            REPLAY,
            {"resume.joins": "2 events lost before it"},
        ),
        (
            part(0, 1, 1, 2, 3, 4, 5, to_end=True, sent_ms=JOINED_MS),
            ANY,
            {"resume.joins": "it was already sent"},
        ),
        (reply(409, sent_ms=JOINED_MS), ANY, {"resume.joins": "got status 409"}),
        (
            whole_run(TOKENS, run_id="other", sent_ms=JOINED_MS),
            ANY,
            {"run-id.constant": "different runIds"},
        ),
        (part(*range(TOKENS), to_end=True, sent_ms=500), REPLAY, {}),
        (part(0, 1, 2, 4, 5, to_end=True, sent_ms=500), ANY, {"resume.replay": "1 event lost before it"}),
    ],
)
def test_joined(joined: Exchange, expect: Expectations, expected: dict[str, str]) -> None:
    failures = broken(check_joined(WHOLE, joined, expect))
    assert failures.keys() == expected.keys()
    for requirement, detail in expected.items():
        assert detail in failures[requirement]


def test_the_first_reader() -> None:
    joined = part(*range(TOKENS), to_end=True, sent_ms=JOINED_MS)
    assert broken(check_first_reader(WHOLE, joined, joined, REPLAY)) == {}
    failures = broken(check_first_reader(DROPPED, joined, joined, REPLAY))
    assert "event 3 is id" in failures["resume.first-reader-kept"]


def test_a_reader_that_left_again() -> None:
    assert broken(check_abandoned(WHOLE, cut_run(2), REPLAY)) == {}
    assert "event 2 is id" in broken(check_abandoned(WHOLE, part(0, 2), REPLAY))["resume.every-cut"]
    assert check_abandoned(WHOLE, part(0, 2), ANY) == []
    assert check_abandoned(part(0, 1), part(0, 2), REPLAY) == []
    assert check_abandoned(WHOLE, cut_run(0), REPLAY) == []


@pytest.mark.parametrize(
    ("response", "expected"),
    [
        (part(*range(TOKENS), to_end=True, sent_ms=50), {}),
        (part(0, 1, 3, 4, 5, to_end=True), {"race.same-body": "event 3 is id"}),
        (reply(409), {"race.same-body": "1 of 2 simultaneous equal requests got no run: status 409"}),
        (another_run(), {"race.same-body": "executed as 2 runs"}),
        (part(0, 1, 3, 4, 5, to_end=True, sent_ms=200), {"resume.replay": "event 3 is id"}),
    ],
)
def test_race(response: Exchange, expected: dict[str, str]) -> None:
    failures = broken(check_race(WHOLE, response, REPLAY))
    assert failures.keys() == expected.keys()
    for requirement, detail in expected.items():
        assert detail in failures[requirement]
