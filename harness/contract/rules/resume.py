"""resume: a retry with the same key and body brings back the same run, whole, wherever it was cut.

There is one canonical sequence of (id, data) for a run. What any connection to it brings is a contiguous
part of that sequence that goes to its end. Where that part may start is the server's policy: at the
first event (replay), after what the client names in Last-Event-ID, or at what comes next (tail).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from harness.contract.exchange import Exchange
from harness.contract.expectations import Expectations
from harness.contract.finding import Location, RuleResult, Verdict, failed, inconclusive, info, passed
from harness.contract.rules.rule import Level, Need, combine, quoted, require_terminal, rule

_RACING_MS = 100.0  # a retry sent that long before the terminal event still races it

EventIdentity = tuple[str | None, str | None]


class Start(StrEnum):
    """Where a resumed stream was found to start."""

    REPLAY = "replay"
    AFTER_ID = "after Last-Event-ID"
    TAIL = "tail"


@dataclass(frozen=True, slots=True)
class CutRun:
    """A run that was cut, resumed, and read once more after its end for its canonical sequence."""

    before: Exchange
    resumed: Exchange
    canonical: Exchange | None

    @property
    def seen(self) -> tuple[EventIdentity, ...]:
        """What the client had before the cut; with Last-Event-ID, what it owned up to."""
        sequence = self.before.sequence
        last_id = self.resumed.request.header("last-event-id")
        if last_id is None:
            return sequence
        ids = [event_id for event_id, _ in sequence]
        return sequence[: ids.index(last_id) + 1] if last_id in ids else sequence


def first_difference(expected: Sequence[EventIdentity], got: Sequence[EventIdentity]) -> str | None:
    """Where two sequences of events part, in words; None when they are the same."""
    if expected == got:
        return None
    for place, (wanted, found) in enumerate(zip(expected, got, strict=False)):
        if wanted != found:
            return f"event {place + 1} is {_say(found)} where {_say(wanted)} was expected{_why(expected, got, place)}"
    if len(got) < len(expected):
        missing = expected[len(got)]
        return f"{len(expected) - len(got)} events are missing from {_say(missing)} on"
    return f"{len(got) - len(expected)} events too many, from {_say(got[len(expected)])} on"


def _say(one: EventIdentity) -> str:
    return f"id {one[0]}" if one[0] is not None else f"data {quoted(one[1] or '', 60)}"


def _why(expected: Sequence[EventIdentity], got: Sequence[EventIdentity], place: int) -> str:
    if got[place] in expected[place + 1 :]:
        skipped = expected.index(got[place], place + 1) - place
        return f": {skipped} lost before it"
    if got[place] in expected[:place]:
        return ": it came before"
    if expected[place][0] == got[place][0]:
        return (
            f", with data {quoted(got[place][1] or '', 60)} instead of {quoted(expected[place][1] or '', 60)}"
        )
    return ""


def _at(run: Exchange, sequence: Sequence[EventIdentity], expected: Sequence[EventIdentity]) -> Location:
    events = run.events
    for place, found in enumerate(sequence):
        if place >= len(expected) or found != expected[place]:
            return Location(run, events[place] if place < len(events) else None)
    return Location(run, events[-1] if events else None)


def _common(expected: Sequence[EventIdentity], got: Sequence[EventIdentity]) -> int:
    """With how many events both begin."""
    pairs = enumerate(zip(expected, got, strict=False))
    return next((n for n, (wanted, found) in pairs if wanted != found), min(len(expected), len(got)))


def divergence(
    run: Exchange, expected: Sequence[EventIdentity], other: Exchange, got: Sequence[EventIdentity]
) -> tuple[Location, Location]:
    """Where two runs part: in `run`, whose last events are `expected`, and in `other`, all of whose are `got`.

    Of what is missing at the end of one, the other's first such event and its own last.
    """
    place = _common(expected, got) + len(run.events) - len(expected)
    before = run.events[min(place, len(run.events) - 1)] if run.events else None
    return Location(run, before), _at(other, got, expected)


def retries_resume(original: Exchange, retry: Exchange) -> RuleResult | None:
    """None when a plain retry resumes its run; else what builds on that can prove nothing."""
    if problem := require_terminal(original):
        return problem
    if first_difference(original.sequence, retry.sequence) is None:
        return None
    return inconclusive("a plain retry does not resume its run (see resume.replay)", Location(retry))


@rule(
    "resume.no-new-run",
    Level.MUST,
    "A retry never executes the action again",
    why="A second execution sends the mail, books the flight and bills the tokens twice.",
    source="api",
)
def no_new_run(original: Exchange, retry: Exchange) -> RuleResult:
    if problem := require_terminal(original):
        return problem
    if not retry.started_run:
        return inconclusive(f"the retry brought no run: {retry.describe()}", Location(retry))
    known = {one.frame.id for one in original.events} - {None}
    theirs = {one.frame.id for one in retry.events}
    if original.run_id and retry.run_id and original.run_id != retry.run_id and not theirs <= known:
        return failed(
            f"the retry belongs to another run: runId {quoted(retry.run_id)} instead of {quoted(original.run_id)}",
            Location(original, original.terminals[0]),
            Location(retry, retry.terminals[0]),
        )
    strangers = [one for one in retry.events if one.frame.id is not None and one.frame.id not in known]
    told_the_same = original.run_id is not None and original.run_id == retry.run_id
    if strangers and not told_the_same:
        return failed(
            f"the retry made {len(strangers)} events of its own, the first with id {strangers[0].frame.id}: the "
            "action was executed again",
            Location(original),
            Location(retry, strangers[0]),
        )
    if theirs == {None} and not told_the_same:
        return inconclusive("neither ids nor runIds tell one run from another", Location(retry))
    return passed(
        "the retry belongs to the same run" if strangers else "the retry brought nothing of its own"
    )


@rule(
    "resume.replay",
    Level.MUST,
    "A retry after completion brings the same (id, data) sequence",
    why="A client that lost the answer gets it back only if the replay is the same.",
    source="api",
)
def replay(original: Exchange, retry: Exchange) -> RuleResult:
    if problem := require_terminal(original):
        return problem
    if difference := first_difference(original.sequence, retry.sequence):
        said = retry.describe() if not retry.started_run else difference
        return failed(
            f"the retry of a finished run differs from it: {said}",
            *divergence(original, original.sequence, retry, retry.sequence),
        )
    return passed(f"the retry brought the same {len(retry.events)} events")


def _tail_allowed(expect: Expectations) -> bool:
    return expect.resume_start in {"any", "tail"}


@rule(
    "resume.failure-replayed",
    Level.MUST,
    "A failed run's retry replays its failure",
    why="A retry that quietly tries again hides the failure and repeats its effects.",
    source="api, D",
    needs=Need.FAILING_ACTION,
)
def failure_replayed(control: tuple[Exchange, Exchange], original: Exchange, retry: Exchange) -> RuleResult:
    """A failed run and its retry. `control` is a run that succeeded, and its retry."""
    if problem := require_terminal(original) or retries_resume(*control):
        return problem
    if original.outcome != "error":
        return inconclusive(f"the failing action ended with {original.outcome}", Location(original))
    if difference := first_difference(original.sequence, retry.sequence):
        said = difference if retry.started_run else retry.describe()
        return failed(
            f"the retry of a failed run does not replay its failure: {said}",
            *divergence(original, original.sequence, retry, retry.sequence),
        )
    return passed("the retry replayed the failure")


def stitch(cut: CutRun, expect: Expectations) -> tuple[Start | None, RuleResult]:
    """Put what was seen before and after a cut together, and hold it to the canonical sequence.

    Returns where the resumed stream started; None where that cannot be said.
    """
    where = f"cut after event {len(cut.seen)}" if cut.seen else "cut before any event"
    places = (Location(cut.before), Location(cut.resumed))
    if not cut.resumed.started_run:
        return None, failed(f"{where}: the resumption got {cut.resumed.describe()}", *places)
    if not cut.resumed.terminals:
        return None, failed(f"{where}: the resumed stream did not end: {cut.resumed.describe()}", *places)
    canonical = cut.canonical.sequence if cut.canonical is not None else None
    if canonical is None:
        canonical = _presumed(cut)
    elif cut.canonical is not None and (problem := require_terminal(cut.canonical)):
        return None, problem
    seen, got = cut.seen, cut.resumed.sequence
    if difference := first_difference(canonical[: len(seen)], seen):
        return None, failed(
            f"{where}: what came before it is not what the run replays: {difference}",
            _seen_at(cut, _common(canonical, seen)),
            Location(cut.resumed),
        )
    start = canonical.index(got[0]) if got[0] in canonical else 0
    policy = _policy(start, len(seen), cut, expect)
    if policy is None:
        return None, failed(
            f"{where}: the resumed stream starts with event {start + 1}, {_say(got[0])}: {_off_by(start, len(seen))}",
            _seen_at(cut, len(seen) - 1),
            Location(cut.resumed, cut.resumed.events[0]),
        )
    if difference := first_difference(canonical[start:], got):
        return policy, failed(
            f"{where}: after the resumption {difference}",
            _seen_at(cut, len(seen) - 1),
            _at(cut.resumed, got, canonical[start:]),
        )
    return policy, passed(f"{where}: whole ({policy})")


def _seen_at(cut: CutRun, place: int) -> Location:
    """The event that is number `place` of what was seen, from 0, where it came on the connection that was cut."""
    events = cut.before.events
    place -= max(0, len(cut.seen) - len(events))  # what came on connections before that
    return Location(cut.before, events[place] if 0 <= place < len(events) else None)


def _presumed(cut: CutRun) -> tuple[EventIdentity, ...]:
    """The run's sequence as far as it is known from a cut stream and its resumption alone."""
    got = cut.resumed.sequence
    seen = cut.seen
    if got and got[0] in seen:
        return (*seen[: seen.index(got[0])], *got)
    return (*seen, *got)


def _policy(start: int, seen: int, cut: CutRun, expect: Expectations) -> Start | None:
    named = cut.resumed.request.header("last-event-id") is not None
    if named and start == seen:
        return Start.AFTER_ID
    if start == 0:
        fits = expect.resume_start != "tail" or not seen or may_have_ended(cut)
        return Start.REPLAY if fits else None
    if not named and cut.before.terminals:
        seen -= 1  # the tail of a finished run is its terminal event, also for who has seen it
    if start >= seen and _tail_allowed(expect) and not (named and expect.last_event_id):
        return Start.TAIL
    return None


def may_have_ended(cut: CutRun) -> bool:
    """Whether the run may have been over when its resumption was answered: then any server replays it.

    The ids tell, by the server's clock, when events were made; the first was made after its request was
    sent, which bounds how that clock stands to ours. Where it stands still, the run may have been over.
    """
    if cut.before.terminals or not cut.before.events or not cut.resumed.terminals:
        return True
    first, end = cut.before.events[0].stream_id, cut.resumed.terminals[0].stream_id
    sent_ns, head_ns = cut.before.timing.sent_ns, cut.resumed.head_ns
    if first is None or end is None or sent_ns is None or head_ns is None:
        return True
    return (head_ns - sent_ns) / 1e6 >= end.ms - first.ms


def _off_by(start: int, seen: int) -> str:
    if start < seen:
        return f"{seen - start} events come again though the stream is no replay from the first"
    if start > seen:
        return f"{start - seen} events are lost at the point of resume"
    return "the stream starts where only Last-Event-ID or a tail would make it start"


@rule(
    "resume.joins",
    Level.MUST,
    "A retry while the run is in flight joins it: same ids, same data, same terminal event",
    why="A client that reconnects in mid-run must see the run it started, not a part or another.",
    source="api",
    needs=Need.LONG_ACTION,
)
def joins(original: Exchange, joined: Exchange, *, expect: Expectations) -> RuleResult:
    if problem := require_terminal(original):
        return problem
    if joined.timing.sent_ns is None or joined.timing.sent_ns >= original.terminals[0].arrival_ns:
        return inconclusive(
            "the run was over before it could be joined; configure a longer [target.actions.long]",
            Location(original),
        )
    if not joined.started_run:
        return failed(
            f"a retry while the run was in flight got {joined.describe()}",
            Location(original),
            Location(joined),
        )
    made = sum(one.arrival_ns <= joined.timing.sent_ns for one in original.events)
    whole_sequence, got = original.sequence, joined.sequence
    start = whole_sequence.index(got[0]) if got[0] in whole_sequence else -1
    if start >= max(made, 1) and _tail_allowed(expect):
        expected, policy = whole_sequence[start:], Start.TAIL
    else:
        expected, policy = whole_sequence, Start.REPLAY
    if difference := first_difference(expected, got):
        return failed(
            f"a retry while the run was in flight differs from it: {difference}",
            *divergence(original, expected, joined, got),
        )
    return passed(f"a retry after {made} of {len(whole_sequence)} events joined the run ({policy})")


@rule(
    "resume.first-reader-kept",
    Level.MUST,
    "A second connection to a run leaves the first one whole",
    why="Opening the same run in a second tab must not take it from the first.",
    source="ours",
    needs=Need.LONG_ACTION,
)
def first_reader_kept(first: Exchange, second: Exchange, later: Exchange) -> RuleResult:
    """`second` joined while `first` was reading; `later` is the run read again after its end."""
    if problem := require_terminal(later):
        return problem
    if second.timing.sent_ns is None or (
        first.terminals and second.timing.sent_ns >= first.terminals[0].arrival_ns
    ):
        return inconclusive("the run was over before it could be joined", Location(first))
    if first.terminals and _is_part(later.sequence, first.sequence):
        return inconclusive(
            "the run read again lacks what its first reader got (resume.replay): it shows nothing of that one",
            Location(later),
        )
    if difference := first_difference(later.sequence, first.sequence):
        return failed(
            f"the first reader of a run lost by a second one's coming: {difference}",
            _at(first, first.sequence, later.sequence),
            Location(second),
        )
    return passed("the first reader got the whole run beside a second one")


def _exactly_after(original: Exchange, resumed: Exchange) -> RuleResult:
    named = resumed.request.header("last-event-id")
    ids = [event_id for event_id, _ in original.sequence]
    expected = original.sequence[ids.index(named) + 1 :]
    if difference := first_difference(expected, resumed.sequence):
        said = resumed.describe() if not resumed.started_run else difference
        if resumed.sequence == original.sequence:
            said = "the stream was replayed from the first event"
        return failed(
            f"Last-Event-ID {named}: {said}", *divergence(original, expected, resumed, resumed.sequence)
        )
    return passed(f"after {named} came the {len(expected)} events that follow it")


@rule(
    "resume.survives-disconnect",
    Level.MUST,
    "A cut (FIN, RST, half-close, before the head) leaves the run resumable with its own outcome",
    why="Phones lose their connection; the work must not be lost with it.",
    source="reading 3",
    needs=Need.LONG_ACTION,
)
def survives_disconnect(cuts: Sequence[CutRun]) -> RuleResult:
    """`cuts` are runs broken off in each way there is."""
    if not cuts:
        return inconclusive("no run could be cut")
    return combine(
        [_survived(cut) for cut in cuts],
        "resumed to its own outcome after "
        + ", ".join(dict.fromkeys(cut.before.ending_detail for cut in cuts)),
    )


def _survived(cut: CutRun) -> RuleResult:
    places = (Location(cut.before), Location(cut.resumed))
    if cut.before.terminals:
        return inconclusive(
            "the run ended before it could be cut; configure a longer [target.actions.long]", *places
        )
    if cut.resumed.outcome is None:
        return failed(f"{cut.before.ending_detail}: the retry got {cut.resumed.describe()}", *places)
    if cut.resumed.outcome != "done":
        return failed(
            f"{cut.before.ending_detail}: the run came out as {cut.resumed.outcome}, though it ends with done when "
            "nobody hangs up",
            Location(cut.before),
            Location(cut.resumed, cut.resumed.terminals[0]),
        )
    return passed(f"{cut.before.ending_detail}: resumed to done")


@rule(
    "resume.terminal-race",
    Level.MUST,
    "A retry that races the terminal event loses nothing",
    why="Between reading the past and subscribing to the future the end can slip through.",
    source="ours",
)
def terminal_race(races: Sequence[tuple[Exchange, Exchange]], *, expect: Expectations) -> RuleResult:
    """Each pair is a run and a retry of it that was sent about when the terminal event came."""
    racing = sum(terminal_lead_ms(*pair) is not None for pair in races)
    verdict = combine(
        [_nothing_lost(original, retry, expect) for original, retry in races],
        f"{len(races)} retries around the terminal event, {racing} of them shortly before it, nothing lost",
    )
    if verdict.verdict is Verdict.PASS and not racing:
        return inconclusive("no retry could be sent shortly before the terminal event", Location(races[0][0]))
    return verdict


def _unshaken(original: Exchange, retry: Exchange) -> RuleResult:
    named = quoted(retry.request.header("last-event-id") or "")
    if retry.status is None or retry.ending.value == "timed out":
        return failed(f"Last-Event-ID {named}: {retry.describe()}", Location(retry))
    if retry.status >= 500:
        return failed(f"Last-Event-ID {named} made the server fail: status {retry.status}", Location(retry))
    if retry.started_run:
        forged = next((one for one in retry.events if one.identity not in original.sequence), None)
        if forged is not None and not (
            forged.event and forged.event.type == "error" and len(retry.events) == 1
        ):
            return failed(
                f"Last-Event-ID {named} brought an event that is not the run's: {_say(forged.identity)}",
                Location(retry, forged),
            )
    return passed(f"Last-Event-ID {named}: {retry.describe()}")


@rule(
    "resume.every-cut",
    Level.MUST,
    "Cut after event k and resumed, what was seen before and after together is the canonical sequence, for every k",
    why="A frame lost or doubled at the point of resume is a wrong answer that looks right.",
    source="api, reading 2",
    needs=Need.LONG_ACTION,
)
def every_cut(cuts: Sequence[CutRun], *, expect: Expectations) -> RuleResult:
    if not cuts:
        return inconclusive("no run could be cut")
    results = [(cut, *stitch(cut, expect)) for cut in cuts]
    verdict = combine(
        [judgement for _, _, judgement in results],
        f"{len(cuts)} cuts, each resumed to the canonical sequence",
    )
    if verdict.verdict is not Verdict.PASS:
        return verdict
    unnamed = {
        policy: cut
        for cut, policy, _ in results
        if cut.seen and not cut.resumed.request.header("last-event-id") and not may_have_ended(cut)
    }
    if len(unnamed) > 1:
        return failed(
            "without Last-Event-ID some resumed streams replay from the first event and some start later: events "
            "are lost at the point of resume",
            *(Location(cut.resumed, cut.resumed.events[0]) for cut in unnamed.values()),
        )
    return verdict


def terminal_lead_ms(original: Exchange, retry: Exchange) -> float | None:
    """How long before the terminal event's arrival the retry was sent; None when it raced nothing."""
    if not original.terminals or retry.timing.sent_ns is None:
        return None
    lead_ms = (original.terminals[0].arrival_ns - retry.timing.sent_ns) / 1e6
    return lead_ms if 0 <= lead_ms <= _RACING_MS else None


@rule(
    "resume.last-event-id",
    Level.SHOULD,
    "`Last-Event-ID: k` brings exactly the events after k (MUST where the target declares it)",
    why="It is how every event-stream client resumes by itself.",
    source="W",
    escalates=lambda expect: expect.last_event_id is True,
)
def last_event_id(original: Exchange, resumed: Sequence[Exchange]) -> RuleResult:
    """Each of `resumed` names, in its Last-Event-ID, an event of `original` that is not its last."""
    if problem := require_terminal(original):
        return problem
    return combine(
        [_exactly_after(original, one) for one in resumed],
        f"after each of {len(resumed)} ids exactly the events that follow it came",
    )


def _nothing_lost(original: Exchange, retry: Exchange, expect: Expectations) -> RuleResult:
    if problem := require_terminal(original):
        return problem
    sequence, got = original.sequence, retry.sequence
    start = sequence.index(got[0]) if got and got[0] in sequence else 0
    expected = sequence[start:] if _tail_allowed(expect) else sequence
    if difference := first_difference(expected, got):
        said = difference if retry.started_run else retry.describe()
        return failed(
            f"a retry that raced the terminal event: {said}", *divergence(original, expected, retry, got)
        )
    return passed("whole")


@rule(
    "resume.bad-last-event-id",
    Level.MUST,
    "A malformed, foreign or future Last-Event-ID: no hang, no 5xx, no forged event",
    why="Clients come back with ids of yesterday, of other runs, of other servers.",
    source="ours",
)
def bad_last_event_id(original: Exchange, retries: Sequence[Exchange]) -> RuleResult:
    """Each of `retries` names an id that is malformed, of no event of the run, or in the future."""
    if problem := require_terminal(original):
        return problem
    return combine([_unshaken(original, one) for one in retries], f"{len(retries)} bad ids did no harm")


def _is_part(less: Sequence[EventIdentity], more: Sequence[EventIdentity]) -> bool:
    """Whether `more` has all of `less` in its order, and others besides, each once."""
    rest = iter(more)
    return len(less) < len(more) == len(set(more)) and all(one in rest for one in less)


@rule(
    "resume.start",
    Level.INFO,
    "Where a resume without Last-Event-ID starts: replay or tail",
    why="A client must know whether to show what comes again.",
    source="reading 2",
)
def start(cuts: Sequence[CutRun], *, expect: Expectations) -> RuleResult:
    unnamed = [cut for cut in cuts if cut.seen and cut.resumed.request.header("last-event-id") is None]
    in_flight = [cut for cut in unnamed if not may_have_ended(cut)]
    found = sorted(
        {
            str(policy)
            for cut in in_flight or unnamed
            for policy, _ in [stitch(cut, expect)]
            if policy is not None
        }
    )
    if not found:
        return inconclusive("no run was resumed without Last-Event-ID")
    return info("a resume without Last-Event-ID starts with: " + ", ".join(found))
