"""One event-stream frame as it was received, with its data decoded as a RunEvent."""

from __future__ import annotations

from dataclasses import dataclass

from propcache.api import cached_property

from harness.profiles.workflow_actions.event_id import StreamId
from harness.profiles.workflow_actions.events import TERMINAL_TYPES, RunEvent, TokenEvent, parse_run_event
from harness.profiles.workflow_actions.identity import EventIdentity
from harness.protocol.sse import DEFAULT_EVENT_NAME, Frame


@dataclass(frozen=True)
class DecodedFrame:
    """One frame as it was received.

    index: its position among the stream's frames, from 0. arrival_ns: arrival of the read that completed it. event:
    its data as a RunEvent; None if it has no data, or data that is not a RunEvent (`problem` says why).
    """

    index: int
    arrival_ns: int
    frame: Frame
    event: RunEvent | None
    problem: str | None

    @cached_property
    def stream_id(self) -> StreamId | None:
        """Its own id as a pair of numbers; None if it has no id of that form."""
        if self.frame.id is None:
            return None
        try:
            return StreamId.parse(self.frame.id)
        except ValueError:
            return None

    @property
    def is_event(self) -> bool:
        """Whether a client dispatches an event for it."""
        return self.frame.dispatches

    @property
    def is_terminal(self) -> bool:
        """Whether it ends the run."""
        return self.event is not None and self.event.type in TERMINAL_TYPES

    @property
    def has_content(self) -> bool:
        """Whether it is a token with text. The first one determines the time to first token."""
        return isinstance(self.event, TokenEvent) and bool(self.event.content)

    @cached_property
    def identity(self) -> EventIdentity:
        """What must be the same wherever it is received again."""
        name = self.frame.event
        return EventIdentity(self.frame.id, self.frame.data, "" if name == DEFAULT_EVENT_NAME else name)


def decode_frame(index: int, arrival_ns: int, frame: Frame) -> DecodedFrame:
    """Decode the frame's data as a RunEvent."""
    if not frame.data:
        problem = "the data is empty" if frame.dispatches else None
        return DecodedFrame(index, arrival_ns, frame, None, problem)
    try:
        return DecodedFrame(index, arrival_ns, frame, parse_run_event(frame.data), None)
    except ValueError as problem:
        return DecodedFrame(index, arrival_ns, frame, None, str(problem))
