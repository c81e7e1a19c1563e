"""restart: what happens to runs, and to their keys, when the server is restarted.

The suite restarts the target by the command of its settings, while some runs have ended and some are in flight. A run
in flight may continue after that or end with an error; its readers may lose their connection.
"""

from __future__ import annotations

from collections.abc import Sequence

from harness.contract.exchange import Ending, Exchange
from harness.contract.expectations import Expectations
from harness.contract.finding import Location, RuleResult, failed, inconclusive, passed
from harness.contract.rules import resume
from harness.contract.rules.conflict import is_conflict
from harness.contract.rules.replays import each_retry
from harness.contract.rules.rule import Level, Need, combine, require_accepted, rule
from harness.contract.rules.sequences import divergence, first_difference, identity_label
from harness.formatting import counted
from harness.profiles.capability import Capability
from harness.protocol.http1 import Delimiter

EndedRun = tuple[Exchange, Exchange, list[Exchange]]
"""A run that ended before the restart, its retry before it, and its retries after it."""

InterruptedRun = tuple[list[Exchange], list[Exchange]]
"""The readers of a run that was in flight at the restart, and the retries after it."""


Tries = Sequence[Sequence[Exchange]]
"""For each replica, the first and the last response to a request for a new run after the restart."""


def _require_restart(tries: Tries, interrupted: Sequence[InterruptedRun]) -> RuleResult | None:
    """None if something shows that the target was restarted and serves again; otherwise an inconclusive result."""
    if not interrupted or not all(_serves(answers) for answers in tries):
        return inconclusive("the target did not serve again (see restart.serves-again)")
    refused = any(not one.started_run for answers in tries for one in answers)
    if refused or any(shows_restart(reader) for run, _ in interrupted for reader in run):
        return None
    return inconclusive(
        "nothing shows that the target was restarted: no request was refused, and every run in flight was read to its "
        "end; check target.restart_command, or configure a longer [target.actions.long]"
    )


def shows_restart(reader: Exchange) -> bool:
    """Whether what a reader of a run in flight got shows that the server was restarted."""
    return not reader.over or reader.outcome == "error"


@rule(
    "restart.serves-again",
    Level.MUST,
    "After a restart the server accepts new runs, within the time budget",
    why="A server that comes back without its store, or does not come back, is an outage at each deployment.",
    fix="Answer requests only when the store is reachable, and let the restart fail if it is not.",
    source="ours",
    promise=(Capability.IDEMPOTENCY_KEY,),
    needs=Need.RESTART,
)
def serves_again(tries: Tries) -> RuleResult:
    if not tries:
        return inconclusive("nothing was sent after the restart")
    for answers in tries:
        if not _serves(answers):
            last = answers[-1]
            return failed(f"after the restart a new run got {last.describe()}", Location(last))
    return passed("new runs were accepted after the restart")


def _serves(answers: Sequence[Exchange]) -> bool:
    return answers[-1].started_run and answers[-1].outcome is not None


@rule(
    "restart.no-new-run",
    Level.MUST,
    "A retry after a restart never executes the action again, whether or not its run had ended",
    why="Clients retry exactly when a server restarts; if it has forgotten their keys, each of them pays twice.",
    fix="Store the key before the action starts, where a restart does not lose it; end a run that cannot continue.",
    source="api",
    promise=(Capability.IDEMPOTENCY_KEY,),
    needs=Need.RESTART,
)
def no_new_run(ended: Sequence[EndedRun], interrupted: Sequence[InterruptedRun], tries: Tries) -> RuleResult:
    if problem := _require_restart(tries, interrupted):
        return problem
    results = each_retry(ended, resume.no_new_run.function)
    results += [
        _same_execution(readers, retry)
        for readers, retries in interrupted
        for retry in retries
        if retry.events
    ]
    return combine(
        results, f"{counted(len(results), 'retry', 'retries')} after the restart started no new run"
    )


def _same_execution(readers: Sequence[Exchange], retry: Exchange) -> RuleResult:
    """Whether a retry of a run in flight has the events that its readers got, and not those of another execution."""
    longest = max(readers, key=lambda reader: len(reader.events))
    seen = {event.id for event in longest.events if event.id is not None}
    if not seen:
        return inconclusive(
            f"no event of the run came before the restart: {longest.describe()}", Location(longest)
        )
    if retry.run_id is not None and longest.run_id is not None and retry.run_id != longest.run_id:
        return failed(
            f"the retry of a run in flight at the restart belongs to a different run: {retry.run_id}",
            Location(longest),
            Location(retry, retry.over),
        )
    pieces = [event for event in retry.events if event.event is not None and event.event.outcome is None]
    if pieces and not any(event.id in seen for event in pieces) and _begins_anew(longest, retry):
        return failed(
            f"the retry of a run in flight at the restart starts with id {pieces[0].id}, and has none of its "
            f"{counted(len(seen), 'event')}: the action was executed again",
            Location(longest),
            Location(retry, pieces[0]),
        )
    return passed("the same run")


def _begins_anew(before: Exchange, retry: Exchange) -> bool:
    """Whether a retry starts with the data of the run's first event; a tail does not."""
    return bool(before.sequence and retry.sequence) and before.sequence[0].data == retry.sequence[0].data


@rule(
    "restart.replay",
    Level.MUST,
    "A run that had ended before a restart is replayed after it with the same events",
    why="A client that was offline during a deployment must still get its result.",
    fix="Write each event to the store before it is sent, and read replays from there.",
    source="api",
    promise=(Capability.IDEMPOTENCY_KEY, Capability.REREAD),
    needs=Need.RESTART,
)
def replay(ended: Sequence[EndedRun], interrupted: Sequence[InterruptedRun], tries: Tries) -> RuleResult:
    if problem := _require_restart(tries, interrupted):
        return problem
    return combine(
        each_retry(ended, resume.replay.function),
        f"{counted(len(ended), 'run')} replayed after the restart",
    )


@rule(
    "restart.ends",
    Level.MUST,
    "A run in flight at a restart continues or ends: each later connection to it gets exactly one terminal event, and "
    "no stream of it is completed without one",
    why="A client that rejoins a run whose process is gone waits for ever for an event that nobody will send.",
    fix="At its start, let the server end the runs that it finds unfinished with an error event, or continue them; "
    "let a server that stops end its streams with one too, or cut them.",
    source="ours",
    promise=(Capability.IDEMPOTENCY_KEY,),
    needs=Need.RESTART,
)
def ends(interrupted: Sequence[InterruptedRun], tries: Tries) -> RuleResult:
    if problem := _require_restart(tries, interrupted):
        return problem
    if problem := require_accepted(*(readers[0] for readers, _ in interrupted)):
        return problem
    return combine(
        [
            *(_not_completed_early(reader) for readers, _ in interrupted for reader in readers),
            *(_ends_once(stream) for _, retries in interrupted for stream in retries),
        ],
        f"{counted(len(interrupted), 'run')} in flight at the restart, each with one terminal event",
    )


def may_be_cut(stream: Exchange) -> bool:
    """Whether a complete response may be one that was cut: nothing marks its end.

    The end of a chunked body is marked. If not, the end of the connection is the end of the body (RFC 9112, 6.3).
    """
    return stream.head is not None and stream.head.delimiter is Delimiter.CLOSE


def _not_completed_early(reader: Exchange) -> RuleResult:
    is_complete = reader.ending is Ending.COMPLETE and not may_be_cut(reader)
    if is_complete and reader.started_run and reader.over is None:
        return failed(
            f"{reader.label}: at the restart the stream was completed without a terminal event",
            Location(reader),
        )
    return passed("ended, or cut")


def _ends_once(stream: Exchange) -> RuleResult:
    if not stream.started_run:
        return failed(
            f"the retry of a run in flight at the restart got {stream.describe()}", Location(stream)
        )
    if len(stream.terminals) > 1:
        return failed(
            f"a run in flight at the restart has {len(stream.terminals)} terminal events",
            *(Location(stream, event) for event in stream.terminals[:2]),
        )
    if not stream.over or stream.ending is not Ending.COMPLETE:
        return failed(f"a run in flight at the restart did not end: {stream.describe()}", Location(stream))
    return passed("one terminal event")


@rule(
    "restart.same-events",
    Level.MUST,
    "After a restart every connection to a run in flight gets the same events, which begin with those sent before",
    why="A client that has shown ten words cannot take them back; two clients must not see two different ends.",
    fix="Write an event to the store before it is sent, with its id; write the event that ends the run once.",
    source="ours",
    promise=(Capability.IDEMPOTENCY_KEY, Capability.REREAD),
    needs=Need.RESTART,
)
def same_events(interrupted: Sequence[InterruptedRun], tries: Tries) -> RuleResult:
    """The last retry of each run is read after its end; the earlier ones may begin later if the server sends a tail."""
    if problem := _require_restart(tries, interrupted):
        return problem
    return combine(
        [
            _same(stream, retries[-1])
            for readers, retries in interrupted
            for stream in (*readers, *retries[:-1])
        ],
        f"{counted(len(interrupted), 'run')} in flight at the restart, each with the same events on every connection",
    )


def _same(stream: Exchange, whole: Exchange) -> RuleResult:
    sequence, part = whole.sequence, stream.sequence
    if not whole.over:
        return inconclusive(f"the run did not end (see restart.ends): {whole.describe()}", Location(whole))
    if not part:
        return passed("no event to compare")
    if part[0] not in sequence:
        return failed(
            f"the run read after the restart lacks {identity_label(part[0])}, which {stream.label} got",
            Location(stream, stream.first_event),
            Location(whole),
        )
    expected = sequence[sequence.index(part[0]) :]
    if not stream.over:  # the restart cut it
        expected = expected[: len(part)]
    if difference := first_difference(expected, part):
        return failed(
            f"the run read after the restart differs from what {stream.label} got: {difference}",
            *divergence(whole, expected, stream, part),
        )
    return passed("the same events")


@rule(
    "restart.conflict",
    Level.MUST,
    "The same key with a different body is still rejected with 409 after a restart",
    why="A key whose body is forgotten runs a second, different request as if it were the first.",
    fix="Store the body's fingerprint with the key, not in memory.",
    source="api",
    promise=(Capability.KEY_CONFLICT,),
    needs=Need.RESTART,
)
def conflicts(
    pairs: Sequence[tuple[Exchange, Exchange, Exchange]],
    interrupted: Sequence[InterruptedRun],
    tries: Tries,
    *,
    expect: Expectations,
) -> RuleResult:
    """Runs that began before the restart, and the responses to a different body before it and after it."""
    if problem := _require_restart(tries, interrupted):
        return problem
    results = []
    for run, before, after in pairs:
        own = is_conflict(before, run, "a different body", expect)
        results.append(
            is_conflict(after, run, "a different body after the restart", expect)
            if own.verdict == "pass"
            else inconclusive(f"a different body was not rejected before the restart either: {own.detail}")
        )
    return combine(
        results, f"{counted(len(pairs), 'different body', 'different bodies')} rejected after the restart"
    )
