"""Runs whose streams are cut, after every event and in every way, and resumed."""

from __future__ import annotations

import asyncio
from itertools import cycle

from harness.contract.exchange import Exchange
from harness.contract.rules.cuts import CutRun, may_have_ended
from harness.profiles.capability import Capability
from harness.suite.scenario import NotApplicable, ScenarioContext, gather_some
from harness.transport.receiver import Cut, CutHow

from .moments import phase_wait_s
from .runs import long_run

MAX_CUTS = 24  # spread evenly over a run with more events
_AT_ONCE = 24
_CUT_ROUNDS = 3  # until a third of the resumptions were answered in flight
_AT_ONCE_LATER = 4  # cuts in a later round: a busy machine resumes too late if it has many
_CLOCK_SPAN_MS = 500  # ids that advance less during a long run do not tell when it ended
_LOST_EVERY = 3  # in the first half of a run, every third resumption is lost and repeated


async def cut_runs(context: ScenarioContext) -> list[CutRun]:
    """Long runs cut after event k, for every k, and resumed without Last-Event-ID."""
    if not context.target.promises(Capability.REREAD):
        raise NotApplicable("this API resumes a stream only after an event that the client names")
    return await _cut_everywhere(context, name_last_event=False)


async def cut_runs_by_id(context: ScenarioContext) -> list[CutRun]:
    """Long runs cut after event k, for every k, and resumed with Last-Event-ID."""
    needs_last_event_id(context)
    return await _cut_everywhere(context, name_last_event=True)


def needs_last_event_id(context: ScenarioContext) -> None:
    """Raises NotApplicable if the target ignores the id of the last event."""
    if not context.target.promises(Capability.RESUME_AFTER_ID):
        raise NotApplicable(f"this API promises no {Capability.RESUME_AFTER_ID}")
    if context.expect.last_event_id is False:
        raise NotApplicable("the target declares that it ignores Last-Event-ID (target.last_event_id)")


async def _cut_everywhere(context: ScenarioContext, *, name_last_event: bool) -> list[CutRun]:
    """Long runs cut at every place, and more of them if too few were resumed in flight, or none of the repeated ones.

    A busy machine resumes late, and a resumption after the end proves nothing about one in flight.
    """
    whole = await context.run_once(long_run)
    first = max(_place_of_run_id(context, whole, to_resume=name_last_event), 1 if name_last_event else 0)
    places = spread(first, len(whole.events) - 1)
    early = places[: max(1, len(places) // 2)]
    cuts = await _cut_at(context, whole, places, _AT_ONCE, name_last_event=name_last_event)
    for _ in range(_CUT_ROUNDS - 1):
        in_flight = [repeated for cut, repeated in cuts if not may_have_ended(cut)]
        enough = 3 * len(in_flight) >= len(places) and any(in_flight) == any(repeated for _, repeated in cuts)
        if enough or not _ids_tell_time(whole):
            break
        cuts += await _cut_at(context, whole, early, _AT_ONCE_LATER, name_last_event=name_last_event)
    return [cut for cut, _ in cuts]


def _place_of_run_id(context: ScenarioContext, whole: Exchange, *, to_resume: bool) -> int:
    """After how many events of a run like `whole` a client can resume it: with 0 if it knows the run before."""
    if context.target.knows_run(whole.request, to_resume=to_resume):
        return 0
    places = (number for number, event in enumerate(whole.events, 1) if event.event and event.event.run_id)
    return next(places, len(whole.events))


async def _cut_at(
    context: ScenarioContext, whole: Exchange, places: list[int], at_once: int, *, name_last_event: bool
) -> list[tuple[CutRun, bool]]:
    """The cut runs, and of each whether its first resumption was lost and repeated."""
    ways = cycle((CutHow.FIN, CutHow.RST))
    middle = (len(whole.events) - 1) / 2
    lost = [place < middle and number % _LOST_EVERY == 1 for number, place in enumerate(places)]
    cuts = await gather_some(
        [
            _cut_and_resume(
                context,
                Cut(place, next(ways)),
                name_last_event=name_last_event,
                wait_s=phase_wait_s(whole, number),
                lost_resumption=lost[number],
            )
            for number, place in enumerate(places)
        ],
        at_once,
    )
    return [(cut, again) for cut, again in zip(cuts, lost, strict=True) if cut is not None]


def _ids_tell_time(run: Exchange) -> bool:
    stamps_ms = [event.stream_id.ms for event in run.events if event.stream_id]
    return bool(stamps_ms) and stamps_ms[-1] - stamps_ms[0] >= _CLOCK_SPAN_MS


def spread(first: int, last: int) -> list[int]:
    """Every whole number from `first` to `last`, or MAX_CUTS of them at even distances."""
    count = last - first + 1
    if count <= MAX_CUTS:
        return list(range(first, last + 1))
    return sorted({first + round(step * (count - 1) / (MAX_CUTS - 1)) for step in range(MAX_CUTS)})


async def _cut_and_resume(
    context: ScenarioContext,
    cut: Cut,
    *,
    name_last_event: bool = False,
    wait_s: float = 0.0,
    lost_resumption: bool = False,
) -> CutRun | None:
    """A long run that is cut, resumed `wait_s` seconds later, and read again after its end.

    None if it was cut before its events had what the request to resume it needs.

    lost_resumption: the first resumption is cut too, and what it brought is lost: the same request is sent once more.
    """
    request = await context.request("long")
    before = await context.send(
        request, f"a long run, cut ({cut.how}) after event {cut.after_events}", cut=cut
    )
    last_id = _last_id(before, cut) if name_last_event else None
    needs_id = name_last_event and not context.target.promises(Capability.REREAD)
    if not context.target.knows_run(before.request, before.run_id, to_resume=name_last_event) or (
        needs_id and last_id is None
    ):
        return None
    again = context.resumption(before, last_id) if name_last_event else context.again(before)
    await asyncio.sleep(wait_s)
    if lost_resumption:
        label = f"a resumption after event {cut.after_events}, cut too"
        await context.send(again, label, cut=Cut(1, cut.how))
    resumed = await context.send(again, f"the resumption after event {cut.after_events}")
    return CutRun(before, resumed, await _read_whole(context, before, cut))


def _last_id(before: Exchange, cut: Cut) -> str | None:
    """The id that the client has received; later events of the same packet count as unseen."""
    ids = [event.id for event in before.events[: cut.after_events] if event.id]
    return ids[-1] if ids else None


async def _read_whole(context: ScenarioContext, before: Exchange, cut: Cut) -> Exchange | None:
    """The run that was cut, read again after its end: from its first event, or where it must be, from the second."""
    label = f"the run cut after event {cut.after_events}, read again after its end"
    if not context.target.promises(Capability.SAME_EVENTS):
        return None
    if context.target.promises(Capability.REREAD):
        return await context.send(context.again(before), label)
    first = before.events[0].id if before.events else None
    return await context.send(context.resumption(before, first), label) if first else None


async def runs_cut_each_way(context: ScenarioContext) -> list[CutRun]:
    """Long runs cut by FIN, RST and half-close, each after two events and before the head."""
    if not (await context.run_once(long_run)).started_run:
        return []
    whole = await context.run_once(long_run)
    by_id = not context.target.promises(Capability.REREAD) and context.target.promises(
        Capability.RESUME_AFTER_ID
    )
    known = max(_place_of_run_id(context, whole, to_resume=by_id), int(by_id))
    cuts = [Cut(after, how) for how in CutHow for after in dict.fromkeys((max(2, known), known))]
    found = await gather_some([_cut_and_resume(context, cut, name_last_event=by_id) for cut in cuts])
    return [run for run in found if run is not None]
