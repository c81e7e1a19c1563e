"""Applies the rules for several streams of one run: retries, resumed parts, joined readers, races, conflicts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from harness.contract.exchange import Exchange
from harness.contract.expectations import Expectations
from harness.contract.finding import Finding, Verdict
from harness.contract.rules import cancel, conflict, race, restart, resume, run_id, workflow
from harness.contract.rules.cuts import CutRun, lost_by_replay, together
from harness.profiles.workflow_actions.identity import EventIdentity


def check_retry(original: Exchange, retry: Exchange, expect: Expectations) -> list[Finding]:
    """Check a retry after completion against the original run."""
    return [
        resume.replay(original, retry, expect=expect),
        resume.no_new_run(original, retry, expect=expect),
        run_id.constant([original, retry], expect=expect),
    ]


def check_resumed(
    cut: Exchange, resumed: Exchange, canonical: Exchange | None, expect: Expectations
) -> list[Finding]:
    """Check a resumed stream against the events before the cut, and against the whole run if known."""
    return [resume.every_cut([CutRun(cut, resumed, canonical)], expect=expect)]


def check_survived(cut: Exchange, resumed: Exchange, expect: Expectations) -> list[Finding]:
    """Check that a run whose reader was cut reached its outcome for the reader who resumed it."""
    return [resume.survives_disconnect([CutRun(cut, resumed, None)], expect=expect)]


@dataclass(frozen=True, slots=True)
class LaterCut(CutRun):
    """A cut of a run that was cut several times.

    kept: the events the client kept from earlier streams. first: the stream that started the run.
    """

    kept: tuple[EventIdentity, ...] = ()
    first: Exchange | None = None

    @property
    def started_ns(self) -> int | None:
        """When the request that started the run was sent, on the monotonic clock; None if unknown."""
        return None if self.first is None else self.first.timing.sent_ns

    @property
    def seen(self) -> tuple[EventIdentity, ...]:
        """All events the client had before the cut; with Last-Event-ID, only up to that id."""
        return _up_to((*self.kept, *self.before.sequence), self.resumed.named_id)


def check_parts(parts: Sequence[Exchange], reread: Exchange | None, expect: Expectations) -> list[Finding]:
    """Check a run that was cut and resumed several times: its parts together are the run, nothing lost or repeated.

    parts: its streams in order; the harness cut all but the last. reread: the run read again after its end, without
    Last-Event-ID. It may be None if the last part starts with the run's first event; otherwise only the reread
    shows what was lost between two parts. Raises ValueError for fewer than two parts.
    """
    *cut, last = parts
    if not cut:
        raise ValueError("a run that was cut and resumed has at least two parts")
    replayed = last if last.sequence[:1] == cut[0].sequence[:1] else None
    whole = reread or replayed
    cuts = _cuts(cut, last, whole, expect)
    if reread is not None and lost_by_replay(
        [event for part in parts for event in part.sequence], reread.sequence
    ):
        return _wrong_reread(cuts, reread, expect)
    findings = [resume.every_cut(cuts, expect=expect)]
    named = last.named_id
    is_named = whole is not None and named in {event.id for event in whole.sequence}
    if whole is not None and is_named and last.is_over and expect.last_event_id:
        findings.append(resume.last_event_id(whole, [last], expect=expect))
    if last.outcome == "cancelled":  # not for error: a run may fail whether it is cut or not
        findings.append(resume.survives_disconnect([CutRun(cut[0], last, None)], expect=expect))
    return findings


def _wrong_reread(cuts: Sequence[CutRun], reread: Exchange, expect: Expectations) -> list[Finding]:
    """The parts have events that the reread lacks: the reread is wrong. Without it, the parts show what they can."""
    last, earlier = cuts[-1].resumed, together(cuts[-1])
    earlier = earlier[: len(earlier) - len(last.sequence)]
    return [
        resume.replay(last, reread, earlier, expect=expect),
        resume.every_cut([replace(cut, canonical=None) for cut in cuts], expect=expect),
    ]


def _cuts(
    cut: Sequence[Exchange], last: Exchange, whole: Exchange | None, expect: Expectations
) -> list[CutRun]:
    """The cuts, each to be checked against the last part. With Last-Event-ID, the last part continues them all."""
    received: tuple[EventIdentity, ...] = ()
    cuts: list[CutRun] = []
    for part in cut:
        kept = _kept(received, part, whole, expect)
        cuts.append(LaterCut(part, last, whole, kept, cut[0]))
        received = (*kept, *part.sequence)
    return cuts if last.named_id is None else cuts[-1:]


def _kept(
    received: tuple[EventIdentity, ...], part: Exchange, whole: Exchange | None, expect: Expectations
) -> tuple[EventIdentity, ...]:
    """The events a client keeps when `part` starts: none if `part` starts with the first event."""
    actual = part.sequence
    last_id = part.named_id
    if actual and received and actual[0] == received[0]:
        return ()
    kept = _up_to(received, last_id) if last_id is not None else ()
    if last_id is not None and (expect.last_event_id or expect.resume_start == "replay"):
        return kept
    sequence = whole.sequence if whole is not None and received else ()
    if (
        expect.resume_start != "replay"
        and actual
        and actual[0] in sequence
        and sequence.index(actual[0]) >= len(received)
    ):
        return sequence[: sequence.index(actual[0])]  # a tail omits events sent while nobody was connected
    return kept


def _up_to(sequence: tuple[EventIdentity, ...], last_id: str | None) -> tuple[EventIdentity, ...]:
    """The events up to and including `last_id`; all of them if it is None or no event has it."""
    for place in range(len(sequence), 0, -1):
        if sequence[place - 1].id == last_id is not None:
            return sequence[:place]
    return sequence


def canonical_stream(readers: Sequence[Exchange], expect: Expectations) -> Exchange:
    """The stream that represents the run: the longest of the complete streams without repeated events.

    Ties go to the stream that agrees with most of the others, then to the first. So a stream that lost, repeated or
    swapped an event does not make the correct ones fail. Raises ValueError without readers.
    """
    sequences = [reader.sequence for reader in readers]

    def rank(place: int) -> tuple[bool, bool, int, int]:
        reader, sequence = readers[place], sequences[place]
        agreeing = sum(_agrees(sequence, other, expect) for other in sequences)
        is_complete = reader.started_run and reader.is_over
        return is_complete, len(set(sequence)) == len(sequence), len(sequence), agreeing

    return readers[max(range(len(readers)), key=rank)]


def _agrees(
    sequence: tuple[EventIdentity, ...], other: tuple[EventIdentity, ...], expect: Expectations
) -> bool:
    if expect.resume_start != "replay" and other and other[0] in sequence:
        sequence = sequence[sequence.index(other[0]) :]
    return other == sequence


def check_joined(canonical: Exchange, joined: Exchange, expect: Expectations) -> list[Finding]:
    """Check a stream that joined a run with other readers against the run's canonical sequence.

    An equal request gets the run, even in flight: a 409 is a violation here. The documented 409 is for a different
    body.
    """
    over_ns = canonical.over.arrival_ns if canonical.over else None
    if over_ns is not None and joined.timing.earliest_sent_ns >= over_ns:
        return check_retry(canonical, joined, expect)
    return [
        resume.joins(canonical, joined, expect=expect),
        run_id.constant([canonical, joined], expect=expect),
    ]


def check_first_reader(
    first: Exchange, joined: Exchange, canonical: Exchange, expect: Expectations
) -> list[Finding]:
    """Check that the first reader of a run lost nothing when others joined; `joined` is the earliest of them."""
    over_ns = first.over.arrival_ns if first.over else None
    if over_ns is not None and joined.timing.earliest_sent_ns >= over_ns and canonical is not first:
        return check_retry(first, canonical, expect)  # they joined after its end, so they are retries
    return [resume.first_reader_kept(first, joined, canonical, expect=expect)]


def check_abandoned(canonical: Exchange, abandoned: Exchange, expect: Expectations) -> list[Finding]:
    """Check a reader that joined a run and abandoned: its events are the start of the run.

    No findings if a joiner may get the tail. Whether its leaving affected the others shows in their own streams.
    """
    if expect.resume_start != "replay" or not canonical.is_over or not abandoned.sequence:
        return []
    return [resume.every_cut([CutRun(abandoned, canonical, None)], expect=expect)]


def check_race(canonical: Exchange, response: Exchange, expect: Expectations) -> list[Finding]:
    """Check one of several simultaneous equal requests against the stream that represents them all.

    If the two were not sent simultaneously after all, the later one joined the other's run or retried it.
    """
    finding = race.same_body([[canonical, response]], expect=expect)
    if finding.verdict is Verdict.INCONCLUSIVE:
        return [finding, *check_joined(canonical, response, expect)]
    return [finding]


def check_cancelled(
    reader: Exchange, answer: Exchange, expect: Expectations, usual: cancel.UsualRun | None = None
) -> list[Finding]:
    """Check a reader of a run that was cancelled in flight. answer: to the request that cancels it.

    usual: of runs of the same action that nobody cancels; None if not known.
    """
    cancels = [([reader], answer, None, None)]
    return [
        cancel.accepted(cancels, expect=expect),
        cancel.ends(cancels, expect=expect),
        cancel.one_outcome(cancels, usual, expect=expect),
        cancel.last(cancels, expect=expect),
    ]


def check_cancelled_again(reader: Exchange, answer: Exchange, reread: Exchange) -> list[Finding]:
    """Check a run that was cancelled in flight and read again. reader: of the first time."""
    return [cancel.replayed([([reader], answer, reread, None)])]


def check_left(reader: Exchange, left: Exchange, expect: Expectations) -> list[Finding]:
    """Check who read a run after the time budget whose only reader cancelled it by disconnecting. left: that stream."""
    cancels = [([reader], left, None, None)]
    return [cancel.one_outcome(cancels, expect=expect), cancel.last(cancels, expect=expect)]


def check_outcome_of_left(left: Exchange, asked: Exchange) -> list[Finding]:
    """Check how a run ended whose only reader cancelled it by disconnecting. asked: after the time budget."""
    return [cancel.outcome([([], left, None, asked)])]


def is_whole(run: Exchange, retry: Exchange, expect: Expectations) -> bool:
    """Whether a retry of an interrupted run must have all its events: it begins with the first, or has to."""
    begins_with_first = retry.sequence[:1] == run.sequence[:1]
    return not run.sequence or begins_with_first or expect.resume_start == "replay"


def check_after_restart(run: Exchange, retry: Exchange, expect: Expectations) -> list[Finding]:
    """Check the retry, after a restart, of a run that lost its connection at it."""
    interrupted = [([run], [retry])]
    findings = [restart.ends(interrupted, ())]
    if retry.events:
        findings.insert(0, restart.no_new_run([], interrupted, ()))
    if findings[0].verdict is Verdict.FAIL:  # what follows from it
        return findings
    if is_whole(run, retry, expect):
        findings.append(restart.same_events(interrupted, ()))
    return findings


def check_recalled(session: Sequence[Exchange], marker: str) -> list[Finding]:
    """Check a session whose last step returns the outputs of the earlier ones, as far as those have its marker.

    Nothing is found of a session without them: what its other steps return is their own.
    """
    *before, recall = session
    marked = [step for step in before if marker in step.text]
    rules = (workflow.outputs_passed, workflow.all_outputs, workflow.outputs_whole) if marked else ()
    return [
        workflow.no_crosstalk({marker: list(session)}),
        *(rule({marker: [*marked, recall]}) for rule in rules),
    ]


def check_conflict(original: Exchange, conflicting: Exchange, expect: Expectations) -> list[Finding]:
    """Check the response to the same key with a different body while the first run is in flight."""
    return [conflict.in_flight(original, conflicting, expect=expect)]
