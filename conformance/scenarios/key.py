"""Keys of every kind, no key, and the client's runId beside or instead of one."""

from __future__ import annotations

import json
import uuid

from harness.contract.exchange import Exchange
from harness.profiles.workflow_actions.request import new_key
from harness.protocol.request import HttpRequest
from harness.suite.scenario import NotApplicable, ScenarioContext

from .runs import completed_run


def _keyless(world: ScenarioContext, run_id: str | None = None) -> HttpRequest:
    return world.request("success", run_id=run_id).with_header("Idempotency-Key", None)


async def keyless_runs(world: ScenarioContext) -> tuple[Exchange, Exchange]:
    """Two requests with equal bodies, without key and runId, one after the other."""
    request = _keyless(world)
    first = await world.send(request, "a run without a key")
    return first, await world.send(request, "the same request without a key again")


async def opaque_keys(world: ScenarioContext) -> dict[str, tuple[Exchange, Exchange]]:
    """Runs under keys of different forms, and their retries."""
    unique = uuid.uuid4().hex
    keys = {
        "a UUID": new_key(),
        "a quoted structured-field string": f'"{new_key()}"',
        "a plain token": f"run_{unique}.1",
    }
    found: dict[str, tuple[Exchange, Exchange]] = {}
    for kind, key in keys.items():
        request = world.request("success", key=key)
        original = await world.send(request, f"a run with {kind} as key")
        found[kind] = original, await world.send(request, f"its retry, with {kind} as key")
    return found


async def bad_keys(world: ScenarioContext) -> dict[str, Exchange]:
    """Requests with keys that are none."""
    keys = {
        "an empty text": "",
        "20,000 characters": "k" * 20_000,
        "a control character": f"k\x01{new_key()}",
    }
    template = world.request("success")
    return await world.send_all(
        {kind: template.with_header("Idempotency-Key", key) for kind, key in keys.items()}, "a bad key"
    )


async def injected_keys(world: ScenarioContext) -> dict[str, Exchange]:
    """Requests whose keys try to be something else. A raw line break cannot be sent; its escapes are."""
    world.forbid_when_read_only("injections")
    unique = uuid.uuid4().hex
    keys = (
        f"{unique}%0d%0aX-Injected: yes",
        f"{unique}\\r\\nX-Injected: yes",
        f"<script>alert('{unique}')</script>",
        f"{unique}' OR '1'='1'; DROP TABLE runs; --",
        f"../../../../etc/passwd?{unique}",
        f"${{jndi:ldap://{unique}}}",
    )
    template = world.request("success")
    return await world.send_all(
        {key: template.with_header("Idempotency-Key", key) for key in keys}, "an injection"
    )


async def key_on_other_route(world: ScenarioContext) -> tuple[Exchange, Exchange]:
    """A completed run, and its key used on the other route."""
    other = world.target.settings.other_route
    if other is None:
        raise NotApplicable("configure [target.other_route]")
    original = await world.run_once(completed_run)
    body = {**original.request.json(), **other.body}
    request = world.target.post(body, key=original.request.header("idempotency-key"), path=other.path)
    return original, await world.send(request, "the same key on the other route")


async def same_value_in_other_bytes(world: ScenarioContext) -> tuple[Exchange, Exchange, Exchange]:
    """A run, and the same JSON value under its key with another key order, and with other white space."""
    request = world.request("success")
    body = request.json()
    reordered = request.with_json(dict(reversed(body.items())))
    spaced = HttpRequest(
        request.method,
        request.target,
        request.headers,
        json.dumps(body, ensure_ascii=False, indent=2).encode(),
    )
    original = await world.send(request, "a run")
    return (
        original,
        await world.send(reordered, "its body with another key order"),
        await world.send(spaced, "its body with other white space"),
    )


async def runs_with_run_id(world: ScenarioContext) -> list[Exchange]:
    """Runs whose runId the client gave, with a fresh key and without one."""
    return [
        await world.send(world.request("success", run_id=new_key()), "a run with a runId of the client's"),
        await world.send(_keyless(world, new_key()), "a run with a runId and without a key"),
    ]


async def run_id_beside_key(world: ScenarioContext) -> tuple[Exchange, Exchange, Exchange]:
    """A run with key and runId; its runId under a new key; another runId under its key."""
    request = world.request("success", run_id=f"run-{uuid.uuid4()}")
    original = await world.send(request, "a run with key and runId")
    new_key_old_id = await world.send(
        request.with_header("Idempotency-Key", new_key()), "a new key with the old runId"
    )
    old_key_new_id = await world.send(
        request.with_json({**request.json(), "runId": f"run-{uuid.uuid4()}"}), "the old key with a new runId"
    )
    return original, new_key_old_id, old_key_new_id


async def resumed_by_run_id(world: ScenarioContext) -> tuple[Exchange, Exchange]:
    """The same runId and body twice, without a key."""
    request = _keyless(world, f"run-{uuid.uuid4()}")
    original = await world.send(request, "a run with a runId and no key")
    return original, await world.send(request, "the same runId and body again")
