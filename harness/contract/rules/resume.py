"""resume: a retry with the same key and body returns the same run, complete, wherever it was cut.

A run has one canonical sequence of events: their ids, names and JSON values (EventIdentity). Every connection
to it carries a contiguous part of that sequence, up to its end. The server decides where the part starts: at
the first event (replay), after Last-Event-ID, or at the next event (tail).
"""

from __future__ import annotations

from collections.abc import Sequence

from harness.contract.exchange import Ending, Exchange
from harness.contract.expectations import Expectations
from harness.contract.finding import Location, RuleResult, Verdict, failed, inconclusive, info, passed
from harness.contract.rules.cuts import CutRun, Start, may_have_ended, stitch, tail_allowed
from harness.contract.rules.rule import Level, Need, combine, quoted, require_terminal, rule
from harness.contract.rules.sequences import (
    divergence,
    first_difference,
    identity_label,
    location_of_difference,
)
from harness.formatting import counted
from harness.profiles.workflow_actions.identity import EventIdentity

_RACING_MS = 100.0  # a retry sent up to this long before the terminal event races it


def require_resume(original: Exchange, retry: Exchange) -> RuleResult | None:
    """None if a plain retry resumes its run; otherwise an inconclusive result for rules that rely on it."""
    if problem := require_terminal(original):
        return problem
    if first_difference(original.sequence, retry.sequence) is None:
        return None
    return inconclusive("a plain retry does not resume its run (see resume.replay)", Location(retry))


def require_replays(*controls: tuple[Exchange, Exchange]) -> RuleResult | None:
    """None if each of `controls`, a run that nothing disturbed and its retry, was replayed; otherwise inconclusive.

    For rules that compare a run with its replay: where that is broken, a difference proves nothing.
    """
    for control in controls:
        if problem := require_resume(*control):
            return problem
    return None


def _difference(retry: Exchange, difference: str) -> str:
    """What a retry got instead: a different sequence, or no run at all."""
    return difference if retry.started_run else retry.describe()


@rule(
    "resume.no-new-run",
    Level.MUST,
    "A retry never executes the action again",
    why="A second execution sends the mail, books the flight and bills the tokens twice.",
    fix="Store the key with the run before the action starts, and answer a retry from the stored run.",
    source="api",
)
def no_new_run(original: Exchange, retry: Exchange) -> RuleResult:
    if problem := require_terminal(original):
        return problem
    if not retry.started_run:
        return inconclusive(f"the retry returned no run: {retry.describe()}", Location(retry))
    original_ids = {event.frame.id for event in original.events} - {None}
    retry_ids = {event.frame.id for event in retry.events}
    if original.run_id and retry.run_id and original.run_id != retry.run_id and not retry_ids <= original_ids:
        return failed(
            f"the retry belongs to a different run: runId {quoted(retry.run_id)} instead of "
            f"{quoted(original.run_id)}",
            Location(original, original.terminals[0]),
            Location(retry, retry.terminals[0]),
        )
    new_events = [
        event for event in retry.events if event.frame.id is not None and event.frame.id not in original_ids
    ]
    same_run_id = original.run_id is not None and original.run_id == retry.run_id
    if new_events and not same_run_id:
        return failed(
            f"the retry produced {counted(len(new_events), 'new event')}, the first with id "
            f"{new_events[0].frame.id}: the action was executed again",
            Location(original),
            Location(retry, new_events[0]),
        )
    if retry_ids == {None} and not same_run_id:
        return inconclusive("without ids and runIds, runs cannot be told apart", Location(retry))
    return passed("the retry belongs to the same run" if new_events else "the retry produced no new event")


@rule(
    "resume.replay",
    Level.MUST,
    "A retry after completion returns the same events: ids, event names and JSON values",
    why="A client that lost the response recovers it only if the replay is the same.",
    fix="Store each event with its id and data, and replay the stored events in that order.",
    source="api",
)
def replay(original: Exchange, retry: Exchange) -> RuleResult:
    if problem := require_terminal(original):
        return problem
    if difference := first_difference(original.sequence, retry.sequence):
        return failed(
            f"the retry of a finished run differs from it: {_difference(retry, difference)}",
            *divergence(original, original.sequence, retry, retry.sequence),
        )
    return passed(f"the retry returned the same {counted(len(retry.events), 'event')}")


@rule(
    "resume.failure-replayed",
    Level.MUST,
    "A failed run's retry replays the failure",
    why="A retry that silently runs again hides the failure and repeats its side effects.",
    fix="Store the events of a failed run like those of any run, and replay them to a retry.",
    source="api, D",
    needs=Need.FAILING_ACTION,
)
def failure_replayed(control: tuple[Exchange, Exchange], original: Exchange, retry: Exchange) -> RuleResult:
    """A failed run and its retry. `control` is a successful run and its retry."""
    if problem := require_terminal(original) or require_resume(*control):
        return problem
    if original.outcome != "error":
        return inconclusive(f"the failing action ended with {original.outcome}", Location(original))
    if difference := first_difference(original.sequence, retry.sequence):
        return failed(
            f"the retry of a failed run does not replay the failure: {_difference(retry, difference)}",
            *divergence(original, original.sequence, retry, retry.sequence),
        )
    return passed("the retry replayed the failure")


@rule(
    "resume.joins",
    Level.MUST,
    "A retry while the run is in flight joins it: same ids, same data, same terminal event",
    why="A client that reconnects mid-run must see the run it started, not a part of it or a different run.",
    fix="Subscribe to new events first, then send the stored ones, and skip the ids that you have sent.",
    source="api",
    needs=Need.LONG_ACTION,
)
def joins(original: Exchange, joined: Exchange, *, expect: Expectations) -> RuleResult:
    if problem := require_terminal(original):
        return problem
    if joined.timing.sent_ns is None or joined.timing.sent_ns >= original.terminals[0].arrival_ns:
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
    arrived = sum(event.arrival_ns <= joined.timing.sent_ns for event in original.events)
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


@rule(
    "resume.first-reader-kept",
    Level.MUST,
    "A second connection to a run does not affect the first",
    why="Opening the same run in a second tab must not take it away from the first.",
    fix="Give each connection its own subscription, so that one reader does not take another's events.",
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
        return inconclusive("the run ended before it could be joined", Location(first))
    if first.terminals and _is_subsequence(later.sequence, first.sequence):
        return inconclusive(
            "the replay of the run lacks events that its first reader got (see resume.replay), so it proves nothing",
            Location(later),
        )
    if difference := first_difference(later.sequence, first.sequence):
        return failed(
            f"a second reader affected the first one: {difference}",
            location_of_difference(first, first.sequence, later.sequence),
            Location(second),
        )
    return passed("the first reader got the whole run despite a second one")


def _is_subsequence(part: Sequence[EventIdentity], whole: Sequence[EventIdentity]) -> bool:
    """Whether `whole` has all events of `part` in the same order, at least one more, and none twice."""
    rest = iter(whole)
    return len(part) < len(whole) == len(set(whole)) and all(identity in rest for identity in part)


@rule(
    "resume.survives-disconnect",
    Level.MUST,
    "After a cut (FIN, RST, half-close, before the head) the run can be resumed to its own outcome",
    why="Phones lose their connection; the work must not be lost with it.",
    fix=(
        "Execute the run in a separate task, which a lost connection does not cancel, and store its events."
    ),
    source="reading 3",
    needs=Need.LONG_ACTION,
)
def survives_disconnect(cuts: Sequence[CutRun]) -> RuleResult:
    """`cuts` are runs cut in every way there is."""
    if not cuts:
        return inconclusive("no run could be cut")
    return combine(
        [_survived(cut) for cut in cuts],
        "resumed to its own outcome after each cut: "
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
            f"{cut.before.ending_detail}: the run ended with {cut.resumed.outcome}, but ends with done if nobody "
            "disconnects",
            Location(cut.before),
            Location(cut.resumed, cut.resumed.terminals[0]),
        )
    return passed(f"{cut.before.ending_detail}: resumed to done")


@rule(
    "resume.terminal-race",
    Level.MUST,
    "A retry that races the terminal event loses nothing",
    why="Between reading past events and subscribing to new ones, the terminal event can slip through.",
    fix="Subscribe before you read the stored events, or do both under one lock.",
    source="ours",
)
def terminal_race(races: Sequence[tuple[Exchange, Exchange]], *, expect: Expectations) -> RuleResult:
    """Each pair is a run and a retry that was sent at about the time of the terminal event."""
    racing = sum(terminal_lead_ms(*pair) is not None for pair in races)
    result = combine(
        [_nothing_lost(original, retry, expect) for original, retry in races],
        f"{len(races)} retries around the terminal event, {racing} of them shortly before it, nothing lost",
    )
    if result.verdict is Verdict.PASS and not racing:
        return inconclusive("no retry was sent shortly before the terminal event", Location(races[0][0]))
    return result


def terminal_lead_ms(original: Exchange, retry: Exchange) -> float | None:
    """How long before the terminal event's arrival the retry was sent, in ms; None if they did not race."""
    if not original.terminals or retry.timing.sent_ns is None:
        return None
    lead_ms = (original.terminals[0].arrival_ns - retry.timing.sent_ns) / 1e6
    return lead_ms if 0 <= lead_ms <= _RACING_MS else None


def _nothing_lost(original: Exchange, retry: Exchange, expect: Expectations) -> RuleResult:
    if problem := require_terminal(original):
        return problem
    sequence, actual = original.sequence, retry.sequence
    start = sequence.index(actual[0]) if actual and actual[0] in sequence else 0
    expected = sequence[start:] if tail_allowed(expect) else sequence
    if difference := first_difference(expected, actual):
        return failed(
            f"a retry that raced the terminal event: {_difference(retry, difference)}",
            *divergence(original, expected, retry, actual),
        )
    return passed("complete")


@rule(
    "resume.every-cut",
    Level.MUST,
    "Cut after event k and resumed, the events before and after together are the canonical sequence, for every k",
    why="A frame lost or duplicated at the resume point is a wrong result that looks right.",
    fix=(
        "Send stored and live events from one ordered log, and continue after the last event sent; "
        "compare ids as two numbers, not as text."
    ),
    source="api, reading 2",
    needs=Need.LONG_ACTION,
)
def every_cut(cuts: Sequence[CutRun], *, expect: Expectations) -> RuleResult:
    if not cuts:
        return inconclusive("no run could be cut")
    stitched = [(cut, *stitch(cut, expect)) for cut in cuts]
    result = combine(
        [cut_result for _, _, cut_result in stitched],
        f"{counted(len(cuts), 'cut')}, each resumed to the canonical sequence",
    )
    if result.verdict is not Verdict.PASS:
        return result
    without_last_event_id = {
        policy: cut
        for cut, policy, _ in stitched
        if cut.seen and not cut.resumed.request.header("last-event-id") and not may_have_ended(cut)
    }
    if len(without_last_event_id) > 1:
        return failed(
            "without Last-Event-ID, some resumed streams replay from the first event and some start later: events "
            "are lost at the resume point",
            *(Location(cut.resumed, cut.resumed.events[0]) for cut in without_last_event_id.values()),
        )
    return result


@rule(
    "resume.last-event-id",
    Level.SHOULD,
    "`Last-Event-ID: k` returns exactly the events after k (MUST if the target declares it)",
    why="It is how event-stream clients resume automatically.",
    fix="Read `Last-Event-ID`, and start with the first event whose id is greater, compared as two numbers.",
    source="W",
    escalates=lambda expect: expect.last_event_id is True,
)
def last_event_id(original: Exchange, resumed: Sequence[Exchange]) -> RuleResult:
    """Each of `resumed` names an event of `original`, but not its last, in its Last-Event-ID."""
    if problem := require_terminal(original):
        return problem
    return combine(
        [_exactly_after(original, stream) for stream in resumed],
        f"each of {counted(len(resumed), 'id')} returned exactly the events after it",
    )


def _exactly_after(original: Exchange, resumed: Exchange) -> RuleResult:
    named = resumed.request.header("last-event-id")
    ids = [event.id for event in original.sequence]
    expected = original.sequence[ids.index(named) + 1 :]
    if difference := first_difference(expected, resumed.sequence):
        reason = _difference(resumed, difference)
        if resumed.sequence == original.sequence:
            reason = "the stream was replayed from the first event"
        return failed(
            f"Last-Event-ID {named}: {reason}", *divergence(original, expected, resumed, resumed.sequence)
        )
    return passed(f"Last-Event-ID {named} returned the {counted(len(expected), 'event')} after it")


@rule(
    "resume.bad-last-event-id",
    Level.MUST,
    "A malformed, foreign or future Last-Event-ID: no hang, no 5xx, no forged event",
    why="Clients reconnect with stale ids, and with ids of other runs and other servers.",
    fix=(
        "Look `Last-Event-ID` up among the run's events; if it is not there, send the run from its first "
        "event."
    ),
    source="ours",
)
def bad_last_event_id(original: Exchange, retries: Sequence[Exchange]) -> RuleResult:
    """Each of `retries` names an id that is malformed, not in the run, or in the future."""
    if problem := require_terminal(original):
        return problem
    return combine(
        [_tolerates_bad_id(original, retry) for retry in retries],
        f"{counted(len(retries), 'bad id')}: no hang, no 5xx, no forged event",
    )


def _tolerates_bad_id(original: Exchange, retry: Exchange) -> RuleResult:
    named = quoted(retry.request.header("last-event-id") or "")
    if retry.status is None or retry.ending is Ending.TIMED_OUT:
        return failed(f"Last-Event-ID {named}: {retry.describe()}", Location(retry))
    if retry.status >= 500:
        return failed(f"Last-Event-ID {named} caused status {retry.status}", Location(retry))
    if retry.started_run:
        forged = next((event for event in retry.events if event.identity not in original.sequence), None)
        if forged is not None and not (
            forged.event and forged.event.type == "error" and len(retry.events) == 1
        ):
            return failed(
                f"Last-Event-ID {named} returned an event that is not the run's: "
                f"{identity_label(forged.identity)}",
                Location(retry, forged),
            )
    return passed(f"Last-Event-ID {named}: {retry.describe()}")


@rule(
    "resume.start",
    Level.INFO,
    "Where a resume without Last-Event-ID starts: replay or tail",
    why="A client must know whether to expect repeated events.",
    fix="Document whether a stream without `Last-Event-ID` starts with the first event or with the next one.",
    source="reading 2",
)
def start(cuts: Sequence[CutRun], *, expect: Expectations) -> RuleResult:
    without_last_event_id = [
        cut for cut in cuts if cut.seen and cut.resumed.request.header("last-event-id") is None
    ]
    in_flight = [cut for cut in without_last_event_id if not may_have_ended(cut)]
    policies = sorted(
        {
            str(policy)
            for cut in in_flight or without_last_event_id
            for policy, _ in [stitch(cut, expect)]
            if policy is not None
        }
    )
    if not policies:
        return inconclusive("no run was resumed without Last-Event-ID")
    return info("a resume without Last-Event-ID starts with: " + ", ".join(policies))


@rule(
    "resume.replay-bytes",
    Level.INFO,
    "Whether a retry after completion returns the events' data byte for byte",
    why="A client that hashes, signs or compares the text of events needs the same bytes, not only the same values.",
    fix="If clients compare the text of events, store each event's data as it was sent.",
    source="ours",
)
def replay_bytes(original: Exchange, retry: Exchange) -> RuleResult:
    if problem := require_terminal(original):
        return problem
    if first_difference(original.sequence, retry.sequence) is not None:
        return inconclusive("the retry returned different events (see resume.replay)", Location(retry))
    pairs = zip(original.sequence, retry.sequence, strict=True)
    different = [place for place, (sent, again) in enumerate(pairs, 1) if sent.data != again.data]
    only_run_id = original.run_id != retry.run_id and different == [len(original.sequence)]
    if not different or only_run_id:
        return info("a retry returns the same bytes")
    return info(
        "a retry returns the same values in different bytes (key order, white space, escapes or forms of numbers)"
    )
