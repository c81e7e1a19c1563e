"""Faults that violate the conflict requirements."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from weakref import WeakKeyDictionary, WeakSet

from aiohttp import web

from harness.contract.rules import conflict
from harness.reference.actions import Tokens
from harness.reference.api import (
    Rejection,
    Submission,
    canonical_json,
)
from harness.reference.faults.base import Fault
from harness.reference.runs import Run, RunKey
from harness.reference.settings import ServerSettings


class ConflictIgnored(Fault, name="conflict-ignored", breaks=conflict.rejected):
    """Looks only at the key: a different body resumes the first body's run."""

    def conflicts(self, run: Run, submission: Submission) -> bool:  # noqa: ARG002
        return False


class ConflictAs422(Fault, name="conflict-as-422", breaks=conflict.rejected):
    """Answers a conflict with 422, as the IETF draft recommends, not as the API documents."""

    def conflict(self, http: web.BaseRequest, rejection: Rejection) -> web.StreamResponse:
        return self.reject(http, Rejection(422, rejection.code, rejection.detail))


class ConflictAsJson(Fault, name="conflict-as-json", breaks=conflict.error_event):
    """Rejects a conflict with 409, but as a JSON document instead of an error event."""

    def conflict(self, http: web.BaseRequest, rejection: Rejection) -> web.StreamResponse:
        return self.reject(http, rejection)


class ShallowFingerprint(Fault, name="shallow-fingerprint", breaks=conflict.any_field):
    """Compares only the top-level values: anything inside an object or list may change."""

    def fingerprint(self, body: Mapping[str, Any]) -> bytes:
        flat = {
            name: type(value).__name__ if isinstance(value, dict | list) else value
            for name, value in body.items()
        }
        return super().fingerprint(flat)


class FingerprintOfRequired(Fault, name="fingerprint-of-required", breaks=conflict.any_field):
    """Compares only the required fields: optional ones may change."""

    def fingerprint(self, body: Mapping[str, Any]) -> bytes:
        required = ("organizationId", "sessionId", "workflowAction")
        return super().fingerprint({name: body[name] for name in required})


class ConflictMissedInFlight(Fault, name="conflict-missed-in-flight", breaks=conflict.in_flight):
    """Stores the fingerprint at the end of the run; until then any body resumes it."""

    def conflicts(self, run: Run, submission: Submission) -> bool:
        return run.ended and super().conflicts(run, submission)


class ConflictMissedAfterwards(Fault, name="conflict-missed-afterwards", breaks=conflict.after_completion):
    """Keeps the fingerprint with the lock on the running run, and drops both when it ends."""

    # The lock on a long run stays: on a busy machine, a conflict that was sent in flight may come after the end.

    def conflicts(self, run: Run, submission: Submission) -> bool:
        is_locked = not run.ended or submission.request.workflowAction.toolId == "long"
        return is_locked and super().conflicts(run, submission)


class ConflictCancelsOriginal(Fault, name="conflict-cancels-original", breaks=conflict.original_untouched):
    """Cancels the first run on a conflict."""

    def on_conflict(self, run: Run, submission: Submission) -> None:
        super().on_conflict(run, submission)
        if not run.ended:
            self.finish(run, {"type": "cancelled", "runId": run.run_id})


class ConflictPoisonsKey(Fault, name="conflict-poisons-key", breaks=conflict.original_untouched):
    """Marks the key as misused on a conflict: from then on, the first body is a conflict too."""

    def __init__(self, settings: ServerSettings) -> None:
        super().__init__(settings)
        self._poisoned: WeakSet[Run] = WeakSet()

    def on_conflict(self, run: Run, submission: Submission) -> None:
        super().on_conflict(run, submission)
        self._poisoned.add(run)

    def conflicts(self, run: Run, submission: Submission) -> bool:
        return run in self._poisoned or super().conflicts(run, submission)


class ConflictLeaksBody(Fault, name="conflict-leaks-body", breaks=conflict.leaks_nothing):
    """Quotes the first body in the conflict's error detail."""

    def __init__(self, settings: ServerSettings) -> None:
        super().__init__(settings)
        self._bodies: WeakKeyDictionary[Run, Mapping[str, Any]] = WeakKeyDictionary()

    def start(self, submission: Submission, key: str | None, action: Callable[[], Tokens]) -> Run:
        run = super().start(submission, key, action)
        self._bodies[run] = submission.body
        return run

    def conflict_of(self, run: Run) -> Rejection:
        own = super().conflict_of(run)
        return Rejection(
            own.status, own.code, f"{own.detail} It was: {canonical_json(self._bodies.get(run)).decode()}"
        )


class ConflictStartsRun(Fault, name="conflict-starts-run", breaks=conflict.starts_nothing):
    """Starts the action before it compares the bodies. The rejected body, sent again, resumes that second run."""

    def find(self, submission: Submission, key: str | None) -> Run | None:
        run = super().find(submission, key)
        if run is None or not super().conflicts(run, submission):
            return run
        return self.registry.find(self._shadow_identity(submission)) or run

    def on_conflict(self, run: Run, submission: Submission) -> None:
        super().on_conflict(run, submission)
        identity = self._shadow_identity(submission)
        shadow = Run(run.organization, self.run_id(submission), self.fingerprint(submission.body), identity)
        self.launch(shadow, self.action(submission))

    def _shadow_identity(self, submission: Submission) -> RunKey:
        by_run_id = self.identity(submission, None)
        return by_run_id or (submission.organization, "rejected", self.fingerprint(submission.body).hex())
