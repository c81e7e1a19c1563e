"""The request for a new run, after the requests that some APIs want before it."""

from __future__ import annotations

from harness.config.target import BEFORE_A_RUN, Target
from harness.protocol.request import HttpRequest
from harness.transport.asyncio_client import AsyncClient


async def new_run(
    client: AsyncClient, target: Target, action: str, replica: str | None = None
) -> HttpRequest:
    """A request for a new run of an action. replica: the base URL of the one to ask, if the target has several.

    Raises LookupError if the action is not configured, and CreationError if the target did not answer what comes
    before.
    """
    values = target.values(action)
    for step in target.profile.before_run:
        creation = target.creation(step, values).at(replica)
        values |= target.kept(step, await client.exchange(creation, BEFORE_A_RUN))
    return target.run_with(values).at(replica)
