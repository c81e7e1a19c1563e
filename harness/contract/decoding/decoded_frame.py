"""One event-stream frame as it was received, with its data decoded as a RunEvent."""

from __future__ import annotations

from dataclasses import dataclass

from propcache.api import cached_property

from harness.profiles.event_position import position_of
from harness.profiles.profile import Profile
from harness.profiles.run_event import RunEvent
from harness.profiles.workflow_actions.event_id import StreamId
from harness.profiles.workflow_actions.identity import EventIdentity
from harness.protocol.sse import DEFAULT_EVENT_NAME, Frame


@dataclass(frozen=True)
class DecodedFrame:
    """One frame as it was received.

    index: its position among the stream's frames, from 0. arrival_ns: arrival of the read that completed it. event:
    its data as a RunEvent; None if it has no data, or data that is not a RunEvent (`problem` says why). id: where the
    profile says that ids stand. id_order: how its profile orders ids (Ids.order). kind: its type, also if its data have
    a problem; empty if it has none.
    """

    index: int
    arrival_ns: int
    frame: Frame
    event: RunEvent | None
    problem: str | None
    id: str | None
    id_order: str = "ms-seq"
    kind: str = ""

    @cached_property
    def position(self) -> tuple[int, ...] | None:
        """Its id as numbers; None if it has no id of the form that its profile declares, or these have no order."""
        return position_of(self.id, self.id_order)

    @property
    def stream_id(self) -> StreamId | None:
        """Its id as a time and a number; None if it has no id of that form."""
        position = self.position
        return position if isinstance(position, StreamId) else None

    @property
    def is_event(self) -> bool:
        """Whether it is an event of the run: a client dispatches it, and it is not a note about the connection."""
        return self.frame.dispatches and (self.event is None or self.event.is_of_run)

    @property
    def is_terminal(self) -> bool:
        """Whether it tells how the run ended."""
        return self.event is not None and self.event.outcome is not None

    @property
    def has_content(self) -> bool:
        """Whether it is a token with text. The first one determines the time to first token."""
        return self.event is not None and self.event.is_token

    @cached_property
    def identity(self) -> EventIdentity:
        """What must be the same wherever it is received again."""
        name = self.frame.event
        return EventIdentity(self.id, self.frame.data, "" if name == DEFAULT_EVENT_NAME else name)


def decode_frame(index: int, arrival_ns: int, frame: Frame, profile: Profile) -> DecodedFrame:
    """Decode the frame's data as a RunEvent of `profile`."""
    order = "opaque" if profile.ids is None else profile.ids.order
    if frame.data is None:
        return DecodedFrame(index, arrival_ns, frame, None, None, frame.id, order)
    event = profile.reader.read(frame)
    read = None if event.problem is not None else event
    return DecodedFrame(index, arrival_ns, frame, read, event.problem, event.id, order, event.type)
