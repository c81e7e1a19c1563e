"""liveness: a client can tell a slow run from a dead one."""

from __future__ import annotations

from itertools import pairwise

from harness.contract.decoding.full_decoder import Received
from harness.contract.exchange import Exchange
from harness.contract.expectations import Expectations
from harness.contract.finding import Judgement, Place, broken, held, inconclusive, noted
from harness.contract.rules.rule import accepted, judges, name_event, of_events, quoted

_BEATS = frozenset({"heartbeat", "ping", "keepalive", "pong"})
_SLACK = 1.2  # timers on a busy server run late


@judges("liveness.first-event")
def first_event(run: Exchange, *, expect: Expectations) -> Judgement:
    limit_s = expect.budgets.first_event_s
    if run.status != 200:
        return inconclusive(f"there is no run to judge: {run.describe()}", Place(run))
    if not run.events:
        return broken(f"no event came: {run.describe()} (allowed: {limit_s:g} s)", Place(run))
    if not accepted(run):
        return inconclusive(f"there is no run to judge: {run.describe()}", Place(run))
    took_ms = run.offset_ms(run.events[0].arrival_ns)
    if took_ms > limit_s * 1000:
        return broken(f"the first event came after {took_ms:.0f} ms (allowed: {limit_s:g} s)", Place(run))
    return held(f"the first event came after {took_ms:.0f} ms")


def _pauses(run: Exchange, limit_s: float) -> bool:
    """Whether the run's own events pause longer than the budget: only then is a heartbeat due."""
    return any(
        (later.arrival_ns - earlier.arrival_ns) / 1e9 > limit_s for earlier, later in pairwise(run.events)
    )


@judges("liveness.heartbeat")
@of_events
def heartbeat(run: Exchange, *, expect: Expectations) -> Judgement:
    limit_s = expect.budgets.heartbeat_s
    beats = [one for one in run.received if one.frame.comments]
    # Any byte breaks the silence: a comment line may stand long before the blank line that ends its block.
    came_ns = [read.arrival_ns for read in run.reads]
    if not run.terminals:  # then the stream's end had to be waited for too
        came_ns.append(run.timing.ended_ns)
    longest_s = max(((later - earlier) / 1e9 for earlier, later in pairwise(came_ns)), default=0.0)
    if longest_s > limit_s * _SLACK:
        return broken(f"{longest_s:.1f} s of silence without a comment (allowed: {limit_s:g} s)", Place(run))
    if not _pauses(run, limit_s):
        return inconclusive(
            f"the quiet action did not pause for {limit_s:g} s; configure [target.actions.quiet] or "
            "budgets.heartbeat",
            Place(run),
        )
    return held(f"{len(beats)} comments kept the longest silence to {longest_s:.1f} s")


@judges("liveness.heartbeat-interval")
@of_events
def heartbeat_interval(run: Exchange) -> Judgement:
    beats = [one.arrival_ns for one in run.received if one.frame.comments and not one.is_event]
    if len(beats) < 2:
        return inconclusive(f"{len(beats)} comments came; it takes two to see how often", Place(run))
    gaps_s = sorted((later - earlier) / 1e9 for earlier, later in pairwise(beats))
    return noted(f"a comment about every {gaps_s[len(gaps_s) // 2]:.1f} s")


@judges("liveness.retry-hint")
@of_events
def retry_hint(run: Exchange) -> Judgement:
    asked = [one.frame.retry_ms for one in run.received if one.frame.retry_ms is not None]
    return noted(f"retry: {asked[-1]} ms" if asked else "none: clients wait as long as they like")


@judges("liveness.heartbeat-inert")
@of_events
def heartbeat_inert(run: Exchange, *, expect: Expectations) -> Judgement:
    for one in run.received:
        names = {name for name, _ in one.frame.fields}
        if one.frame.comments and names & {"id", "data"} and not one.event:
            return broken(f"a heartbeat, {name_event(one)}, carries id or data", Place(run, one))
    beat = next((one for one in run.events if _is_beat(one)), None)
    if beat is not None:
        return broken(
            f"a heartbeat reaches clients as an event: {name_event(beat)} with data {quoted(beat.frame.data or '')}",
            Place(run, beat),
        )
    if not any(one.frame.comments for one in run.received):
        return inconclusive(f"no heartbeat was sent within {expect.budgets.heartbeat_s:g} s", Place(run))
    return held("heartbeats are comments")


def _is_beat(one: Received) -> bool:
    """Whether an event is there only to keep the stream alive: by its type, its name, or for want of content."""
    data = (one.frame.data or "").strip().strip('"')
    names = {one.event.type if one.event else "", one.frame.event, data}
    plain = {name.lower().replace("_", "").replace("-", "") for name in names}
    return bool(plain & _BEATS) or data in {"", "{}", "null"}
