"""key: what an Idempotency-Key is, and what it is not."""

from __future__ import annotations

from collections.abc import Mapping

from harness.contract.exchange import Ending, Exchange
from harness.contract.finding import Judgement, Place, broken, held, inconclusive, noted
from harness.contract.rules.conflict import rejection_form
from harness.contract.rules.resume import first_difference, retries_resume
from harness.contract.rules.rule import first_not_accepted, is_one_run, judges, merged, quoted, whole


@judges("key.none-independent")
def none_independent(first: Exchange, second: Exchange) -> Judgement:
    """Two requests with equal bodies, without key and runId."""
    for run in (first, second):
        if problem := whole(run):
            return problem
    if is_one_run(first, second):
        return broken("two requests without a key got the same run", Place(first), Place(second))
    return held("equal bodies without a key are two runs")


@judges("key.opaque")
def opaque(control: tuple[Exchange, Exchange], pairs: Mapping[str, tuple[Exchange, Exchange]]) -> Judgement:
    """By the kind of key, a run under such a key and its retry. `control` is a run and its retry."""
    if problem := retries_resume(*control):
        return problem
    return merged(
        [_works(kind, *pair) for kind, pair in pairs.items()], "each works as a key: " + ", ".join(pairs)
    )


def _works(kind: str, original: Exchange, retry: Exchange) -> Judgement:
    if not original.started_run:
        return broken(f"{kind} is not taken as a key: {original.describe()}", Place(original))
    if difference := first_difference(original.sequence, retry.sequence):
        return broken(
            f"{kind} does not work as a key: its retry differs: {difference}", Place(original), Place(retry)
        )
    return held(f"{kind} works as a key")


@judges("key.bad")
def bad(control: Exchange, answers: Mapping[str, Exchange]) -> Judgement:
    if problem := first_not_accepted(control):
        return problem
    return merged(
        [
            held("got 400")
            if answer.status == 400
            else broken(f"{kind} as key got {answer.describe()}, not 400", Place(answer))
            for kind, answer in answers.items()
        ],
        "each got 400: " + ", ".join(answers),
    )


@judges("key.inert")
def inert(control: Exchange, answers: Mapping[str, Exchange]) -> Judgement:
    """`answers` by the injection that was sent as the key."""
    if problem := first_not_accepted(control):
        return problem
    return merged(
        [_harmless(answer) for answer in answers.values()], f"{len(answers)} injections changed nothing"
    )


def _harmless(answer: Exchange) -> Judgement:
    key = answer.request.header("idempotency-key") or ""
    if answer.status is None or answer.status >= 500 or answer.ending is Ending.TIMED_OUT:
        return broken(f"the key {quoted(key)} made the server fail: {answer.describe()}", Place(answer))
    if answer.holds(key.encode()):
        return broken(f"the key {quoted(key)} is echoed raw", Place(answer))
    if answer.head and answer.head.values("x-injected"):
        return broken(f"the key {quoted(key)} put a header field of its own into the answer", Place(answer))
    return held("inert")


@judges("key.other-route")
def other_route(first: Exchange, there: Exchange) -> Judgement:
    """`there` used the key of `first` on the other route."""
    if problem := whole(first):
        return problem
    if rejection_form(there) is not None:
        return noted("a key used on the other route is the same key: a conflict")
    if not there.started_run:
        return inconclusive(f"the other route did not accept the request: {there.describe()}", Place(there))
    same = first.run_id is not None and first.run_id == there.run_id
    return noted("a key used on the other route is " + ("the same key" if same else "another key"))


@judges("key.body-canonical")
def body_canonical(original: Exchange, reordered: Exchange, spaced: Exchange) -> Judgement:
    """The same JSON value under the same key, with its keys in another order, and with other white space."""
    if problem := whole(original):
        return problem

    said: list[str] = []
    for what, answer in (("another key order", reordered), ("other white space", spaced)):
        if rejection_form(answer) is not None:
            said.append(f"{what} makes another body")
        elif answer.started_run and is_one_run(original, answer):
            said.append(f"{what} makes the same body")
        else:
            return inconclusive(
                f"{what} is neither resumed nor a conflict: {answer.describe()}",
                Place(original),
                Place(answer),
            )
    return noted("; ".join(said))
