"""Faults that violate the ids requirements."""

from __future__ import annotations

import time

from harness.contract.rules import ids
from harness.profiles.workflow_actions.event_id import StreamId
from harness.reference.api import (
    Payload,
)
from harness.reference.faults.base import Fault
from harness.reference.runs import Event, Run, next_id


class NoIds(Fault, name="no-ids", breaks=ids.present):
    """Sends events without ids."""

    def encode_frame(self, event: Event) -> bytes:
        return super().encode_frame(event).partition(b"\n")[2]


class DecreasingIds(Fault, name="decreasing-ids", breaks=ids.increasing):
    """Counts the sequence number down."""

    def event_id(self, run: Run) -> StreamId:
        last = run.last_id
        return StreamId(super().event_id(run).ms, 10**6) if last is None else StreamId(last.ms, last.seq - 1)

    def resume_index(self, run: Run, last_seen: StreamId | None) -> int:
        ids = [event.id for event in run.events]
        return ids.index(last_seen) + 1 if last_seen in ids else 0


class RepeatedId(Fault, name="repeated-id", breaks=ids.unique):
    """Gives the terminal event the id of the event before it."""

    def finish(self, run: Run, outcome: Payload) -> None:
        if run.events:
            run.append(Event(run.events[-1].id, outcome["type"], self.event_data(outcome)))
            self.close_run(run)
        else:
            super().finish(run, outcome)


class SecondsInIds(Fault, name="seconds-in-ids", breaks=ids.clock):
    """Writes the clock into ids in seconds instead of milliseconds."""

    def event_id(self, run: Run) -> StreamId:
        return next_id(run.last_id, time.time_ns() // 10**9)
