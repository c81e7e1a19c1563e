"""resume: a retry with the same key and body returns the same run, complete, wherever it was cut.

A run has one canonical sequence of events: their ids, names and JSON values (EventIdentity). Every connection
to it carries a contiguous part of that sequence, up to its end. The server decides where the part starts: at
the first event (replay), after Last-Event-ID, or at the next event (tail).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from harness.contract.exchange import Exchange
from harness.contract.expectations import Expectations
from harness.contract.finding import Location, RuleResult, Verdict, failed, inconclusive, info, passed
from harness.contract.rules.cuts import (
    CutRun,
    honours_ids,
    judge_cuts,
    may_have_ended,
    start_policies,
    survived,
)
from harness.contract.rules.last_event_id import (
    ends_after_terminal,
    exactly_after,
    judge_answer,
    judge_order,
    judge_own_ids,
    not_replayed,
    older_does_harm,
)
from harness.contract.rules.replays import require_replays, require_resume
from harness.contract.rules.retries import (
    Retries,
    all_joined,
    belongs_to,
    not_disturbed,
    nothing_lost,
    races_terminal,
    retained,
)
from harness.contract.rules.rule import Level, Need, combine, require_terminal, rule
from harness.contract.rules.sequences import described_difference, divergence, first_difference
from harness.contract.rules.text_order import OwnIds
from harness.formatting import counted
from harness.profiles.capability import Capability
from harness.profiles.workflow_actions.identity import EventIdentity


@rule(
    "resume.no-new-run",
    Level.MUST,
    "A retry never executes the action again",
    why="A second execution sends the mail, books the flight and bills the tokens twice.",
    fix="Store the key with the run before the action starts, and answer a retry from the stored run.",
    source="api",
    promise=(Capability.IDEMPOTENCY_KEY,),
)
def no_new_run(original: Exchange, retry: Exchange) -> RuleResult:
    return require_terminal(original) or belongs_to(original, retry)


@rule(
    "resume.replay",
    Level.MUST,
    "A retry after completion returns the same events: ids, event names and JSON values",
    why="A client that lost the response recovers it only if the replay is the same.",
    fix="Store each event with its id and data, and replay the stored events in that order.",
    source="api",
    promise=(Capability.REREAD,),
)
def replay(original: Exchange, retry: Exchange, earlier: Sequence[EventIdentity] = ()) -> RuleResult:
    """earlier: the events that came before `original`, if that is the last part of a run that was cut."""
    if problem := require_terminal(original):
        return problem
    whole = (*earlier, *original.sequence)
    if difference := first_difference(whole, retry.sequence):
        return failed(
            f"the retry of a finished run differs from it: {described_difference(retry, difference)}",
            *divergence(original, whole, retry, retry.sequence),
        )
    return passed(f"the retry returned the same {counted(len(retry.events), 'event')}")


@rule(
    "resume.failure-replayed",
    Level.MUST,
    "A failed run's retry replays the failure",
    why="A retry that silently runs again hides the failure and repeats its side effects.",
    fix="Store the events of a failed run like those of any run, and replay them to a retry.",
    source="api, D",
    promise=(Capability.REREAD, Capability.ERROR_EVENT),
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
            f"the retry of a failed run does not replay the failure: {described_difference(retry, difference)}",
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
    promise=(Capability.REREAD,),
    needs=Need.LONG_ACTION,
)
def joins(
    original: Exchange, *others: Exchange | tuple[Exchange, Exchange], expect: Expectations
) -> RuleResult:
    """Each of `others` was sent while `original` was being read; those that came after its end prove nothing.

    A pair is the control: a run that nobody joined, and its retry. Where it fails, late answers prove nothing.
    """
    if problem := require_terminal(original):
        return problem
    results = all_joined(original, others, expect)
    in_flight = [result for result in results if result.verdict is not Verdict.INCONCLUSIVE]
    if len(in_flight) < 2:
        return (in_flight or results or [inconclusive("no retry was sent")])[0]
    return combine(in_flight, f"{len(in_flight)} retries at different moments joined the run")


@rule(
    "resume.first-reader-kept",
    Level.MUST,
    "A second connection to a run does not affect the first",
    why="Opening the same run in a second tab must not take it away from the first.",
    fix="Give each connection its own subscription, so that one reader does not take another's events.",
    source="ours",
    promise=(Capability.REREAD,),
    needs=Need.LONG_ACTION,
)
def first_reader_kept(
    first: Exchange,
    second: Exchange,
    later: Exchange,
    control: tuple[Exchange, Exchange] | None = None,
) -> RuleResult:
    """`second` joined while `first` was reading; `later` is the run read again after its end.

    control: a run that nobody joined, and its retry.
    """
    broken = require_replays(control) if control is not None else None
    return require_terminal(later) or not_disturbed(first, second, later, broken)


@rule(
    "resume.survives-disconnect",
    Level.MUST,
    "After a cut (FIN, RST, half-close, before the head) the run can be resumed to its own outcome",
    why="Phones lose their connection; the work must not be lost with it.",
    fix=(
        "Execute the run in a separate task, which a lost connection does not cancel, and store its events."
    ),
    source="reading 3",
    promise=(Capability.RESUME,),
    needs=Need.LONG_ACTION,
)
def survives_disconnect(cuts: Sequence[CutRun]) -> RuleResult:
    """`cuts` are runs cut in every way there is."""
    if not cuts:
        return inconclusive("no run could be cut")
    return combine(
        [survived(cut) for cut in cuts],
        "resumed to its own outcome after each cut: "
        + ", ".join(dict.fromkeys(cut.before.ending_detail for cut in cuts)),
    )


@rule(
    "resume.terminal-race",
    Level.MUST,
    "A retry that races the terminal event loses nothing",
    why="Between reading past events and subscribing to new ones, the terminal event can slip through.",
    fix="Subscribe before you read the stored events, or do both under one lock.",
    source="ours",
    promise=(Capability.REREAD,),
)
def terminal_race(
    races: Sequence[tuple[Exchange, Exchange]],
    control: tuple[Exchange, Exchange] | None = None,
    *,
    expect: Expectations,
) -> RuleResult:
    """Each pair is a run and a retry that was sent at about the time of the terminal event.

    control: a run and a retry long after its end. Where that fails, a race proves nothing.
    """
    racing = sum(races_terminal(*pair) for pair in races)
    result = combine(
        [nothing_lost(original, retry, expect) for original, retry in races],
        f"{len(races)} retries around the terminal event, {racing} of them shortly before it, nothing lost",
    )
    if result.verdict is Verdict.FAIL and control is not None and (problem := require_replays(control)):
        return problem
    if result.verdict is Verdict.PASS and not racing:
        return inconclusive("no retry was answered shortly before the terminal event", Location(races[0][0]))
    return result


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
    promise=(Capability.SAME_EVENTS,),
    needs=Need.LONG_ACTION,
)
def every_cut(
    cuts: Sequence[CutRun],
    after_end: Sequence[CutRun] = (),
    control: tuple[Exchange, Exchange] | None = None,
    *,
    expect: Expectations,
) -> RuleResult:
    """Runs that were cut and resumed.

    after_end: resumptions of a finished run by Last-Event-ID. A server that honours ids there must do so in flight.
    control: a run that was not cut, and its retry. If that fails, the canonical sequence is unknown.
    """
    if not cuts:
        return inconclusive("no run could be cut")
    broken = require_replays(control) if control is not None else None
    if broken is not None:
        cuts = [
            replace(cut, canonical=None)
            for cut in cuts
            if not may_have_ended(cut) and set(cut.seen) & set(cut.resumed.sequence)
        ]
    result = judge_cuts(cuts, honours_ids(after_end, expect), expect)
    if broken is not None and result.verdict is not Verdict.FAIL:
        return broken
    return result


@rule(
    "resume.id-order",
    Level.MUST,
    "Last-Event-ID is compared as two numbers: `2-0` is older than the run, `<ms>-10` comes after `<ms>-9`",
    why="Compared as text, an old id skips the whole run, and seq 10 the events after 9.",
    fix="Split ids at the hyphen, and compare both parts as integers of 64 bits.",
    source="reading 8",
    promise=(Capability.RESUME_AFTER_ID, Capability.CLOCK_IDS),
    needs=Need.LONG_ACTION,
)
def id_order(
    original: Exchange,
    just_older: Exchange,
    resumed: Sequence[Exchange],
    control: tuple[Exchange, Exchange] | None = None,
    own: OwnIds | None = None,
    *,
    expect: Expectations,
) -> RuleResult:
    """Each of `resumed` names an id of the documented form that the run does not have.

    just_older: a resumption from an id that is a little older than the run, also as text. control: a run and its plain
    retry. If one of them fails, the order of ids is not the reason. own: resumptions after ids that a run does have.
    """
    if (problem := require_terminal(original) or (require_replays(control) if control else None)) is None:
        problem = older_does_harm(original, just_older, expect)
    absent = problem or judge_order(original, resumed, expect)
    if own is None:
        not_seen = "; not seen: ids of a run with a different order as text, like 9 and 10"
        return replace(absent, detail=absent.detail + not_seen) if absent.verdict is Verdict.PASS else absent
    known = require_replays(own[:2]) or judge_own_ids(own[0], own[2], expect)
    return combine([absent, known], f"{absent.detail}; {known.detail}")


@rule(
    "resume.last-event-id",
    Level.SHOULD,
    "`Last-Event-ID: k` returns exactly the events after k (MUST if the target declares it)",
    why="It is how event-stream clients resume automatically.",
    fix="Read `Last-Event-ID`, and start with the first event whose id is greater, compared as two numbers.",
    source="W",
    promise=(Capability.RESUME_AFTER_ID,),
    escalates=lambda expect: expect.last_event_id is True,
)
def last_event_id(
    original: Exchange,
    resumed: Sequence[Exchange],
    control: tuple[Exchange, Exchange] | None = None,
    in_flight: Sequence[CutRun] = (),
    own: OwnIds | None = None,
) -> RuleResult:
    """Each of `resumed` names an event of `original`, but not its last, in its Last-Event-ID.

    control: a run and its plain retry. If that fails, a retry with an id proves nothing. in_flight: runs that were cut
    and resumed with Last-Event-ID. own: more resumptions, of a different run.
    """
    if problem := require_terminal(original) or (require_replays(control) if control else None):
        return problem
    run, _, more = own if own is not None and require_replays(own[:2]) is None else (original, original, ())
    return combine(
        [
            *(exactly_after(original, stream) for stream in resumed),
            *(exactly_after(run, stream) for stream in more),
            *(not_replayed(cut) for cut in in_flight),
        ],
        f"each of {counted(len(resumed) + len(more) + len(in_flight), 'id')} returned exactly the events after it",
    )


@rule(
    "resume.after-terminal",
    Level.MUST,
    "Last-Event-ID of the terminal event: the response ends, and brings at most the terminal event or the whole run",
    why="A client that lost only the end of the connection asks for what follows, and would wait for it for ever.",
    fix="After the terminal event of a run send nothing more: end the stream, or send 204.",
    source="W 9.2.3, api",
    promise=(Capability.RESUME_AFTER_ID,),
)
def after_terminal(
    resumptions: Sequence[tuple[Exchange, Exchange]],
    control: tuple[Exchange, Exchange] | None = None,
    *,
    expect: Expectations,
) -> RuleResult:
    """Each pair is a finished run, and its resumption after its terminal event.

    control: a run and its plain retry. If that fails, only hangs, 5xx and empty answers are judged.
    """
    return combine(
        [
            _excused(ends_after_terminal(original, resumed, expect), resumed, control)
            for original, resumed in resumptions
        ],
        "after the terminal event: "
        + ", ".join(dict.fromkeys(resumed.describe() for _, resumed in resumptions)),
    )


def _excused(result: RuleResult, answer: Exchange, control: tuple[Exchange, Exchange] | None) -> RuleResult:
    """`result`, unless it is about the events of `answer` and a plain retry does not return those of the run either."""
    if control is None or result.verdict is not Verdict.FAIL or not answer.started_run:
        return result
    return require_replays(control) or result


@rule(
    "resume.bad-last-event-id",
    Level.MUST,
    "A malformed, old, foreign or future Last-Event-ID: no hang, no 5xx, no forged event, and nothing lost",
    why="Clients reconnect with stale ids, and with ids of other runs and other servers.",
    fix=(
        "Look `Last-Event-ID` up among the run's events; if it is not there, send the run from its first "
        "event."
    ),
    source="W 9.2.3, ours",
    promise=(Capability.RESUME_AFTER_ID,),
)
def bad_last_event_id(
    retries: Sequence[tuple[Exchange, Exchange]],
    control: tuple[Exchange, Exchange] | None = None,
    *,
    expect: Expectations,
) -> RuleResult:
    """Each pair is a run and a retry that names an id that the run does not have.

    The retry was sent after the end of the run or while it was in flight. control: a run and its plain retry. If that
    fails, only hangs, 5xx and empty answers are judged.
    """
    return combine(
        [
            require_terminal(original) or _excused(judge_answer(original, retry, expect), retry, control)
            for original, retry in retries
        ],
        f"{counted(len(retries), 'bad id')}: no hang, no 5xx, no forged event, nothing lost",
    )


@rule(
    "resume.start",
    Level.INFO,
    "Where a resume without Last-Event-ID starts: replay or tail",
    why="A client must know whether to expect repeated events.",
    fix="Document whether a stream without `Last-Event-ID` starts with the first event or with the next one.",
    source="reading 2",
    promise=(Capability.REREAD,),
)
def start(cuts: Sequence[CutRun], *, expect: Expectations) -> RuleResult:
    policies = start_policies(cuts, expect)
    if not policies and any(cut.resumed.named_id is None for cut in cuts):
        return inconclusive(
            "where resumed streams start could not be determined (see resume.every-cut, resume.replay)"
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
    promise=(Capability.REREAD,),
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


@rule(
    "resume.retention",
    Level.SHOULD,
    "A key works at least until the end of the suite, or for as long as the target declares (then MUST); for how long "
    "it was seen to work is reported",
    why="A client that is offline for a minute retries after it; if the key is forgotten, the action runs twice.",
    fix="Keep keys for as long as clients retry, for example 24 hours, and document for how long.",
    source="D 2.3",
    promise=(Capability.IDEMPOTENCY_KEY,),
    escalates=lambda expect: expect.key_retention_s is not None,
)
def retention(
    original: Exchange, early: Exchange, late: Exchange, firsts: Retries = (), *, expect: Expectations
) -> RuleResult:
    """`early`, `late`: retries of a run at once and at the end of the suite. firsts: runs, each with its only retry."""
    return require_resume(original, early) or retained(original, early, late, firsts, expect.key_retention_s)
