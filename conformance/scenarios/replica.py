"""The scenarios of retries, cuts, conflicts and races, with the requests of each run at different replicas."""

from __future__ import annotations

import asyncio

from harness.contract.exchange import Exchange
from harness.contract.rules.cancel import Cancelled
from harness.contract.rules.cuts import CutRun
from harness.contract.rules.replica import ReplayedRun
from harness.contract.rules.rule import Need
from harness.suite.scenario import NotApplicable, ScenarioContext, gather_some

from . import cancel, conflict, cuts, race, resume

_ENDINGS = ("success", "failure", "cancelled", "silent")


async def runs_replayed_elsewhere(context: ScenarioContext) -> list[ReplayedRun]:
    """Runs of each replica and of each way to end, retried at it and at the others."""
    context.require(Need.REPLICAS)
    replicas = list(context.target.replicas)

    async def replayed(action: str, home: int) -> ReplayedRun:
        request = await context.request(action)
        original = await context.send(request.at(replicas[home]), f"a {action} run, at replica {home + 1}")
        elsewhere = [
            await context.send(
                request.at(replica),
                f"the retry of a {action} run of replica {home + 1}, at replica {number + 1}",
            )
            for number, replica in enumerate(replicas)
            if number != home
        ]
        again = await context.send(original.request, f"its retry at its own replica {home + 1}")
        return original, again, elsewhere

    return await gather_some(
        [
            replayed(action, home)
            for home in range(len(replicas))
            for action in _ENDINGS
            if context.target.action(action) is not None
        ]
    )


async def runs_joined_elsewhere(context: ScenarioContext) -> list[list[Exchange]]:
    """Long runs, joined in flight at all replicas in turn: by one reader, and by many at different moments."""
    with context.across_replicas():
        few, many = await asyncio.gather(resume.joined_run(context), resume.run_joined_at_moments(context))
    return [list(few[:2]), many]


async def runs_cut_and_resumed_elsewhere(context: ScenarioContext) -> list[CutRun]:
    """Long runs cut after each event, and resumed without Last-Event-ID at another replica."""
    with context.across_replicas():
        return await cuts.cut_runs(context)


async def runs_cut_and_resumed_by_id_elsewhere(context: ScenarioContext) -> list[CutRun]:
    """Long runs cut after each event, and resumed with Last-Event-ID at another replica."""
    with context.across_replicas():
        return await cuts.cut_runs_by_id(context)


async def retries_at_the_end_elsewhere(context: ScenarioContext) -> list[tuple[Exchange, Exchange]]:
    """Long runs, each with a retry at another replica around the time of its terminal event."""
    with context.across_replicas():
        return await resume.retries_at_the_end(context)


async def conflicts_after_the_end_elsewhere(context: ScenarioContext) -> list[tuple[Exchange, Exchange]]:
    """Finished runs of all replicas, each with the response to its key with a different body at another one."""
    with context.across_replicas():
        ended = [await conflict.conflict_after_completion(context) for _ in context.target.replicas]
    return [(original, other) for original, other, *_ in ended]


async def conflicts_in_flight_elsewhere(context: ScenarioContext) -> list[tuple[Exchange, Exchange]]:
    """Runs in flight at all replicas, each with the response to its key with a different body at another one."""
    with context.across_replicas():
        joined = [await conflict.conflict_in_flight(context) for _ in context.target.replicas]
    return [(original, other) for original, other, _ in joined]


async def equal_requests_at_all_replicas(context: ScenarioContext) -> list[list[Exchange]]:
    """Rounds of simultaneous equal requests, to all replicas in turn."""
    with context.across_replicas():
        return await race.equal_requests_together(context)


async def different_bodies_at_all_replicas(context: ScenarioContext) -> list[list[Exchange]]:
    """Rounds of simultaneous requests with one key and different bodies, to all replicas in turn."""
    with context.across_replicas():
        return await race.different_bodies_together(context)


async def runs_cancelled_elsewhere(context: ScenarioContext) -> list[Cancelled]:
    """Long runs with a reader at each of two replicas, cancelled in flight by a request to another than the first."""
    with context.across_replicas():
        profile = context.target.profile
        if profile.cancel is None or profile.cancel.request is None:
            raise NotApplicable("no request cancels a run, so none can go to another replica")
        return await cancel.runs_cancelled_in_flight(context)
