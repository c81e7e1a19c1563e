"""ids: what a client resumes by. Pairs of numbers, each once, always growing."""

from __future__ import annotations

from itertools import pairwise

from harness.contract.exchange import Exchange
from harness.contract.finding import Location, RuleResult, failed, inconclusive, passed
from harness.contract.rules.rule import Level, event_label, needs_events, quoted, rule

_NEAR_MS = 300_000.0  # clocks of two machines without time service drift by seconds, time zones by hours


def clock_offset_ms(run: Exchange) -> float | None:
    """How far the ids' clock was ahead of ours at the first event; None where that cannot be said."""
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
    why="An event without an id is one that no client can resume after.",
    source="api",
    any_stream=True,
    format_only=True,
)
@needs_events
def present(run: Exchange) -> RuleResult:
    for one in run.events:
        if one.frame.id is None:
            return failed(
                f"{event_label(one)} has no id, so no client can resume after it", Location(run, one)
            )
        if one.stream_id is None:
            return failed(
                f"{event_label(one)}: id {quoted(one.frame.id)} is not of the form <ms>-<seq>",
                Location(run, one),
            )
    return passed(f"each of {len(run.events)} events has an id")


@rule(
    "ids.unique",
    Level.MUST,
    "No id comes twice in a run",
    why="A client that keeps what it saw by id drops the second event of the same one.",
    source="reading 8",
    any_stream=True,
    format_only=True,
)
@needs_events
def unique(run: Exchange) -> RuleResult:
    seen: set[str] = set()
    for one in run.events:
        if one.frame.id is None:
            continue
        if one.frame.id in seen:
            return failed(f"id {quoted(one.frame.id)} comes twice in one stream", Location(run, one))
        seen.add(one.frame.id)
    return (
        passed(f"{len(seen)} ids, each once") if seen else inconclusive("no event has an id", Location(run))
    )


@rule(
    "ids.increasing",
    Level.MUST,
    "Ids strictly increase, as pairs of numbers",
    why="Clients and gateways order and skip by id; compared as text, seq 10 comes before 9.",
    source="reading 8",
    any_stream=True,
    format_only=True,
)
@needs_events
def increasing(run: Exchange) -> RuleResult:
    numbered = [one for one in run.events if one.stream_id]
    if not numbered:
        return inconclusive("no event has an id of the form <ms>-<seq>", Location(run))
    for before, after in pairwise(numbered):
        if before.stream_id and after.stream_id and after.stream_id <= before.stream_id:
            return failed(f"id {after.stream_id} follows {before.stream_id}", Location(run, after))
    return passed(f"{len(numbered)} ids strictly increase")


@rule(
    "ids.clock",
    Level.SHOULD,
    "The ms part is near the wall clock",
    why="The milliseconds are used to measure delay and to expire; off by hours they mislead.",
    source="api",
    any_stream=True,
)
@needs_events
def clock(run: Exchange) -> RuleResult:
    if run.summary.first_id is None:
        return inconclusive("no event has an id of the form <ms>-<seq>", Location(run))
    if run.timing.sent_ns is None:
        return inconclusive("it is not known when the request was sent", Location(run))
    offset_ms = clock_offset_ms(run)
    if offset_ms is None:
        first = next(one for one in run.events if one.stream_id)
        return failed(
            f"the first id, {first.frame.id}, is more than {_NEAR_MS / 60000:.0f} minutes off the wall clock",
            Location(run, first),
        )
    return passed(f"the ids' clock is within {abs(offset_ms):.0f} ms of ours")
