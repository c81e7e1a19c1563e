"""Requests of those who may not: no token, a garbage one, a foreign organization, the token elsewhere."""

from __future__ import annotations

import uuid
from urllib.parse import quote

from harness.config.target import with_different_body
from harness.contract.exchange import Exchange
from harness.profiles.workflow_actions.request import new_key
from harness.protocol.request import HttpRequest
from harness.suite.scenario import NotApplicable, ScenarioContext

from .runs import completed_run

GARBAGE_TOKEN = f"garbage-{uuid.uuid4().hex}"


async def _refused_then_used(
    world: ScenarioContext, refused: HttpRequest, label: str
) -> tuple[Exchange, Exchange]:
    """A request to be refused, and its key in a valid request with another body: is the key still free?"""
    first = await world.send(refused, label)
    valid = world.request("success", key=refused.header("idempotency-key"))
    return first, await world.send(valid, f"a valid request with the key of {label}")


async def without_token(world: ScenarioContext) -> tuple[Exchange, Exchange]:
    """A request without a token, then its key used validly."""
    request = world.request("success").with_header("Authorization", None)
    return await _refused_then_used(world, request, "a request without a token")


async def with_garbage_token(world: ScenarioContext) -> tuple[Exchange, Exchange]:
    """A request with a garbage token, then its key used validly."""
    request = world.request("success").with_header("Authorization", f"Bearer {GARBAGE_TOKEN}")
    return await _refused_then_used(world, request, "a request with a garbage token")


async def keys_without_token(world: ScenarioContext) -> tuple[Exchange, Exchange, Exchange, Exchange]:
    """Without a token: a known key with its body, the same with another body, two unknown keys."""
    known = (await world.run_once(completed_run)).request.with_header("Authorization", None)
    return (
        await world.send(known, "a known key without a token"),
        await world.send(with_different_body(known), "a known key and another body without a token"),
        await world.send(known.with_header("Idempotency-Key", new_key()), "an unknown key without a token"),
        await world.send(
            known.with_header("Idempotency-Key", new_key()), "another unknown key without a token"
        ),
    )


def _foreign(world: ScenarioContext, key: str) -> HttpRequest:
    request = world.request("success", key=key)
    return request.with_json({**request.json(), "organizationId": f"org-{uuid.uuid4()}"})


async def with_foreign_org(world: ScenarioContext) -> tuple[Exchange, Exchange]:
    """A request with a foreign organizationId, then its key used validly."""
    return await _refused_then_used(world, _foreign(world, new_key()), "a request for a foreign organization")


async def foreign_org_with_known_key(world: ScenarioContext) -> Exchange:
    """A foreign organizationId under a key that the principal's own organization has used."""
    key = (await world.run_once(completed_run)).request.header("idempotency-key") or ""
    return await world.send(_foreign(world, key), "a foreign organization under a known key")


async def same_key_in_two_organizations(world: ScenarioContext) -> tuple[Exchange, Exchange]:
    """The same key and body, sent by principals of two organizations."""
    second = world.target.second_principal
    if second is None:
        raise NotApplicable("configure [target.second_principal]")
    first = await world.send(world.request("success"), "a run of the first organization")
    body = {**first.request.json(), "organizationId": second.organization_id}
    request = world.target.post(body, key=first.request.header("idempotency-key"), principal=second)
    return first, await world.send(request, "the same key in the second organization")


async def token_in_query(world: ScenarioContext) -> Exchange:
    """A request with its token in the query string."""
    request = world.request("success").with_header("Authorization", None)
    target = f"{request.target}?access_token={quote(world.target.principal.token, safe='')}"
    return await world.send(
        HttpRequest(request.method, target, request.headers, request.body), "a token in the query string"
    )
