"""auth: who asks is settled before anything is told or done."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any

from harness.contract.exchange import Exchange
from harness.contract.finding import Location, RuleResult, failed, inconclusive, passed
from harness.contract.rules.conflict import rejection_form
from harness.contract.rules.rule import Level, Need, is_same_run, quoted, require_accepted, rule


def _refused(answer: Exchange, statuses: Collection[int], what: str) -> RuleResult:
    at = answer.events[0] if answer.events else None
    allowed = ", ".join(map(str, sorted(statuses)))
    if answer.started_run:
        return failed(f"{what} was let in: {answer.describe()}", Location(answer, at))
    if answer.status not in statuses:
        return failed(f"{what} got {answer.describe()}, not {allowed}", Location(answer))
    kinds = {one.event.type for one in answer.events if one.event}
    if kinds - {"error"}:
        return failed(f"{what} got {answer.status}, but with run events", Location(answer, at))
    return passed(f"{what} got {answer.status}")


def _no_run(followup: Exchange, what: str) -> RuleResult | None:
    """`followup` used the refused request's key with another, valid body: a clash means there was a run."""
    if rejection_form(followup) is not None:
        return failed(
            f"{what} started a run all the same: its key is taken when it is used for a valid request",
            Location(followup),
        )
    return None


@rule(
    "auth.missing",
    Level.MUST,
    "No token: 401, and no run",
    why="Anybody could run actions in somebody's name.",
    source="api",
)
def missing(control: Exchange, refused: Exchange, followup: Exchange) -> RuleResult:
    what = "a request without a token"
    return require_accepted(control) or _no_run(followup, what) or _refused(refused, {401}, what)


@rule(
    "auth.bad",
    Level.MUST,
    "A garbage token: 401 (403 tolerated), and no run",
    why="A check that a token is there is no check that it is good.",
    source="api",
)
def bad(control: Exchange, refused: Exchange, followup: Exchange) -> RuleResult:
    what = "a garbage token"
    return require_accepted(control) or _no_run(followup, what) or _refused(refused, {401, 403}, what)


@rule(
    "auth.challenge",
    Level.SHOULD,
    "A 401 carries WWW-Authenticate",
    why="A generic client learns from it how to authenticate.",
    source="RFC 9110",
)
def challenge(control: Exchange, refused: Exchange) -> RuleResult:
    if problem := require_accepted(control):
        return problem
    if refused.status != 401 or refused.head is None:
        return inconclusive(f"there was no 401 to judge: {refused.describe()}", Location(refused))
    sent = refused.head.value("www-authenticate")
    if sent is None:
        return failed("the 401 carries no WWW-Authenticate (RFC 9110, 11.6.1)", Location(refused))
    return passed(f"WWW-Authenticate: {sent}")


def _leaves(value: Any, path: str = "") -> dict[str, Any]:
    """A JSON value's scalars by their place in it."""
    if isinstance(value, Mapping):
        return {
            place: leaf
            for name, one in value.items()
            for place, leaf in _leaves(one, f"{path}.{name}").items()
        }
    if isinstance(value, list):
        return {
            place: leaf
            for number, one in enumerate(value)
            for place, leaf in _leaves(one, f"{path}[{number}]").items()
        }
    return {path: value}


def _told(answer: Exchange) -> dict[str, Any]:
    """What an answer tells: its status, and its body by its parts."""
    try:
        body = json.loads(answer.body)
    except (ValueError, RecursionError):
        body = answer.body.decode("utf-8", "replace")
    return {"status": answer.status, **_leaves(body, "body")}


@rule(
    "auth.before-key",
    Level.MUST,
    "Without a valid token a known key tells nothing (same answer as an unknown one)",
    why="Answers that differ tell a stranger which keys, and so which runs, exist.",
    source="ours",
)
def before_key(
    control: Exchange, known: Exchange, clashing: Exchange, unknown: Exchange, unknown_too: Exchange
) -> RuleResult:
    """Without a valid token: a known key with its body, the same with another body, and two unknown keys.

    What differs between the answers to the two unknown keys (a time, a request's id) tells nothing; all
    else must be as in the answers to the known one.
    """
    if problem := require_accepted(control):
        return problem
    if unknown.started_run:
        return inconclusive("requests without a valid token are let in", Location(unknown))
    first, second = _told(unknown), _told(unknown_too)
    constant = {place: value for place, value in first.items() if second.get(place) == value}
    for answer, what in ((known, "a known key"), (clashing, "a known key with another body")):
        told = _told(answer)
        place = next((one for one in constant if told.get(one) != constant[one]), None)
        place = place or next((one for one in told if one not in first and one not in second), None)
        if place is not None:
            return failed(
                f"without a valid token {what} is told apart from an unknown one: {place} is "
                f"{quoted(str(told.get(place)))} instead of {quoted(str(constant.get(place)))}",
                Location(answer),
                Location(unknown),
            )
    return passed(f"known or not, the answer is {unknown.status}")


@rule(
    "auth.org-mismatch",
    Level.MUST,
    "A foreign organizationId is rejected before any run event",
    why="A run in a foreign organization reads and writes what is not the caller's.",
    source="api",
)
def org_mismatch(control: Exchange, refused: Exchange, followup: Exchange) -> RuleResult:
    what = "a foreign organizationId"
    return require_accepted(control) or _no_run(followup, what) or _refused(refused, {403, 401, 404}, what)


@rule(
    "auth.org-before-conflict",
    Level.MUST,
    "A foreign org is told about the org, not about a conflict",
    why="Being told of a conflict tells a stranger that the key exists.",
    source="reading 7",
)
def org_before_conflict(control: Exchange, refused: Exchange) -> RuleResult:
    """`refused` is a foreign organizationId under the key of `control`, thus with another body too."""
    if problem := require_accepted(control):
        return problem
    if rejection_form(refused) is not None:
        return failed("a foreign organizationId under a known key is told of a conflict", Location(refused))
    return _refused(refused, {403, 401, 404}, "a foreign organizationId under a known key")


@rule(
    "auth.key-scope",
    Level.MUST,
    "The same key in two organizations is two runs, and neither sees the other's events",
    why="A key chosen alike by two customers would show one the other's run.",
    source="reading 7",
    needs=Need.SECOND_PRINCIPAL,
)
def key_scope(first: Exchange, second: Exchange) -> RuleResult:
    """The same key, sent by principals of two organizations."""
    if problem := require_accepted(first):
        return problem
    places = (Location(first), Location(second))
    if rejection_form(second) is not None:
        return failed(
            "another organization's use of the same key is a conflict: it learns that the key exists", *places
        )
    if not second.started_run:
        return inconclusive(f"the second principal's request was not accepted: {second.describe()}", *places)
    if is_same_run(first, second):
        return failed("the same key in another organization brings the first one's run", *places)
    return passed("the same key in two organizations is two runs")


@rule(
    "auth.query-token",
    Level.SHOULD,
    "A token in the query string is refused",
    why="Query strings end up in logs, and tokens with them.",
    source="RFC 6750",
)
def query_token(control: Exchange, refused: Exchange) -> RuleResult:
    return require_accepted(control) or _refused(refused, {400, 401, 403, 404}, "a token in the query string")
