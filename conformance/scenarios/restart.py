"""The target is restarted once, after all other scenarios, while runs have ended and others are in flight."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial

from harness.contract.exchange import Exchange
from harness.contract.rules.restart import EndedRun, InterruptedRun
from harness.contract.rules.rule import Need
from harness.protocol.request import HttpRequest
from harness.suite.restarting import Begin, Flight, accepted_again, restart_in_flight
from harness.suite.scenario import ScenarioContext, gather_some

_IN_FLIGHT = 4
_READ_BEFORE = (2, 4, 6, 3)  # events of each run before the restart


@dataclass(frozen=True, slots=True)
class Restart:
    """What the rules about restarts look at. tries: for a new run after the restart."""

    ended: list[EndedRun]
    interrupted: list[InterruptedRun]
    conflicts: list[tuple[Exchange, Exchange, Exchange]]
    tries: list[list[Exchange]]


def _long_runs(context: ScenarioContext, places: Sequence[str | None]) -> Begin:
    """Starts long runs, each with two readers, at different replicas if there are any."""

    async def begin() -> Callable[[], Awaitable[Flight]]:
        requests = [
            (await context.request("long")).at(places[number % len(places)]) for number in range(_IN_FLIGHT)
        ]
        readers = []
        for number, request in enumerate(requests):
            label = f"run {number + 1} in flight at the restart"
            second = request.at(places[(number + 1) % len(places)])
            first = context.client.open(request, label)
            await first.events(1)
            readers.append([first, context.client.open(second, f"{label}, another reader")])
        for count, (begun, joined) in zip(_READ_BEFORE, readers, strict=True):
            await begun.events(count)
            await joined.events(1)

        async def read() -> Flight:
            ends = [[await reader.result() for reader in both] for both in readers]
            return list(zip(requests, ends, strict=True))

        return read

    return begin


async def restart_of_the_target(context: ScenarioContext) -> Restart:
    """Ended runs and runs in flight, before and after the restart."""
    await context.others_ended(turn=2)
    context.require(Need.RESTART)
    context.require(Need.LONG_ACTION)
    context.forbid_when_read_only("restarts")
    context.require_alone("restarts")
    target = context.target
    places: list[str | None] = [*target.replicas] or [None]
    restarting = context.restarting
    await restarting.prepare()

    before = []
    for action in [name for name in ("success", "failure") if target.action(name) is not None]:
        original = await context.send((await context.request(action)).at(places[0]), f"a {action} run")
        control = await context.send(original.request, f"the retry of a {action} run before the restart")
        other = await context.send(
            target.conflicting(original.request), "a different body before the restart"
        )
        before.append((original, control, other))

    async with context.connections(2 * _IN_FLIGHT):
        flight, began_s = await restart_in_flight(restarting, _long_runs(context, places))

    async def new_run(place: str | None) -> Exchange:
        request = (await context.request("success")).at(place)
        return await context.client.exchange(request, "a new run after the restart")

    tries = await accepted_again([partial(new_run, place) for place in places], began_s + restarting.within_s)
    if not all(answers[-1].started_run for answers in tries):
        return Restart([], [(readers, []) for _, readers in flight], [], tries)

    async def later(number: int, request: HttpRequest, readers: list[Exchange]) -> InterruptedRun:
        label = f"run {number + 1}, in flight at the restart, read again"
        retries = [await context.client.exchange(request.at(place), label) for place in reversed(places)]
        last = await context.client.exchange(request, f"{label} once more")
        return readers, [*retries, last]

    interrupted = await gather_some(
        [later(number, request, readers) for number, (request, readers) in enumerate(flight)]
    )
    ended = [
        (
            original,
            control,
            [
                await context.send(
                    original.request.at(place), f"the retry of {original.label} after the restart"
                )
                for place in places
            ],
        )
        for original, control, _ in before
    ]
    conflicts = [
        (original, other, await context.send(other.request.at(place), "a different body after the restart"))
        for original, _, other in before
        for place in places
    ]
    return Restart(ended, interrupted, conflicts, tries)
