"""liveness: a client can tell a slow run from a dead one."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import pairwise

from harness.contract.decoding.decoded_frame import DecodedFrame
from harness.contract.exchange import Exchange
from harness.contract.expectations import Expectations
from harness.contract.finding import Location, RuleResult, failed, inconclusive, info, passed
from harness.contract.rules.rule import Level, Need, event_label, needs_events, quoted, rule, was_accepted
from harness.formatting import counted

_BEATS = frozenset({"heartbeat", "ping", "keepalive", "pong"})
_SLACK = 1.2  # timers on a busy server run late
#: Lines that arrive within this time were sent together. A server that writes line by line needs less, and no heartbeat
#: is due so soon.
_TOGETHER_NS = 50_000_000


@rule(
    "liveness.heartbeat-inert",
    Level.MUST,
    "A heartbeat carries no id and no data",
    why="A heartbeat with an id moves the resume point; one with data is dispatched as an event.",
    fix="Send a heartbeat as a comment line (a colon, then a blank line), without `id:` and `data:`.",
    source="W",
    needs=Need.QUIET_ACTION,
)
@needs_events
def heartbeat_inert(run: Exchange, *, expect: Expectations) -> RuleResult:
    events_ns = [event.arrival_ns for event in run.events]
    for frame, comments_ns in _with_comments(run):
        if _carries_fields(frame, comments_ns, events_ns):
            return failed(f"a heartbeat, {event_label(frame)}, carries id or data", Location(run, frame))
    beat = next((event for event in run.events if _is_heartbeat(event)), None)
    if beat is not None:
        return failed(
            f"a heartbeat is dispatched as an event: {event_label(beat)} with data {quoted(beat.frame.data or '')}",
            Location(run, beat),
        )
    if not _beats_ns(run):
        return inconclusive(f"no heartbeat within {expect.budgets.heartbeat_s:g} s", Location(run))
    return passed("heartbeats are comments")


def longest_pause_s(run: Exchange) -> float:
    """The longest time between two events of the run, comments or not; 0 for less than two events."""
    return max(
        ((later.arrival_ns - earlier.arrival_ns) / 1e9 for earlier, later in pairwise(run.events)),
        default=0.0,
    )


def pauses(run: Exchange, limit_s: float) -> bool:
    """Whether the run's events pause longer than the heartbeat budget. Only then is a heartbeat due."""
    return longest_pause_s(run) > limit_s


@rule(
    "liveness.first-event",
    Level.SHOULD,
    "The response head and the first event arrive within the time budget",
    why="Users and gateways give up on a stream that does not start.",
    fix=(
        "Send and flush the response head and a first event when the run starts; do not wait for the "
        "model's answer."
    ),
    source="ours",
)
def first_event(run: Exchange, *, expect: Expectations) -> RuleResult:
    limit_s = expect.budgets.first_event_s
    if run.status != 200:
        return inconclusive(f"no run to check: {run.describe()}", Location(run))
    first_event_ns = run.summary.first_event_ns
    if first_event_ns is None:
        return failed(f"no event arrived: {run.describe()} (allowed: {limit_s:g} s)", Location(run))
    if not was_accepted(run):
        return inconclusive(f"no run to check: {run.describe()}", Location(run))
    took_ms = run.offset_ms(first_event_ns)
    if took_ms > limit_s * 1000:
        return failed(
            f"the first event arrived after {took_ms:.0f} ms (allowed: {limit_s:g} s)", Location(run)
        )
    return passed(f"the first event arrived after {took_ms:.0f} ms")


@rule(
    "liveness.heartbeat",
    Level.SHOULD,
    "A silence longer than the heartbeat budget is broken by a comment",
    why="Proxies cut idle connections, and a client cannot tell a slow run from a dead one.",
    fix=(
        "Write and flush a comment line (`: ping` and a blank line) whenever the stream was silent for "
        "the heartbeat interval."
    ),
    source="W",
    needs=Need.QUIET_ACTION,
)
@needs_events
def heartbeat(run: Exchange, *, expect: Expectations) -> RuleResult:
    limit_s = expect.budgets.heartbeat_s
    # Any byte breaks the silence: a comment line may arrive long before the blank line that ends its block.
    arrivals_ns = [read.arrival_ns for read in run.reads]
    if not run.terminals:  # then the wait for the end of the stream counts too
        arrivals_ns.append(run.timing.ended_ns)
    longest_s = max(((later - earlier) / 1e9 for earlier, later in pairwise(arrivals_ns)), default=0.0)
    if longest_s > limit_s * _SLACK:
        return failed(
            f"{longest_s:.1f} s of silence without a comment (allowed: {limit_s:g} s)", Location(run)
        )
    if not pauses(run, limit_s):
        return inconclusive(
            f"the quiet action did not pause for {limit_s:g} s; adjust [target.actions.quiet] or "
            "budgets.heartbeat",
            Location(run),
        )
    return passed(f"{counted(len(run.comments_ns), 'comment')}; the longest silence was {longest_s:.1f} s")


@rule(
    "liveness.heartbeat-interval",
    Level.INFO,
    "How often a silent stream sends a comment",
    why="Proxies and clients set their idle timeouts by it.",
    fix="Document the interval, and keep it below the idle timeout of every proxy in front of the server.",
    source="W",
    needs=Need.QUIET_ACTION,
)
@needs_events
def heartbeat_interval(run: Exchange) -> RuleResult:
    beats = _beats_ns(run)
    if len(beats) < 2:
        return inconclusive(f"{counted(len(beats), 'comment')}; an interval needs two", Location(run))
    gaps_s = sorted((later - earlier) / 1e9 for earlier, later in pairwise(beats))
    return info(f"a comment about every {gaps_s[len(gaps_s) // 2]:.1f} s")


def _beats_ns(run: Exchange) -> list[int]:
    """Arrival of each comment line that came on its own, not together with an event."""
    events_ns = [event.arrival_ns for event in run.events]
    return [at_ns for at_ns in sorted(set(run.comments_ns)) if not _is_near(at_ns, events_ns)]


def _is_near(at_ns: int, events_ns: Sequence[int]) -> bool:
    """Whether one of `events_ns`, in order, is so close to `at_ns` that both were sent together."""
    place = bisect_left(events_ns, at_ns - _TOGETHER_NS)
    return place < len(events_ns) and events_ns[place] <= at_ns + _TOGETHER_NS


def _with_comments(run: Exchange) -> Iterator[tuple[DecodedFrame, Sequence[int]]]:
    """Each frame that has comment lines, and their arrivals."""
    first = 0
    for frame in run.frames:
        count = len(frame.frame.comments)
        if count:
            yield frame, run.comments_ns[first : first + count]
        first += count


def _carries_fields(frame: DecodedFrame, comments_ns: Sequence[int], events_ns: Sequence[int]) -> bool:
    """Whether a block with comment lines is a heartbeat with an id or data. events_ns: arrivals of all events.

    A comment line can stand anywhere in a block (WHATWG HTML 9.2.5), and clients ignore it. One that arrived before
    the fields of its block is a separate heartbeat, sent without a blank line. A block without data that arrives
    together with an event is not a heartbeat.
    """
    names = {name for name, _ in frame.frame.fields}
    if not names & {"id", "data"} or frame.event is not None:
        return False
    if frame.arrival_ns - comments_ns[-1] > _TOGETHER_NS:
        return False
    return frame.is_event or not _is_near(frame.arrival_ns, events_ns)


@rule(
    "liveness.retry-hint",
    Level.INFO,
    "Which reconnection time (`retry`) the stream requests",
    why="It decides how hard all clients hit the server after an outage.",
    fix="Send `retry:` with the milliseconds after which clients should reconnect, and document the value.",
    source="W",
)
@needs_events
def retry_hint(run: Exchange) -> RuleResult:
    requested = [frame.frame.retry_ms for frame in run.frames if frame.frame.retry_ms is not None]
    return info(
        f"retry: {requested[-1]} ms" if requested else "no retry field: clients use their own default"
    )


def _is_heartbeat(event: DecodedFrame) -> bool:
    """Whether an event only keeps the stream alive: by its type, its name, or its empty data."""
    data = (event.frame.data or "").strip().strip('"')
    names = {event.event.type if event.event else "", event.frame.event, data}
    plain = {name.lower().replace("_", "").replace("-", "") for name in names}
    return bool(plain & _BEATS) or data in {"", "{}", "null"}
