"""Runs from which the rules about terminal events learn."""

from __future__ import annotations

from harness.contract.exchange import Exchange
from harness.profiles.capability import Capability
from harness.suite.scenario import ScenarioContext

from .conflict import conflict_with_secret
from .key import runs_with_run_id
from .runs import completed_run


async def runs_that_should_succeed(context: ScenarioContext) -> list[Exchange]:
    """Runs of the success action with a new key; where the API has one, with a runId, and with a text in the body."""
    runs = [await context.run_once(completed_run)]
    if context.target.promises(Capability.CLIENT_RUN_ID):
        runs += await context.run_once(runs_with_run_id)
    if context.target.promises(Capability.KEY_CONFLICT):
        runs.append((await context.run_once(conflict_with_secret))[0])
    return runs
