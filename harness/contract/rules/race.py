"""race: requests that arrive together are one run or one winner, and runs do not touch each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from harness.contract.exchange import Ending, Exchange
from harness.contract.expectations import Expectations
from harness.contract.finding import Location, RuleResult, failed, inconclusive, passed
from harness.contract.rules.conflict import rejections
from harness.contract.rules.resume import divergence, first_difference
from harness.contract.rules.rule import Level, Need, combine, require_terminal, rule

_WINDOW_MS = 100.0  # requests whose last bytes were sent within it count as simultaneous
_SLOWED = 2.0  # times as long as undisturbed
_SLOWED_MS = 1000.0


def _overlap(answers: Sequence[Exchange]) -> bool:
    sent = [answer.timing.sent_ns for answer in answers if answer.timing.sent_ns is not None]
    return len(sent) == len(answers) and (max(sent) - min(sent)) / 1e6 <= _WINDOW_MS


def _round(number: int, rounds: Sequence[object]) -> str:
    return f" (round {number} of {len(rounds)})" if len(rounds) > 1 else ""


@rule(
    "race.same-body",
    Level.MUST,
    "N simultaneous equal posts: one execution, N identical streams",
    why="A double click, or a proxy's retry, arrives before the first one is stored.",
    source="api",
)
def same_body(rounds: Sequence[Sequence[Exchange]], *, expect: Expectations) -> RuleResult:
    """Each round is the answers to equal requests that were sent together."""
    together = [answers for answers in rounds if _overlap(answers)]
    if not together:
        return inconclusive("the requests could not be sent together")
    return combine(
        [_one_run(answers, _round(number, together), expect) for number, answers in enumerate(together, 1)],
        f"{len(together)} rounds of {len(together[0])} equal requests: one run each, the same for all",
    )


def _one_run(answers: Sequence[Exchange], said: str, expect: Expectations) -> RuleResult:
    silent = [answer for answer in answers if not answer.started_run]
    if len(silent) == len(answers):
        return inconclusive(
            f"none of the requests was accepted: {answers[0].describe()}", Location(answers[0])
        )
    if silent:
        return failed(
            f"{len(silent)} of {len(answers)} equal requests sent together got no run: {silent[0].describe()}{said}",
            Location(silent[0]),
        )
    run_ids = {answer.run_id for answer in answers if answer.run_id is not None}
    if len(run_ids) > 1:  # ids do not tell: runs of the same millisecond may bear the same
        two = list({answer.run_id: answer for answer in answers}.values())[:2]
        return failed(
            f"{len(answers)} equal requests sent together were executed as {len(run_ids)} runs{said}",
            *(Location(answer) for answer in two),
        )
    longest = max(answers, key=lambda answer: len(answer.events))
    for answer in answers:
        sequence = longest.sequence
        if expect.resume_start != "replay" and answer.sequence and answer.sequence[0] in sequence:
            sequence = sequence[sequence.index(answer.sequence[0]) :]
        if difference := first_difference(sequence, answer.sequence):
            return failed(
                f"two equal requests sent together differ: {difference}{said}",
                *divergence(longest, sequence, answer, answer.sequence),
            )
    return require_terminal(longest) or passed("one run")


@rule(
    "race.different-bodies",
    Level.MUST,
    "N simultaneous different posts: exactly one winner, the rest 409",
    why="Check-then-act lets two through under load, and never in a test that goes one by one.",
    source="api",
)
def different_bodies(rounds: Sequence[Sequence[Exchange]]) -> RuleResult:
    """Each round is the answers to requests with one key and different bodies that were sent together."""
    together = [answers for answers in rounds if _overlap(answers)]
    if not together:
        return inconclusive("the requests could not be sent together")
    return combine(
        [_one_winner(answers, _round(number, together)) for number, answers in enumerate(together, 1)],
        f"{len(together)} rounds of {len(together[0])} different bodies: one winner each, the rest 409",
    )


def _one_winner(answers: Sequence[Exchange], said: str) -> RuleResult:
    losers = rejections(answers)
    winners = [answer for answer in answers if answer not in losers and answer.started_run]
    others = [answer for answer in answers if answer not in losers and answer not in winners]
    if not winners and not losers:
        return inconclusive(
            f"none of the requests was accepted: {answers[0].describe()}", Location(answers[0])
        )
    if len(winners) != 1:
        return failed(
            f"{len(winners)} winners among {len(answers)} different bodies under one key{said}",
            *(Location(answer) for answer in (winners or losers)[:2]),
        )
    if others:
        return failed(f"a loser got {others[0].describe()}, not a 409{said}", Location(others[0]))
    if not winners[0].terminals:
        return failed(f"the winner's stream did not end: {winners[0].describe()}{said}", Location(winners[0]))
    return passed("one winner")


@rule(
    "race.no-crosstalk",
    Level.MUST,
    "Interleaved runs never show each other's events",
    why="One user's tokens in another's stream is the worst thing that can happen.",
    source="ours",
    needs=Need.ECHO_ACTION,
)
def no_crosstalk(runs: Mapping[str, Exchange]) -> RuleResult:
    """`runs` were interleaved; each is under the text that it alone was asked to give back."""
    if any(not run.started_run for run in runs.values()):
        return inconclusive("not every interleaved run was accepted")
    if not any(text in run.text for text, run in runs.items()):
        return inconclusive("the action does not give back the text it is sent")
    for text, run in runs.items():
        stranger = next((other for other in runs if other != text and other in run.text), None)
        if stranger is not None:
            return failed("a run shows another run's text", Location(run), Location(runs[stranger]))
        if text not in run.text:
            return failed("an interleaved run lost text of its own", Location(run))
    ids = [run.run_id for run in runs.values() if run.run_id]
    if len(set(ids)) < len(ids):
        return failed("two independent runs have one runId", *(Location(run) for run in runs.values()))
    return passed(f"{len(runs)} interleaved runs, each with its own text alone")


@rule(
    "race.close-one",
    Level.MUST,
    "Closing one stream leaves the others whole",
    why="A shared producer that dies with its first reader takes the others along.",
    source="ours",
)
def close_one(closed: Exchange, others: Sequence[Exchange]) -> RuleResult:
    if not closed.started_run or not others:
        return inconclusive(f"no stream was open to be closed: {closed.describe()}", Location(closed))
    if closed.ending is not Ending.CUT:
        return inconclusive(
            f"the stream ended before it could be closed: {closed.describe()}; configure a longer "
            "[target.actions.long]",
            Location(closed),
        )
    for other in others:
        if other.outcome != "done":
            return failed(
                f"closing one stream harmed another: {other.describe()}", Location(closed), Location(other)
            )
    longest = max((one for one in others), key=lambda one: len(one.events))
    for other in others:
        if other.run_id != longest.run_id:
            continue
        expected = longest.sequence
        if other.sequence[0] in expected:  # where the server resumes with the tail, a reader may come later
            expected = expected[expected.index(other.sequence[0]) :]
        if difference := first_difference(expected, other.sequence):
            where = divergence(longest, expected, other, other.sequence)[1]
            return failed(f"closing one stream harmed another: {difference}", Location(closed), where)
    return passed(f"{len(others)} streams stayed whole when another one was closed")


@rule(
    "race.slow-reader",
    Level.SHOULD,
    "A stalled reader does not slow the others",
    why="A laptop that was closed must not stop everybody else's stream.",
    source="ours",
    needs=Need.LONG_ACTION,
)
def slow_reader(undisturbed: Exchange, beside: Sequence[Exchange]) -> RuleResult:
    """`beside` ran while another connection to the server was open and unread."""
    if not beside:
        return inconclusive("there was no run beside the stalled reader", Location(undisturbed))
    if not undisturbed.started_run or not undisturbed.terminals:
        return inconclusive(f"the run did not end: {undisturbed.describe()}", Location(undisturbed))
    normal_ms = undisturbed.offset_ms(undisturbed.terminals[0].arrival_ns)
    for run in beside:
        if not run.terminals:
            return failed(f"beside a stalled reader a run did not end: {run.describe()}", Location(run))
        took_ms = run.offset_ms(run.terminals[0].arrival_ns)
        if took_ms > normal_ms * _SLOWED and took_ms > normal_ms + _SLOWED_MS:
            return failed(
                f"beside a stalled reader a run took {took_ms:.0f} ms instead of {normal_ms:.0f} ms",
                Location(run),
            )
    return passed("runs beside a stalled reader took no longer than alone")
