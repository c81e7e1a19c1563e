"""Finds the run of an idempotency key or starts a new one, executes its action and appends its events."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from harness.profiles.workflow_actions.event_id import StreamId
from harness.profiles.workflow_actions.events import TERMINAL_TYPES
from harness.reference.actions import ActionCancelledError, ActionFailedError, Tokens
from harness.reference.request_checks import Submission
from harness.reference.responses import ApiBase, Payload, Rejection, canonical_json, encode_json
from harness.reference.runs import (
    Event,
    KeyTakenError,
    RegistryFullError,
    Run,
    RunEndedError,
    RunKey,
    next_id,
)

logger = logging.getLogger(__name__)


class RunExecution(ApiBase):
    """Runs belong to the registry, not to the connections that read them."""

    def identity(self, submission: Submission, key: str | None) -> RunKey | None:
        """The registry key of the run: the idempotency key, or `runId` if there is none."""
        if key is not None:
            return submission.organization, "key", key
        run_id = submission.request.runId
        return None if run_id is None else (submission.organization, "runId", run_id)

    def fingerprint(self, body: Mapping[str, Any]) -> bytes:
        """Hash of the body; independent of key order and white space."""
        return hashlib.sha256(canonical_json(body)).digest()

    def find(self, submission: Submission, key: str | None) -> Run | None:
        identity = self.identity(submission, key)
        return None if identity is None else self.registry.find(identity)

    def find_or_start(
        self, submission: Submission, key: str | None, action: Callable[[], Tokens]
    ) -> tuple[Run, bool]:
        """The run of the request, and whether the request has started it."""
        run = self.find(submission, key)
        if run is not None:
            return run, False
        try:
            return self.start(submission, key, action), True
        except KeyTakenError:  # by a request to another replica, since it was looked up
            run = self.find(submission, key)
            assert run is not None
            return run, False

    def conflicts(self, run: Run, submission: Submission) -> bool:
        return run.fingerprint != self.fingerprint(submission.body)

    def on_conflict(self, run: Run, submission: Submission) -> None:
        """Called on a conflict; the original run continues."""

    def conflict_of(self, run: Run) -> Rejection:  # noqa: ARG002 - must not leak it
        return Rejection(
            409,
            "idempotency_conflict",
            "This Idempotency-Key or runId was used with a different request body.",
        )

    def start(self, submission: Submission, key: str | None, action: Callable[[], Tokens]) -> Run:
        run_id = self.run_id(submission)
        run = Run(
            submission.organization,
            run_id,
            self.fingerprint(submission.body),
            self.identity(submission, key),
        )
        self.launch(run, action)
        return run

    def launch(self, run: Run, action: Callable[[], Tokens]) -> None:
        try:
            self.registry.add(run)
        except RegistryFullError:
            raise Rejection(
                503, "no_capacity", "The server is at its limit of runs.", {"Retry-After": "1"}
            ) from None
        run.task = asyncio.create_task(self.perform(run, action))

    def run_id(self, submission: Submission) -> str:
        requested = submission.request.runId
        return str(uuid.uuid4()) if requested is None else requested

    async def perform(self, run: Run, action: Callable[[], Tokens]) -> None:
        """Execute the action to its end, whether or not a client is connected."""
        outcome: Payload = {"type": "done", "runId": run.run_id}
        self.open_run(run)
        try:
            await asyncio.sleep(self.settings.first_token_delay_s)
            async for token in action():
                self.publish(run, {"type": "token", "content": token})
        except ActionCancelledError:
            outcome["type"] = "cancelled"
        except ActionFailedError as failure:
            outcome |= {"type": "error", "code": failure.code, "message": failure.message}
        except RunEndedError:  # another replica has cancelled it
            return
        except Exception:
            logger.exception("unexpected exception in an action")
            outcome |= {"type": "error", "code": "internal", "message": "internal error in the action"}
        with suppress(RunEndedError):
            self.finish(run, outcome)

    def open_run(self, run: Run) -> None:
        """Called before the action starts."""

    def publish(self, run: Run, payload: Payload) -> None:
        self.registry.publish(run, Event(self.event_id(run), payload["type"], self.event_data(payload)))

    def finish(self, run: Run, outcome: Payload) -> None:
        """End the run with its terminal event; stop its action if that is still running."""
        self.publish(run, outcome)
        self.close_run(run)

    def cancel_run(self, run: Run) -> None:
        """End the run with `cancelled`, unless it has ended."""
        self._finish_first(run, {"type": "cancelled", "runId": run.run_id})

    def _finish_first(self, run: Run, outcome: Payload) -> None:
        """End the run with this event, unless it has ended. Another replica may write to it at the same time."""
        while not run.ended and not (run.events and run.events[-1].type in TERMINAL_TYPES):
            try:
                self.finish(run, outcome)
            except RunEndedError:  # the other replica's event came first
                self.registry.refresh(run)
            else:
                return

    def close_run(self, run: Run) -> None:
        run.end()
        self.registry.retire(run)
        if run.task is not None and run.task is not asyncio.current_task():
            run.task.cancel()

    def event_id(self, run: Run) -> StreamId:
        return next_id(run.last_id, time.time_ns() // 1_000_000)

    def event_data(self, payload: Payload) -> str:
        return encode_json(payload)

    def open(self) -> None:
        """Called before the first request. Ends the runs that a killed process has left unfinished."""
        self.registry.begin()
        for run in self.registry.left_unfinished():
            self.end_unfinished(run)

    def end_unfinished(self, run: Run) -> None:
        """End a run whose process was killed, unless it had sent its terminal event."""
        if run.events and run.events[-1].type in TERMINAL_TYPES:
            self.close_run(run)
            return
        message = "the server was restarted"
        self.finish(run, {"type": "error", "runId": run.run_id, "code": "interrupted", "message": message})

    async def close(self, grace_s: float) -> None:
        """Accept no new runs, let those in flight finish for `grace_s` seconds, then end them with `error`."""
        self.registry.close()
        tasks = [run.task for run in self.registry.running if run.task is not None]
        if tasks:
            await asyncio.wait(tasks, timeout=grace_s)
        for run in self.registry.running:
            self._finish_first(
                run, {"type": "error", "runId": run.run_id, "code": "shutdown", "message": "shut down"}
            )
        await self.registry.shut()
