"""liveness: a client can tell a slow run from a dead one."""

from __future__ import annotations

from itertools import pairwise

from harness.contract.decoding.full_decoder import DecodedFrame
from harness.contract.exchange import Exchange
from harness.contract.expectations import Expectations
from harness.contract.finding import Location, RuleResult, failed, inconclusive, info, passed
from harness.contract.rules.rule import Level, Need, event_label, needs_events, quoted, rule, was_accepted

_BEATS = frozenset({"heartbeat", "ping", "keepalive", "pong"})
_SLACK = 1.2  # timers on a busy server run late


@rule(
    "liveness.heartbeat-inert",
    Level.MUST,
    "A heartbeat carries no id and no data",
    why="A heartbeat with an id moves the point of resume; one with data is an event of nothing.",
    source="W",
    needs=Need.QUIET_ACTION,
)
@needs_events
def heartbeat_inert(run: Exchange, *, expect: Expectations) -> RuleResult:
    for one in run.frames:
        names = {name for name, _ in one.frame.fields}
        if one.frame.comments and names & {"id", "data"} and not one.event:
            return failed(f"a heartbeat, {event_label(one)}, carries id or data", Location(run, one))
    beat = next((one for one in run.events if _is_beat(one)), None)
    if beat is not None:
        return failed(
            f"a heartbeat reaches clients as an event: {event_label(beat)} with data {quoted(beat.frame.data or '')}",
            Location(run, beat),
        )
    if not any(one.frame.comments for one in run.frames):
        return inconclusive(f"no heartbeat was sent within {expect.budgets.heartbeat_s:g} s", Location(run))
    return passed("heartbeats are comments")


def _pauses(run: Exchange, limit_s: float) -> bool:
    """Whether the run's own events pause longer than the budget: only then is a heartbeat due."""
    return any(
        (later.arrival_ns - earlier.arrival_ns) / 1e9 > limit_s for earlier, later in pairwise(run.events)
    )


@rule(
    "liveness.first-event",
    Level.SHOULD,
    "Head and first event come within the budgets",
    why="Users and gateways give up on a stream that does not begin.",
    source="ours",
)
def first_event(run: Exchange, *, expect: Expectations) -> RuleResult:
    limit_s = expect.budgets.first_event_s
    if run.status != 200:
        return inconclusive(f"there is no run to check: {run.describe()}", Location(run))
    if not run.events:
        return failed(f"no event came: {run.describe()} (allowed: {limit_s:g} s)", Location(run))
    if not was_accepted(run):
        return inconclusive(f"there is no run to check: {run.describe()}", Location(run))
    took_ms = run.offset_ms(run.events[0].arrival_ns)
    if took_ms > limit_s * 1000:
        return failed(f"the first event came after {took_ms:.0f} ms (allowed: {limit_s:g} s)", Location(run))
    return passed(f"the first event came after {took_ms:.0f} ms")


@rule(
    "liveness.heartbeat",
    Level.SHOULD,
    "Silence longer than the budget carries a comment",
    why="Idle connections are cut by proxies, and a client cannot tell a slow run from a dead one.",
    source="W",
    needs=Need.QUIET_ACTION,
)
@needs_events
def heartbeat(run: Exchange, *, expect: Expectations) -> RuleResult:
    limit_s = expect.budgets.heartbeat_s
    beats = [one for one in run.frames if one.frame.comments]
    # Any byte breaks the silence: a comment line may stand long before the blank line that ends its block.
    came_ns = [read.arrival_ns for read in run.reads]
    if not run.terminals:  # then the stream's end had to be waited for too
        came_ns.append(run.timing.ended_ns)
    longest_s = max(((later - earlier) / 1e9 for earlier, later in pairwise(came_ns)), default=0.0)
    if longest_s > limit_s * _SLACK:
        return failed(
            f"{longest_s:.1f} s of silence without a comment (allowed: {limit_s:g} s)", Location(run)
        )
    if not _pauses(run, limit_s):
        return inconclusive(
            f"the quiet action did not pause for {limit_s:g} s; configure [target.actions.quiet] or "
            "budgets.heartbeat",
            Location(run),
        )
    return passed(f"{len(beats)} comments kept the longest silence to {longest_s:.1f} s")


@rule(
    "liveness.heartbeat-interval",
    Level.INFO,
    "How often a silent stream carries a comment",
    why="Proxies and clients set their idle time-outs by it.",
    source="W",
    needs=Need.QUIET_ACTION,
)
@needs_events
def heartbeat_interval(run: Exchange) -> RuleResult:
    beats = [one.arrival_ns for one in run.frames if one.frame.comments and not one.is_event]
    if len(beats) < 2:
        return inconclusive(f"{len(beats)} comments came; it takes two to see how often", Location(run))
    gaps_s = sorted((later - earlier) / 1e9 for earlier, later in pairwise(beats))
    return info(f"a comment about every {gaps_s[len(gaps_s) // 2]:.1f} s")


@rule(
    "liveness.retry-hint",
    Level.INFO,
    "Which reconnection time the stream asks for",
    why="It decides how hard all clients knock after an outage.",
    source="W",
)
@needs_events
def retry_hint(run: Exchange) -> RuleResult:
    asked = [one.frame.retry_ms for one in run.frames if one.frame.retry_ms is not None]
    return info(f"retry: {asked[-1]} ms" if asked else "none: clients wait as long as they like")


def _is_beat(one: DecodedFrame) -> bool:
    """Whether an event is there only to keep the stream alive: by its type, its name, or for want of content."""
    data = (one.frame.data or "").strip().strip('"')
    names = {one.event.type if one.event else "", one.frame.event, data}
    plain = {name.lower().replace("_", "").replace("-", "") for name in names}
    return bool(plain & _BEATS) or data in {"", "{}", "null"}
