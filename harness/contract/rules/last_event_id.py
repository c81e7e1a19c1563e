"""Resumptions that name a Last-Event-ID: which part of the run may be the answer.

A server may reject an id that it does not know, ignore it, or compare it with the ids of the run. So the answer is a
4xx, or the run from its first event, from the first event after the id, or its terminal event only. An id that is not
older than the terminal event leaves nothing to send. Any other empty answer loses the run: the client has no terminal
event, and an EventSource reconnects after the end of each 200 (WHATWG HTML 9.2.3), so it asks again for ever.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from harness.contract.exchange import Ending, Exchange
from harness.contract.expectations import Expectations
from harness.contract.finding import Location, RuleResult, Verdict, failed, inconclusive, passed
from harness.contract.rules.cuts import CutRun, tail_allowed
from harness.contract.rules.rule import combine, quoted, require_terminal
from harness.contract.rules.sequences import (
    described_difference,
    divergence,
    first_difference,
    identity_label,
    location_of_difference,
)
from harness.contract.rules.text_order import is_order_of_text, misplaced, ordered_ids
from harness.formatting import counted
from harness.profiles.workflow_actions.event_id import read_leniently
from harness.profiles.workflow_actions.identity import EventIdentity


def place_of(named: str, sequence: Sequence[EventIdentity]) -> int | None:
    """The number of the run's events up to and including the id `named`, ids compared as pairs of numbers.

    None if no event has that id, and it or an id of the run is not such a pair.
    """
    ids = [event.id for event in sequence]
    if named in ids:
        return ids.index(named) + 1
    wanted = read_leniently(named)
    own = [read_leniently(event_id or "") for event_id in ids]
    if wanted is None or any(event_id is None for event_id in own):
        return None
    return sum(event_id <= wanted for event_id in own if event_id is not None)


def start_of(answer: Exchange, run: Exchange) -> int | None:
    """The number of the run's event, from 0, with which `answer` starts; None unless it ends with the run's end."""
    sequence, actual = run.sequence, answer.sequence
    if not actual:
        return None
    start = len(sequence) - len(actual)
    return start if start >= 0 and sequence[start:] == actual else None


def named_id(answer: Exchange) -> str:
    """The Last-Event-ID of the request."""
    return answer.named_id or ""


def judge_answer(
    run: Exchange, answer: Exchange, expect: Expectations, *, own_id: bool = False, in_time: bool = True
) -> RuleResult:
    """Whether `answer` is one of those that a resumption of `run` may get.

    own_id: the id is one of the run's own, so an error event is not an answer. in_time: an empty answer must also end
    within its budget. An answer that was requested while the
    run was in flight may also start with the next event.
    """
    named, place = named_id(answer), place_of(named_id(answer), run.sequence)
    what = f"Last-Event-ID {quoted(named)}"
    if answer.status is None or answer.ending is Ending.TIMED_OUT:
        return failed(f"{what}: {answer.describe()}", Location(answer))
    if answer.status >= 500:
        return failed(f"{what} caused status {answer.status}", Location(answer))
    if 300 <= answer.status < 500:
        return passed(f"{what}: {answer.describe()}")
    if not answer.events:
        if place is not None and place >= len(run.sequence):
            late = _ends_late(run, answer, expect, what) if in_time else None
            return late or passed(f"{what}: nothing follows it")
        return failed(
            f"{what} got {answer.describe()}: the client never learns that the run is over, and an EventSource "
            "reconnects for ever",
            Location(answer),
        )
    forged = next((event for event in answer.events if event.identity not in run.sequence), None)
    if forged is not None:
        if not own_id and forged.event and forged.event.outcome == "error" and len(answer.events) == 1:
            return passed(f"{what}: rejected with an error event")
        return failed(
            f"{what} returned an event that is not the run's: {identity_label(forged.identity)}",
            Location(answer, forged),
        )
    return _is_a_rest(run, answer, place, expect, what)


def judge_order(run: Exchange, answers: Sequence[Exchange], expect: Expectations) -> RuleResult:
    """Whether each of `answers`, to ids between those of `run` or beyond them, fits the order of the ids as numbers.

    A server that starts such a stream with the last event before the id repeats one event each time: a policy. If it
    repeats events after some ids only, it has them in a different order.
    """
    repeated = {
        id(answer): place - start
        for answer in answers
        if (place := place_of(named_id(answer), run.sequence)) is not None
        and 0 < (start := start_of(answer, run) or 0) < len(run.sequence) - 1
    }
    always_repeats = len(repeated) > 1 and len(set(repeated.values())) == 1
    return combine(
        [
            passed("events are repeated after each such id")
            if always_repeats and repeated.get(id(answer), 0) > 0
            else _out_of_order(judge_answer(run, answer, expect, in_time=False))
            for answer in answers
        ],
        f"{counted(len(answers), 'id')} that the run does not have: answered as their numbers say",
    )


def older_does_harm(original: Exchange, just_older: Exchange, expect: Expectations) -> RuleResult | None:
    """An inconclusive result if an id that is older than `original` in any order gets a wrong answer; else None."""
    if judge_answer(original, just_older, expect).verdict is Verdict.PASS:
        return None
    return inconclusive(
        "an id that is older than the run in any order does harm too (see resume.bad-last-event-id)",
        Location(just_older),
    )


def judge_own_ids(run: Exchange, answers: Sequence[Exchange], expect: Expectations) -> RuleResult:
    """Whether each of `answers` to ids of the finished `run` fits the order of its ids as numbers.

    Some of the ids have the same place in the order of text. If a resumption after those fails, the order is not the
    reason; if it brings exactly the events after the id, so must the others, or the whole run.
    """
    ids = ordered_ids(run)
    wrong_as_text = {ids[place] for place in misplaced(ids)}
    controls = [answer for answer in answers if named_id(answer) not in wrong_as_text]
    tested = [answer for answer in answers if named_id(answer) in wrong_as_text]
    for control in controls:
        if judge_answer(run, control, expect, own_id=True, in_time=False).verdict is not Verdict.PASS:
            return inconclusive(
                "an id that has the same place in the order of text does harm too (see resume.last-event-id)",
                Location(control),
            )
    honoured = any(start_of(answer, run) == place_of(named_id(answer), run.sequence) for answer in controls)
    return combine(
        [_out_of_order(_own_id_result(run, answer, expect, honoured=honoured)) for answer in tested],
        f"{counted(len(tested), 'id')} of a run, with a different order as text: nothing lost after them",
    )


def _own_id_result(run: Exchange, answer: Exchange, expect: Expectations, *, honoured: bool) -> RuleResult:
    named = named_id(answer)
    result = judge_answer(run, answer, expect, own_id=True, in_time=False)
    place, start = place_of(named, run.sequence), start_of(answer, run)
    if result.verdict is not Verdict.PASS or not honoured or start in {None, 0, place}:
        return result
    return failed(
        f"Last-Event-ID {quoted(named)}: the stream starts with event {(start or 0) + 1}, not with the "
        "one after that id",
        Location(answer, answer.first_event),
    )


def _ends_late(run: Exchange, answer: Exchange, expect: Expectations, what: str) -> RuleResult | None:
    """The failure of an empty answer, to an id after which nothing follows, that ends after the budget terminal_close.

    The budget starts with the response head, since the request may have waited in a queue, or with the run's terminal
    event if that came later. Inconclusive if it may have ended in time, and a busy harness saw that late.
    """
    limit_s = expect.budgets.terminal_close_s
    if answer.head_ns is not None and run.over:
        over_ns = max(answer.head_ns, run.over.arrival_ns)
        took_s = (answer.timing.ended_ns - over_ns) / 1e9
        at_least_s = ((answer.timing.end_arrival_ns or answer.timing.ended_ns) - over_ns) / 1e9
        if at_least_s <= limit_s < took_s:
            return inconclusive(
                f"{what}: nothing follows it; the harness was busy and saw the end of the stream after {took_s:.2f} s, "
                f"which may have come up to {took_s - at_least_s:.2f} s earlier (allowed: {limit_s:g} s)",
                Location(answer),
            )
        if took_s > limit_s:
            return failed(
                f"{what}: nothing follows it, but the stream stayed open for {took_s:.2f} s (allowed: {limit_s:g} s)",
                Location(answer),
            )
    return None


def _out_of_order(result: RuleResult) -> RuleResult:
    if result.verdict is not Verdict.FAIL:
        return result
    return replace(result, detail=f"{result.detail} (are ids compared as text, or only in part?)")


def _is_a_rest(
    run: Exchange, answer: Exchange, place: int | None, expect: Expectations, what: str
) -> RuleResult:
    sequence, start = run.sequence, start_of(answer, run)
    if start is None:
        expected = sequence[sequence.index(answer.sequence[0]) :]
        return failed(
            f"{what}: {first_difference(expected, answer.sequence)}",
            location_of_difference(answer, answer.sequence, expected),
        )
    earliest = _earliest_tail(run, answer)
    is_tail = tail_allowed(expect) and start >= earliest
    had_nothing_later = place is not None and earliest <= start <= place  # at that time, so the next event
    if start in {0, place} or is_tail or had_nothing_later:
        return passed(f"{what}: {answer.describe()}")
    if place is None:
        reason = f"{counted(start, 'event')} lost before it, though the id is not one of the run's"
    elif start > place:
        reason = f"{counted(start - place, 'event')} lost after that id"
    else:
        reason = f"{counted(place - start, 'event')} repeated, although the stream is not a full replay"
    return failed(
        f"{what}: the stream starts with event {start + 1}, {identity_label(sequence[start])}: {reason}",
        Location(answer, answer.first_event),
    )


def _earliest_tail(run: Exchange, answer: Exchange) -> int:
    """The first event, from 0, with which a tail may start: the next one, or the terminal one of a finished run."""
    sent_ns = answer.timing.sent_ns
    if sent_ns is None or not run.over or sent_ns >= run.over.arrival_ns:
        return len(run.sequence) - 1
    return sum(event.arrival_ns <= sent_ns for event in run.events)


def exactly_after(original: Exchange, resumed: Exchange) -> RuleResult:
    """Whether `resumed` has exactly the events after the one that it names."""
    named = resumed.named_id
    ids = [event.id for event in original.sequence]
    expected = original.sequence[ids.index(named) + 1 :]
    if difference := first_difference(expected, resumed.sequence):
        reason = described_difference(resumed, difference)
        if resumed.sequence == original.sequence:
            reason = "the stream was replayed from the first event"
        return failed(
            f"Last-Event-ID {named}: {reason}", *divergence(original, expected, resumed, resumed.sequence)
        )
    return passed(f"Last-Event-ID {named} returned the {counted(len(expected), 'event')} after it")


def ends_after_terminal(original: Exchange, resumed: Exchange, expect: Expectations) -> RuleResult:
    """Whether a resumption after the terminal event ends, and brings nothing that the client must not get."""
    if problem := require_terminal(original):
        return problem
    # The documented 409 is for a different body.
    if resumed.status is not None and resumed.status == resumed.profile.conflict_status:
        return failed(f"the id of the terminal event got {resumed.describe()}", Location(resumed))
    any_start = replace(expect, resume_start="any")
    result = judge_answer(original, resumed, any_start, own_id=True)
    if result.verdict is Verdict.FAIL and is_order_of_text(original, resumed, named_id(resumed)):
        return replace(
            result, detail=f"{result.detail} (as if ids were compared as text: see resume.id-order)"
        )
    return result


def not_replayed(cut: CutRun) -> RuleResult:
    """Whether a resumption in flight by Last-Event-ID starts after it; resume.every-cut decides what it lost."""
    named = named_id(cut.resumed)
    if cut.seen and cut.resumed.sequence[:1] == cut.seen[:1]:
        return failed(
            f"Last-Event-ID {named} in flight: the stream was replayed from the first event",
            Location(cut.resumed, cut.resumed.first_event),
        )
    return passed(f"Last-Event-ID {named} in flight: not replayed")
