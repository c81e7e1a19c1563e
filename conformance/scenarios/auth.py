"""Unauthorized requests: no token, a garbage token, a foreign organization, the token in the query string."""

from __future__ import annotations

import uuid
from urllib.parse import quote

from harness.contract.exchange import Exchange
from harness.contract.rules.rule import Need
from harness.profiles.workflow_actions.request import new_key
from harness.protocol.request import HttpRequest
from harness.suite.scenario import ScenarioContext

from .runs import completed_run

GARBAGE_TOKEN = f"garbage-{uuid.uuid4().hex}"


async def _refused_then_used(
    context: ScenarioContext, refused: HttpRequest, label: str
) -> tuple[Exchange, Exchange]:
    """A request to reject, then a valid request with its key and a different body: is the key still free?"""
    first = await context.send(refused, label)
    valid = await context.request("success", key=context.target.key_of(refused))
    return first, await context.send(valid, f"a valid request with the key of {label}")


async def without_token(context: ScenarioContext) -> tuple[Exchange, Exchange]:
    """A request without a token, then a valid request with its key."""
    request = (await context.request("success")).with_header("Authorization", None)
    return await _refused_then_used(context, request, "a request without a token")


async def with_garbage_token(context: ScenarioContext) -> tuple[Exchange, Exchange]:
    """A request with a garbage token, then a valid request with its key."""
    request = (await context.request("success")).with_header("Authorization", f"Bearer {GARBAGE_TOKEN}")
    return await _refused_then_used(context, request, "a request with a garbage token")


async def keys_without_token(context: ScenarioContext) -> tuple[Exchange, Exchange, Exchange, Exchange]:
    """Without a token: a known key with its body, the same key with a different body, two unknown keys."""
    known = (await context.run_once(completed_run)).request.with_header("Authorization", None)
    clashing = context.target.conflicting(known)

    async def unknown(what: str) -> Exchange:
        return await context.send(context.target.with_key(known, new_key()), f"{what} without a token")

    # What changes with time alone, such as a timestamp in seconds, changes between the first and the last of them.
    first = await unknown("an unknown key")
    return (
        await context.send(known, "a known key without a token"),
        await context.send(clashing, "a known key and a different body without a token"),
        first,
        await unknown("a second unknown key"),
    )


async def _foreign(context: ScenarioContext, key: str) -> HttpRequest:
    request = await context.request("success", key=key)
    return request.with_json({**request.json(), "organizationId": f"org-{uuid.uuid4()}"})


async def with_foreign_org(context: ScenarioContext) -> tuple[Exchange, Exchange]:
    """A request with a foreign organizationId, then a valid request with its key."""
    return await _refused_then_used(
        context, await _foreign(context, new_key()), "a request for a foreign organization"
    )


async def foreign_org_with_known_key(context: ScenarioContext) -> Exchange:
    """A request with a foreign organizationId and a key that the principal's own organization has used."""
    key = context.target.key_of((await context.run_once(completed_run)).request) or ""
    return await context.send(await _foreign(context, key), "a foreign organization with a known key")


async def same_key_in_two_organizations(context: ScenarioContext) -> tuple[Exchange, Exchange]:
    """The same key and body, sent by principals of two organizations."""
    context.require(Need.SECOND_PRINCIPAL)
    second = context.target.second_principal
    assert second is not None
    first = await context.send(await context.request("success"), "a run of the first organization")
    body = {**first.request.json(), "organizationId": second.organization_id}
    request = context.target.post(body, key=context.target.key_of(first.request), principal=second)
    return first, await context.send(request, "the same key in the second organization")


async def token_in_query(context: ScenarioContext) -> Exchange:
    """A request with the token in the query string."""
    request = (await context.request("success")).with_header("Authorization", None)
    target = f"{request.target}?access_token={quote(context.target.principal.token, safe='')}"
    return await context.send(
        HttpRequest(request.method, target, request.headers, request.body), "a token in the query string"
    )
