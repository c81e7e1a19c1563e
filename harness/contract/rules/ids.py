"""ids: what a client resumes from. Pairs of numbers, unique and strictly increasing."""

from __future__ import annotations

from itertools import pairwise

from harness.contract.exchange import Exchange
from harness.contract.finding import Location, RuleResult, failed, inconclusive, passed
from harness.contract.rules.rule import Level, event_label, needs_events, quoted, rule
from harness.formatting import counted
from harness.profiles.capability import Capability

_FORMS = {"ms-seq": "of the form <ms>-<seq>", "counter": "a number"}
_NEAR_MS = 300_000.0  # clocks without time sync drift by seconds; a wrong time zone is off by hours


def clock_offset_ms(run: Exchange) -> float | None:
    """How far the ids' clock was ahead of this machine's at the first event; None if unknown or not plausible."""
    first_id, first_ns, timing = run.summary.first_id, run.summary.first_id_ns, run.timing
    if first_id is None or first_ns is None or timing.sent_wall_ns is None or timing.sent_ns is None:
        return None
    arrival_wall_ms = (timing.sent_wall_ns + first_ns - timing.sent_ns) / 1e6
    offset = first_id.ms - arrival_wall_ms
    return offset if abs(offset) <= _NEAR_MS else None


@rule(
    "ids.present",
    Level.MUST,
    "Each event has an id of the form `<ms>-<seq>`",
    why="A client cannot resume after an event that has no id.",
    fix="Write an `id:` line of the form `<ms>-<seq>` with each event, with the terminal event too.",
    source="api",
    promise=(Capability.EVENT_IDS,),
    any_stream=True,
    format_only=True,
)
@needs_events
def present(run: Exchange) -> RuleResult:
    for event in run.events:
        if event.event is not None and event.event.is_literal:
            continue  # the end that the profile names, for which there is nothing to resume
        if event.id is None:
            return failed(
                f"{event_label(event)} has no id, so a client cannot resume after it", Location(run, event)
            )
        if event.position is None and event.id_order in _FORMS:
            return failed(
                f"{event_label(event)}: id {quoted(event.id)} is not {_FORMS[event.id_order]}",
                Location(run, event),
            )
    return passed(f"every event has an id ({counted(len(run.events), 'event')})")


@rule(
    "ids.unique",
    Level.MUST,
    "No id appears twice in a run",
    why="A client that deduplicates by id drops the second event.",
    fix="Increase `<seq>` for each event of the same millisecond, and never reuse an id within a run.",
    source="reading 8",
    promise=(Capability.EVENT_IDS,),
    any_stream=True,
    format_only=True,
)
@needs_events
def unique(run: Exchange) -> RuleResult:
    seen: set[str] = set()
    for event in run.events:
        if event.id is None:
            continue
        if event.id in seen:
            return failed(f"id {quoted(event.id)} appears twice in one stream", Location(run, event))
        seen.add(event.id)
    if not seen:
        return inconclusive("no event has an id", Location(run))
    return passed(f"no id appears twice ({counted(len(seen), 'id')})")


@rule(
    "ids.increasing",
    Level.MUST,
    "Ids strictly increase, compared as pairs of numbers",
    why="Clients and gateways order and skip events by id; compared as text, seq 10 sorts before 9.",
    fix=(
        "Take `<ms>` from a clock that never goes back, and increase `<seq>` while the millisecond stays "
        "the same."
    ),
    source="reading 8",
    promise=(Capability.ORDERED_IDS,),
    any_stream=True,
    format_only=True,
)
@needs_events
def increasing(run: Exchange) -> RuleResult:
    numbered = [event for event in run.events if event.position is not None]
    if not numbered:
        return inconclusive("no event has an id that is a number, or a pair of numbers", Location(run))
    for before, after in pairwise(numbered):
        if before.position and after.position and after.position <= before.position:
            return failed(f"id {after.id} follows {before.id}", Location(run, after))
    return passed(f"ids strictly increase ({counted(len(numbered), 'id')})")


@rule(
    "ids.clock",
    Level.SHOULD,
    "The ms part is close to the wall clock",
    why="Ids are used to measure delay and to expire events; a clock that is hours off breaks both.",
    fix=(
        "Use Unix time in milliseconds as the first part of the id, and synchronize the server's clock (NTP)."
    ),
    source="api",
    promise=(Capability.CLOCK_IDS,),
    any_stream=True,
)
@needs_events
def clock(run: Exchange) -> RuleResult:
    if run.summary.first_id is None:
        return inconclusive("no event has an id of the form <ms>-<seq>", Location(run))
    if run.timing.sent_ns is None:
        return inconclusive("the time at which the request was sent is unknown", Location(run))
    offset_ms = clock_offset_ms(run)
    if offset_ms is None:
        first = next(event for event in run.events if event.stream_id)
        return failed(
            f"the first id, {first.id}, is more than {_NEAR_MS / 60000:.0f} minutes off the wall clock",
            Location(run, first),
        )
    return passed(f"the ids' clock is within {abs(offset_ms):.0f} ms of this machine's clock")
