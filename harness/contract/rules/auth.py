"""auth: the server authenticates and authorizes a request before it reveals or does anything."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from harness.contract.exchange import Ending, Exchange
from harness.contract.finding import Location, RuleResult, failed, inconclusive, passed
from harness.contract.rules.conflict import rejection_form
from harness.contract.rules.rule import (
    Level,
    Need,
    has_run_events,
    is_same_run,
    quoted,
    require_accepted,
    rule,
)
from harness.profiles.capability import Capability
from harness.protocol.strict_json import loads


def _refused(response: Exchange, statuses: Collection[int], what: str) -> RuleResult:
    first_event = response.first_event
    allowed = ", ".join(map(str, sorted(statuses)))
    if response.started_run:
        return failed(f"{what} was accepted: {response.describe()}", Location(response, first_event))
    if response.status not in statuses:
        return failed(f"{what} got {response.describe()}, not {allowed}", Location(response))
    if has_run_events(response):
        return failed(f"{what} got {response.status}, but with run events", Location(response, first_event))
    return passed(f"{what} got {response.status}")


def _no_run(control: Exchange, followup: Exchange, what: str) -> RuleResult | None:
    """Fail if the rejected request started a run.

    `followup` is a valid request with the same key and a different body: a conflict shows that the key is taken.
    `control` is a run of the same action.
    """
    if rejection_form(followup, control) is not None:
        return failed(
            f"{what} started a run: its key is already taken when a valid request uses it",
            Location(followup),
        )
    if followup.has_conflict_event and control.has_conflict_event:
        return inconclusive(
            "a valid request fails with the code 409, so it does not show a conflict", Location(followup)
        )
    return None


@rule(
    "auth.missing",
    Level.MUST,
    "No token: 401, and no run",
    why="Anyone could run actions in someone else's name.",
    fix="Check for a token before anything else, and answer 401 if there is none.",
    source="api",
    promise=(Capability.AUTHENTICATION,),
)
def missing(control: Exchange, refused: Exchange, followup: Exchange) -> RuleResult:
    what = "a request without a token"
    return require_accepted(control) or _no_run(control, followup, what) or _refused(refused, {401}, what)


@rule(
    "auth.bad",
    Level.MUST,
    "A garbage token: 401 (403 tolerated), and no run",
    why="Checking that a token is present is not checking that it is valid.",
    fix=(
        "Verify each token's signature or look the token up, and answer 401 if it is malformed, unknown "
        "or expired."
    ),
    source="api",
    promise=(Capability.AUTHENTICATION,),
)
def bad(control: Exchange, refused: Exchange, followup: Exchange) -> RuleResult:
    what = "a garbage token"
    return (
        require_accepted(control) or _no_run(control, followup, what) or _refused(refused, {401, 403}, what)
    )


@rule(
    "auth.challenge",
    Level.SHOULD,
    "A 401 carries WWW-Authenticate",
    why="It tells a generic client how to authenticate.",
    fix="Send `WWW-Authenticate: Bearer` with each 401.",
    source="RFC 9110",
    promise=(Capability.AUTHENTICATION,),
)
def challenge(control: Exchange, refused: Exchange) -> RuleResult:
    if problem := require_accepted(control):
        return problem
    if refused.head is None or refused.head.status != 401:
        return inconclusive(f"no 401 to check: {refused.describe()}", Location(refused))
    sent = refused.head.value("www-authenticate")
    if sent is None:
        return failed("the 401 carries no WWW-Authenticate (RFC 9110, 11.6.1)", Location(refused))
    return passed(f"WWW-Authenticate: {sent}")


def _leaves(value: Any, path: str = "") -> dict[str, Any]:
    """The scalars of a JSON value by their path."""
    if isinstance(value, Mapping):
        return {
            leaf_path: leaf
            for name, member in value.items()
            for leaf_path, leaf in _leaves(member, f"{path}.{name}").items()
        }
    if isinstance(value, list):
        return {
            leaf_path: leaf
            for number, item in enumerate(value)
            for leaf_path, leaf in _leaves(item, f"{path}[{number}]").items()
        }
    return {path: value}


def _content(response: Exchange) -> dict[str, Any]:
    """The status, and the scalars of the body by their path."""
    try:
        body = loads(response.body.decode("utf-8"))
    except ValueError:
        body = response.body.decode("utf-8", "replace")
    return {"status": response.status, **_leaves(body, "body")}


@rule(
    "auth.before-key",
    Level.MUST,
    "Without a valid token, a known key gets the same response as an unknown one",
    why="A different response reveals to an unauthenticated client which keys, and so which runs, exist.",
    fix="Check the token before you look up the `Idempotency-Key`.",
    source="ours",
    promise=(Capability.AUTHENTICATION, Capability.IDEMPOTENCY_KEY),
)
def before_key(
    control: Exchange, known: Exchange, clashing: Exchange, unknown: Exchange, unknown_too: Exchange
) -> RuleResult:
    """Without a valid token: a known key with its body, the same key with a different body, and two unknown keys.

    Values that differ between the two unknown keys (a timestamp, a request id) are ignored; all others must be
    the same for the known key. The unknown keys are sent before and after the known one, so a clock that counts
    seconds differs between them if it differs for the known key.
    """
    if problem := require_accepted(control):
        return problem
    if unknown.started_run:
        return inconclusive("requests without a valid token are accepted", Location(unknown))
    for response in (unknown, unknown_too, known, clashing):
        if response.ending is not Ending.COMPLETE or response.is_throttled:
            return inconclusive(
                f"there is no whole response to compare: {response.describe()}", Location(response)
            )
    first, second = _content(unknown), _content(unknown_too)
    constant = {path: value for path, value in first.items() if second.get(path) == value}
    for response, what in ((known, "a known key"), (clashing, "a known key with a different body")):
        content = _content(response)
        path = next((path for path in constant if content.get(path) != constant[path]), None)
        path = path or next((path for path in content if path not in first and path not in second), None)
        if path is not None:
            return failed(
                f"without a valid token, {what} gets a different response than an unknown one: {path} is "
                f"{quoted(str(content.get(path)))} instead of {quoted(str(constant.get(path)))}",
                Location(response),
                Location(unknown),
            )
    return passed(f"known and unknown keys both get {unknown.status}")


@rule(
    "auth.org-mismatch",
    Level.MUST,
    "A foreign organizationId is rejected before any run event",
    why="A run in a foreign organization reads and writes data that the caller must not touch.",
    fix=(
        "Compare `organizationId` with the token's organization before the run starts, and answer 403 if "
        "they differ."
    ),
    source="api",
    promise=(Capability.ORGANIZATION,),
)
def org_mismatch(control: Exchange, refused: Exchange, followup: Exchange) -> RuleResult:
    what = "a foreign organizationId"
    return (
        require_accepted(control)
        or _no_run(control, followup, what)
        or _refused(refused, {403, 401, 404}, what)
    )


@rule(
    "auth.org-before-conflict",
    Level.MUST,
    "A foreign organizationId with a known key is rejected as foreign, not as a conflict",
    why="A conflict response reveals that the key exists.",
    fix="Check the organization before you look up the `Idempotency-Key`.",
    source="reading 7",
    promise=(Capability.ORGANIZATION, Capability.KEY_CONFLICT),
)
def org_before_conflict(control: Exchange, refused: Exchange) -> RuleResult:
    """`refused` has a foreign organizationId (so a different body) and the key of `control`."""
    if problem := require_accepted(control):
        return problem
    if rejection_form(refused, control) is not None:
        return failed("a foreign organizationId with a known key got a conflict", Location(refused))
    return _refused(refused, {403, 401, 404}, "a foreign organizationId with a known key")


@rule(
    "auth.key-scope",
    Level.MUST,
    "The same key in two organizations is two runs, and neither sees the other's events",
    why="If two customers choose the same key, one would see the other's run.",
    fix="Store and look up keys by organization and key together, for example with a unique index over both.",
    source="reading 7",
    promise=(Capability.IDEMPOTENCY_KEY, Capability.AUTHENTICATION),
    needs=Need.SECOND_PRINCIPAL,
)
def key_scope(first: Exchange, second: Exchange) -> RuleResult:
    """The same key, sent by principals of two organizations."""
    if problem := require_accepted(first):
        return problem
    places = (Location(first), Location(second))
    if rejection_form(second, first) is not None:
        return failed(
            "the same key in a different organization is a conflict, which reveals that the key exists",
            *places,
        )
    if not second.started_run:
        return inconclusive(f"the second principal's request was not accepted: {second.describe()}", *places)
    if is_same_run(first, second):
        return failed("the same key in a different organization returns the first one's run", *places)
    return passed("the same key in two organizations is two runs")


@rule(
    "auth.query-token",
    Level.SHOULD,
    "A token in the query string is rejected",
    why="Query strings end up in logs, and tokens with them.",
    fix="Read the token from the `Authorization` header only, and ignore the query string.",
    source="RFC 6750",
    promise=(Capability.AUTHENTICATION,),
)
def query_token(control: Exchange, refused: Exchange) -> RuleResult:
    return require_accepted(control) or _refused(refused, {400, 401, 403, 404}, "a token in the query string")
