"""race: simultaneous requests yield one run or one winner, and runs do not affect each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from harness.contract.exchange import Ending, Exchange
from harness.contract.expectations import Expectations
from harness.contract.finding import Location, RuleResult, Verdict, failed, inconclusive, passed
from harness.contract.rules.conflict import rejections
from harness.contract.rules.rule import Level, Need, combine, require_terminal, rule
from harness.contract.rules.sequences import divergence, first_difference
from harness.formatting import counted
from harness.profiles.capability import Capability

_WINDOW_MS = 100.0  # requests whose last bytes were sent within this window count as simultaneous
_SLOWED = 2.0  # times the undisturbed duration
_SLOWED_MS = 1000.0
_SLOWED_ROUNDS = 2  # enough to show that a server waits for stalled readers, without another round

StalledRound = tuple[Exchange, Sequence[Exchange], Exchange | None]
"""A run alone, runs next to another connection that is open and unread, and a run alone after that, if one was sent."""


def _are_simultaneous(responses: Sequence[Exchange]) -> bool:
    sent = [response.timing.sent_ns for response in responses if response.timing.sent_ns is not None]
    return len(sent) == len(responses) and (max(sent) - min(sent)) / 1e6 <= _WINDOW_MS


def _round_suffix(number: int, rounds: Sequence[object]) -> str:
    return f" (round {number} of {len(rounds)})" if len(rounds) > 1 else ""


@rule(
    "race.same-body",
    Level.MUST,
    "N simultaneous equal requests: one execution, N identical streams",
    why="A double click, or a proxy's retry, arrives before the first request is stored.",
    fix=(
        "Store the key in one atomic step (a unique index, or `SET NX`), and let the request that comes "
        "second join the run."
    ),
    source="api",
    promise=(Capability.IDEMPOTENCY_KEY,),
)
def same_body(rounds: Sequence[Sequence[Exchange]], *, expect: Expectations) -> RuleResult:
    """Each round holds the responses to equal requests that were sent simultaneously."""
    together = [responses for responses in rounds if _are_simultaneous(responses)]
    if not together:
        return inconclusive("the requests could not be sent simultaneously")
    return combine(
        [
            _one_run(responses, _round_suffix(number, together), expect)
            for number, responses in enumerate(together, 1)
        ],
        f"{counted(len(together), 'round')} of {len(together[0])} equal requests: one run each, identical streams",
    )


def _one_run(responses: Sequence[Exchange], round_suffix: str, expect: Expectations) -> RuleResult:
    rejected = [response for response in responses if not response.started_run]
    if len(rejected) == len(responses):
        return inconclusive(
            f"none of the requests was accepted: {responses[0].describe()}", Location(responses[0])
        )
    if rejected:
        return failed(
            f"{len(rejected)} of {len(responses)} simultaneous equal requests got no run: "
            f"{rejected[0].describe()}{round_suffix}",
            Location(rejected[0]),
        )
    run_ids = {response.run_id for response in responses if response.run_id is not None}
    if len(run_ids) > 1:  # event ids prove nothing: runs of the same millisecond may use the same ids
        examples = list({response.run_id: response for response in responses}.values())[:2]
        return failed(
            f"{len(responses)} simultaneous equal requests were executed as {len(run_ids)} runs{round_suffix}",
            *(Location(response) for response in examples),
        )
    longest = max(responses, key=lambda response: len(response.events))
    for response in responses:
        sequence = longest.sequence
        if expect.resume_start != "replay" and response.sequence and response.sequence[0] in sequence:
            sequence = sequence[sequence.index(response.sequence[0]) :]
        if difference := first_difference(sequence, response.sequence):
            return failed(
                f"the streams of two simultaneous equal requests differ: {difference}{round_suffix}",
                *divergence(longest, sequence, response, response.sequence),
            )
    return require_terminal(longest) or passed("one run")


@rule(
    "race.different-bodies",
    Level.MUST,
    "N simultaneous different requests with one key: exactly one winner, the rest 409",
    why="A check-then-act bug lets two through under load, but not in a sequential test.",
    fix=(
        "Store key and fingerprint in one atomic step, and answer 409 if the key is there with another "
        "fingerprint."
    ),
    source="api",
    promise=(Capability.KEY_CONFLICT,),
)
def different_bodies(control: Exchange, rounds: Sequence[Sequence[Exchange]]) -> RuleResult:
    """Each round holds the responses to simultaneous requests with one key and different bodies.

    `control` is a run of the same action with a different key.
    """
    together = [responses for responses in rounds if _are_simultaneous(responses)]
    if not together:
        return inconclusive("the requests could not be sent simultaneously")
    return combine(
        [
            _one_winner(control, responses, _round_suffix(number, together))
            for number, responses in enumerate(together, 1)
        ],
        f"{counted(len(together), 'round')} of {len(together[0])} different bodies: one winner each, the rest 409",
    )


def _one_winner(control: Exchange, responses: Sequence[Exchange], round_suffix: str) -> RuleResult:
    if control.has_conflict_event and any(response.has_conflict_event for response in responses):
        return inconclusive(
            "the action's own runs fail with an error of code 409, so such a stream may be a rejection or "
            "a failed run",
            Location(control),
        )
    losers = rejections(responses)
    winners = [response for response in responses if response not in losers and response.started_run]
    others = [response for response in responses if response not in losers and response not in winners]
    if not winners and not losers:
        return inconclusive(
            f"none of the requests was accepted: {responses[0].describe()}", Location(responses[0])
        )
    if len(winners) != 1:
        return failed(
            f"{counted(len(winners), 'winner')} among {len(responses)} different bodies with one key{round_suffix}",
            *(Location(response) for response in (winners or losers)[:2]),
        )
    if others:
        return failed(f"a loser got {others[0].describe()}, not a 409{round_suffix}", Location(others[0]))
    if not winners[0].over:
        return failed(
            f"the winner's stream did not end: {winners[0].describe()}{round_suffix}", Location(winners[0])
        )
    return passed("one winner")


@rule(
    "race.no-crosstalk",
    Level.MUST,
    "Interleaved runs never show each other's events",
    why="One user's tokens in another user's stream are a data breach.",
    fix=(
        "Keep each run's events in a separate channel, named by the run, not in a global or in a shared "
        "buffer."
    ),
    source="ours",
    needs=Need.ECHO_ACTION,
)
def no_crosstalk(runs: Mapping[str, Exchange]) -> RuleResult:
    """`runs` maps a unique text to the interleaved run that was asked to echo it."""
    if any(not run.started_run for run in runs.values()):
        return inconclusive("not every interleaved run was accepted")
    if not any(text in run.text for text, run in runs.items()):
        return inconclusive("the action does not echo the text it is sent")
    for text, run in runs.items():
        foreign = next((other for other in runs if other != text and other in run.text), None)
        if foreign is not None:
            return failed("a run contains another run's text", Location(run), Location(runs[foreign]))
    lost = [run for text, run in runs.items() if text not in run.text]
    if received := [run for run in lost if run.ending is Ending.COMPLETE or run.outcome is not None]:
        return failed("an interleaved run lost its own text", Location(received[0]))
    if lost:  # a broken connection lost it
        return inconclusive(
            f"an interleaved run was not received whole: {lost[0].describe()}", Location(lost[0])
        )
    ids = [run.run_id for run in runs.values() if run.run_id]
    if len(set(ids)) < len(ids):
        return failed("two independent runs have one runId", *(Location(run) for run in runs.values()))
    return passed(f"{len(runs)} interleaved runs, each with only its own text")


@rule(
    "race.close-one",
    Level.MUST,
    "Closing one stream leaves the others intact",
    why="A shared producer that dies with its first reader takes the others down.",
    fix="End only the subscription of the connection that closed; let the run and its other readers go on.",
    source="ours",
    promise=(Capability.IDEMPOTENCY_KEY,),
)
def close_one(closed: Exchange, others: Sequence[Exchange]) -> RuleResult:
    if not closed.started_run or not others:
        return inconclusive(f"no open stream to close: {closed.describe()}", Location(closed))
    if closed.ending is not Ending.CUT:
        return inconclusive(
            f"the stream ended before it could be closed: {closed.describe()}; configure a longer "
            "[target.actions.long]",
            Location(closed),
        )
    for other in others:
        if other.outcome != "done":
            return failed(
                f"closing one stream affected another: {other.describe()}", Location(closed), Location(other)
            )
    longest = max(others, key=lambda other: len(other.events))
    for other in others:
        if other.run_id != longest.run_id:
            continue
        expected = longest.sequence
        if other.sequence[0] in expected:  # a server that resumes with the tail may start a reader later
            expected = expected[expected.index(other.sequence[0]) :]
        if difference := first_difference(expected, other.sequence):
            where = divergence(longest, expected, other, other.sequence)[1]
            return failed(f"closing one stream affected another: {difference}", Location(closed), where)
    closed_ns = closed.timing.ended_ns
    if not any(other.timing.started_ns <= closed_ns < other.timing.ended_ns for other in others):
        return inconclusive(
            "no other stream was open when this one was closed; configure a longer [target.actions.long]",
            Location(closed),
        )
    return passed(f"{counted(len(others), 'stream')} stayed intact when another one was closed")


@rule(
    "race.slow-reader",
    Level.SHOULD,
    "A stalled reader does not slow the others",
    why="One closed laptop must not stop everyone else's stream.",
    fix=(
        "Give each connection its own bounded queue, and never wait for one reader before you send to the "
        "next."
    ),
    source="ours",
    needs=Need.LONG_ACTION,
)
def slow_reader(rounds: Sequence[StalledRound]) -> RuleResult:
    """Each round but the last was repeated, because the rounds so far did not decide (is_decided).

    A server that waits for a stalled reader is slow in all of them; one that got no CPU time is not.
    """
    results = [_next_to_stalled(*one) for one in rounds]
    slowed, even = _of_verdict(results, Verdict.FAIL), _of_verdict(results, Verdict.PASS)
    if not results:
        return inconclusive("no run next to the stalled reader")
    if not slowed or len(slowed) == len(results):
        return results[-1]
    if len(even) > len(slowed):
        return passed(
            f"runs next to a stalled reader took no longer than alone in {len(even)} of "
            f"{counted(len(results), 'round')}"
        )
    if results[-1].verdict is Verdict.INCONCLUSIVE:
        return results[-1]
    return inconclusive(
        f"in {len(slowed)} of {counted(len(results), 'round')}, {slowed[-1].detail}; in the others this was not found, "
        "so the machine may have been busy: test again with less other work on it",
        *slowed[-1].places,
    )


def is_decided(rounds: Sequence[StalledRound]) -> bool:
    """Whether one more round is needless: in most, no run was slowed, or in each of two or more, one was.

    Or it is useless: no run was slowed, and none of them shows anything.
    """
    results = [_next_to_stalled(*one) for one in rounds]
    slowed, even = _of_verdict(results, Verdict.FAIL), _of_verdict(results, Verdict.PASS)
    if not even and rounds[-1][2] is None:
        return True
    return len(even) > len(slowed) or (len(slowed) == len(results) and len(slowed) >= _SLOWED_ROUNDS)


def _of_verdict(results: Sequence[RuleResult], verdict: Verdict) -> list[RuleResult]:
    return [result for result in results if result.verdict is verdict]


def is_slowed(before: Exchange, concurrent: Sequence[Exchange]) -> bool:
    """Whether a run next to stalled readers took longer than one before them, or did not end."""
    return _next_to_stalled(before, concurrent, None).verdict is Verdict.FAIL


def _next_to_stalled(before: Exchange, concurrent: Sequence[Exchange], after: Exchange | None) -> RuleResult:
    if not concurrent:
        return inconclusive("no run next to the stalled reader", Location(before))
    if not before.started_run or not before.over:
        return inconclusive(f"the run did not end: {before.describe()}", Location(before))
    slowed = next(filter(None, (_slower(run, before) for run in concurrent)), None)
    if slowed is None:
        return passed("runs next to a stalled reader took no longer than alone")
    what, run = slowed
    also = None if after is None else _slower(after, before)
    if also is not None:
        return inconclusive(
            f"next to a stalled reader {what}; after it, alone, {also[0]}, so something else slows the server",
            Location(run),
            Location(also[1]),
        )
    return failed(f"next to a stalled reader {what}", Location(run))


def _slower(run: Exchange, normal: Exchange) -> tuple[str, Exchange] | None:
    """That a run took much longer than a normal one, in a clause, and the run; None if it did not."""
    if not run.over:
        return f"a run did not end: {run.describe()}", run
    took_ms, normal_ms = (one.offset_ms(one.over.arrival_ns) if one.over else 0.0 for one in (run, normal))
    if took_ms > normal_ms * _SLOWED and took_ms > normal_ms + _SLOWED_MS:
        return f"a run took {took_ms:.0f} ms instead of {normal_ms:.0f} ms", run
    return None
