"""replica: several processes of one server, behind a load balancer, answer like one.

The evidence is that of the rules about retries, cuts, conflicts and races, with requests of one run to different
replicas. What such evidence must show is the same, so these rules apply the functions of those.
"""

from __future__ import annotations

from collections.abc import Sequence

from harness.contract.exchange import Exchange
from harness.contract.expectations import Expectations
from harness.contract.finding import Location, RuleResult, Verdict, failed, inconclusive, passed
from harness.contract.rules import cancel, race, resume
from harness.contract.rules.cancel import Cancelled
from harness.contract.rules.conflict import is_conflict, rejection_form
from harness.contract.rules.cuts import CutRun
from harness.contract.rules.replays import each_retry
from harness.contract.rules.rule import Level, Need, combine, require_accepted, rule
from harness.formatting import counted
from harness.profiles.capability import Capability

ReplayedRun = tuple[Exchange, Exchange, list[Exchange]]
"""A finished run, its retry at the replica that started it, and its retries at the others."""


@rule(
    "replica.same-run",
    Level.MUST,
    "A retry at another replica does not execute the action again",
    why="A load balancer sends the retry anywhere; with a table of keys in each process the mail is sent twice.",
    fix="Keep the keys in a store that all replicas share, and claim a key there in one atomic step.",
    source="api",
    promise=(Capability.IDEMPOTENCY_KEY,),
    needs=Need.REPLICAS,
)
def same_run(runs: Sequence[ReplayedRun]) -> RuleResult:
    return combine(
        each_retry(runs, resume.no_new_run.function),
        f"{counted(len(runs), 'run')}, each retried at the other replicas: no new run",
    )


@rule(
    "replica.replay",
    Level.MUST,
    "A retry at another replica, after the end of the run, returns the same events with the same ids in the same order",
    why="A client whose retry reaches another replica must get the result of its run, not a different one or none.",
    fix="Store each event with its id where all replicas read it, and replay what is stored, in its order.",
    source="api",
    promise=(Capability.REREAD,),
    needs=Need.REPLICAS,
)
def replay(runs: Sequence[ReplayedRun]) -> RuleResult:
    return combine(
        each_retry(runs, resume.replay.function),
        f"{counted(len(runs), 'run')}, each replayed by the other replicas as by the first",
    )


@rule(
    "replica.joins",
    Level.MUST,
    "A retry at another replica while the run is in flight joins it: same ids, same data, same terminal event",
    why="A client that reconnects reaches another replica, and must see the run that it started, up to its end.",
    fix="Publish each event and the end of a run to all replicas, for example by a stream of the shared store.",
    source="api",
    promise=(Capability.REREAD,),
    needs=Need.REPLICAS,
)
def joins(runs: Sequence[Sequence[Exchange]], *, expect: Expectations) -> RuleResult:
    """Each of `runs` is a run and the retries that joined it, at all replicas in turn.

    Those that came after the end of their run prove nothing, as for resume.joins.
    """
    results = [resume.joins.function(*run, expect=expect) for run in runs]
    return combine(
        [result for result in results if result.verdict is not Verdict.INCONCLUSIVE] or results,
        f"{counted(sum(len(run) - 1 for run in runs), 'retry', 'retries')} joined a run of another replica",
    )


@rule(
    "replica.terminal-race",
    Level.MUST,
    "A retry at another replica that races the terminal event loses nothing, and ends",
    why="The end of a run can slip through between the history that a replica reads and the events that it follows.",
    fix="Start to follow the run before you read its history, and look at its end once more after that.",
    source="ours",
    promise=(Capability.REREAD,),
    needs=Need.REPLICAS,
)
def terminal_race(races: Sequence[tuple[Exchange, Exchange]], *, expect: Expectations) -> RuleResult:
    return resume.terminal_race.function(races, expect=expect)


@rule(
    "replica.every-cut",
    Level.MUST,
    "Cut after event k and resumed at another replica, the events before and after together are the canonical "
    "sequence: no gap between history and live events, no event twice",
    why="Between the stored events that a replica reads and the new ones that it follows, one can be lost or repeated.",
    fix="Read the stored and the live events from one log, by position: start to follow before you read the history.",
    source="api, reading 2",
    promise=(Capability.SAME_EVENTS,),
    needs=Need.REPLICAS,
)
def every_cut(
    cuts: Sequence[CutRun], after_end: Sequence[CutRun] = (), *, expect: Expectations
) -> RuleResult:
    """`cuts` are runs that were cut and resumed at another replica. after_end: as for resume.every-cut."""
    return resume.every_cut.function(cuts, after_end, expect=expect)


@rule(
    "replica.conflict",
    Level.MUST,
    "The same key with a different body is rejected with 409 at another replica too, in flight and after the run",
    why="A client's mistake with a key must not depend on the replica that its request reaches.",
    fix="Store the body's fingerprint with the key in the shared store, when the run starts.",
    source="api",
    promise=(Capability.KEY_CONFLICT,),
    needs=Need.REPLICAS,
)
def conflicts(
    pairs: Sequence[tuple[Exchange, Exchange]], control: Sequence[Exchange], *, expect: Expectations
) -> RuleResult:
    """Each pair is a run and the response to its key with a different body at another replica.

    control: a run and the response to its key with a different body at its own replica.
    """
    own = is_conflict(control[1], control[0], "a different body", expect)
    if own.verdict is not Verdict.PASS:
        return inconclusive(
            f"the replica of the run does not reject a different body either (see conflict.rejected): {own.detail}",
            *own.places,
        )
    return combine(
        [is_conflict(other, run, "a different body at another replica", expect) for run, other in pairs],
        f"{counted(len(pairs), 'different body', 'different bodies')} rejected at another replica",
    )


@rule(
    "replica.conflict-form",
    Level.SHOULD,
    "All replicas reject a different body in the same form",
    why="A client that knows one form of the rejection takes the other one for a failure of its run.",
    fix="Run the same version of the server as all replicas, with the same settings.",
    source="ours",
    promise=(Capability.KEY_CONFLICT,),
    needs=Need.REPLICAS,
)
def conflict_form(pairs: Sequence[tuple[Exchange, Exchange]]) -> RuleResult:
    """Each pair is a run and the response to its key with a different body, at all replicas in turn."""
    if problem := require_accepted(*(run for run, _ in pairs)):
        return problem
    forms = {rejection_form(response, run): response for run, response in pairs}
    if not forms or None in forms:
        return inconclusive("a different body was not rejected (see replica.conflict)")
    if len(forms) > 1:
        return failed(
            f"the replicas reject in different forms: {' and '.join(sorted(map(str, forms)))}",
            *map(Location, forms.values()),
        )
    return passed(f"all replicas reject with {next(iter(forms))}")


@rule(
    "replica.one-run",
    Level.MUST,
    "Simultaneous equal requests to all replicas: one execution, identical streams",
    why="A double click reaches two replicas; a lock inside one process does not keep them apart.",
    fix="Claim the key by a unique index or `SET NX` of the shared store, and let the request that comes second join.",
    source="api",
    promise=(Capability.IDEMPOTENCY_KEY,),
    needs=Need.REPLICAS,
)
def one_run(rounds: Sequence[Sequence[Exchange]], *, expect: Expectations) -> RuleResult:
    return race.same_body.function(rounds, expect=expect)


@rule(
    "replica.one-winner",
    Level.MUST,
    "Simultaneous different requests with one key to all replicas: exactly one winner, the rest 409",
    why="Two replicas that look the key up before they store it both run, and the client gets two results.",
    fix="Store key and fingerprint in one atomic step of the shared store, and answer 409 to all that come second.",
    source="api",
    promise=(Capability.KEY_CONFLICT,),
    needs=Need.REPLICAS,
)
def one_winner(control: Exchange, rounds: Sequence[Sequence[Exchange]]) -> RuleResult:
    return race.different_bodies.function(control, rounds)


@rule(
    "replica.cancel",
    Level.MUST,
    "A run that is cancelled by a request to another replica ends with one `cancelled` event on every connection, at "
    "each replica",
    why="The button reaches any replica: the run continues elsewhere, is paid for, and its readers see different ends.",
    fix="Tell the replica that executes the run, and let each replica read the end of a run from the shared store.",
    source="ours",
    promise=(Capability.CANCEL, Capability.CANCELLED_EVENT),
    needs=Need.REPLICAS,
)
def cancels(
    cancelled: Sequence[Cancelled], control: Sequence[Cancelled], *, expect: Expectations
) -> RuleResult:
    """Each of `cancelled` is a run of which reader, second reader and the request that cancels it are at replicas in
    turn. control: runs that were cancelled at their own replica.
    """
    own = cancel.one_outcome.function(control)
    if own.verdict is not Verdict.PASS:
        return inconclusive(
            f"a run that is cancelled at its own replica does not end so either (see cancel.one-outcome): {own.detail}",
            *own.places,
        )
    results = [
        cancel.accepted.function(cancelled),
        cancel.ends.function(cancelled, expect=expect),
        cancel.one_outcome.function(cancelled),
    ]
    if any(later is not None for _, _, later, _ in cancelled):
        results.append(cancel.replayed.function(cancelled))
    return combine(
        results, f"{counted(len(cancelled), 'run')} cancelled at another replica, on every connection"
    )
