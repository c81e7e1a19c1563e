"""The rules that apply to streams of one run: retries, resumed parts, joined readers, races, conflicts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.contract.exchange import Exchange
from harness.contract.expectations import Expectations
from harness.contract.finding import Finding, Verdict
from harness.contract.rules import (
    conflict,
    race,
    resume,
    run_id,
)


def check_retry(original: Exchange, retry: Exchange, expect: Expectations) -> list[Finding]:
    """A retry after completion against the run it repeats."""
    return [
        resume.replay(original, retry, expect=expect),
        resume.no_new_run(original, retry, expect=expect),
        run_id.constant([original, retry], expect=expect),
    ]


def check_resumed(
    cut: Exchange, resumed: Exchange, canonical: Exchange | None, expect: Expectations
) -> list[Finding]:
    """A resumed stream against what was seen before the cut, and against the whole run where it is known."""
    return [resume.every_cut([resume.CutRun(cut, resumed, canonical)], expect=expect)]


@dataclass(frozen=True, slots=True)
class LaterCut(resume.CutRun):
    """A cut of a stream that was a resumption itself. had: what the client kept from the streams before it."""

    had: tuple[resume.EventIdentity, ...] = ()

    @property
    def seen(self) -> tuple[resume.EventIdentity, ...]:
        """All that the client had before the cut; with Last-Event-ID, what it owned up to."""
        return _up_to((*self.had, *self.before.sequence), self.resumed.request.header("last-event-id"))


def check_parts(parts: Sequence[Exchange], reread: Exchange | None, expect: Expectations) -> list[Finding]:
    """A run that was cut, resumed, cut again and so on: together its parts are the run, nothing lost or doubled.

    parts: its streams in order, each cut by us but the last. reread: the run read again after its end, without
    Last-Event-ID. Where the last part starts with the run's first event it may be None; elsewhere what was
    lost between two parts shows in the reread alone. Raises ValueError for fewer than two parts.
    """
    *cut, last = parts
    if not cut:
        raise ValueError("a run that was cut and resumed has at least two parts")
    replayed = last if last.sequence[:1] == cut[0].sequence[:1] else None
    whole = reread or replayed
    findings = [resume.every_cut(_cuts(cut, last, whole, expect), expect=expect)]
    named = last.request.header("last-event-id")
    if whole is not None and last.terminals and named in {event_id for event_id, _ in whole.sequence}:
        findings.append(resume.last_event_id(whole, [last], expect=expect))
    if last.outcome == "cancelled":  # not so with error: that may befall a run whether it is cut or not
        findings.append(resume.survives_disconnect([resume.CutRun(cut[0], last, None)], expect=expect))
    return findings


def _cuts(
    cut: Sequence[Exchange], last: Exchange, whole: Exchange | None, expect: Expectations
) -> list[resume.CutRun]:
    """The cuts, each to be held to the last part. With Last-Event-ID that continues all of them as one."""
    had: tuple[resume.EventIdentity, ...] = ()
    found: list[resume.CutRun] = []
    for part in cut:
        had = _kept(had, part, whole, expect)
        found.append(LaterCut(part, last, whole, had))
        had = (*had, *part.sequence)
    return found if last.request.header("last-event-id") is None else found[-1:]


def _kept(
    had: tuple[resume.EventIdentity, ...], part: Exchange, whole: Exchange | None, expect: Expectations
) -> tuple[resume.EventIdentity, ...]:
    """What a client keeps of what it had when `part` begins: nothing where that starts from the first event."""
    got = part.sequence
    named = part.request.header("last-event-id")
    if got and had and got[0] == had[0]:
        return ()
    if named is not None:
        return _up_to(had, named)
    sequence = whole.sequence if whole is not None and had else ()
    if expect.resume_start != "replay" and got and got[0] in sequence and sequence.index(got[0]) >= len(had):
        return sequence[: sequence.index(got[0])]  # a tail is not to bring what came while nobody read
    return ()


def _up_to(
    sequence: tuple[resume.EventIdentity, ...], last_id: str | None
) -> tuple[resume.EventIdentity, ...]:
    """What a client had when it named that id: all there is where no event bears it, or none was named."""
    for place in range(len(sequence), 0, -1):
        if sequence[place - 1][0] == last_id is not None:
            return sequence[:place]
    return sequence


def canonical_stream(readers: Sequence[Exchange], expect: Expectations) -> Exchange:
    """The stream that stands for the run: of those that are whole and have no event twice, the longest.

    Of several that long, the one that most of the others agree with, and then the first. So one that lost,
    doubled or swapped something does not put the others in the wrong. Raises ValueError without readers.
    """
    sequences = [one.sequence for one in readers]

    def rank(place: int) -> tuple[bool, bool, int, int]:
        one, sequence = readers[place], sequences[place]
        agreeing = sum(_agrees(sequence, other, expect) for other in sequences)
        is_whole = one.started_run and bool(one.terminals)
        return is_whole, len(set(sequence)) == len(sequence), len(sequence), agreeing

    return readers[max(range(len(readers)), key=rank)]


def _agrees(
    sequence: tuple[resume.EventIdentity, ...], got: tuple[resume.EventIdentity, ...], expect: Expectations
) -> bool:
    if expect.resume_start != "replay" and got and got[0] in sequence:
        sequence = sequence[sequence.index(got[0]) :]
    return got == sequence


def check_joined(canonical: Exchange, joined: Exchange, expect: Expectations) -> list[Finding]:
    """A stream that came to a run beside other readers, against the run's canonical sequence.

    An equal request gets the run, also while that is in flight: a 409 for it is a violation like any other
    loss. The documentation's 409 is for another body.
    """
    over_ns = canonical.terminals[0].arrival_ns if canonical.terminals else None
    sent_ns = joined.timing.sent_ns
    if over_ns is not None and sent_ns is not None and sent_ns >= over_ns:
        return check_retry(canonical, joined, expect)
    return [
        resume.joins(canonical, joined, expect=expect),
        run_id.constant([canonical, joined], expect=expect),
    ]


def check_first_reader(
    first: Exchange, joined: Exchange, canonical: Exchange, expect: Expectations
) -> list[Finding]:
    """The first reader of a run that others joined, `joined` the earliest of them: it lost nothing by that."""
    over_ns = first.terminals[0].arrival_ns if first.terminals else None
    sent_ns = joined.timing.sent_ns
    if over_ns is not None and sent_ns is not None and sent_ns >= over_ns and canonical is not first:
        return check_retry(first, canonical, expect)  # they came after its end, so they are its retries
    return [resume.first_reader_kept(first, joined, canonical, expect=expect)]


def check_abandoned(canonical: Exchange, left: Exchange, expect: Expectations) -> list[Finding]:
    """A reader that joined a run and left it again: what it had is what the run begins with.

    Whether the others lost by its leaving shows in their own streams. Nothing can be said where a joiner may
    be given the tail.
    """
    if expect.resume_start != "replay" or not canonical.terminals or not left.sequence:
        return []
    return [resume.every_cut([resume.CutRun(left, canonical, None)], expect=expect)]


def check_race(canonical: Exchange, answer: Exchange, expect: Expectations) -> list[Finding]:
    """One of several equal requests sent at once, against the answer that stands for them all.

    Where the two were not sent together after all, the later one joined the other's run or retried it.
    """
    finding = race.same_body([[canonical, answer]], expect=expect)
    if finding.verdict is Verdict.INCONCLUSIVE:
        return [finding, *check_joined(canonical, answer, expect)]
    return [finding]


def check_conflict(original: Exchange, conflicting: Exchange, expect: Expectations) -> list[Finding]:
    """The same key with another body while the first run is going on."""
    return [conflict.in_flight(original, conflicting, expect=expect)]
