"""The same key with a different body: after the end, in flight, and with each single field changed."""

from __future__ import annotations

import asyncio
import copy
import uuid
from collections.abc import Callable, Iterator
from typing import Any

from harness.contract.exchange import Exchange
from harness.profiles.workflow_actions.request import new_key
from harness.suite.scenario import ScenarioContext

from .moments import sent_at, spread_moments
from .runs import long_run

_MOMENTS = 3


async def conflict_after_completion(
    context: ScenarioContext,
) -> tuple[Exchange, Exchange, Exchange, Exchange]:
    """A completed run, its key with a different body, the first body again, the different body again."""
    request = await context.request("success")
    other = context.target.conflicting(request)
    return (
        await context.send(request, "a completed run"),
        await context.send(other, "a different body with its key"),
        await context.send(request, "the first body again"),
        await context.send(other, "the different body again"),
    )


async def conflict_in_flight(context: ScenarioContext) -> tuple[Exchange, Exchange, Exchange]:
    """A long run, its key with a different body while it is in flight, and the first body again after its end."""
    request = await context.request("long")
    async with context.connections(2):
        first = context.open(request, "a long run")
        await first.events(2)
        second = context.open(
            context.target.conflicting(request), "a different body while the run is in flight"
        )
        original, conflicting = await asyncio.gather(first.result(), second.result())
    return original, conflicting, await context.send(request, "the first body again")


async def conflicts_at_moments(context: ScenarioContext) -> list[Exchange]:
    """A long run, and its key with different bodies at moments spread over the gap between events."""
    moments = spread_moments(await context.run_once(long_run), _MOMENTS)
    request = await context.request("long")
    async with context.connections(1 + _MOMENTS):
        first = context.open(request, "a long run with conflicts at several moments")
        conflicting = [
            sent_at(
                context,
                first,
                context.target.conflicting(request),
                f"a different body {moment.wait_s * 1000:.0f} ms after event {moment.event}",
                moment,
            )
            for moment in moments
        ]
        return list(await asyncio.gather(first.result(), *conflicting))


async def conflicts(context: ScenarioContext) -> list[tuple[Exchange, Exchange]]:
    """Runs, and their keys with a different body: after the end, and in flight if a long action is configured."""
    after = await context.run_once(conflict_after_completion)
    pairs = [after[:2]]
    if context.target.action("long") is not None:
        in_flight = await context.run_once(conflict_in_flight)
        pairs.append(in_flight[:2])
    return pairs


async def conflict_with_secret(context: ScenarioContext) -> tuple[Exchange, Exchange, str]:
    """A run with a unique text in its body, and its key with a different body."""
    secret = f"secret-{uuid.uuid4()}"
    request = await context.request("success")
    request = request.with_json({**request.json(), "fileThreadId": secret})
    original = await context.send(request, "a run with a secret in its body")
    other = request.with_json({**request.json(), "fileThreadId": "another"})
    return original, await context.send(other, "a different body with its key"), secret


async def conflicts_by_field(context: ScenarioContext) -> tuple[Exchange, dict[str, Exchange]]:
    """A run with every optional field, and its key with bodies that differ in one value each."""
    action = copy.deepcopy((await context.request("success")).json()["workflowAction"])
    body = {
        **context.target.body(action),
        "fileThreadId": "thread-1",
        "previousOutputs": [{"step": "one", "result": {"value": 1, "tags": ["a", "b"]}}],
        "userTimezone": "America/New_York",
        "source": "api",
    }
    key = new_key()
    original = await context.send(context.target.post(body, key=key), "a run with every field")
    requests = {name: context.target.post(other, key=key) for name, other in _variations(body)}
    return original, await context.send_all(requests, "a different body")


def _variations(body: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Valid copies of `body` with one value changed, at each depth, with the name of the change.

    toolId and runtimeScope stay: a server may accept only certain values of them.
    """

    def changed(name: str, change: Callable[[dict[str, Any]], object]) -> tuple[str, dict[str, Any]]:
        other = copy.deepcopy(body)
        change(other)
        return name, other

    yield changed("sessionId", lambda b: b.update(sessionId=str(uuid.uuid4())))
    yield changed("fileThreadId", lambda b: b.update(fileThreadId="thread-2"))
    yield changed("fileThreadId (left out)", lambda b: b.pop("fileThreadId"))
    yield changed("userTimezone", lambda b: b.update(userTimezone="Europe/Paris"))
    yield changed("source", lambda b: b.update(source="automation"))
    yield changed("workflowAction.toolName", lambda b: b["workflowAction"].update(toolName="Another name"))
    yield changed(
        "workflowAction.aiDescription", lambda b: b["workflowAction"].update(aiDescription="Another text")
    )
    yield changed("previousOutputs[0].step", lambda b: b["previousOutputs"][0].update(step="two"))
    yield changed(
        "previousOutputs[0].result.value", lambda b: b["previousOutputs"][0]["result"].update(value=2)
    )
    yield changed(
        "previousOutputs[0].result.tags[1]",
        lambda b: b["previousOutputs"][0]["result"].update(tags=["a", "c"]),
    )
    yield changed(
        "previousOutputs[0].result.tags (order)",
        lambda b: b["previousOutputs"][0]["result"]["tags"].reverse(),
    )
    yield changed("previousOutputs (one more)", lambda b: b["previousOutputs"].append({"step": "two"}))
