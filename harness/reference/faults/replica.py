"""Faults that violate the replica requirements: each process is correct, and what they share is not.

Runs that a replica has not started itself are *foreign* to it. Without a shared store there are none.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from typing import ClassVar
from weakref import WeakKeyDictionary

from aiohttp import web

from harness.contract.rules import replica
from harness.profiles.workflow_actions.event_id import StreamId
from harness.profiles.workflow_actions.events import TERMINAL_TYPES
from harness.reference.actions import Tokens
from harness.reference.api import Connection, Rejection, Submission, problem_response
from harness.reference.faults.base import Fault
from harness.reference.faults.race import LateIndex
from harness.reference.runs import Event, KeyTakenError, Run, RunKey
from harness.reference.settings import ServerSettings
from harness.reference.shared_runs import SharedRegistry


class ReplicaFault(Fault):
    """A defect that shows only if two replicas share a store."""

    shared: ClassVar[bool] = True

    def is_foreign(self, run: Run) -> bool:
        """Whether another replica executes the run, or did."""
        return isinstance(self.registry, SharedRegistry) and self.registry.is_foreign(run)


class KeysPerProcess(ReplicaFault, name="keys-per-process", breaks=replica.same_run):
    """Keeps the table of keys in the process: a retry at another replica executes the action again."""

    def identity(self, submission: Submission, key: str | None) -> RunKey | None:
        identity = super().identity(submission, key)
        if identity is None:
            return None
        organization, kind, value = identity
        return organization, kind, f"{value} of {self.settings.replica}"


class KeyStoredAtEnd(ReplicaFault, name="key-shared-at-end", breaks=replica.joins):
    """Writes a run to the store when it has ended: until then, a retry at another replica gets 404."""

    def resume_index(self, run: Run, last_seen: StreamId | None) -> int:
        if self.is_foreign(run) and not run.ended:
            raise Rejection(404, "no_such_run", "This replica does not know the run yet.")
        return super().resume_index(run, last_seen)


class EventsInMemoryOnly(ReplicaFault, name="events-in-memory-only", breaks=replica.replay):
    """Shares the key and the outcome of a run, but keeps its tokens in the process that made them."""

    def due(self, reader: Connection) -> list[Event]:
        due = super().due(reader)
        return [e for e in due if e.type in TERMINAL_TYPES] if self.is_foreign(reader.run) else due


class IdsOfEachClock(ReplicaFault, name="ids-of-each-clock", breaks=replica.replay):
    """Stores the data of events only, and makes the ids in the process that sends them, by its own clock."""

    skew_ms: ClassVar[int] = 3

    def due(self, reader: Connection) -> list[Event]:
        due = super().due(reader)
        if not self.is_foreign(reader.run):
            return due
        return [event._replace(id=StreamId(event.id.ms + self.skew_ms, event.id.seq)) for event in due]


class UnorderedLog(ReplicaFault, name="log-read-unordered", breaks=replica.replay):
    """Reads the events of another replica's finished run without an order: the terminal event is not the last."""

    def due(self, reader: Connection) -> list[Event]:
        due = super().due(reader)
        return due[1:] + due[:1] if self.is_foreign(reader.run) and not reader.joined else due


class LiveEventsOnly(ReplicaFault, name="live-events-only", breaks=replica.joins):
    """Subscribes to the events of another replica's run in flight, without its history."""

    def resume_index(self, run: Run, last_seen: StreamId | None) -> int:
        if self.is_foreign(run) and not run.ended and last_seen is None:
            return len(run.events)
        return super().resume_index(run, last_seen)


class RejoinNeverEnds(ReplicaFault, name="rejoin-never-ends", breaks=replica.joins):
    """Does not publish the end of a run: who joined it at another replica gets heartbeats for ever."""

    async def chunks(self, reader: Connection) -> AsyncGenerator[bytes, None]:
        follows = self.is_foreign(reader.run) and reader.joined
        async for chunk in super().chunks(reader):
            yield chunk
        while follows:
            await asyncio.sleep(self.settings.heartbeat_s)
            yield self.heartbeat(reader.run)

    def due(self, reader: Connection) -> list[Event]:
        due = super().due(reader)
        follows = self.is_foreign(reader.run) and reader.joined
        return [event for event in due if event.type not in TERMINAL_TYPES] if follows else due


class _Seam(ReplicaFault):
    """After Last-Event-ID, has a defect between the history of another replica's run and its live events."""

    def __init__(self, settings: ServerSettings) -> None:
        super().__init__(settings)
        self._at_seam: WeakKeyDictionary[Connection, bool] = WeakKeyDictionary()

    def due(self, reader: Connection) -> list[Event]:
        due = super().due(reader)
        if reader not in self._at_seam:  # all that is due by now is history
            self._at_seam[reader] = self.is_foreign(reader.run) and reader.joined and reader.index > 0
            return due
        if not due or not self._at_seam[reader]:
            return due
        self._at_seam[reader] = False
        return self.first_live(reader.run, due)

    def first_live(self, run: Run, due: list[Event]) -> list[Event]:
        """What is sent in place of the first live events."""
        raise NotImplementedError


class GapAfterHistory(_Seam, name="gap-after-history", breaks=replica.every_cut):
    """After Last-Event-ID, follows another replica's run one event later than its history ends."""

    def first_live(self, run: Run, due: list[Event]) -> list[Event]:  # noqa: ARG002
        return due if due[0].type in TERMINAL_TYPES else due[1:]


class HistoryTwice(_Seam, name="history-twice", breaks=replica.every_cut):
    """After Last-Event-ID, sends the last event of another replica's history once more before the live ones."""

    def first_live(self, run: Run, due: list[Event]) -> list[Event]:
        return [run.events[run.events.index(due[0]) - 1], *due]


class EndLostBeforeSubscription(
    ReplicaFault, name="end-lost-before-subscription", breaks=replica.terminal_race
):
    """Looks for the end of another replica's run some time before it subscribes: an end in between is never sent."""

    window_s: ClassVar[float] = 0.09

    async def chunks(self, reader: Connection) -> AsyncGenerator[bytes, None]:
        run = reader.run
        if self.is_foreign(run) and reader.joined:
            subscribes_s = asyncio.get_running_loop().time() + self.window_s
            while not run.ended and (left_s := subscribes_s - asyncio.get_running_loop().time()) > 0:
                await run.more_than(len(run.events), left_s)
            if run.events and run.events[-1].type in TERMINAL_TYPES:
                history = run.events[reader.index : -1]
                reader.index = len(run.events)
                yield b"".join(map(self.encode_frame, history))
                return
        async for chunk in super().chunks(reader):
            yield chunk


class FingerprintPerProcess(ReplicaFault, name="fingerprint-per-process", breaks=replica.conflicts):
    """Keeps the body's fingerprint in the process: another replica resumes the run, whatever the body is."""

    def conflicts(self, run: Run, submission: Submission) -> bool:
        return not self.is_foreign(run) and super().conflicts(run, submission)


class ConflictAfterEndOnly(ReplicaFault, name="conflict-elsewhere-after-end-only", breaks=replica.conflicts):
    """Stores the body's fingerprint when the run has ended: until then another replica resumes any body."""

    def conflicts(self, run: Run, submission: Submission) -> bool:
        unknown = self.is_foreign(run) and not run.ended
        return not unknown and super().conflicts(run, submission)


class OtherVersionRejects(ReplicaFault, name="rejects-in-other-form", breaks=replica.conflict_form):
    """One replica has an older version, which rejects a different body with a problem document."""

    def conflict(self, http: web.BaseRequest, rejection: Rejection) -> web.StreamResponse:
        if self.settings.store is None or self.settings.replica == "1":
            return super().conflict(http, rejection)
        return problem_response(rejection, self.common_headers())


class _LateSharedIndex(ReplicaFault, LateIndex):
    """Looks the key up in the store, and stores it a moment later, whatever another replica has stored by then."""

    def is_of_crowd(self, run: Run, crowd: object) -> bool:  # noqa: ARG002
        return self.is_foreign(run)

    def start(self, submission: Submission, key: str | None, action: Callable[[], Tokens]) -> Run:
        try:
            return super().start(submission, key, action)
        except KeyTakenError:
            if self.find(submission, key) is not None:  # it does not overlook the run that has the key
                raise
            return super().start(submission, None, action)


class ReplicasBothRun(_LateSharedIndex, name="replicas-both-run", breaks=replica.one_run):
    """Keeps equal requests apart by a lock in the process: two replicas that get several at once both run."""

    def overlooks(self, run: Run, submission: Submission) -> bool:
        return super().overlooks(run, submission) or not self.conflicts(run, submission)


class WinnerPerReplica(_LateSharedIndex, name="winner-per-replica", breaks=replica.one_winner):
    """Keeps racing bodies apart by a lock in the process: each replica that gets several has a winner."""

    def overlooks(self, run: Run, submission: Submission) -> bool:
        return super().overlooks(run, submission) or self.conflicts(run, submission)


class CancelHeardByOneReplica(ReplicaFault, name="cancel-heard-by-one-replica", breaks=replica.cancels):
    """Ends a run of another replica for its own readers only: it continues there, to its end."""

    def cancel_run(self, run: Run) -> None:
        if not self.is_foreign(run) or run.ended:
            super().cancel_run(run)
            return
        data = self.event_data({"type": "cancelled", "runId": run.run_id})
        run.append(Event(self.event_id(run), "cancelled", data))
        run.end()
