"""Retries of a run: whether they belong to it, and whether those in flight or at its end are complete."""

from __future__ import annotations

from collections.abc import Sequence

from harness.contract.exchange import Exchange
from harness.contract.expectations import Expectations
from harness.contract.finding import Location, RuleResult, Verdict, failed, inconclusive, passed
from harness.contract.rules.cuts import Start, lost_by_replay, tail_allowed
from harness.contract.rules.replays import require_replays
from harness.contract.rules.rule import quoted, require_terminal
from harness.contract.rules.sequences import (
    described_difference,
    divergence,
    first_difference,
    is_subsequence,
    location_of_difference,
)
from harness.formatting import counted

_RACING_NS = 100_000_000  # a retry answered up to this long before the terminal event races it


def races_terminal(original: Exchange, retry: Exchange) -> bool:
    """Whether the server began to answer the retry shortly before it ended the run.

    When the retry was sent does not matter: on a busy machine the server may look at it much later.
    """
    over_ns = _last_event_ns(original)
    return over_ns is not None and retry.head_ns is not None and 0 <= over_ns - retry.head_ns <= _RACING_NS


def _last_event_ns(run: Exchange) -> int | None:
    """Arrival of the event with which a run was over; None if it was not. That of a terminal event needs no frames."""
    if run.summary.terminal is not None:
        return run.summary.terminal_ns
    return run.over.arrival_ns if run.over else None


def nothing_lost(original: Exchange, retry: Exchange, expect: Expectations) -> RuleResult:
    """Whether the retry has every event that it may not omit."""
    if problem := require_terminal(original):
        return problem
    sequence, actual = original.sequence, retry.sequence
    start = sequence.index(actual[0]) if actual and actual[0] in sequence else 0
    expected = sequence[start:] if tail_allowed(expect) else sequence
    if difference := first_difference(expected, actual):
        return failed(
            f"a retry that raced the terminal event: {described_difference(retry, difference)}",
            *divergence(original, expected, retry, actual),
        )
    return passed("complete")


def belongs_to(original: Exchange, retry: Exchange) -> RuleResult:
    """Whether `retry` is a stream of the run of `original`, which ended, and not of a new one."""
    if not retry.started_run:
        return inconclusive(f"the retry returned no run: {retry.describe()}", Location(retry))
    original_ids = {event.id for event in original.events} - {None}
    retry_ids = {event.id for event in retry.events}
    if original.run_id and retry.run_id and original.run_id != retry.run_id and not retry_ids <= original_ids:
        return failed(
            f"the retry belongs to a different run: runId {quoted(retry.run_id)} instead of "
            f"{quoted(original.run_id)}",
            Location(original, original.over),
            Location(retry, retry.over),
        )
    new_events = [event for event in retry.events if event.id is not None and event.id not in original_ids]
    same_run_id = original.run_id is not None and original.run_id == retry.run_id
    if new_events and not same_run_id:
        return failed(
            f"the retry produced {counted(len(new_events), 'new event')}, the first with id "
            f"{new_events[0].id}: the action was executed again",
            Location(original),
            Location(retry, new_events[0]),
        )
    if retry_ids == {None} and not same_run_id:
        return inconclusive("without ids and runIds, it is unknown which run this is", Location(retry))
    return passed("the retry belongs to the same run" if new_events else "the retry produced no new event")


def all_joined(
    original: Exchange, others: Sequence[Exchange | tuple[Exchange, Exchange]], expect: Expectations
) -> list[RuleResult]:
    """Whether each reader that joined the run while `original` was being read got the run or its tail.

    A pair among `others` is a run that nobody joined, and its retry. Where that differs too, a reader that may have
    been answered after the end of the run shows nothing: a busy server then looks at a retry that was sent in time.
    """
    joined = [other for other in others if isinstance(other, Exchange)]
    broken = require_replays(*(other for other in others if not isinstance(other, Exchange)))
    begun = _first_of_run(original, joined)
    results = []
    for reader in (original, *joined):
        if reader is not begun:
            result = _joined_in_flight(begun, reader, expect)
            may_be_replay = result.verdict is Verdict.FAIL and not _answered_in_flight(begun, reader)
            results.append(broken if broken is not None and may_be_replay and reader.started_run else result)
    return results


def _answered_in_flight(run: Exchange, reader: Exchange) -> bool:
    """Whether the server certainly began to answer `reader` before the end of `run`.

    On a busy machine a server may write the end to the readers of the run long after it has ended, and answer another
    request first. It has written the event before the end by then.
    """
    if run.over_ns is None or reader.head_ns is None:
        return True
    if run.over_ns - reader.head_ns <= _RACING_NS:
        return False
    return len(run.events) > 1 and reader.head_ns < run.events[-2].arrival_ns


def _joined_in_flight(original: Exchange, joined: Exchange, expect: Expectations) -> RuleResult:
    """Whether `joined`, sent while the run of `original` was in flight, is the run or its tail."""
    over_ns, sent_ns = original.over_ns, joined.timing.sent_ns
    if sent_ns is None or over_ns is None or sent_ns >= over_ns:
        return inconclusive(
            "the run ended before it could be joined; configure a longer [target.actions.long]",
            Location(original),
        )
    if not joined.started_run:
        return failed(
            f"a retry while the run was in flight got {joined.describe()}",
            Location(original),
            Location(joined),
        )
    arrived = sum(event.arrival_ns <= joined.timing.earliest_sent_ns for event in original.events)
    whole_sequence, actual = original.sequence, joined.sequence
    start = whole_sequence.index(actual[0]) if actual[0] in whole_sequence else -1
    if start >= max(arrived, 1) and tail_allowed(expect):
        expected, policy = whole_sequence[start:], Start.TAIL
    else:
        expected, policy = whole_sequence, Start.REPLAY
    if difference := first_difference(expected, actual):
        return failed(
            f"a retry while the run was in flight differs from it: {difference}",
            *divergence(original, expected, joined, actual),
        )
    return passed(
        f"a retry after {arrived} of {counted(len(whole_sequence), 'event')} joined the run ({policy})"
    )


def _first_of_run(original: Exchange, joined: Sequence[Exchange]) -> Exchange:
    """The stream that began the run: `original`, or one of `joined` that the server may have read before it.

    Such a stream has the run's beginning, of which `original` got only the tail. If another one that was sent after the
    first event and answered in flight has it too, this server replays a run in flight, so `original` has lost what it
    lacks. One that was sent earlier may have been there when the first event was.
    """
    begun = max(
        (reader for reader in joined if _may_have_come_first(reader, original)),
        key=lambda reader: len(reader.sequence),
        default=original,
    )
    first_ns = begun.summary.first_event_ns
    replays = any(
        reader.started_run
        and (first_ns is None or reader.timing.earliest_sent_ns > first_ns)
        and reader.sequence[0] == begun.sequence[0]
        and _answered_in_flight(begun, reader)
        for reader in joined
        if reader is not begun
    )
    return original if replays else begun


def _may_have_come_first(joined: Exchange, original: Exchange) -> bool:
    """Whether `joined` began the run, and `original` joined it.

    It was sent before the head of `original` arrived, so the server may have read it first, and it has more of the
    run's beginning.
    """
    if original.head_ns is None or joined.timing.earliest_sent_ns >= original.head_ns or not joined.is_over:
        return False
    return original.sequence[0] in joined.sequence[1:]


Retries = Sequence[tuple[Exchange, Exchange]]
"""Finished runs, each with a retry."""


def retained(
    original: Exchange,
    early: Exchange,
    late: Exchange,
    firsts: Retries = (),
    declared_s: float | None = None,
) -> RuleResult:
    """Whether `late` still resumes the run of `original`, as `early` did. The detail says after how long.

    firsts: runs, each with its only retry, at several ages: a retry may make a server keep its key for longer.
    declared_s: for how long the target says that keys work; a key may be forgotten after that.
    """
    last = _last_retained(original, early, late, declared_s)
    tried = sorted(
        ((_age_s(run, retry), run, retry) for run, retry in firsts if run.is_over and retry.timing.sent_ns),
        key=lambda one: one[0],
    )
    worked = [age_s for age_s, run, retry in tried if not first_difference(run.sequence, retry.sequence)]
    for age_s, run, retry in tried:
        difference = first_difference(run.sequence, retry.sequence)
        if difference is None or last.verdict is Verdict.FAIL or (declared_s or age_s) < age_s:
            continue
        before = f", and after {worked[0]:.1f} s one did" if worked and worked[0] < age_s else ""
        return failed(
            f"the first retry of a run, {age_s:.1f} s after its end, did not resume it{before}: "
            f"{described_difference(retry, difference)}{_as_declared(declared_s)}",
            Location(run),
            Location(retry),
        )
    if last.verdict is not Verdict.PASS or not worked:
        return last
    ages = ", ".join(f"{age_s:.1f}" for age_s in worked)
    return passed(f"{last.detail}; first retries resumed their runs after {ages} s")


def _as_declared(declared_s: float | None) -> str:
    return "" if declared_s is None else f"; the target declares {declared_s:g} s (target.key_retention)"


def _last_retained(
    original: Exchange, early: Exchange, late: Exchange, declared_s: float | None
) -> RuleResult:
    if late.timing.sent_ns is None:
        return inconclusive(f"the late retry could not be sent: {late.describe()}", Location(late))
    worked_s, age_s = (_age_s(original, retry) for retry in (early, late))
    declared = _as_declared(declared_s)
    if difference := first_difference(original.sequence, late.sequence):
        if declared_s is not None and age_s > declared_s:
            return inconclusive(
                f"the last retry was sent {age_s:.1f} s after the end of its run, when the key was forgotten{declared}",
                Location(late),
            )
        return failed(
            f"a retry {worked_s:.1f} s after the end of its run resumed it, one after {age_s:.1f} s did not: "
            f"{described_difference(late, difference)}; draft-ietf-httpapi-idempotency-key-header asks servers to "
            f"publish when keys expire{declared}",
            Location(original),
            Location(late),
        )
    return passed(
        f"a key still resumed its run {age_s:.1f} s after the end, when the suite ended; whether it works for longer "
        f"was not tested{declared}"
    )


def _age_s(run: Exchange, retry: Exchange) -> float:
    return (retry.timing.origin_ns - run.timing.ended_ns) / 1e9


def not_disturbed(
    first: Exchange, second: Exchange, later: Exchange, broken: RuleResult | None
) -> RuleResult:
    """Whether `first` got the whole run although `second` joined; `later` is the whole run, read after its end.

    broken: the result if they differ and `later` proves nothing, because a plain retry is not a replay either.
    """
    over_ns = _last_event_ns(first)
    if second.timing.sent_ns is None or (over_ns is not None and second.timing.sent_ns >= over_ns):
        return inconclusive("the run ended before it could be joined", Location(first))
    if first.is_over and is_subsequence(later.sequence, first.sequence):
        return inconclusive(
            "the replay of the run lacks events that its first reader got (see resume.replay), so it proves nothing",
            Location(later),
        )
    if difference := first_difference(later.sequence, first.sequence):
        if broken is not None:
            return broken
        if (
            first.is_over
            and first.sequence == second.sequence
            and lost_by_replay(first.sequence, later.sequence)
        ):
            return inconclusive(
                "the replay of the run lacks events that both of its readers got (see resume.replay)",
                Location(later),
            )
        return failed(
            f"a second reader affected the first one: {difference}",
            location_of_difference(first, first.sequence, later.sequence),
            Location(second),
        )
    return passed("the first reader got the whole run despite a second one")
