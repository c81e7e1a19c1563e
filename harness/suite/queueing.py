"""Finds out whether the target queues: serves only a few runs at a time, and lets the others wait.

A queue is not a fault. But requests that wait for each other would exceed the time budgets, and what looks like a
slow or missing response would be the suite's own haste.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import replace

from harness.config.target import CreationError, Target
from harness.contract.exchange import Exchange
from harness.suite.new_run import new_run
from harness.suite.request_budget import RequestBudget
from harness.transport.asyncio_client import AsyncClient, AsyncExchange

PROBES = 8
"""Simultaneous runs. A target that serves as many has no queue that the suite would notice."""

_NOTICEABLE_S = 0.15
_PATIENCE = 4  # times the usual budget for the first event: the last one in the queue waits for all others


async def runs_at_once(target: Target, requests: RequestBudget) -> int | None:
    """How many runs the target serves at a time, if fewer than PROBES; None without a noticeable queue.

    Uses the long action, if configured, because a short run may have ended before the next request was read. If all
    runs have begun, there is no queue, and the connections are closed. A queue must show twice: a busy machine delays
    runs too. Raises Undecided if `requests` does not allow that many.
    """
    first = await _probe(target, requests)
    again = None if first is None else await _probe(target, requests)
    return None if first is None or again is None else max(first, again)


async def _probe(target: Target, requests: RequestBudget) -> int | None:
    requests.require(PROBES * (1 + len(target.profile.before_run)))
    budgets = target.expectations.budgets
    patient = replace(budgets, first_event_s=_PATIENCE * budgets.first_event_s)
    client = AsyncClient(target.endpoint, patient, target.memory, target.profile, before_each=requests.take)
    action = "long" if target.action("long") is not None else "success"
    try:
        new_runs = [await new_run(client, target, action) for _ in range(PROBES)]
    except CreationError:  # nothing would begin
        return None
    runs = [
        client.open(request, f"a run to find a queue, {number} of {PROBES}")
        for number, request in enumerate(new_runs, 1)
    ]
    began = await asyncio.gather(*(run.events(1) for run in runs))
    if not all(began) or not await _one_ends(runs):
        for run in runs:
            await run.cut()
        return None
    return served_at_once([await run.result() for run in runs])


async def _one_ends(runs: Sequence[AsyncExchange]) -> bool:
    """Whether one run has ended, or ends at once: in a queue the last run begins when another one ends."""
    deadline_s = time.monotonic() + _NOTICEABLE_S
    while not any(run.finished for run in runs):
        if time.monotonic() >= deadline_s:
            return False
        await asyncio.sleep(0.01)
    return True


def served_at_once(runs: Sequence[Exchange]) -> int | None:
    """How many of simultaneous runs began before the first of them ended; None if all did, or if that is unknown.

    A run that began later by less than 150 ms did not noticeably wait.
    """
    if not all(run.started_run for run in runs):
        return None
    ended_ns = min(run.summary.terminal_ns or run.timing.ended_ns for run in runs)
    began_ns = [run.summary.first_event_ns or run.timing.ended_ns for run in runs]
    early = sum(began < ended_ns for began in began_ns)
    if early == len(runs) or (max(began_ns) - min(began_ns)) / 1e9 < _NOTICEABLE_S:
        return None
    return max(1, early)
