"""Faults that violate the restart requirements: they show when the processes have been killed and started again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import ClassVar

from harness.contract.rules import restart
from harness.profiles.workflow_actions.event_id import StreamId
from harness.profiles.workflow_actions.events import TERMINAL_TYPES
from harness.reference.actions import Tokens
from harness.reference.api import Connection, Rejection, Submission
from harness.reference.faults.replica import ReplicaFault
from harness.reference.runs import Event, Run, RunKey
from harness.reference.shared_runs import SharedRegistry


class RestartFault(ReplicaFault):
    """A defect that shows only after a restart."""

    def is_older(self, run: Run) -> bool:
        """Whether the run was started before the last restart."""
        return isinstance(self.registry, SharedRegistry) and self.registry.is_older(run)

    def was_interrupted(self, run: Run) -> bool:
        """Whether the restart has ended the run."""
        return self.is_older(run) and bool(run.events) and '"interrupted"' in run.events[-1].data


class StaysClosed(RestartFault, name="closed-after-restart", breaks=restart.serves_again):
    """Counts the runs that it finds in the store as running: after a restart it has no capacity for new ones."""

    def start(self, submission: Submission, key: str | None, action: Callable[[], Tokens]) -> Run:
        if isinstance(self.registry, SharedRegistry) and self.registry.has_older():
            raise Rejection(503, "no_capacity", "The server is at its limit of runs.", {"Retry-After": "1"})
        return super().start(submission, key, action)


class KeysLost(RestartFault, name="keys-lost-at-restart", breaks=restart.no_new_run):
    """Keeps the table of keys in a cache that a restart empties: a retry executes the action again."""

    def identity(self, submission: Submission, key: str | None) -> RunKey | None:
        identity = super().identity(submission, key)
        if identity is None:
            return None
        organization, kind, value = identity
        return organization, kind, f"{value} since {self.settings.generation}"


class InterruptedRunsAgain(RestartFault, name="interrupted-runs-again", breaks=restart.no_new_run):
    """Starts the runs that it finds unfinished from their beginning, in place of what was sent before."""

    def due(self, reader: Connection) -> list[Event]:
        due = super().due(reader)
        if not self.was_interrupted(reader.run):
            return due
        later_ms = 60_000
        return [event._replace(id=StreamId(event.id.ms + later_ms, event.id.seq)) for event in due]


class EventsLost(RestartFault, name="events-lost-at-restart", breaks=restart.replay):
    """Keeps events in memory, and only how a run ended in the store: after a restart a replay has no tokens."""

    def due(self, reader: Connection) -> list[Event]:
        due = super().due(reader)
        return [e for e in due if e.type in TERMINAL_TYPES] if self.is_older(reader.run) else due


class UnfinishedForEver(RestartFault, name="unfinished-for-ever", breaks=restart.ends):
    """Leaves unfinished runs as it finds them: who rejoins one waits for ever."""

    def end_unfinished(self, run: Run) -> None:
        """Does nothing."""


class EndsWithoutTerminal(RestartFault, name="no-terminal-at-restart", breaks=restart.ends):
    """Marks unfinished runs as ended, without a terminal event."""

    def end_unfinished(self, run: Run) -> None:
        self.close_run(run)


class CompletedAtRestart(RestartFault, name="completed-at-restart", breaks=restart.ends):
    """Stopped in order, completes the streams of its readers without a terminal event, as if the runs had ended."""

    stops_in_order: ClassVar[bool] = True
    lets_readers_go_s: ClassVar[float] = 0.1

    async def close(self, grace_s: float) -> None:  # noqa: ARG002 - it waits for no run
        self.registry.close()
        for run in list(self.registry.running):
            run.end()
            if run.task is not None:
                run.task.cancel()
        await asyncio.sleep(self.lets_readers_go_s)
        await self.registry.shut()


class EndedByEachReplica(RestartFault, name="ended-by-each-replica", breaks=restart.ends):
    """Lets more than one replica end a run that it finds unfinished: it has two terminal events."""

    def end_unfinished(self, run: Run) -> None:
        self.publish(run, {"type": "cancelled", "runId": run.run_id})
        self.finish(
            run, {"type": "error", "runId": run.run_id, "code": "interrupted", "message": "restarted"}
        )


class TerminalPerConnection(RestartFault, name="terminal-per-connection", breaks=restart.same_events):
    """Makes the terminal event of an interrupted run for each connection: it has a different id on each."""

    def due(self, reader: Connection) -> list[Event]:
        due = super().due(reader)
        if due and self.was_interrupted(reader.run):
            own_id = StreamId(due[-1].id.ms, due[-1].id.seq + 1 + id(reader) // 64 % 100_000)
            return [*due[:-1], due[-1]._replace(id=own_id)]
        return due


class LastEventsLost(RestartFault, name="last-events-lost", breaks=restart.same_events):
    """Stores events some time after it has sent them: a restart loses all but the first of a run in flight."""

    def due(self, reader: Connection) -> list[Event]:
        due = super().due(reader)
        return [*due[:1], due[-1]] if len(due) > 1 and self.was_interrupted(reader.run) else due


class FingerprintsLost(RestartFault, name="fingerprints-lost-at-restart", breaks=restart.conflicts):
    """Keeps the fingerprints of bodies in memory: after a restart any body resumes the run of a key."""

    def conflicts(self, run: Run, submission: Submission) -> bool:
        return not self.is_older(run) and super().conflicts(run, submission)
