"""cancel: a run that is cancelled in flight ends with one cancelled event on every connection, and stays so."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple, Self

from harness.contract.exchange import Ending, Exchange
from harness.contract.expectations import Expectations
from harness.contract.finding import (
    Location,
    RuleResult,
    Verdict,
    failed,
    inconclusive,
    not_applicable,
    passed,
)
from harness.contract.rules import terminal
from harness.contract.rules.replays import require_replays
from harness.contract.rules.rule import Level, Need, combine, quoted, rule
from harness.contract.rules.sequences import described_difference, divergence, first_difference
from harness.formatting import counted
from harness.profiles.capability import Capability

Cancelled = tuple[Sequence[Exchange], Exchange, Exchange | None, Exchange | None]
"""A run cancelled in flight: its readers, the answer to the request that cancels it, the run read again after its end,
and the answer to the question how it ended. Of a run whose reader cancelled it by disconnecting: who read it after the
time budget, the stream of the one who disconnected, and so on.
"""

_TAIL_NS, _PAUSED_TAIL_NS = 250_000_000, 500_000_000
_SEVERAL = 3
_TOGETHER_NS = 5_000_000
_SHORT = 0.5


class UsualRun(NamedTuple):
    """The events of a run that nobody cancels, and its time until it was over. Of several such runs: the least."""

    events: int
    took_ns: int

    @classmethod
    def of(cls, whole: Exchange) -> Self | None:
        """None if the run was not over."""
        return None if whole.over_ns is None else cls(whole.summary.events, _took_ns(whole))


_LONGEST = UsualRun(sys.maxsize, sys.maxsize)


def may_have_ended_first(cancelled: Cancelled, usual: UsualRun | None) -> bool:
    """Whether a run may have ended with success before it was cancelled, though its end arrived after the answer.

    A server may answer the request before it has written the end of the run to its readers. What a machine without CPU
    time, for which the harness's own delay stands, adds to that proves nothing. A run continued after the answer if its
    end came more than 0.5 s later, or more than 0.25 s later with events at several moments before it. It was cut short
    if it has fewer events and took less than half of the time of any that nobody cancels. usual: None if not known.
    """
    readers, answer, _, _ = cancelled
    over = [reader for reader in readers if reader.over_ns is not None]
    if not over or any(reader.outcome != "done" for reader in over):
        return False
    if any(_continued(reader, _answered_ns(answer)) for reader in over):
        return False
    return usual is None or not _is_cut_short(readers[0], usual)


def depends_on_usual(cancelled: Cancelled) -> bool:
    """Whether only a run that nobody cancels shows whether this one ended on its own: no UsualRun is known yet."""
    if may_have_ended_first(cancelled, None):
        return True
    return _too_late(cancelled) is not None and _too_late(cancelled, _LONGEST) is None


def _is_cut_short(first: Exchange, usual: UsualRun) -> bool:
    return (
        first.over_ns is not None
        and first.summary.events < usual.events
        and _took_ns(first) < _SHORT * usual.took_ns
    )


def _took_ns(run: Exchange) -> int:
    assert run.over_ns is not None
    return run.over_ns - run.timing.earliest_sent_ns


def _continued(reader: Exchange, answered_ns: int) -> bool:
    """Whether a server made events of the run after the answer."""
    errors_ns = reader.errors_ns()
    arrivals_ns, _ = reader.stamps_ns()
    over_ns = reader.over_ns or 0
    earliest_ns = [at_ns - errors_ns.get(at_ns, 0) for at_ns in arrivals_ns if at_ns <= over_ns]
    later_ns = sorted(at_ns for at_ns in earliest_ns if at_ns > answered_ns)
    if not later_ns:
        return False
    moments = 1 + sum(after - before > _TOGETHER_NS for before, after in pairwise(later_ns))
    tail_ns = later_ns[-1] - answered_ns - reader.timing.late_ns
    return tail_ns > (_TAIL_NS if moments >= _SEVERAL else _PAUSED_TAIL_NS)


def _each(
    cancels: Sequence[Cancelled], decide: Callable[[Cancelled], list[RuleResult]], passes: str
) -> RuleResult:
    """Every run's results as one. Runs that ended before they could be cancelled are left out where others did not."""
    results = [result for cancelled in cancels for result in decide(cancelled)]
    if cancels and not results:
        return inconclusive(
            "nobody else could read the run whose reader disconnected", Location(cancels[0][1])
        )
    tested = [result for result in results if result.verdict is not Verdict.INCONCLUSIVE]
    return combine(tested, passes) if tested else combine(results, passes)


def _too_late(cancelled: Cancelled, usual: UsualRun | None = None) -> RuleResult | None:
    """An inconclusive result if the run was over before the answer to the request that cancels it; else None.

    A run that is cut short between the request and its answer was in flight. usual: None if not known.
    """
    readers, answer, _, _ = cancelled
    seen = readers if _by_request(answer) else [*readers, answer]
    over = next(
        (reader for reader in seen if reader.over_ns is not None and _is_earlier(reader, answer)), None
    )
    if over is None or over.outcome == "cancelled":
        return None
    ended_after_request = over.over_ns is not None and over.over_ns > answer.timing.earliest_sent_ns
    if usual is not None and _by_request(answer) and ended_after_request and _is_cut_short(readers[0], usual):
        return None
    return inconclusive(
        "the run ended before it could be cancelled; configure a longer [target.actions.long]", Location(over)
    )


def _is_earlier(reader: Exchange, answer: Exchange) -> bool:
    """Whether the run may have been over before the answer arrived, which is before the harness noticed its end."""
    if reader.over_ns is None:
        return False
    return reader.over_ns - reader.errors_ns().get(reader.over_ns, 0) <= _answered_ns(answer)


def _by_request(answer: Exchange) -> bool:
    """Whether it answers a request; else it is the stream of a reader who cancelled its run by disconnecting."""
    cancel = answer.profile.cancel
    return cancel is not None and cancel.request is not None


def _answered_ns(answer: Exchange) -> int:
    """When the answer arrived; where a reader cancels by disconnecting, when it did."""
    return answer.head_ns if _by_request(answer) and answer.head_ns is not None else answer.timing.ended_ns


def _refused(cancelled: Cancelled, usual: UsualRun | None = None) -> RuleResult | None:
    """An inconclusive result if the run was over before, or the request was refused; else None."""
    _, answer, _, _ = cancelled
    if answer.status is None or not 200 <= answer.status < 300:
        return inconclusive(
            f"the request to cancel the run got {answer.describe()} (see cancel.accepted)", Location(answer)
        )
    return _too_late(cancelled, usual)


@rule(
    "cancel.accepted",
    Level.MUST,
    "A request to cancel a run in flight is accepted, with a 2xx",
    why="A user who cannot stop a run pays for it to its end.",
    fix="Find the run by its id while it is in flight, also if it runs in another process, and answer 2xx.",
    source="ours",
    promise=(Capability.CANCEL,),
    needs=Need.LONG_ACTION,
)
def accepted(cancels: Sequence[Cancelled]) -> RuleResult:
    if any(not _by_request(answer) for _, answer, _, _ in cancels):
        return not_applicable("a reader cancels its run by disconnecting, without a request")

    def decide(cancelled: Cancelled) -> list[RuleResult]:
        _, answer, _, _ = cancelled
        if problem := _too_late(cancelled):
            return [problem]
        if answer.status is not None and 200 <= answer.status < 300:
            return [passed("accepted")]
        what = f"the request to cancel a run in flight got {answer.describe()}"
        return [failed(what, Location(answer))]

    return _each(cancels, decide, f"{counted(len(cancels), 'request')} to cancel a run in flight accepted")


@rule(
    "cancel.ends",
    Level.MUST,
    "Every stream of a cancelled run ends within the time budget after the request is answered",
    why="A reader that gets no end waits, holds its connection, and shows a run that nobody executes.",
    fix="Tell every reader of the run that it was cancelled, and end the streams of all of them.",
    source="ours",
    promise=(Capability.CANCEL,),
    needs=Need.LONG_ACTION,
)
def ends(cancels: Sequence[Cancelled], *, expect: Expectations) -> RuleResult:
    if any(not _by_request(answer) for _, answer, _, _ in cancels):
        return not_applicable("a reader cancels its run by disconnecting, and no longer sees its end")
    limit_s = expect.budgets.cancel_s

    def decide(cancelled: Cancelled) -> list[RuleResult]:
        readers, answer, _, _ = cancelled
        return [_refused(cancelled) or _ends_in_time(reader, answer, limit_s) for reader in readers]

    return _each(cancels, decide, f"every stream ended within {limit_s:g} s")


def _ends_in_time(reader: Exchange, answer: Exchange, limit_s: float) -> RuleResult:
    ended_ns = reader.timing.end_arrival_ns or reader.timing.ended_ns
    took_s = (ended_ns - answer.timing.ended_ns) / 1e9
    if reader.ending in {Ending.CUT, Ending.TIMED_OUT}:
        return failed(
            f"{reader.label}: the stream was still open {took_s:.2f} s after the run was cancelled (allowed: "
            f"{limit_s:g} s)",
            Location(reader),
            Location(answer),
        )
    if took_s > limit_s:
        return failed(
            f"{reader.label}: the stream ended {took_s:.2f} s after the run was cancelled (allowed: {limit_s:g} s)",
            Location(reader, reader.over),
            Location(answer),
        )
    return passed(f"ended {max(0.0, took_s) * 1000:.0f} ms after the run was cancelled")


@rule(
    "cancel.one-outcome",
    Level.MUST,
    "A run cancelled in flight ends with exactly one `cancelled` event on every connection",
    why="A client that gets `done` as well, or in its place, shows a result that nobody wanted and that was cut off.",
    fix="Let the run end once: write `cancelled` in one step with its state, and ignore what the action reports later.",
    source="ours",
    promise=(Capability.CANCEL, Capability.CANCELLED_EVENT),
    needs=Need.LONG_ACTION,
)
def one_outcome(cancels: Sequence[Cancelled], usual: tuple[int, int] | None = None) -> RuleResult:
    """usual: a UsualRun of the same action (stored evidence has plain tuples). Without it, a run that ended before the
    answer proves nothing.
    """
    known = None if usual is None else UsualRun(*usual)

    def decide(cancelled: Cancelled) -> list[RuleResult]:
        readers, _, _, _ = cancelled
        return [_refused(cancelled, known) or _is_cancelled_once(reader) for reader in readers]

    return _each(
        cancels, decide, f"{counted(len(cancels), 'run')} ended with one cancelled event on each connection"
    )


def _is_cancelled_once(reader: Exchange) -> RuleResult:
    outcomes = [str(event.event.outcome) for event in reader.terminals if event.event]
    if outcomes == ["cancelled"]:
        return passed("one cancelled event")
    if not outcomes and reader.ending in {Ending.CUT, Ending.TIMED_OUT}:
        return inconclusive(f"{reader.label} was not ended (see cancel.ends)", Location(reader))
    if not outcomes:
        return failed(
            f"{reader.label}: the cancelled run ended without an outcome: {reader.describe()}",
            Location(reader),
        )
    return failed(
        f"{reader.label}: the cancelled run ended with {', '.join(outcomes)}",
        Location(reader, reader.terminals[-1]),
    )


@rule(
    "cancel.last",
    Level.MUST,
    "Only comments follow the `cancelled` event of a run cancelled in flight",
    why="A token after the end is shown below a message that is marked as stopped, or breaks the client.",
    fix="Stop whatever produces events before you write `cancelled`, and write no event after it.",
    source="ours",
    promise=(Capability.CANCEL, Capability.CANCELLED_EVENT, Capability.END),
    needs=Need.LONG_ACTION,
)
def last(cancels: Sequence[Cancelled]) -> RuleResult:
    def decide(cancelled: Cancelled) -> list[RuleResult]:
        readers, _, _, _ = cancelled
        return [_refused(cancelled) or terminal.last.function(reader) for reader in readers]

    return _each(cancels, decide, "nothing followed the cancelled event")


@rule(
    "cancel.replayed",
    Level.MUST,
    "A cancelled run that is read again returns the events that its readers got, with `cancelled` at its end",
    why="A client that reconnects after the cancel must not see the run go on, run again, or end with success.",
    fix="Store `cancelled` with the run's events, in the same order as they were sent, and replay them.",
    source="ours",
    promise=(Capability.CANCEL, Capability.CANCELLED_EVENT, Capability.REREAD),
    needs=Need.LONG_ACTION,
)
def replayed(cancels: Sequence[Cancelled], control: tuple[Exchange, Exchange] | None = None) -> RuleResult:
    """control: a run that nobody cancelled, and its retry. Where that fails, a difference proves nothing."""

    def decide(cancelled: Cancelled) -> list[RuleResult]:
        (first, *_), _, later, _ = cancelled
        if problem := _refused(cancelled):
            return [problem]
        if later is None or first.outcome != "cancelled":
            return [inconclusive(f"the run did not end with cancelled: {first.describe()}", Location(first))]
        if difference := first_difference(first.sequence, later.sequence):
            return [
                failed(
                    f"a cancelled run read again differs: {described_difference(later, difference)}",
                    *divergence(first, first.sequence, later, later.sequence),
                )
            ]
        return [passed("the same events")]

    result = _each(cancels, decide, f"{counted(len(cancels), 'cancelled run')} returned the same events")
    if result.verdict is Verdict.FAIL and control is not None:
        return require_replays(control) or result
    return result


@rule(
    "cancel.outcome",
    Level.MUST,
    "Asked how a run ended that was cancelled in flight, the API says that it was cancelled",
    why="A list of runs that shows a cancelled run as a success, or as running, leads to wrong bills and second runs.",
    fix="Store the outcome of the run when it is cancelled, and never overwrite it.",
    source="ours",
    promise=(Capability.CANCEL, Capability.OUTCOME_REQUEST),
    needs=Need.LONG_ACTION,
)
def outcome(cancels: Sequence[Cancelled]) -> RuleResult:
    def decide(cancelled: Cancelled) -> list[RuleResult]:
        _, _, _, asked = cancelled
        if problem := _refused(cancelled):
            return [problem]
        if asked is None or asked.status != 200 or asked.profile.outcome is None:
            what = "nothing" if asked is None else asked.describe()
            return [inconclusive(f"the question how the run ended got {what}", Location(cancelled[1]))]
        value = asked.profile.outcome.value(asked.body)
        if asked.profile.outcome.read(value) == "cancelled":
            return [passed("cancelled")]
        return [failed(f"a cancelled run has the outcome {quoted(str(value))}", Location(asked))]

    return _each(cancels, decide, f"{counted(len(cancels), 'run')} reported as cancelled")


@rule(
    "cancel.harmless",
    Level.MUST,
    "Cancelling again, after the end or an unknown run gets no 5xx and changes nothing",
    why="Users press the button twice, and a request to cancel races the end of its run.",
    fix="Look the run up, and leave one that has ended as it is; answer 404 or 409, or 2xx without an effect.",
    source="ours",
    promise=(Capability.CANCEL,),
)
def harmless(
    cancels: Sequence[tuple[Exchange | None, Exchange, Exchange | None]],
    control: tuple[Exchange, Exchange] | None = None,
) -> RuleResult:
    """Each is a run that had ended, or none; the answer to the request to cancel it; and the run read again.

    control: a run that nobody cancelled, and its retry. Where that fails, a difference proves nothing.
    """
    results = [_harmless(*one) for one in cancels]
    result = combine(results, ", ".join(f"{answer.label}: {answer.describe()}" for _, answer, _ in cancels))
    if result.verdict is Verdict.FAIL and control is not None and any(one.status for _, one, _ in cancels):
        broken = [one for one, (_, answer, _) in zip(results, cancels, strict=True) if _breaks(answer)]
        return combine(broken, "") if broken else require_replays(control) or result
    return result


def _breaks(answer: Exchange) -> bool:
    return answer.status is None or answer.status >= 500


def _harmless(run: Exchange | None, answer: Exchange, later: Exchange | None) -> RuleResult:
    if _breaks(answer):
        return failed(f"{answer.label}: {answer.describe()}", Location(answer))
    if (
        run is not None
        and later is not None
        and (difference := first_difference(run.sequence, later.sequence))
    ):
        return failed(
            f"{answer.label} changed the run: {described_difference(later, difference)}",
            *divergence(run, run.sequence, later, later.sequence),
        )
    return passed(f"{answer.label}: {answer.describe()}")


@rule(
    "cancel.other-organization",
    Level.MUST,
    "A request to cancel a run of another organization has no effect on it, and gets no 5xx",
    why="A user who guesses or sees an id could stop the work of others.",
    fix="Look runs up among those of the caller's organization only, and answer 404 for others.",
    source="ours",
    promise=(Capability.CANCEL, Capability.ORGANIZATION, Capability.OUTCOME),
    needs=Need.SECOND_PRINCIPAL,
)
def other_organization(run: Exchange, answer: Exchange, cancels: Sequence[Cancelled]) -> RuleResult:
    """`run` was in flight when another organization asked to cancel it. cancels: by its own organization."""
    if _breaks(answer):
        return failed(f"{answer.label}: {answer.describe()}", Location(answer))
    own = one_outcome.function(cancels)
    if own.verdict is not Verdict.PASS:
        return inconclusive(
            f"its own organization cannot cancel a run (see cancel.one-outcome): {own.detail}"
        )
    if _is_earlier(run, answer) and run.outcome != "cancelled":
        return inconclusive("the run ended before another organization asked to cancel it", Location(run))
    if run.outcome == "cancelled":
        return failed("another organization cancelled the run", Location(answer), Location(run, run.over))
    if run.outcome is None:
        return inconclusive(f"the run did not reach its outcome: {run.describe()}", Location(run))
    return passed(f"{answer.describe()}; the run ended with {run.outcome}")
