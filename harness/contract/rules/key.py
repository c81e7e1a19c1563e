"""key: what an Idempotency-Key is, and what it is not."""

from __future__ import annotations

from collections.abc import Mapping

from harness.contract.exchange import Ending, Exchange
from harness.contract.finding import Location, RuleResult, failed, inconclusive, info, passed
from harness.contract.rules.conflict import rejection_form
from harness.contract.rules.resume import first_difference, retries_resume
from harness.contract.rules.rule import (
    Level,
    Need,
    combine,
    is_same_run,
    quoted,
    require_accepted,
    require_terminal,
    rule,
)


@rule(
    "key.none-independent",
    Level.MUST,
    "Without key and runId, equal bodies are independent runs",
    why="Who sends no key asks for a new run each time.",
    source="api",
)
def none_independent(first: Exchange, second: Exchange) -> RuleResult:
    """Two requests with equal bodies, without key and runId."""
    for run in (first, second):
        if problem := require_terminal(run):
            return problem
    if is_same_run(first, second):
        return failed("two requests without a key got the same run", Location(first), Location(second))
    return passed("equal bodies without a key are two runs")


@rule(
    "key.opaque",
    Level.SHOULD,
    "A UUID, a quoted structured-field string and a plain token all work as keys",
    why="A key is the client's choice; a server that wants one form breaks the others.",
    source="api, D",
)
def opaque(control: tuple[Exchange, Exchange], pairs: Mapping[str, tuple[Exchange, Exchange]]) -> RuleResult:
    """By the kind of key, a run under such a key and its retry. `control` is a run and its retry."""
    if problem := retries_resume(*control):
        return problem
    return combine(
        [_works(kind, *pair) for kind, pair in pairs.items()], "each works as a key: " + ", ".join(pairs)
    )


def _works(kind: str, original: Exchange, retry: Exchange) -> RuleResult:
    if not original.started_run:
        return failed(f"{kind} is not taken as a key: {original.describe()}", Location(original))
    if difference := first_difference(original.sequence, retry.sequence):
        return failed(
            f"{kind} does not work as a key: its retry differs: {difference}",
            Location(original),
            Location(retry),
        )
    return passed(f"{kind} works as a key")


@rule(
    "key.bad",
    Level.SHOULD,
    "An empty, oversized or control-character key is a 400",
    why="A key that cannot be kept must be refused, not cut short: two long keys could become one.",
    source="D",
)
def bad(control: Exchange, answers: Mapping[str, Exchange]) -> RuleResult:
    if problem := require_accepted(control):
        return problem
    return combine(
        [
            passed("got 400")
            if answer.status == 400
            else failed(f"{kind} as key got {answer.describe()}, not 400", Location(answer))
            for kind, answer in answers.items()
        ],
        "each got 400: " + ", ".join(answers),
    )


@rule(
    "key.inert",
    Level.MUST,
    "Injection in the key (CRLF, markup, SQL, path) changes nothing and is never echoed raw",
    why="A key goes into headers, logs and queries; there it must be nothing but a text.",
    source="ours",
)
def inert(control: Exchange, answers: Mapping[str, Exchange]) -> RuleResult:
    """`answers` by the injection that was sent as the key."""
    if problem := require_accepted(control):
        return problem
    return combine(
        [_harmless(answer) for answer in answers.values()], f"{len(answers)} injections changed nothing"
    )


def _harmless(answer: Exchange) -> RuleResult:
    key = answer.request.header("idempotency-key") or ""
    if answer.status is None or answer.status >= 500 or answer.ending is Ending.TIMED_OUT:
        return failed(f"the key {quoted(key)} made the server fail: {answer.describe()}", Location(answer))
    if answer.holds(key.encode()):
        return failed(f"the key {quoted(key)} is echoed raw", Location(answer))
    if answer.head and answer.head.values("x-injected"):
        return failed(
            f"the key {quoted(key)} put a header field of its own into the answer", Location(answer)
        )
    return passed("inert")


@rule(
    "key.other-route",
    Level.INFO,
    "Whether a key used on the other route is the same key",
    why="Who uses both routes must know whether to share keys.",
    source="D",
    needs=Need.SECOND_ROUTE,
)
def other_route(first: Exchange, there: Exchange) -> RuleResult:
    """`there` used the key of `first` on the other route."""
    if problem := require_terminal(first):
        return problem
    if rejection_form(there) is not None:
        return info("a key used on the other route is the same key: a conflict")
    if not there.started_run:
        return inconclusive(
            f"the other route did not accept the request: {there.describe()}", Location(there)
        )
    same = first.run_id is not None and first.run_id == there.run_id
    return info("a key used on the other route is " + ("the same key" if same else "another key"))


@rule(
    "key.body-canonical",
    Level.INFO,
    "Whether key order and white space make another body",
    why="A retry through another library orders its keys otherwise: is that another body?",
    source="reading 4",
)
def body_canonical(original: Exchange, reordered: Exchange, spaced: Exchange) -> RuleResult:
    """The same JSON value under the same key, with its keys in another order, and with other white space."""
    if problem := require_terminal(original):
        return problem

    said: list[str] = []
    for what, answer in (("another key order", reordered), ("other white space", spaced)):
        if rejection_form(answer) is not None:
            said.append(f"{what} makes another body")
        elif answer.started_run and is_same_run(original, answer):
            said.append(f"{what} makes the same body")
        else:
            return inconclusive(
                f"{what} is neither resumed nor a conflict: {answer.describe()}",
                Location(original),
                Location(answer),
            )
    return info("; ".join(said))
