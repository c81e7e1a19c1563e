"""A run of each configured action, read to its end."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from harness.contract.exchange import Ending, Exchange
from harness.contract.rules.framing import HOSTILE_TEXT
from harness.contract.rules.rule import Need
from harness.profiles.capability import Capability
from harness.profiles.profile import Profile
from harness.protocol.request import HttpRequest
from harness.suite.scenario import NotApplicable, ScenarioContext

_METHODS = ("GET", "PUT", "PATCH")
_IN_EVERY_RUN = (Capability.OUTCOME, Capability.END, Capability.FIRST_EVENT)
"""What an API may promise of each run that shows as an event."""


async def completed_run(context: ScenarioContext) -> Exchange:
    """A run that ends with done."""
    return await context.send(await context.request("success"), "a completed run")


async def _begun(context: ScenarioContext, request: HttpRequest, label: str) -> Exchange:
    """The run of a request with a new key.

    Its only event may be an error with the code 409. If the target accepts new keys, that is the run's own failure.
    """
    run = await context.send(request, label)
    if not run.has_conflict_event or not (await context.run_once(completed_run)).started_run:
        return run
    return replace(run, begins_run=True)


def _with_an_event(context: ScenarioContext, run: Exchange, *promised: Capability) -> Exchange:
    """The run. Raises NotApplicable if its stream is whole and empty, and the API promises no event of such a run."""
    media_type = (run.head.value("content-type") if run.head else None) or ""
    is_stream = run.status == 200 and media_type.lower().startswith("text/event-stream")
    is_empty = run.ending is Ending.COMPLETE and not run.body
    if is_stream and is_empty and not any(map(context.target.promises, (*_IN_EVERY_RUN, *promised))):
        raise NotApplicable(
            f"{run.label} had no event, and this API promises none (profile {context.target.profile.name})"
        )
    return run


async def long_run(context: ScenarioContext) -> Exchange:
    """A run that streams for a second or more."""
    return await _begun(context, await context.request("long"), "a long run")


async def long_runs_again(context: ScenarioContext) -> list[Exchange]:
    """Two more runs of the long action, the second a third of a run after the first."""
    whole = await context.run_once(long_run)
    third_s = (whole.timing.ended_ns - whole.timing.started_ns) / 3e9

    async def later(number: int) -> Exchange:
        await asyncio.sleep(number * third_s)
        return await context.send(await context.request("long"), f"a long run once more, {number + 1}")

    return list(await asyncio.gather(later(0), later(1)))


async def failing_run(context: ScenarioContext) -> Exchange:
    """A run that ends with error."""
    run = await _begun(context, await context.request("failure"), "a failing run")
    return _with_an_event(context, run, Capability.ERROR_EVENT)


async def cancelled_run(context: ScenarioContext) -> Exchange:
    """A run that ends with cancelled."""
    run = await _begun(context, await context.request("cancelled"), "a cancelled run")
    return _with_an_event(context, run, Capability.CANCELLED_EVENT)


async def silent_run(context: ScenarioContext) -> Exchange:
    """A run without tokens."""
    return _with_an_event(context, await _begun(context, await context.request("silent"), "a silent run"))


async def quiet_run(context: ScenarioContext) -> Exchange:
    """A run that pauses longer than the heartbeat budget."""
    return await _begun(context, await context.request("quiet"), "a quiet run")


#: Their events' times are judged, so what the suite does at the same time must not delay them.
TIMED = (completed_run, long_run, long_runs_again, failing_run, cancelled_run, silent_run, quiet_run)


async def echoed_run(context: ScenarioContext) -> Exchange:
    """A run that echoes hostile text."""
    return await context.send(await echo_request(context, HOSTILE_TEXT), "a run that echoes hostile text")


async def get_response(context: ScenarioContext) -> Exchange:
    """A request with a wrong method: GET, or PUT where GET may be part of the API."""
    request = (await context.request("success")).with_header("Content-Type", None)
    method = _other_method(context.target.profile)
    return await context.send(HttpRequest(method, request.target, request.headers), f"a {method} request")


def _other_method(profile: Profile) -> str:
    """A method that the API does not document for the path of its runs: GET, unless there are resources below it."""
    run_path = profile.run.path.partition("?")[0]
    others = [part for part in profile.requests if part is not profile.run]
    used = {part.method for part in (profile.run, *others)}
    if any(f"{part.path}/".startswith((f"{run_path}/", f"{run_path}?")) for part in others):
        used.add("GET")
    return next(name for name in _METHODS if name not in used)


async def echo_request(context: ScenarioContext, text: str) -> HttpRequest:
    """A request to echo `text`: with the echo action if configured, else in the success action's description."""
    context.require(Need.ECHO_ACTION)
    if context.target.action("echo") is not None:
        return await context.request("echo", text=text)
    success = await context.request("success")
    body = success.json()
    return success.with_json({**body, "workflowAction": {**body["workflowAction"], "aiDescription": text}})
