"""Faults that violate the run-id requirements."""

from __future__ import annotations

import json
import uuid

from harness.contract.rules import run_id
from harness.profiles.workflow_actions.events import TERMINAL_TYPES
from harness.reference.api import (
    Connection,
    Submission,
)
from harness.reference.faults.base import Fault, with_data
from harness.reference.runs import Event, RunKey


class RunIdNotEchoed(Fault, name="run-id-not-echoed", breaks=run_id.echoed):
    """Names each run itself, and ignores the client's runId."""

    def run_id(self, submission: Submission) -> str:  # noqa: ARG002
        return str(uuid.uuid4())


class RunIdPerConnection(Fault, name="run-id-per-connection", breaks=run_id.constant):
    """Puts a runId of the connection instead of the run into the terminal event."""

    def due(self, reader: Connection) -> list[Event]:
        due = super().due(reader)
        if not reader.started_run and due and due[-1].type in TERMINAL_TYPES:
            payload = {**json.loads(due[-1].data), "runId": str(uuid.uuid4())}
            due[-1] = with_data(due[-1], self.event_data(payload))
        return due


class RunIdBeatsKey(Fault, name="run-id-beats-key", breaks=run_id.key_wins):
    """Finds runs by runId if one is sent, and by key only otherwise."""

    def identity(self, submission: Submission, key: str | None) -> RunKey | None:
        return super().identity(submission, key if submission.request.runId is None else None)


class RunIdDoesNotResume(Fault, name="run-id-does-not-resume", breaks=run_id.resumes):
    """Starts a new run for a runId that it has seen before."""

    def identity(self, submission: Submission, key: str | None) -> RunKey | None:
        return None if key is None else super().identity(submission, key)
