"""run-id: the id of a run, chosen by the client or the server, and how it relates to the key."""

from __future__ import annotations

from collections.abc import Sequence

from harness.contract.exchange import Exchange
from harness.contract.finding import Location, RuleResult, failed, inconclusive, info, passed
from harness.contract.rules.conflict import rejection_form
from harness.contract.rules.replays import require_resume
from harness.contract.rules.rule import Level, combine, event_label, quoted, require_terminal, rule
from harness.contract.rules.sequences import first_difference
from harness.formatting import counted
from harness.profiles.capability import Capability


@rule(
    "run-id.constant",
    Level.MUST,
    "`runId` is the same on every connection to a run",
    why="A client that reconnects looks the run up by its id; a different id points to a different run.",
    fix="Create the `runId` once, store it with the run, and send the stored one on every connection.",
    source="api",
    promise=(Capability.RUN_ID, Capability.REREAD),
)
def constant(connections: Sequence[Exchange]) -> RuleResult:
    """`connections` are streams of one run."""
    shared = set.intersection(*({event.id for event in run.events} for run in connections))
    if not shared:
        return inconclusive("the connections have no event in common, so they are not connections to one run")
    by_run_id = {run.run_id: run for run in connections if run.run_id is not None}
    if sum(run.run_id is not None for run in connections) < 2:
        return inconclusive(
            "fewer than two connections have a runId", *(Location(run) for run in connections[:1])
        )
    if len(by_run_id) > 1:
        return failed(
            "connections to one run have different runIds: " + ", ".join(map(quoted, by_run_id)),
            *(Location(run, run.over) for run in by_run_id.values()),
        )
    return passed(f"the same on {counted(len(connections), 'connection')}")


@rule(
    "run-id.single",
    Level.MUST,
    "All events of a run that have its id have the same one",
    why="Clients put the pieces of an answer together by this id; two ids are two answers, each a fragment.",
    fix="Create the id once, before the first event of the run, and send that one with each event.",
    source="api",
    promise=(Capability.REPEATED_RUN_ID,),
    any_stream=True,
)
def single(run: Exchange) -> RuleResult:
    if run.started_run and run.run_id is None and run.outcome == "error":
        return passed("the run failed before it had an id")
    if not run.started_run or run.run_id is None:
        return inconclusive(f"no event has a run id: {run.describe()}", Location(run))
    if run.is_regular:  # the fast decoder compares them
        return passed("one run id")
    for event in run.events:
        found = event.event.run_id if event.event is not None else None
        if found not in {None, run.run_id}:
            return failed(
                f"{event_label(event)} has the run id {quoted(found or '')}, an earlier one {quoted(run.run_id)}",
                Location(run, event),
            )
    return passed("one run id")


def _echoes(run: Exchange) -> RuleResult:
    if problem := require_terminal(run):
        return problem
    if run.run_id != run.requested_run_id:
        return failed(
            f"the client's runId {quoted(run.requested_run_id or '')} came back as {quoted(run.run_id or '')}",
            Location(run, run.over),
        )
    return passed("echoed")


@rule(
    "run-id.echoed",
    Level.MUST,
    "A `runId` from the client, sent with a fresh key or none, is the terminal event's `runId`",
    why="The client chose the id to find the run again.",
    fix="Use the client's `runId` as the run's id, and send it in the terminal event.",
    source="api",
    promise=(Capability.CLIENT_RUN_ID,),
)
def echoed(runs: Sequence[Exchange]) -> RuleResult:
    """Each of `runs` was requested with a runId, with a fresh key or without one."""
    return combine([_echoes(run) for run in runs], "the terminal event's runId is the client's")


@rule(
    "run-id.key-wins",
    Level.MUST,
    "With both, the key decides: new key + old runId is a new run; old key + new runId is a retry or a conflict",
    why="With two identifiers, one must take precedence, or retries reach the wrong run.",
    fix="Look a request up by its `Idempotency-Key` first, and by its `runId` only if it has no key.",
    source="api",
    promise=(Capability.CLIENT_RUN_ID, Capability.IDEMPOTENCY_KEY),
)
def key_wins(
    control: tuple[Exchange, Exchange], original: Exchange, new_key_old_id: Exchange, old_key_new_id: Exchange
) -> RuleResult:
    """A run with key and runId; its runId with a new key; its key with a new runId.

    `control` is a run with only a key, and its retry.
    """
    if problem := require_terminal(original) or require_resume(*control):
        return problem
    if not new_key_old_id.started_run or rejection_form(new_key_old_id, original) is not None:
        return failed(
            f"a new key with an old runId is not a new run: {new_key_old_id.describe()}",
            Location(original),
            Location(new_key_old_id),
        )
    if new_key_old_id.sequence == original.sequence:
        if (
            control[0].sequence == original.sequence
        ):  # the runId is the client's, so only event ids could differ
            return inconclusive(
                "independent runs have the same ids and data on this target", Location(original)
            )
        return failed(
            "a new key with an old runId got the old run: the runId took precedence over the key",
            Location(original),
            Location(new_key_old_id),
        )
    resumed = first_difference(original.sequence, old_key_new_id.sequence) is None
    refused = old_key_new_id.status is not None and 400 <= old_key_new_id.status < 500
    if not resumed and not refused and rejection_form(old_key_new_id, original) is None:
        return failed(
            f"an old key with a new runId is neither resumed nor rejected with 409: {old_key_new_id.describe()}",
            Location(original),
            Location(old_key_new_id),
        )
    return passed(
        "a new key with an old runId is a new run; an old key with a new runId is "
        + ("resumed" if resumed else "a conflict")
    )


@rule(
    "run-id.resumes",
    Level.SHOULD,
    "Without a key, same runId + same body resumes",
    why="A client without keys can only retry by runId.",
    fix="If a request has no key, look its `runId` and body up, and resume the run that has both.",
    source="reading 5",
    promise=(Capability.CLIENT_RUN_ID, Capability.SERVER_RUN_ID),
)
def resumes(control: tuple[Exchange, Exchange], original: Exchange, retry: Exchange) -> RuleResult:
    """The same runId and body twice, without a key. `control` is a run with a key, and its retry."""
    if problem := require_terminal(original) or require_resume(*control):
        return problem
    if difference := first_difference(original.sequence, retry.sequence):
        reason = difference if retry.started_run else retry.describe()
        return failed(
            f"without a key, the same runId and body do not resume: {reason}",
            Location(original),
            Location(retry),
        )
    return passed("without a key, the same runId and body resume the run")


@rule(
    "run-id.without-key",
    Level.INFO,
    "Whether a runId without a key acts as a key",
    why="It tells clients whether a runId makes a retry safe.",
    fix="Document whether a `runId` alone makes a retry safe.",
    source="reading 5",
    promise=(Capability.CLIENT_RUN_ID, Capability.SERVER_RUN_ID),
)
def without_key(original: Exchange, retry: Exchange) -> RuleResult:
    """The same runId and body twice, without a key."""
    if problem := require_terminal(original):
        return problem
    if first_difference(original.sequence, retry.sequence) is None:
        return info("a runId without a key resumes its run")
    return info(f"a runId without a key does not resume: the second request got {retry.describe()}")
