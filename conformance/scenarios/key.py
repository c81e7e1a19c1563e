"""Keys of every kind, no key, and a runId with or without a key."""

from __future__ import annotations

import json
import uuid

from harness.contract.exchange import Exchange
from harness.contract.rules.rule import Need
from harness.profiles.workflow_actions.request import new_key
from harness.protocol.request import HttpRequest
from harness.suite.scenario import ScenarioContext

from .runs import completed_run


async def _keyless(context: ScenarioContext, run_id: str | None = None) -> HttpRequest:
    return context.target.with_key(await context.request("success", run_id=run_id), None)


async def keyless_runs(context: ScenarioContext) -> tuple[Exchange, Exchange]:
    """Two requests with equal bodies, without key and runId, one after the other."""
    request = await _keyless(context)
    first = await context.send(request, "a run without a key")
    return first, await context.send(request, "the same request without a key again")


async def opaque_keys(context: ScenarioContext) -> dict[str, tuple[Exchange, Exchange]]:
    """Runs with keys of different forms, and their retries."""
    unique = uuid.uuid4().hex
    keys = {
        "a UUID": new_key(),
        "a quoted structured-field string": f'"{new_key()}"',
        "a plain token": f"run_{unique}.1",
    }
    pairs: dict[str, tuple[Exchange, Exchange]] = {}
    for kind, key in keys.items():
        request = await context.request("success", key=key)
        original = await context.send(request, f"a run with {kind} as key")
        pairs[kind] = original, await context.send(request, f"its retry, with {kind} as key")
    return pairs


async def bad_keys(context: ScenarioContext) -> dict[str, Exchange]:
    """Requests with invalid keys."""
    keys = {
        "an empty text": "",
        "20,000 characters": "k" * 20_000,
        "a control character": f"k\x01{new_key()}",
    }
    template = await context.request("success")
    return await context.send_all(
        {kind: context.target.with_key(template, key) for kind, key in keys.items()}, "a bad key"
    )


async def injected_keys(context: ScenarioContext) -> dict[str, Exchange]:
    """Requests with injections as keys; line breaks are escaped, as raw ones cannot be sent."""
    context.forbid_when_read_only("injections")
    unique = uuid.uuid4().hex
    keys = (
        f"{unique}%0d%0aX-Injected: yes",
        f"{unique}\\r\\nX-Injected: yes",
        f"<script>alert('{unique}')</script>",
        f"{unique}' OR '1'='1'; DROP TABLE runs; --",
        f"../../../../etc/passwd?{unique}",
        f"${{jndi:ldap://{unique}}}",
    )
    template = await context.request("success")
    return await context.send_all(
        {key: context.target.with_key(template, key) for key in keys}, "an injection"
    )


async def key_on_other_route(context: ScenarioContext) -> tuple[Exchange, Exchange]:
    """A completed run, and its key used on the other route."""
    context.require(Need.SECOND_ROUTE)
    other = context.target.settings.other_route
    assert other is not None
    original = await context.run_once(completed_run)
    body = {**original.request.json(), **other.body}
    request = context.target.post(body, key=context.target.key_of(original.request), path=other.path)
    return original, await context.send(request, "the same key on the other route")


async def same_body_in_different_bytes(context: ScenarioContext) -> tuple[Exchange, Exchange, Exchange]:
    """A run, and its key with the same JSON value in a different key order and with different whitespace."""
    request = await context.request("success")
    body = request.json()
    reordered = request.with_json(dict(reversed(body.items())))
    spaced = HttpRequest(
        request.method,
        request.target,
        request.headers,
        json.dumps(body, ensure_ascii=False, indent=2).encode(),
    )
    original = await context.send(request, "a run")
    return (
        original,
        await context.send(reordered, "its body with a different key order"),
        await context.send(spaced, "its body with different whitespace"),
    )


async def runs_with_run_id(context: ScenarioContext) -> list[Exchange]:
    """Runs with a runId from the client, with a fresh key and without one."""
    return [
        await context.send(await context.request("success", run_id=new_key()), "a run with a runId"),
        await context.send(await _keyless(context, new_key()), "a run with a runId and without a key"),
    ]


async def run_id_and_key(context: ScenarioContext) -> tuple[Exchange, Exchange, Exchange]:
    """A run with key and runId; its runId with a new key; its key with a new runId."""
    request = await context.request("success", run_id=f"run-{uuid.uuid4()}")
    original = await context.send(request, "a run with key and runId")
    new_key_old_id = await context.send(
        context.target.with_key(request, new_key()), "a new key with the old runId"
    )
    old_key_new_id = await context.send(
        context.target.with_run_id(request, f"run-{uuid.uuid4()}"), "the old key with a new runId"
    )
    return original, new_key_old_id, old_key_new_id


async def resumed_by_run_id(context: ScenarioContext) -> tuple[Exchange, Exchange]:
    """The same runId and body twice, without a key."""
    request = await _keyless(context, f"run-{uuid.uuid4()}")
    original = await context.send(request, "a run with a runId and no key")
    return original, await context.send(request, "the same runId and body again")
