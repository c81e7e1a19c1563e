"""Responses of every kind."""

from __future__ import annotations

import asyncio

from harness.contract.exchange import Exchange
from harness.profiles.capability import Capability
from harness.profiles.workflow_actions.request import new_key
from harness.protocol.request import HttpRequest
from harness.suite.scenario import ScenarioContext

from .auth import (
    foreign_org_with_known_key,
    token_in_query,
    with_foreign_org,
    with_garbage_token,
    without_token,
)
from .conflict import conflict_after_completion
from .input import bodies_not_json, bodies_without_a_field
from .runs import completed_run


async def every_kind_of_response(context: ScenarioContext) -> list[Exchange]:
    """An accepted request, and a rejection for each reason that the API documents."""
    promises = context.target.promises
    refused = [without_token, with_garbage_token]
    single = [completed_run, token_in_query]
    if promises(Capability.ORGANIZATION):
        refused.append(with_foreign_org)
        single.append(foreign_org_with_known_key)
    pairs = await asyncio.gather(*(context.run_once(scenario) for scenario in refused))
    responses = list(await asyncio.gather(*(context.run_once(scenario) for scenario in single)))
    responses += [first for first, _ in pairs]
    if promises(Capability.KEY_CONFLICT):
        responses.append((await context.run_once(conflict_after_completion))[1])
    if promises(Capability.MALFORMED_REJECTED):
        responses += (await context.run_once(bodies_not_json)).values()
    if promises(Capability.REQUIRED_FIELDS):
        responses += (await context.run_once(bodies_without_a_field)).values()
    return responses


async def cors_responses(context: ScenarioContext) -> list[Exchange]:
    """A valid request, a request without a token, and a CORS preflight, as a foreign web page sends them."""
    request = (await context.request("success")).with_header("Origin", "https://elsewhere.example")
    accepted = await context.send(request, "a request with a foreign Origin")
    refused = await context.send(
        context.target.with_key(request.with_header("Authorization", None), new_key()),
        "a request with a foreign Origin and no token",
    )
    preflight = HttpRequest(
        "OPTIONS",
        request.target,
        (
            ("Origin", "https://elsewhere.example"),
            ("Access-Control-Request-Method", "POST"),
            ("Access-Control-Request-Headers", "authorization"),
        ),
    )
    return [accepted, refused, await context.send(preflight, "a CORS preflight from a foreign Origin")]
