"""The request for a new run, after the request that some APIs want before it."""

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
    creation = target.creation(values)
    if creation is not None:
        values |= target.kept(await client.exchange(creation.at(replica), BEFORE_A_RUN))
    return target.run_with(values).at(replica)
