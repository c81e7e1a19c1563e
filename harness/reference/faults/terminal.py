"""Faults that violate the terminal requirements."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from aiohttp import web

from harness.contract.rules import terminal
from harness.reference.actions import Tokens
from harness.reference.api import (
    HEARTBEAT,
    Payload,
    Rejection,
    Submission,
)
from harness.reference.faults.base import Fault
from harness.reference.runs import Run


class TwoTerminals(Fault, name="two-terminals", breaks=terminal.exactly_one):
    """Ends the run in the action, and again in its supervisor."""

    def finish(self, run: Run, outcome: Payload) -> None:
        self.publish(run, outcome)
        super().finish(run, outcome)


class TokenAfterTerminal(Fault, name="token-after-terminal", breaks=terminal.last):
    """Flushes a buffered token after the terminal event."""

    def finish(self, run: Run, outcome: Payload) -> None:
        self.publish(run, outcome)
        self.publish(run, {"type": "token", "content": " late"})
        self.close_run(run)


class StaysOpen(Fault, name="stays-open", breaks=terminal.closes):
    """Keeps the stream open after its terminal event until the client disconnects."""

    async def complete(self, http: web.BaseRequest, response: web.StreamResponse) -> None:  # noqa: ARG002
        while True:
            await asyncio.sleep(self.settings.heartbeat_s)
            await self.write(response, HEARTBEAT)


class NoTerminal(Fault, name="no-terminal", breaks=terminal.always):
    """Ends a successful stream without a terminal event."""

    def finish(self, run: Run, outcome: Payload) -> None:
        if outcome["type"] == "done" and run.events:
            self.close_run(run)
        else:
            super().finish(run, outcome)


class SuccessAsError(Fault, name="success-as-error", breaks=terminal.success):
    """Reports a run that succeeded as a failure."""

    def finish(self, run: Run, outcome: Payload) -> None:
        failure = {"type": "error", "runId": run.run_id, "code": "unknown", "message": "the run failed"}
        super().finish(run, failure if outcome["type"] == "done" else outcome)


class NewKeyIsConflict(Fault, name="new-key-is-conflict", breaks=terminal.success):
    """Takes every key for a used one: each request gets a stream with status 200 and an error of code 409."""

    def start(self, submission: Submission, key: str | None, action: Callable[[], Tokens]) -> Run:  # noqa: ARG002
        raise Rejection(409, "idempotency_conflict", "This key was used with a different body.")

    def conflict(self, http: web.BaseRequest, rejection: Rejection) -> web.StreamResponse:
        response = super().conflict(http, rejection)
        response.set_status(200)
        return response


class FailureAsDone(Fault, name="failure-as-done", breaks=terminal.failure):
    """Reports a failed action as done."""

    def finish(self, run: Run, outcome: Payload) -> None:
        done = {"type": "done", "runId": run.run_id}
        super().finish(run, done if outcome["type"] == "error" else outcome)


class FailureAsBareClose(Fault, name="failure-as-bare-close", breaks=terminal.failure):
    """Closes the stream without a terminal event if an action fails."""

    def finish(self, run: Run, outcome: Payload) -> None:
        if outcome["type"] == "error":
            self.close_run(run)
        else:
            super().finish(run, outcome)


class CancelledAsDone(Fault, name="cancelled-as-done", breaks=terminal.cancelled):
    """Reports a cancelled run as done."""

    def finish(self, run: Run, outcome: Payload) -> None:
        super().finish(run, {**outcome, "type": "done"} if outcome["type"] == "cancelled" else outcome)


class SilentHangs(Fault, name="silent-hangs", breaks=terminal.no_tokens):
    """Ends a run in the handler of its last token, so a run without tokens never ends."""

    def finish(self, run: Run, outcome: Payload) -> None:
        if run.events or outcome["type"] != "done":
            super().finish(run, outcome)


class SilentWithoutTerminal(Fault, name="silent-without-terminal", breaks=terminal.no_tokens):
    """Closes the stream of a run without tokens, without a terminal event."""

    def finish(self, run: Run, outcome: Payload) -> None:
        if run.events:
            super().finish(run, outcome)
        else:
            self.close_run(run)
