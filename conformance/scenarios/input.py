"""Requests with bodies that violate the documentation."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from harness.contract.exchange import Exchange
from harness.profiles.capability import Capability
from harness.profiles.library import DEFAULT
from harness.profiles.workflow_actions.request import new_key
from harness.protocol.request import HttpRequest
from harness.suite.scenario import ScenarioContext

TOO_LARGE_BYTES = 24_000_000
_NESTED = 20_000


_WRONG_TYPES: dict[str, dict[str, Any]] = {
    "a number as organizationId": {"organizationId": 7},
    "an object as sessionId": {"sessionId": {}},
    "null as sessionId": {"sessionId": None},
    "a text as workflowAction": {"workflowAction": "echo"},
    "an array as workflowAction": {"workflowAction": []},
    "a number as fileThreadId": {"fileThreadId": 7},
    "an object as previousOutputs": {"previousOutputs": {}},
    "a text in previousOutputs": {"previousOutputs": ["text"]},
    "a number as userTimezone": {"userTimezone": 7},
    "an array as runId": {"runId": []},
}
"""Of the documented fields of workflow-actions, the optional ones too."""


async def _raw(context: ScenarioContext, body: bytes) -> HttpRequest:
    return (await context.request("success")).with_body(body)


async def _with_bodies(context: ScenarioContext, bodies: dict[str, Any], label: str) -> dict[str, Exchange]:
    valid = await context.request("success")
    requests = {
        name: context.target.with_key(valid.with_json(body), new_key()) for name, body in bodies.items()
    }
    return await context.send_all(requests, label)


async def _body(context: ScenarioContext) -> dict[str, Any]:
    body: dict[str, Any] = (await context.request("success")).json()
    return body


async def bodies_not_json(context: ScenarioContext) -> dict[str, Exchange]:
    """Bodies that are not a JSON object."""
    bodies = {
        "malformed JSON": b'{"organizationId": "org',
        "an array": b"[]",
        "an empty body": b"",
        "a bare text": b'"text"',
        "null": b"null",
    }
    return await context.send_all(
        {name: await _raw(context, body) for name, body in bodies.items()}, "posted"
    )


async def bodies_without_a_field(context: ScenarioContext) -> dict[str, Exchange]:
    """Bodies without one required field."""
    valid = await context.request("success")
    return await context.send_all(
        {name: context.target.without(valid, name) for name in context.target.profile.rejects.required},
        "a body without",
    )


async def bodies_with_wrong_types(context: ScenarioContext) -> dict[str, Exchange]:
    """Bodies with one value of the wrong type."""
    body = await _body(context)
    if context.target.profile.name == DEFAULT:
        wrong = _WRONG_TYPES
    else:
        wrong = {
            f"{'a text' if isinstance(body[name], list | dict) else 'an object'} as {name}": {
                name: "text" if isinstance(body[name], list | dict) else {}
            }
            for name in context.target.profile.rejects.required
            if name in body
        }
    return await _with_bodies(context, {name: {**body, **part} for name, part in wrong.items()}, "sent")


async def bodies_with_bad_source(context: ScenarioContext) -> dict[str, Exchange]:
    """Bodies with an undocumented `source`."""
    body = await _body(context)
    values: tuple[Any, ...] = ("robot", "", "API", 7)
    return await _with_bodies(
        context, {json.dumps(value): {**body, "source": value} for value in values}, "source"
    )


async def bodies_with_bad_timezone(context: ScenarioContext) -> dict[str, Exchange]:
    """Bodies with a `userTimezone` that is not an IANA time zone."""
    body = await _body(context)
    values = ("Mars/Olympus_Mons", "not a zone", "../../etc/passwd")
    return await _with_bodies(
        context, {value: {**body, "userTimezone": value} for value in values}, "userTimezone"
    )


async def hostile_bodies(context: ScenarioContext) -> dict[str, Exchange]:
    """Bodies that break naive JSON parsers."""
    context.forbid_when_read_only("hostile bodies")
    body = json.dumps(await _body(context))
    opened = body[:-1]

    def extended(extra: str) -> bytes:
        return f"{opened}, {extra}}}".encode()

    bodies = {
        "20,000 nested arrays": extended('"x": ' + "[" * _NESTED + "]" * _NESTED),
        "20,000 nested objects": extended('"x": ' + '{"a":' * _NESTED + "1" + "}" * _NESTED),
        "20,000 arrays never closed": extended('"x": ' + "[" * _NESTED),
        "bytes that are not UTF-8": f'{opened}, "fileThreadId": "'.encode() + b'\xff\xfe"}',
        "a lone surrogate": extended('"fileThreadId": "\\ud800"'),
        "a NUL": extended('"fileThreadId": "a\\u0000b"'),
        "the number 1e400": extended('"x": 1e400'),
        "a number of 5,000 digits": extended('"x": ' + "9" * 5000),
        "NaN": extended('"x": NaN'),
        "a key twice": extended('"sessionId": "another"'),
        "a text of 200,000 characters": extended('"x": "' + "y" * 200_000 + '"'),
        "a lone surrogate in sessionId": body.replace('"sessionId": "', '"sessionId": "\\udfff').encode(),
        "a NUL in organizationId": body.replace('"organizationId": "', '"organizationId": "\\u0000').encode(),
    }
    return await context.send_all(
        {name: await _raw(context, value) for name, value in bodies.items()}, "hostile"
    )


async def body_as_text(context: ScenarioContext) -> Exchange:
    """A valid body with Content-Type text/plain."""
    return await context.send(
        (await context.request("success")).with_header("Content-Type", "text/plain"),
        "a body sent as text/plain",
    )


async def body_too_large(context: ScenarioContext) -> Exchange:
    """A valid body with one very long value."""
    context.forbid_when_read_only("oversized bodies")
    await context.others_ended(turn=0)  # a server that reads it in its event loop delays all its streams
    valid = await context.request("success")
    if not context.target.promises(Capability.JSON_BODY):
        return await context.send(valid.with_body(valid.body + b"x" * TOO_LARGE_BYTES), "an oversized body")
    place = new_key()  # encoding the long text as JSON would delay all other scenarios
    request = valid.with_json({**valid.json(), "fileThreadId": place})
    body = request.body.replace(place.encode(), b"x" * TOO_LARGE_BYTES)
    return await context.send(replace(request, body=body), "an oversized body")
