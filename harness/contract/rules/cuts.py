"""Runs that were cut and resumed: joins what came before and after, and compares it with the canonical sequence."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from harness.contract.exchange import Exchange
from harness.contract.expectations import Expectations
from harness.contract.finding import Location, RuleResult, Verdict, failed, inconclusive, passed
from harness.contract.rules.rule import combine, require_terminal
from harness.contract.rules.sequences import (
    common_prefix_length,
    first_difference,
    identity_label,
    location_of_difference,
)
from harness.formatting import counted
from harness.profiles.workflow_actions.event_id import read_leniently
from harness.profiles.workflow_actions.identity import EventIdentity

_STAMPS = 3  # events that show whether the ids follow the clock
_CLOCK_ERROR = 0.2  # of ids that follow the clock, as a share of the time between two events
_SUBSCRIBED_WITHIN_MS = 20.0  # a tail may start this long after its response head


class Start(StrEnum):
    """Where a resumed stream starts."""

    REPLAY = "replay"
    AFTER_ID = "after Last-Event-ID"
    TAIL = "tail"


@dataclass(frozen=True, slots=True)
class CutRun:
    """A run that was cut, resumed, and read once more after its end for its canonical sequence."""

    before: Exchange
    resumed: Exchange
    canonical: Exchange | None

    @property
    def started_ns(self) -> int | None:
        """When the request that started the run was sent, on the monotonic clock; None if unknown."""
        return self.before.timing.sent_ns

    @property
    def seen(self) -> tuple[EventIdentity, ...]:
        """What the client received before the cut; with Last-Event-ID, only up to that id."""
        sequence = self.before.sequence
        last_id = self.resumed.named_id
        if last_id is None:
            return sequence
        ids = [event.id for event in sequence]
        return sequence[: ids.index(last_id) + 1] if last_id in ids else sequence

    @property
    def whole(self) -> tuple[EventIdentity, ...] | None:
        """The canonical sequence; None if unknown. Where a run can be read only after an event, with those up to it."""
        if self.canonical is None:
            return None
        named, sequence, rest = self.canonical.named_id, self.before.sequence, self.canonical.sequence
        ids = [event.id for event in sequence]
        if named not in ids or rest[:1] == sequence[:1]:
            return rest
        return (*sequence[: ids.index(named) + 1], *rest)


def stitch(
    cut: CutRun, expect: Expectations, *, honours_ids: bool = False
) -> tuple[Start | None, RuleResult]:
    """Join the events before and after a cut, and compare them with the canonical sequence.

    honours_ids: the server is known to start after Last-Event-ID, so a later start is a loss and no tail. Returns
    where the resumed stream starts (None if unknown), and the result.
    """
    where = f"cut after event {len(cut.seen)}" if cut.seen else "cut before any event"
    places = (Location(cut.before), Location(cut.resumed))
    if not cut.resumed.started_run:
        return None, failed(f"{where}: the resumption got {cut.resumed.describe()}", *places)
    if not cut.resumed.is_over:
        return None, failed(f"{where}: the resumed stream did not end: {cut.resumed.describe()}", *places)
    canonical = cut.whole
    if canonical is None:
        canonical = together(cut)
    elif cut.canonical is not None and (problem := require_terminal(cut.canonical)):
        return None, problem
    seen, resumed = cut.seen, cut.resumed.sequence
    if resumed != canonical and (lost := lost_by_replay(together(cut), canonical)):
        return None, failed(
            f"{where}: the run's replay lacks {counted(len(lost), 'event')} that its readers got, from "
            f"{identity_label(lost[0])} on",
            Location(cut.canonical or cut.resumed),
            *places,
        )
    if difference := first_difference(canonical[: len(seen)], seen):
        return None, failed(
            f"{where}: the events before the cut differ from the run's replay: {difference}",
            _seen_location(cut, common_prefix_length(canonical, seen)),
            Location(cut.resumed),
        )
    start = canonical.index(resumed[0]) if resumed[0] in canonical else 0
    policy = _start_policy(start, len(seen), cut, expect, honours_ids=honours_ids)
    if (
        policy is Start.TAIL
        and start > len(seen)
        and _was_made_later(cut, canonical[0], canonical[start - 1])
    ):
        policy = None
    if policy is None:
        return None, failed(
            f"{where}: the resumed stream starts with event {start + 1}, {identity_label(resumed[0])}: "
            f"{_start_error(start, len(seen))}",
            _seen_location(cut, len(seen) - 1),
            Location(cut.resumed, cut.resumed.first_event),
        )
    if difference := first_difference(canonical[start:], resumed):
        return policy, failed(
            f"{where}: the resumed stream differs: {difference}",
            _seen_location(cut, len(seen) - 1),
            location_of_difference(cut.resumed, resumed, canonical[start:]),
        )
    return policy, passed(f"{where}: complete ({policy})")


def honours_ids(after_end: Sequence[CutRun], expect: Expectations) -> bool:
    """Whether the server starts a resumption of a finished run after its Last-Event-ID, for some id at least.

    Neither a replay nor the tail of a finished run, its terminal event, starts there.
    """
    return any(
        cut.canonical is not None
        and 0 < len(cut.seen) < len(cut.whole or ()) - 1
        and stitch(cut, expect)[0] is Start.AFTER_ID
        for cut in after_end
    )


def may_have_ended(cut: CutRun) -> bool:
    """Whether the run may have ended before its resumption was answered. Then any server replays it.

    The event ids give the server's clock. The first event was produced after its request was sent, which bounds
    the offset between that clock and this machine's. True if the ids give no time.
    """
    sent_ns, head_ns = cut.before.timing.sent_ns, cut.resumed.head_ns
    if cut.before.is_over or not cut.resumed.is_over or sent_ns is None or head_ns is None:
        return True
    first, end = cut.before.first_event, cut.resumed.over
    if first is None or first.stream_id is None or end is None or end.stream_id is None:
        return True
    return (head_ns - sent_ns) / 1e6 >= end.stream_id.ms - first.stream_id.ms


def tail_allowed(expect: Expectations) -> bool:
    """Whether a resumed stream may start with the next event."""
    return expect.resume_start in {"any", "tail"}


def _seen_location(cut: CutRun, place: int) -> Location:
    """Event number `place`, from 0, of the seen events, on the connection that was cut."""
    events = cut.before.events
    place -= max(0, len(cut.seen) - len(events))  # events of earlier connections
    return Location(cut.before, events[place] if 0 <= place < len(events) else None)


def together(cut: CutRun) -> tuple[EventIdentity, ...]:
    """The run's sequence as far as the cut stream and its resumption show it."""
    seen, resumed = cut.seen, cut.resumed.sequence
    if resumed and resumed[0] in seen:
        return (*seen[: seen.index(resumed[0])], *resumed)
    return (*seen, *resumed)


def _start_policy(
    start: int, seen: int, cut: CutRun, expect: Expectations, *, honours_ids: bool
) -> Start | None:
    with_last_event_id = cut.resumed.named_id is not None
    if with_last_event_id and start == seen:
        return Start.AFTER_ID
    if start == 0:
        allowed = expect.resume_start != "tail" or not seen or may_have_ended(cut)
        return Start.REPLAY if allowed else None
    if not tail_allowed(expect) or (with_last_event_id and (expect.last_event_id or honours_ids)):
        return None
    if cut.before.is_over:  # the tail of a finished run is its terminal event, even if the client has seen it
        return Start.TAIL if len(cut.resumed.sequence) == 1 else None
    return Start.TAIL if start >= seen else None


def _was_made_later(cut: CutRun, first: EventIdentity, lost: EventIdentity) -> bool:
    """Whether the event `lost` was made after the head of the resumed stream arrived, so that a tail would have had it.

    The run's first event was made after its request was sent, and the ids tell how much later `lost` was made. False
    if they do not: they are not times, or the arrivals differ from them.
    """
    head_ns, started_ns = cut.resumed.head_ns, cut.started_ns
    first_id, lost_id = read_leniently(first.id or ""), read_leniently(lost.id or "")
    stamped = [(event.stream_id.ms, event.arrival_ns) for event in cut.resumed.events if event.stream_id]
    if head_ns is None or started_ns is None or first_id is None or lost_id is None or len(stamped) < _STAMPS:
        return False
    id_span_ms = stamped[-1][0] - stamped[0][0]
    arrival_span_ms = (stamped[-1][1] - stamped[0][1]) / 1e6
    if abs(id_span_ms - arrival_span_ms) > max(_SUBSCRIBED_WITHIN_MS, _CLOCK_ERROR * arrival_span_ms):
        return False
    return started_ns + (lost_id.ms - first_id.ms) * 1e6 > head_ns + _SUBSCRIBED_WITHIN_MS * 1e6


def lost_by_replay(received: Sequence[EventIdentity], replay: Sequence[EventIdentity]) -> list[EventIdentity]:
    """The events that readers of a run received and its replay lacks: the server sent them, so the replay is wrong.

    Empty if the replay has them with other data: then nothing tells which of the two is right.
    """
    replayed_ids = {event.id for event in replay}
    return [event for event in received if event.id is not None and event.id not in replayed_ids]


def _start_error(start: int, seen: int) -> str:
    if start < seen:
        return f"{counted(seen - start, 'event')} repeated, although the stream is not a full replay"
    if start > seen:
        return f"{counted(start - seen, 'event')} lost at the resume point"
    return "only Last-Event-ID or a tail may start there"


def survived(cut: CutRun) -> RuleResult:
    """Whether the run reached its own outcome after the cut."""
    places = (Location(cut.before), Location(cut.resumed))
    if cut.before.is_over:
        return inconclusive(
            "the run ended before it could be cut; configure a longer [target.actions.long]", *places
        )
    if cut.resumed.outcome is None:
        return failed(f"{cut.before.ending_detail}: the retry got {cut.resumed.describe()}", *places)
    if cut.resumed.outcome != "done":
        return failed(
            f"{cut.before.ending_detail}: the run ended with {cut.resumed.outcome}, but ends with done if nobody "
            "disconnects",
            Location(cut.before),
            Location(cut.resumed, cut.resumed.over),
        )
    return passed(f"{cut.before.ending_detail}: resumed to done")


def judge_cuts(cuts: Sequence[CutRun], by_id: bool, expect: Expectations) -> RuleResult:
    """Whether the parts of each cut run are its canonical sequence. by_id: the server honours Last-Event-ID."""
    stitched = [(cut, *stitch(cut, expect, honours_ids=by_id)) for cut in cuts]
    policies = Counter(str(policy) for _, policy, _ in stitched if policy is not None)
    result = combine(
        [cut_result for _, _, cut_result in stitched],
        f"{counted(len(cuts), 'cut')}, each resumed to the canonical sequence ("
        + ", ".join(f"{policy}: {count}" for policy, count in sorted(policies.items()))
        + ")",
    )
    if result.verdict is not Verdict.PASS:
        return result
    without_last_event_id = {
        policy: cut
        for cut, policy, _ in stitched
        if cut.seen and not cut.resumed.named_id and not may_have_ended(cut)
    }
    if len(without_last_event_id) > 1:
        return failed(
            "without Last-Event-ID, some resumed streams replay from the first event and some start later: events "
            "are lost at the resume point",
            *(Location(cut.resumed, cut.resumed.first_event) for cut in without_last_event_id.values()),
        )
    return result


def start_policies(cuts: Sequence[CutRun], expect: Expectations) -> list[str]:
    """Where resumptions without Last-Event-ID start: in flight if there are such, otherwise after the end.

    Every server replays a finished run, so among runs that may have ended a tail shows the policy.
    """
    without_last_event_id = [cut for cut in cuts if cut.seen and cut.resumed.named_id is None]
    in_flight = [cut for cut in without_last_event_id if not may_have_ended(cut)]
    policies = {
        str(policy)
        for cut in in_flight or without_last_event_id
        for policy, _ in [stitch(cut, expect)]
        if policy is not None
    }
    return [str(Start.TAIL)] if not in_flight and Start.TAIL in policies else sorted(policies)
