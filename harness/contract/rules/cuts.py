"""Runs that were cut and resumed: joins what came before and after, and compares it with the canonical sequence."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from harness.contract.exchange import Exchange
from harness.contract.expectations import Expectations
from harness.contract.finding import Location, RuleResult, failed, passed
from harness.contract.rules.rule import require_terminal
from harness.contract.rules.sequences import (
    common_prefix_length,
    first_difference,
    identity_label,
    location_of_difference,
)
from harness.formatting import counted
from harness.profiles.workflow_actions.identity import EventIdentity


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
    def seen(self) -> tuple[EventIdentity, ...]:
        """What the client received before the cut; with Last-Event-ID, only up to that id."""
        sequence = self.before.sequence
        last_id = self.resumed.request.header("last-event-id")
        if last_id is None:
            return sequence
        ids = [event.id for event in sequence]
        return sequence[: ids.index(last_id) + 1] if last_id in ids else sequence


def stitch(cut: CutRun, expect: Expectations) -> tuple[Start | None, RuleResult]:
    """Join the events before and after a cut, and compare them with the canonical sequence.

    Returns where the resumed stream starts (None if unknown), and the result.
    """
    where = f"cut after event {len(cut.seen)}" if cut.seen else "cut before any event"
    places = (Location(cut.before), Location(cut.resumed))
    if not cut.resumed.started_run:
        return None, failed(f"{where}: the resumption got {cut.resumed.describe()}", *places)
    if not cut.resumed.terminals:
        return None, failed(f"{where}: the resumed stream did not end: {cut.resumed.describe()}", *places)
    canonical = cut.canonical.sequence if cut.canonical is not None else None
    if canonical is None:
        canonical = _presumed_sequence(cut)
    elif cut.canonical is not None and (problem := require_terminal(cut.canonical)):
        return None, problem
    seen, resumed = cut.seen, cut.resumed.sequence
    if difference := first_difference(canonical[: len(seen)], seen):
        return None, failed(
            f"{where}: the events before the cut differ from the run's replay: {difference}",
            _seen_location(cut, common_prefix_length(canonical, seen)),
            Location(cut.resumed),
        )
    start = canonical.index(resumed[0]) if resumed[0] in canonical else 0
    policy = _start_policy(start, len(seen), cut, expect)
    if policy is None:
        return None, failed(
            f"{where}: the resumed stream starts with event {start + 1}, {identity_label(resumed[0])}: "
            f"{_start_error(start, len(seen))}",
            _seen_location(cut, len(seen) - 1),
            Location(cut.resumed, cut.resumed.events[0]),
        )
    if difference := first_difference(canonical[start:], resumed):
        return policy, failed(
            f"{where}: the resumed stream differs: {difference}",
            _seen_location(cut, len(seen) - 1),
            location_of_difference(cut.resumed, resumed, canonical[start:]),
        )
    return policy, passed(f"{where}: complete ({policy})")


def may_have_ended(cut: CutRun) -> bool:
    """Whether the run may have ended before its resumption was answered. Then any server replays it.

    The event ids give the server's clock. The first event was produced after its request was sent, which bounds
    the offset between that clock and this machine's. True if the ids give no time.
    """
    if cut.before.terminals or not cut.before.events or not cut.resumed.terminals:
        return True
    first, end = cut.before.events[0].stream_id, cut.resumed.terminals[0].stream_id
    sent_ns, head_ns = cut.before.timing.sent_ns, cut.resumed.head_ns
    if first is None or end is None or sent_ns is None or head_ns is None:
        return True
    return (head_ns - sent_ns) / 1e6 >= end.ms - first.ms


def tail_allowed(expect: Expectations) -> bool:
    """Whether a resumed stream may start with the next event."""
    return expect.resume_start in {"any", "tail"}


def _seen_location(cut: CutRun, place: int) -> Location:
    """Event number `place`, from 0, of the seen events, on the connection that was cut."""
    events = cut.before.events
    place -= max(0, len(cut.seen) - len(events))  # events of earlier connections
    return Location(cut.before, events[place] if 0 <= place < len(events) else None)


def _presumed_sequence(cut: CutRun) -> tuple[EventIdentity, ...]:
    """The run's sequence as far as the cut stream and its resumption show it."""
    seen, resumed = cut.seen, cut.resumed.sequence
    if resumed and resumed[0] in seen:
        return (*seen[: seen.index(resumed[0])], *resumed)
    return (*seen, *resumed)


def _start_policy(start: int, seen: int, cut: CutRun, expect: Expectations) -> Start | None:
    with_last_event_id = cut.resumed.request.header("last-event-id") is not None
    if with_last_event_id and start == seen:
        return Start.AFTER_ID
    if start == 0:
        allowed = expect.resume_start != "tail" or not seen or may_have_ended(cut)
        return Start.REPLAY if allowed else None
    if not with_last_event_id and cut.before.terminals:
        seen -= 1  # the tail of a finished run is its terminal event, even for a client that has seen it
    if start >= seen and tail_allowed(expect) and not (with_last_event_id and expect.last_event_id):
        return Start.TAIL
    return None


def _start_error(start: int, seen: int) -> str:
    if start < seen:
        return f"{counted(seen - start, 'event')} repeated, although the stream is not a full replay"
    if start > seen:
        return f"{counted(start - seen, 'event')} lost at the resume point"
    return "only Last-Event-ID or a tail may start there"
