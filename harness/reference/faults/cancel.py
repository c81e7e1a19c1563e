"""Faults that violate the cancel requirements."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from weakref import WeakSet

from aiohttp import web

from harness.contract.rules import cancel
from harness.reference.api import Connection, Rejection
from harness.reference.faults.base import Fault
from harness.reference.runs import Event, Run
from harness.reference.settings import ServerSettings


class CancelNotFound(Fault, name="cancel-not-found", breaks=cancel.accepted):
    """Registers a run's id for cancellation only when the run has ended, so one in flight is not found."""

    def cancel_run(self, run: Run) -> None:
        if not run.ended:
            raise Rejection(404, "no_such_run", "Your organization has no run with this id.")
        super().cancel_run(run)


class CancelStopsOnlyTheAction(Fault, name="cancel-stops-only-the-action", breaks=cancel.ends):
    """Stops the action of a cancelled run and tells no reader: their streams stay open."""

    def cancel_run(self, run: Run) -> None:
        if not run.ended and run.task is not None:
            run.task.cancel()


class CancelMissesReader(Fault, name="cancel-misses-reader", breaks=cancel.ends):
    """Tells only the connection that started the run that it was cancelled; the others stay open."""

    async def chunks(self, reader: Connection) -> AsyncGenerator[bytes, None]:
        async for chunk in super().chunks(reader):
            if reader.joined and b'"cancelled"' in chunk:
                await asyncio.sleep(3600)
            yield chunk


class CancelIgnored(Fault, name="cancel-ignored", breaks=cancel.one_outcome):
    """Accepts the request to cancel a run, and lets it run to its end."""

    def cancel_run(self, run: Run) -> None:
        """Nothing is cancelled."""


class CancelledThenDone(Fault, name="cancelled-then-done", breaks=cancel.one_outcome):
    """Writes `cancelled`, and then the `done` that the stopped action reports."""

    def cancel_run(self, run: Run) -> None:
        if not run.ended:
            self.publish(run, {"type": "cancelled", "runId": run.run_id})
            self.finish(run, {"type": "done", "runId": run.run_id})


class CancelledAsError(Fault, name="cancelled-as-error", breaks=cancel.one_outcome):
    """Ends a run that is cancelled in flight with the error of the stopped action."""

    def cancel_run(self, run: Run) -> None:
        if not run.ended:
            self.finish(run, {"type": "error", "runId": run.run_id, "code": "stopped", "message": "stopped"})


class CancelEndsAsDone(Fault, name="cancel-ends-as-done", breaks=cancel.one_outcome):
    """Ends a run that is cancelled in flight with `done`, before it answers the request."""

    def cancel_run(self, run: Run) -> None:
        if not run.ended:
            self.finish(run, {"type": "done", "runId": run.run_id})


class TokenAfterCancelled(Fault, name="token-after-cancelled", breaks=cancel.last):
    """Flushes the token that the action was about to write after `cancelled`."""

    def cancel_run(self, run: Run) -> None:
        if not run.ended:
            self.publish(run, {"type": "cancelled", "runId": run.run_id})
            self.publish(run, {"type": "token", "content": " late"})
            self.close_run(run)


class CancelledReplayedAsDone(Fault, name="cancelled-replayed-as-done", breaks=cancel.replayed):
    """Stores a run that was cancelled in flight as finished: who reads it again gets `done`."""

    def __init__(self, settings: ServerSettings) -> None:
        super().__init__(settings)
        self._cancelled: WeakSet[Run] = WeakSet()

    def cancel_run(self, run: Run) -> None:
        if not run.ended:
            super().cancel_run(run)
            self._cancelled.add(run)

    def due(self, reader: Connection) -> list[Event]:
        due = super().due(reader)
        if reader.started_run or reader.joined or reader.run not in self._cancelled:
            return due
        done = self.event_data({"type": "done", "runId": reader.run.run_id})
        return [
            event._replace(type="done", data=done) if event.type == "cancelled" else event for event in due
        ]


class CancelBreaksOnEnded(Fault, name="cancel-breaks-on-ended", breaks=cancel.harmless):
    """Fails with 500 if the run to cancel has ended."""

    def cancel_run(self, run: Run) -> None:
        if run.ended:
            raise Rejection(500, "internal", "Internal error.")
        super().cancel_run(run)


class CancelRewritesEnded(Fault, name="cancel-rewrites-ended", breaks=cancel.harmless):
    """Sets the stored outcome of any run to cancelled, also of one that has ended with success."""

    def cancel_run(self, run: Run) -> None:
        super().cancel_run(run)
        last = run.events[-1]
        if last.type == "done":
            data = self.event_data({"type": "cancelled", "runId": run.run_id})
            run.events[-1] = last._replace(type="cancelled", data=data)


class CancelUnscoped(Fault, name="cancel-unscoped", breaks=cancel.other_organization):
    """Looks the run to cancel up by its id alone, and not among those of the organization."""

    async def cancel(self, http: web.BaseRequest) -> web.StreamResponse:
        run_id = http.path.split("/")[-2]
        for run in self.registry.running:
            if run.run_id == run_id:
                self.cancel_run(run)
        return await super().cancel(http)
