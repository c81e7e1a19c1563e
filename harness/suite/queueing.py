"""Finds out whether the target queues: serves only a few runs at a time, and lets the others wait.

A queue is not a fault. But requests that wait for each other would exceed the time budgets, and what looks like a
slow or missing response would be the suite's own haste.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from harness.config.target import Target
from harness.contract.exchange import Exchange
from harness.transport.asyncio_client import AsyncClient

PROBES = 8
"""Simultaneous runs. A target that serves as many has no queue that the suite would notice."""

_NOTICEABLE_S = 0.15


async def runs_at_once(client: AsyncClient, target: Target) -> int | None:
    """How many runs the target serves at a time, if fewer than PROBES; None without a noticeable queue.

    A short run may have ended before the next request was read, so the long action confirms a first suspicion.
    """
    first = await _probe(client, target, "success")
    if first is None:
        return None
    return await _probe(client, target, "long" if target.action("long") is not None else "success")


async def _probe(client: AsyncClient, target: Target, action: str) -> int | None:
    runs = await asyncio.gather(
        *(
            client.exchange(target.run(action), f"a run to find a queue, {number} of {PROBES}")
            for number in range(1, PROBES + 1)
        )
    )
    return served_at_once(runs)


def served_at_once(runs: Sequence[Exchange]) -> int | None:
    """How many of simultaneous runs began before the first of them ended; None if all did, or if that is unknown.

    A run that began later by less than 150 ms did not noticeably wait.
    """
    if not all(run.started_run for run in runs):
        return None
    ended_ns = min(run.timing.ended_ns for run in runs)
    began_ns = [run.summary.first_event_ns or run.timing.ended_ns for run in runs]
    early = sum(began < ended_ns for began in began_ns)
    if early == len(runs) or (max(began_ns) - min(began_ns)) / 1e9 < _NOTICEABLE_S:
        return None
    return max(1, early)
