"""What a profile makes of a whole stream: its text, how the run ended, and what does not fit the profile."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise

from harness.formatting import counted
from harness.profiles.event_position import position_of
from harness.profiles.event_reader import EventReader
from harness.profiles.event_rules import END_CLOSE, Ids
from harness.profiles.open_pairs import OpenPairs
from harness.profiles.profile import Profile
from harness.profiles.run_event import RunEvent
from harness.profiles.text_so_far import TextSoFar
from harness.protocol.sse import Frame


@dataclass
class ProfileStream:
    """One answer, read with a profile. problems: sentences about what does not fit, each with its event's number."""

    events: list[RunEvent] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        """The tokens together."""
        return "".join(event.text for event in self.events if event.content == "token")

    @property
    def outcomes(self) -> list[RunEvent]:
        """The events that tell how the run ended. A run has one."""
        return [event for event in self.events if event.outcome is not None]

    @property
    def ends(self) -> list[RunEvent]:
        """The events after which nothing may follow. A stream has at most one."""
        return [event for event in self.events if event.is_end]

    @property
    def run_id(self) -> str | None:
        """The first run id."""
        return next((event.run_id for event in self.events if event.run_id is not None), None)

    @property
    def output_tokens(self) -> int | None:
        """The last count of tokens that the stream tells."""
        return next((e.output_tokens for e in reversed(self.events) if e.output_tokens is not None), None)


def read_stream(profile: Profile, frames: Iterable[Frame], *, is_complete: bool = True) -> ProfileStream:
    """Read the frames of one answer. is_complete: the message ended properly, so its end is checked too."""
    reader = EventReader(profile.events, profile.ids)
    stream = ProfileStream([reader.read(frame) for frame in frames])
    numbered = list(enumerate(stream.events, 1))
    stream.problems += [f"event {number}: {event.problem}" for number, event in numbered if event.problem]
    stream.problems += _unknown(numbered)
    stream.problems += _first_event(profile, stream)
    stream.problems += _ending(profile, stream) if is_complete else []
    stream.problems += _after_end(stream)
    stream.problems += _order(profile.ids, stream)
    stream.problems += _pairs(stream, is_complete=is_complete)
    stream.problems += _repeated_text(stream)
    return stream


def _unknown(numbered: list[tuple[int, RunEvent]]) -> list[str]:
    """The types that the profile does not know, each with its first event."""
    places: dict[str, list[int]] = {}
    for number, event in numbered:
        if not event.is_known and not event.problem:
            places.setdefault(event.type, []).append(number)
    return [
        f"event {numbers[0]}: the profile knows no type {kind!r}"
        + (f" (and {counted(len(numbers) - 1, 'more event')})" if numbers[1:] else "")
        if kind
        else f"event {numbers[0]}: no rule matches"
        + (f" (nor {len(numbers) - 1} others)" if numbers[1:] else "")
        for kind, numbers in places.items()
    ]


def _run_events(stream: ProfileStream) -> list[tuple[int, RunEvent]]:
    """The events of the run itself, with their numbers from 1."""
    return [
        (number, event)
        for number, event in enumerate(stream.events, 1)
        if not (event.is_note or event.is_keepalive)
    ]


def _first_event(profile: Profile, stream: ProfileStream) -> list[str]:
    allowed, events = profile.events.first, _run_events(stream)
    if not allowed or not events or events[0][1].type in allowed:
        return []
    number, event = events[0]
    return [f"event {number}: the first event is {event.type!r}, not {' or '.join(allowed)}"]


def _ending(profile: Profile, stream: ProfileStream) -> list[str]:
    if not _run_events(stream):
        return ["it has no event"]
    outcomes, end = stream.outcomes, profile.events.end
    problems = []
    if len(outcomes) > 1:
        problems.append(f"{counted(len(outcomes), 'outcome')}: {', '.join(str(e.outcome) for e in outcomes)}")
    tells_outcome = profile.events.done is not None
    if not outcomes and tells_outcome:
        problems.append("no event tells how the run ended")
    may_stop = profile.events.error_may_end and any(event.outcome == "error" for event in outcomes)
    if end != END_CLOSE and not stream.ends and outcomes and not may_stop:
        problems.append("the event that ends the stream is missing")
    if len(stream.ends) > 1 and len(stream.ends) != len(outcomes):
        problems.append(f"the event that ends the stream came {len(stream.ends)} times")
    return problems


def _after_end(stream: ProfileStream) -> list[str]:
    """Events of the run after its end. The outcome counts as the end where no other event does."""
    ends = [number for number, event in _run_events(stream) if event.is_end]
    if not ends:
        return []
    later = [
        (number, event)
        for number, event in _run_events(stream)
        if number > ends[0] and not event.is_trailer and not event.is_end
    ]
    return (
        [f"event {later[0][0]}: {counted(len(later), 'event')} after the end of the stream"] if later else []
    )


def _order(ids: Ids | None, stream: ProfileStream) -> list[str]:
    """Ids that are missing in order, or repeat."""
    if ids is None:
        return []
    with_ids = [(number, event.id) for number, event in _run_events(stream) if event.id is not None]
    if ids.order == "opaque":
        seen: set[str] = set()
        twice = [number for number, name in with_ids if name in seen or seen.add(name)]  # type: ignore[func-returns-value]
        return [f"event {number}: its id appeared before" for number in twice[:1]]
    positions = [(number, name, position_of(name, ids.order)) for number, name in with_ids]
    for number, name, position in positions:
        if position is None:
            return [f"event {number}: the id {name!r} is not of the form {ids.order}"]
    for (_, before, earlier), (number, name, later) in pairwise(positions):
        if later <= earlier:  # type: ignore[operator]  # none is None
            return [f"event {number}: the id {name!r} is not greater than {before!r}"]
    return []


def _pairs(stream: ProfileStream, *, is_complete: bool) -> list[str]:
    """What is opened, closed or continued in the wrong order. Only a run that is done must have closed everything."""
    pairs = OpenPairs(is_whole=False)
    for number, event in enumerate(stream.events, 1):
        if problem := pairs.take(event):
            return [f"event {number} {problem}"]
    ended = is_complete and [event.outcome for event in stream.outcomes] == ["done"]
    return [f"nothing closes {pairs.left_open[0]}"] if ended and pairs.left_open else []


def _repeated_text(stream: ProfileStream) -> list[str]:
    """A whole text that does not end with the tokens before it. A resumed stream has only its last tokens."""
    tokens = TextSoFar()
    for number, event in enumerate(stream.events, 1):
        if event.is_token:
            tokens.add(event.part, event.text)
        if event.whole_text is not None and not tokens.ends(event.part, event.whole_text):
            return [f"event {number}: the whole text does not end with the tokens before it"]
    return []
