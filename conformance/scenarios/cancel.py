"""Runs that are cancelled: in flight at several moments, again, after their end, and by others."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from functools import partial

from harness.contract.exchange import Exchange
from harness.contract.rules.cancel import Cancelled, UsualRun, may_have_ended_first
from harness.contract.rules.rule import Need
from harness.profiles.capability import Capability
from harness.protocol.request import HttpRequest
from harness.suite.scenario import NotApplicable, ScenarioContext, Undecided, gather_some
from harness.transport.asyncio_client import AsyncExchange

from .moments import RunMoment, spread_moments
from .runs import long_run

_MOMENTS = 4
_ROUNDS = 3
_SLACK_S = 0.5  # after the budget, before the harness gives a stream up
_ASKED = 10  # times how the run ended, while it is not over
_ASKED_EVERY_S = 0.2


async def runs_cancelled_in_flight(context: ScenarioContext) -> list[Cancelled]:
    """Long runs that are cancelled at several moments, each with a second reader where the API lets one join."""
    cancel = context.target.profile.cancel
    if cancel is not None and cancel.disconnect:
        return await _left_in_flight(context)
    whole = await context.run_once(long_run)
    moments = spread_moments(whole, _MOMENTS)[1:]  # the first is before any event
    cancels = [await _cancelled_in_time(context, moment, whole) for moment in moments]
    known = [cancelled for cancelled in cancels if cancelled is not None]
    if not known:
        raise Undecided(
            "each run ended at the time of the request to cancel it; configure a longer [target.actions.long]"
        )
    return known


async def _cancelled_in_time(
    context: ScenarioContext, moment: RunMoment, whole: Exchange
) -> Cancelled | None:
    """A run that is cancelled at a moment; None if it always ended on its own at about that time.

    A server may answer the request first, and then write the end of a run that was over before. On a busy machine the
    request comes late. Then the situation is set up again.
    """
    for _ in range(_ROUNDS):
        cancelled = await context.unrefused(partial(_cancelled_at, context, moment))
        if not may_have_ended_first(cancelled, UsualRun.of(whole)):
            return cancelled
    return None


async def _left_in_flight(context: ScenarioContext) -> list[Cancelled]:
    """Long runs whose only reader disconnects at several moments, so early that none ends within the time budget.

    A server may notice late that its reader has left, and cancels a run only when its last reader leaves.
    """
    promises, limit_s = context.target.promises, context.expect.budgets.cancel_s
    if not (promises(Capability.REREAD) or promises(Capability.OUTCOME_REQUEST)):
        raise NotApplicable("no other request shows how a run ends whose reader disconnects")
    whole = await context.run_once(long_run)
    last_ns = whole.timing.ended_ns - int((limit_s + _SLACK_S) * 1e9)
    early = sum(event.arrival_ns < last_ns for event in whole.events)
    if not early:
        took_s = (whole.timing.ended_ns - whole.timing.started_ns) / 1e9
        raise Undecided(
            f"a long run takes {took_s:.1f} s, so it may end before a server has to notice that its reader left; set "
            f"budgets.cancel (now {limit_s:g} s) lower, or configure a longer [target.actions.long]"
        )
    places = sorted({1, (early + 1) // 2, early})
    return list(await gather_some([context.unrefused(partial(_left_at, context, place)) for place in places]))


async def _left_at(context: ScenarioContext, place: int) -> Cancelled:
    """A run whose only reader disconnects after its event `place`, and what others find after the time budget."""
    async with context.connections(1):
        first = context.open(await _request(context, "long"), "a long run whose reader disconnects")
        await first.events(place)
        if context.target.promises(Capability.OUTCOME_REQUEST):
            await _about(first, context.target.outcome)  # its events must tell what this request needs
        if context.target.promises(Capability.REREAD):
            await context.known(first)
        left = await first.cut()
    await asyncio.sleep(context.expect.budgets.cancel_s)
    if not context.target.promises(Capability.REREAD):
        return [], left, None, await _asked(context, left)
    found = await context.send(context.again(left), "a run whose reader disconnected, read again")
    return (
        [found],
        left,
        await context.send(context.again(left), "the same run again"),
        await _asked(context, left),
    )


async def _request(context: ScenarioContext, action: str) -> HttpRequest:
    """A request for a run whose id is known early, because the client chooses it where it can."""
    chosen = str(uuid.uuid4()) if context.target.promises(Capability.CLIENT_RUN_ID) else None
    return await context.request(action, run_id=chosen)


async def _cancelled_at(context: ScenarioContext, moment: RunMoment) -> Cancelled:
    can_reread = context.target.promises(Capability.REREAD)
    request = await _request(context, "long")
    async with context.connections(3):
        first = context.open(request, "a long run to be cancelled")
        await first.events(1)
        others = [context.open(await context.joining(first), "its second reader")] if can_reread else []
        for other in others:
            await other.events(1)
        await first.events(moment.event)
        await asyncio.sleep(moment.wait_s)
        cancelling = await _about(first, context.target.cancel)
        cancelling = context.elsewhere(first.request, cancelling)
        answer = await context.open(cancelling, "the request to cancel it").result()
        ended = await asyncio.gather(
            *(_ended(reader, context.expect.budgets.cancel_s) for reader in (first, *others))
        )
    later = (
        await context.send(context.again(ended[0]), "the cancelled run read again") if can_reread else None
    )
    return list(ended), answer, later, await _asked(context, ended[0])


async def _about(
    run: AsyncExchange, request: Callable[[HttpRequest, str | None], HttpRequest]
) -> HttpRequest:
    """A request about a run in flight, once its events have its id."""
    while True:
        try:
            return request(run.request, run.run_id)
        except LookupError as reason:
            if not await run.events(run.events_seen + 1):
                raise Undecided(f"the run cannot be cancelled: {reason}") from None


async def _ended(reader: AsyncExchange, limit_s: float) -> Exchange:
    """The stream, cut by the harness if it has not ended shortly after the time budget."""
    ending = asyncio.ensure_future(reader.result())
    await asyncio.wait([ending], timeout=limit_s + _SLACK_S)
    return await ending if ending.done() else await reader.cut()


async def _asked(context: ScenarioContext, run: Exchange) -> Exchange | None:
    """The answer to the question how a run ended, once it is over; None if the API has no such request."""
    if not context.target.promises(Capability.OUTCOME_REQUEST):
        return None
    outcome = context.target.profile.outcome
    assert outcome is not None
    try:
        request = context.target.outcome(run.request, run.run_id)
    except LookupError as reason:
        raise Undecided(f"nothing can ask how the run ended: {reason}") from None
    for _ in range(_ASKED):
        answer = await context.send(request, "how the run ended")
        if outcome.read(outcome.value(answer.body)) is not None:
            break
        await asyncio.sleep(_ASKED_EVERY_S)
    return answer


async def cancels_without_effect(
    context: ScenarioContext,
) -> list[tuple[Exchange | None, Exchange, Exchange | None]]:
    """Requests to cancel a run that has ended, one that was cancelled before, and one that does not exist."""
    cancel = context.target.profile.cancel
    if cancel is None or cancel.request is None:
        raise NotApplicable("this API has no request that cancels a run")
    ended = await context.send(await _request(context, "success"), "a run to be cancelled after its end")
    found = [await _cancelled_late(context, ended, "cancelling a run that has ended")]
    if context.target.action("long") is not None:
        (first, *_), _, _, _ = (await context.run_once(runs_cancelled_in_flight))[0]
        found.append(await _cancelled_late(context, first, "cancelling a run again", read_before=True))
    unknown = context.target.cancel(ended.request, str(uuid.uuid4()))
    return [*found, (None, await context.send(unknown, "cancelling a run that does not exist"), None)]


async def _cancelled_late(
    context: ScenarioContext, run: Exchange, label: str, *, read_before: bool = False
) -> tuple[Exchange, Exchange, Exchange | None]:
    """A run that has ended, the answer to the request to cancel it, and the run read again.

    read_before: compare with what is read right before: its readers may have got other events (see cancel.replayed).
    """
    can_reread = context.target.promises(Capability.REREAD)
    before = run
    if read_before and can_reread:
        before = await context.send(context.again(run), f"{run.label}, read before it is cancelled again")
    try:
        request = context.target.cancel(run.request, run.run_id)
    except LookupError as reason:
        raise Undecided(f"{run.label} cannot be cancelled: {reason}") from None
    answer = await context.send(request, label)
    later = await context.send(context.again(run), f"{run.label}, read again") if can_reread else None
    return before, answer, later


async def run_cancelled_by_another_organization(context: ScenarioContext) -> tuple[Exchange, Exchange]:
    """A long run, or a run of the success action, that a user of another organization asks to cancel in flight."""
    context.require(Need.SECOND_PRINCIPAL)
    second = context.target.second_principal
    assert second is not None
    context.require(Need.LONG_ACTION)
    request = await _request(context, "long")
    async with context.connections(2):
        first = context.open(request, "a long run that another organization asks to cancel")
        await first.events(2)
        own = await _about(first, context.target.cancel)
        foreign = own.with_header("Authorization", f"Bearer {second.token}")
        answer = await context.open(foreign, "the request of another organization to cancel it").result()
        return await first.result(), answer
