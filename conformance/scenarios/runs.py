"""Runs of each configured action, read to their end."""

from __future__ import annotations

from harness.config.settings import Action
from harness.contract.exchange import Exchange
from harness.contract.rules.framing import HOSTILE_TEXT
from harness.profiles.workflow_actions.request import new_key
from harness.protocol.request import HttpRequest
from harness.suite.scenario import NotApplicable, ScenarioContext

ECHO_PLACEHOLDER = "{text}"


async def completed_run(world: ScenarioContext) -> Exchange:
    """A run that ends with done."""
    return await world.send(world.request("success"), "a completed run")


async def long_run(world: ScenarioContext) -> Exchange:
    """A run that streams for a second or more."""
    return await world.send(world.request("long"), "a long run")


async def failing_run(world: ScenarioContext) -> Exchange:
    """A run that ends with error."""
    return await world.send(world.request("failure"), "a failing run")


async def cancelled_run(world: ScenarioContext) -> Exchange:
    """A run that ends with cancelled."""
    return await world.send(world.request("cancelled"), "a cancelled run")


async def silent_run(world: ScenarioContext) -> Exchange:
    """A run that makes no token."""
    return await world.send(world.request("silent"), "a silent run")


async def quiet_run(world: ScenarioContext) -> Exchange:
    """A run that pauses longer than the heartbeat budget."""
    return await world.send(world.request("quiet"), "a quiet run")


async def echoed_run(world: ScenarioContext) -> Exchange:
    """A run that was asked to give hostile text back."""
    return await world.send(echo_request(world, HOSTILE_TEXT), "a run that echoes hostile text")


async def get_answer(world: ScenarioContext) -> Exchange:
    """What GET gets where POST is documented."""
    request = world.request("success").with_header("Content-Type", None)
    return await world.send(HttpRequest("GET", request.target, request.headers), "a GET request")


def echo_request(world: ScenarioContext, text: str) -> HttpRequest:
    """A request that asks for `text` back: by the echo action, else in the description of the success action.

    Raises NotApplicable when neither is configured.
    """
    action = world.target.action("echo")
    if action is not None:
        return world.target.post(world.target.body(_filled(action, text)), key=new_key())
    action = world.target.action("success")
    if action is None:
        raise NotApplicable("configure [target.actions.echo] with {text} in a parameter")
    return world.target.post(world.target.body({**action, "aiDescription": text}), key=new_key())


def _filled(action: Action, text: str) -> Action:
    return {
        name: value.replace(ECHO_PLACEHOLDER, text) if isinstance(value, str) else value
        for name, value in action.items()
    }
